"""What else than the cells may have made a difference, and when it takes a verdict away.

| what | when nothing is concluded |
|---|---|
| `OtherClip` | results of different runs have the same names and clips of other sizes or steps |
| `OtherDevice` | they have the same names and ran on other products or numbers of GPUs; or cells of one run did, unpaired |
| `ShardsFailed` | a side is what survived of it, and the verdict is not a bad one: who fails is not left to chance |

What the names of the sides say that they differ in is what is compared, and never refused. Gates, comparisons, self-tests
and reports ask here, so that they say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .comparison import Comparison, compare
from .metrics import Margin, Metric, Pairing
from .observations import CellObservations, LeftOutReason
from .sides import Blocked
from .verdicts import Method, Reason, Verdict

_FAILED = (LeftOutReason.OUT_OF_MEMORY, LeftOutReason.FAILED)
_UNPAIRED = (Method.WELCH_ON_SHARDS, Method.WELCH_ON_DEVICES)


@dataclass(frozen=True)
class Named:
    """What the names of two sides say that they differ in."""

    devices: bool = False
    clips: bool = False


def compare_alike(
    subject: CellObservations,
    reference: CellObservations,
    metric: Metric,
    margin: Margin | None = None,
    pairing: Pairing | None = None,
    named: Named = Named(),
) -> Comparison:
    """Compare as `compare` does, and conclude nothing where something else may have made the difference.

    The figures stay; without a verdict there is no p either, as for a gate.
    """
    found = compare(subject, reference, metric, margin, pairing)
    blocked = _unlike(found, subject, reference, metric, named)
    if blocked is not None:
        return _without_verdict(found, blocked)
    failed = shards_failed(subject, reference)
    if failed is None or found.verdict == Verdict.WORSE:
        return found
    return _untested(found) if found.verdict == Verdict.INCONCLUSIVE else _without_verdict(found, failed)


def devices_apart(one: CellObservations, other: CellObservations, metric: Metric) -> tuple[str, str] | None:
    """Return what each side ran on, where that differs; None where it does not, or a side does not say."""
    return _apart(*({shard.hardware for shard, _ in side.reading(metric)} for side in (one, other)))


def clips_apart(one: CellObservations, other: CellObservations, metric: Metric) -> tuple[str, str] | None:
    """Return which clips each side made, where that differs; None where it does not, or a side does not say."""
    return _apart(*({shard.clip for shard, _ in side.reading(metric)} for side in (one, other)))


def unpaired_devices(
    found: Comparison, subject: CellObservations, reference: CellObservations, metric: Metric
) -> Blocked | None:
    """Refuse cells of one run of which each ran on GPUs of its own product: the products were compared as much as the cells."""
    apart = devices_apart(subject, reference, metric) if found.method in _UNPAIRED else None
    if apart is None:
        return None
    text = f"it ran on {apart[0]}, what it is compared with on {apart[1]}"
    return Blocked(Reason.OTHER_DEVICE, text, "a nodeSelector of one product, or measurement.pairing: Node")


def shards_failed(*sides: CellObservations) -> Blocked | None:
    """Say which shards of the sides ran out of memory or failed: those that survived are no sample of all."""
    lost = [
        f"{left.count} of {side.planned} shards of {side.label}: {left.reason.value}"
        for side in sides
        for left in side.left_out
        if left.reason in _FAILED
    ]
    return Blocked(Reason.SHARDS_FAILED, "; ".join(lost), "a run in which these shards succeed") if lost else None


def either(words: Iterable[str]) -> str:
    """Join alternatives for a sentence."""
    return " or ".join(sorted(words))


def _unlike(
    found: Comparison, subject: CellObservations, reference: CellObservations, metric: Metric, named: Named
) -> Blocked | None:
    if len({shard.run_uid for side in (subject, reference) for shard in side.shards}) < 2:
        return None if named.devices else unpaired_devices(found, subject, reference, metric)
    clips = None if named.clips else clips_apart(subject, reference, metric)
    if clips is not None:
        text = f"its clips are {clips[0]}, those of what it is compared with {clips[1]}"
        return Blocked(Reason.OTHER_CLIP, text, "results of clips of one size in as many steps")
    devices = None if named.devices else devices_apart(subject, reference, metric)
    if devices is not None:
        text = f"it ran on {devices[0]}, what it is compared with on {devices[1]}"
        return Blocked(Reason.OTHER_DEVICE, text, "results on one product, or a hardware name for each")
    return None


def _apart(one: set[str | None], other: set[str | None]) -> tuple[str, str] | None:
    """Return both in words; what a side does not say is no difference."""
    known = [{word for word in words if word is not None} for words in (one, other)]
    return None if not all(known) or known[0] == known[1] else (either(known[0]), either(known[1]))


def _without_verdict(found: Comparison, why: Blocked) -> Comparison:
    return replace(
        _untested(found),
        verdict=Verdict.INCONCLUSIVE,
        reason=why.reason,
        message=why.message,
        decides=why.decides,
        more_shards=why.more_shards,
    )


def _untested(found: Comparison) -> Comparison:
    return replace(found, p=None, p_equivalence=None, p_no_worse=None)
