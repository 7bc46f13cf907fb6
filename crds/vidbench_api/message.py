"""The termination message: a verdict in at most 2,457 bytes of ASCII, and back.

Layout: `vb2.` + CRC-32 of the body in 8 hex digits + `.` + base85(zlib(head JSON + NUL + columns)), with the words of
`message_dictionary.py` known to both sides. The head holds the verdict; exact statistics and values of its series are the
columns (`message_columns.py`). If it is too long, values are rounded to steps of at most a sixteenth of their column's
standard deviation, which adds under 0.04 % to the variance; then of at most an eighth, which adds 0.13 %; then whole columns go, the headline ones last, and with the details of quality (`_DETAILS`) their
statistics; then the parts named in `_HEAD_PARTS`, then all statistics but the latency's and the end of the text. What went
is named in `columnsDropped`. In the end there is only who, how it ended and the latency's statistics.

`vb1.`, which older runners write, has the statistics in the head and no dictionary; it is read as well.

The bytes come from a pod and are hostile until parsed: sizes are capped before anything is unpacked.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from .identity import canonical_json
from .measured import Series, SeriesName
from .message_columns import ColumnsError, Known, pack, take, undo_differences, unpack, varints
from .message_dictionary import DICTIONARY
from .names import MAX_SAMPLES, MESSAGE_LIMIT
from .verdict import Verdict

_PREFIX = "vb2."
_FIRST_PREFIX = "vb1."
_MAX_UNPACKED = 64 * 1024
_MAX_TEXT = 16 * 1024
_HEAD_PARTS = (
    "unmeasured",
    "expectedCalls",
    "health",
    "watch",
    "steadiness",
    "energy",
    "environment",
    "loaded",
    "memoryCold",
    "memory",
    "compilation",
    "setup",
    "service",
)
_KEEP_ORDER = tuple(SeriesName)
_MAX_DROPPED = 64
_DETAILS = frozenset(_KEEP_ORDER[_KEEP_ORDER.index(SeriesName.SHARPNESS) :])
"""The columns that a message can do without: when all of them have lost their values, their statistics go as well."""

_STEPS_OF_DEVIATION = (16, 8)

QUALITY_DETAILS = "qualityDetails"
"""In `columnsDropped`: the series from sharpness on, with their statistics."""

ALL_BUT_HEADLINE = "allButHeadline"
"""In `columnsDropped`: nothing is left but identity, outcome and the latency's statistics."""


class MessageError(ValueError):
    """A termination message that is not a verdict: foreign text, a wrong checksum, a schema violation."""


def encode(verdict: Verdict, limit: int = MESSAGE_LIMIT) -> str:
    """Return the message; what does not fit in `limit` bytes is dropped as the module says.

    Raises:
        MessageError: if not even the bare verdict fits.
    """
    known: Known = {}
    for candidate in _shrinking(verdict):
        packed = _pack(candidate, known)
        if _text_length(packed) <= limit:
            return _text(packed)
    raise MessageError(f"a bare verdict does not fit in {limit} bytes")


def decode(text: str) -> Verdict:
    """Return the verdict of a message; white space round it is ignored.

    Raises:
        MessageError: says what is wrong, without repeating the text.
    """
    text = text.strip()
    body = _checked_body(text)
    head, separator, packed = body.partition(b"\0")
    if not separator:
        raise MessageError("no end of the head")
    try:
        wire = json.loads(head)
        if not isinstance(wire, dict):
            raise MessageError("the head is not an object")
        series = _first_series(wire, packed) if text.startswith(_FIRST_PREFIX) else unpack(wire, packed)
        verdict = Verdict.model_validate(wire | {"series": series})
    except ColumnsError as error:
        raise MessageError(str(error)) from error
    except (
        ValidationError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ArithmeticError,
        RecursionError,
    ) as error:
        if isinstance(error, MessageError):
            raise
        detail = f"{error.error_count()} schema errors" if isinstance(error, ValidationError) else type(error).__name__
        raise MessageError(f"the head is not a verdict: {detail}") from error
    _refuse_repeats("series", [entry.name.value for entry in verdict.series])
    _refuse_repeats("columnsDropped", verdict.columns_dropped)
    _refuse_repeats("validity.reasons", verdict.validity.reasons if verdict.validity else ())
    _refuse_repeats("validity.notes", verdict.validity.notes if verdict.validity else ())
    return verdict


def _refuse_repeats(field: str, names: Sequence[str]) -> None:
    """The API server refuses a result whose keyed lists name something twice; better the message is refused here."""
    if len(set(names)) != len(names):
        raise MessageError(f"{field} names something twice")


def _checked_body(text: str) -> bytes:
    if len(text) > _MAX_TEXT:
        raise MessageError(f"longer than {_MAX_TEXT} characters")
    if not text.startswith((_PREFIX, _FIRST_PREFIX)):
        raise MessageError("does not start like a verdict")
    checksum, separator, encoded = text[len(_PREFIX) :].partition(".")
    if not separator or len(checksum) != 8:
        raise MessageError("no checksum")
    try:
        packed = base64.b85decode(encoded)
    except ValueError as error:
        raise MessageError("not base85") from error
    if f"{binascii.crc32(packed):08x}" != checksum or base64.b85encode(packed).decode("ascii") != encoded:
        raise MessageError("the checksum is wrong: cut or overwritten")
    inflater = zlib.decompressobj(zdict=DICTIONARY)
    try:
        body = inflater.decompress(packed, _MAX_UNPACKED)
    except zlib.error as error:
        raise MessageError("not zlib") from error
    if inflater.unconsumed_tail or not inflater.eof:
        raise MessageError(f"unpacks to more than {_MAX_UNPACKED} bytes or is cut")
    return body


def _first_series(wire: dict[str, Any], packed: bytes) -> list[Any]:
    """The series of a `vb1.` message: all but the values stands in the head."""
    numbers = varints(packed)
    entries = list(wire.get("series", ()))
    for entry in entries:
        length = int(entry.pop("length", 0))
        if not 0 <= length <= MAX_SAMPLES:
            raise MessageError("a column is too long")
        entry["values"] = undo_differences(take(numbers, length), int(entry.get("step", 1)))
    return entries


def _pack(verdict: Verdict, known: Known) -> bytes:
    head, columns = pack(verdict.series, known)
    wire = verdict.model_copy(update={"series": ()}).to_wire() | head
    deflater = zlib.compressobj(9, zdict=DICTIONARY)
    # Text and columns have little in common: each gets a code table of its own.
    packed = deflater.compress(canonical_json(wire).encode() + b"\0") + deflater.flush(zlib.Z_FULL_FLUSH)
    return packed + deflater.compress(columns) + deflater.flush()


def _text(packed: bytes) -> str:
    return f"{_PREFIX}{binascii.crc32(packed):08x}.{base64.b85encode(packed).decode('ascii')}"


def _text_length(packed: bytes) -> int:
    """How long the text will be: base85 makes five characters of four bytes, and n + 1 of n left over."""
    whole, rest = divmod(len(packed), 4)
    return len(_PREFIX) + 9 + 5 * whole + (rest + 1 if rest else 0)


def _shrinking(verdict: Verdict) -> Iterator[Verdict]:
    """Yield the verdict as it is, then with quantised columns, then ever smaller ones."""
    yield verdict
    dropped: list[str] = list(verdict.columns_dropped)
    ordered = sorted(verdict.series, key=lambda entry: _KEEP_ORDER.index(entry.name))
    for share in _STEPS_OF_DEVIATION:
        series = [_quantised(entry, share) for entry in ordered]
        current = verdict.model_copy(update={"series": tuple(series)})
        yield current
    for position in reversed(range(len(series))):
        if series[position].name not in _DETAILS and any(entry.name in _DETAILS for entry in series):
            series = [entry for entry in series if entry.name not in _DETAILS]
            dropped = [name for name in dropped if name not in _DETAILS] + [QUALITY_DETAILS]
            current = current.model_copy(update={"series": tuple(series), "columns_dropped": _names(dropped)})
            yield current
        if not series[position].values:
            continue
        dropped.append(series[position].name.value)
        series[position] = series[position].model_copy(update={"values": (), "step": 1})
        current = current.model_copy(update={"series": tuple(series), "columns_dropped": _names(dropped)})
        yield current
    for part in _HEAD_PARTS:
        dropped.append(part)
        name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in part)
        empty: object = {} if part in {"unmeasured", "expectedCalls"} else None
        current = current.model_copy(update={name: empty, "columns_dropped": _names(dropped)})
        yield current
    yield from _barest(current, dropped)


def _barest(current: Verdict, dropped: list[str]) -> Iterator[Verdict]:
    """Yield what is left when columns and head parts are gone: first without other statistics, then without any list."""
    headline = {
        "series": tuple(entry for entry in current.series if entry.name is SeriesName.LATENCY),
        "message": (current.message or "")[:64] or None,
        "quality": None,
    }
    yield current.model_copy(update=headline | {"columns_dropped": _names([*dropped, "statistics"])})
    validity = current.validity
    yield current.model_copy(
        update=headline
        | {
            "message": None,
            "clip": None,
            "protocol": None,
            "reproducibility": None,
            "artifacts": None,
            "output_digest": None,
            "validity": validity and validity.model_copy(update={"reasons": (), "notes": ()}),
            "columns_dropped": (ALL_BUT_HEADLINE,),
        }
    )


def _names(dropped: Iterable[str]) -> tuple[str, ...]:
    """Return the names once each, as many as `columnsDropped` may hold."""
    names = tuple(dict.fromkeys(dropped))
    return names if len(names) <= _MAX_DROPPED else (*names[: _MAX_DROPPED - 1], "more")


def _quantised(series: Series, share: int) -> Series:
    """Round the values to steps of at most this share of their standard deviation."""
    deviation = series.statistics.standard_deviation or 0.0
    step = max(1, int(deviation / share), series.step)
    return series.model_copy(
        update={"step": step, "values": tuple(round(value / step) * step for value in series.values)}
    )
