"""Columns as bytes, for the termination message: each one's unit, statistics and values as a run of zigzag varints.

Statistics are exact and cost little, because only what they differ by from the statistics of the values that are sent is
written: hardly anything if those are exact, a few bytes if they are rounded to steps. All of it is integer arithmetic,
mean, median and standard deviation in thousandths, so that writer and reader agree on any machine. Statistics that have
more than three decimals, which no runner of ours sends, stand in the head of the message instead.

A run: flags (1 there is a standard deviation, 2 the statistics stand in the head, unit above that), step, length, then
count, min, max, mean, median and standard deviation as differences, then the values in steps: the first one, and what the
others differ by from it, which for independent samples takes half a bit less than differences between neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, get_args

from .measured import Series, Unit
from .names import MAX_SAMPLES

_UNITS: tuple[str, ...] = get_args(Unit)
"""Their order is part of the format: new ones go to the end."""

_HAS_DEVIATION, _IN_HEAD, _UNIT_SHIFT = 1, 2, 2
_THOUSAND = 1000

Known = dict[int, tuple[Series, bytes, bool]]
"""Columns that were packed already, by the identity of their series: see `_packed`."""


class ColumnsError(ValueError):
    """Bytes that are no columns. The message says why, without repeating them."""


def pack(series: Sequence[Series], known: Known | None = None) -> tuple[dict[str, Any], bytes]:
    """Return the series as what the head holds of them and the bytes of their columns.

    Args:
        series: The columns.
        known: What was packed before; what is packed now is added, so that it need not be packed again.
    """
    known = {} if known is None else known
    head: dict[str, Any] = {"series": [entry.name.value for entry in series]}
    odd: dict[str, Any] = {}
    columns = bytearray()
    for entry in series:
        # By identity, which holds as long as the entry is kept beside it: comparing columns costs as much as packing them.
        if id(entry) not in known:
            known[id(entry)] = (entry, *_packed(entry))
        _, packed, exact = known[id(entry)]
        if not exact:
            odd[entry.name.value] = entry.statistics.to_wire()
        columns += packed
    return (head | {"statistics": odd} if odd else head), bytes(columns)


def _packed(entry: Series) -> tuple[bytes, bool]:
    """Return the bytes of one column, and whether they hold its exact statistics."""
    exact = _exact_statistics(entry)
    has_deviation = entry.statistics.standard_deviation is not None
    flags = _HAS_DEVIATION * has_deviation + _IN_HEAD * (exact is None) + (_UNITS.index(entry.unit) << _UNIT_SHIFT)
    numbers = [flags, entry.step, len(entry.values)]
    if exact is not None:
        base = _base_statistics(entry.values, entry.statistics.min)
        numbers += [mine - theirs for mine, theirs in zip(exact, base, strict=True)]
    numbers += _offsets(entry.values, entry.step)
    return b"".join(map(_varint, numbers)), exact is not None


def unpack(head: dict[str, Any], columns: bytes) -> list[dict[str, Any]]:
    """Return the series as the wire has them; their names and statistics are taken out of `head`.

    Raises:
        ColumnsError, ValueError, TypeError, ArithmeticError, LookupError: they are none.
    """
    names, odd = head.pop("series", []), head.pop("statistics", {})
    numbers = varints(columns)
    return [_unpacked(name, odd, numbers) for name in names]


def _unpacked(name: Any, odd: dict[str, Any], numbers: Iterator[int]) -> dict[str, Any]:
    flags, step, length = take(numbers, 3)
    if flags < 0 or not 0 <= length <= MAX_SAMPLES:
        raise ColumnsError("a column is too long or has no unit")
    residuals = [] if flags & _IN_HEAD else take(numbers, 6)
    values = _undo_offsets(take(numbers, length), step)
    if flags & _IN_HEAD:
        statistics = odd[name]
    else:
        base = _base_statistics(values, smallest=residuals[1])
        exact = [residual + other for residual, other in zip(residuals, base, strict=True)]
        statistics = _statistics_wire(exact, has_deviation=bool(flags & _HAS_DEVIATION))
    return {
        "name": name,
        "unit": _UNITS[flags >> _UNIT_SHIFT],
        "statistics": statistics,
        "step": step,
        "values": values,
    }


def _exact_statistics(series: Series) -> tuple[int, ...] | None:
    """Count, min, max, and mean, median, deviation in thousandths; None if a thousandth is too coarse."""
    statistics = series.statistics
    scaled = [
        Decimal(repr(value)) * _THOUSAND
        for value in (statistics.mean, statistics.median, statistics.standard_deviation or 0.0)
    ]
    if any(value != int(value) for value in scaled):
        return None
    return (statistics.count, statistics.min, statistics.max, *(int(value) for value in scaled))


def _base_statistics(values: Sequence[int], smallest: int) -> tuple[int, ...]:
    """The same figures of the values that are sent, rounded down; without any, what is known from the smallest one."""
    count = len(values)
    if not count:
        return 0, 0, smallest, _THOUSAND * smallest, _THOUSAND * smallest, 0
    total, ordered = sum(values), sorted(values)
    middle = ordered[(count - 1) // 2] + ordered[count // 2]
    squares = count * sum(value * value for value in values) - total * total
    deviation = math.isqrt(_THOUSAND**2 * squares // (count * (count - 1))) if count > 1 else 0
    return count, ordered[0], ordered[-1], _THOUSAND * total // count, _THOUSAND * middle // 2, deviation


def _statistics_wire(exact: Sequence[int], *, has_deviation: bool) -> dict[str, Any]:
    count, smallest, largest, mean, median, deviation = exact
    wire: dict[str, Any] = {
        "count": count,
        "min": smallest,
        "max": largest,
        "mean": float(Decimal(mean) / _THOUSAND),
        "median": float(Decimal(median) / _THOUSAND),
    }
    return wire | {"standardDeviation": float(Decimal(deviation) / _THOUSAND)} if has_deviation else wire


def _offsets(values: Sequence[int], step: int) -> list[int]:
    steps = [round(value / step) for value in values]
    return [*steps[:1], *(value - steps[0] for value in steps[1:])]


def _undo_offsets(offsets: Sequence[int], step: int) -> list[int]:
    return [step * (offset + (offsets[0] if position else 0)) for position, offset in enumerate(offsets)]


def undo_differences(differences: Iterable[int], step: int) -> list[int]:
    """Return the values that stand behind differences between neighbours in steps, as `vb1.` has them."""
    values = []
    current = 0
    for difference in differences:
        current += difference
        values.append(current * step)
    return values


def _varint(number: int) -> bytes:
    rest = (number << 1) if number >= 0 else ((-number << 1) - 1)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(0x80 | (rest & 0x7F))
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def varints(packed: bytes) -> Iterator[int]:
    """Yield the numbers of a run of zigzag varints; an unfinished last one is left out.

    Raises:
        ColumnsError: one is longer than any that is sent.
    """
    number, shift = 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 77:
            raise ColumnsError("a number is too long")
        if not byte & 0x80:
            yield (number >> 1) if not number & 1 else -((number + 1) >> 1)
            number, shift = 0, 0


def take(numbers: Iterator[int], length: int) -> list[int]:
    """Return that many numbers.

    Raises:
        ColumnsError: there are fewer.
    """
    taken = []
    for _ in range(length):
        number = next(numbers, None)
        if number is None:
            raise ColumnsError("a column is cut")
        taken.append(number)
    return taken
