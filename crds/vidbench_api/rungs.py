"""The rungs of a fallback: what a cell that ran out of memory is measured with beside itself. Pure; operator and runner agree on it.

A rung changes one option of its cell. Its own cell is computed from that one's, so that the request document need not
hold it: same model, hardware and variant, another id, another identity.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from .identity import digest_of
from .pipeline_classes import PIPELINE_CLASSES, ClassSupport, class_of

if TYPE_CHECKING:
    from .request import Cell


class Rung(StrEnum):
    """A change that takes less memory and more time."""

    VAE_TILING = "VaeTiling"
    OFFLOAD_GROUP = "OffloadGroup"
    OFFLOAD_MODEL = "OffloadModel"
    OFFLOAD_SEQUENTIAL = "OffloadSequential"


OFFLOAD_OF_RUNG: Final = {
    Rung.OFFLOAD_GROUP: "Group",
    Rung.OFFLOAD_MODEL: "Model",
    Rung.OFFLOAD_SEQUENTIAL: "Sequential",
}
"""The kinds of offload, in the order in which they are tried."""


_WITH_OPTIONS: Final = frozenset({"diffusers", "tiny", "random"})
"""Backends that load a model themselves, so that a rung changes something."""


def rungs_of(cell: Cell) -> tuple[Rung, ...]:
    """Return the rungs that change something of a cell: not what it asks for already, nor a weaker offload than it has.

    None is one that its pipeline class is known not to support, nor an offload for a compiled denoiser.
    """
    if cell.backend not in _WITH_OPTIONS:
        return ()
    support = PIPELINE_CLASSES.get(class_of(cell.pipeline_class, cell.source.tiny) or "", ClassSupport())
    offloads = list(OFFLOAD_OF_RUNG)
    known = [rung for rung, offload in OFFLOAD_OF_RUNG.items() if offload == cell.offload]
    stronger = offloads[offloads.index(known[0]) + 1 :] if known else offloads
    useful = [rung for rung in stronger if OFFLOAD_OF_RUNG[rung] in support.offloads and cell.compile == "None"]
    return (*((Rung.VAE_TILING,) if support.vae_tiling and not cell.vae_tiling else ()), *useful)


def rung_cell(cell: Cell, rung: Rung) -> Cell:
    """Return the cell of a rung."""
    change: dict[str, Any] = {"vae_tiling": True} if rung is Rung.VAE_TILING else {"offload": OFFLOAD_OF_RUNG[rung]}
    identity = {
        "id": digest_of(f"{cell.id}\0{rung}")[:8],
        "rung": rung.value,
        "generation_hash": digest_of(f"{cell.generation_hash}\0{rung}"),
    }
    return cell.model_copy(update=change | identity)
