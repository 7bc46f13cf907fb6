"""What may be said of real time on a machine whose few cores others use too."""

from __future__ import annotations

from vidbench_api.measured import ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.validity import ValidityReason

OF_THE_MACHINE = frozenset({ValidityReason.COLD_SHAPE, ValidityReason.NOT_STEADY, ValidityReason.CPU_THROTTLED})


def is_valid_but_for_the_machine(validity: ValidityVerdict) -> bool:
    """Whether nothing speaks against what was measured, except that some samples took longer than others."""
    return (validity.state, validity.reasons) == (Validity.VALID, ()) or (
        validity.state is Validity.INVALID and bool(validity.reasons) and OF_THE_MACHINE.issuperset(validity.reasons)
    )
