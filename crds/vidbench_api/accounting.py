"""What a video costs, in carbon and in money: the admin's factors, with where they come from, and what follows from them.

Nobody measures a grid or a bill: without a factor there is no figure. Amounts are text on the way in, as floats lose
cents, and numbers with six digits on the way out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from .base import ApiModel, ShortText, map_list
from .measured import Measured, SeriesName, Text128
from .services import Amount

ANY_DEVICE = "*"
MILLIJOULES_PER_KILOWATT_HOUR = 3_600_000_000
_MICROSECONDS_PER_HOUR = 3_600_000_000
_DIGITS = 6
Currency = Annotated[str, Field(min_length=3, max_length=3, pattern=r"^[A-Z]{3}$")]
Source = Annotated[str, Field(min_length=1, max_length=256)]


class GridFactor(ApiModel):
    """How much carbon dioxide the electricity of this class's nodes stands for."""

    grams_per_kilowatt_hour: Amount = Field(description="gCO2 for one kWh at the plug.")
    source: Source = Field(description="Whose figure it is, of which place and year.")


class GpuPrice(ApiModel):
    """What one GPU costs for an hour."""

    device: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="The GPU's name as its driver says it, e.g. NVIDIA H100 80GB HBM3; spaces and `-` are the same. `*`: any."
    )
    per_gpu_hour: Amount
    currency: Currency
    source: Source = Field(description="Whose price it is, and of when.")


class Accounting(ApiModel):
    """Factors for what a video costs; without them results say nothing about it."""

    grid: GridFactor | None = None
    prices: Annotated[tuple[GpuPrice, ...], Field(max_length=32, json_schema_extra=map_list("device"))] = ()


class Carbon(ApiModel):
    """Carbon dioxide of one video: its energy times the grid's factor. The GPU's alone: no host, no cooling."""

    grams_per_video: Annotated[FiniteFloat, Field(ge=0)]
    grams_per_kilowatt_hour: Amount
    source: ShortText


class Cost(ApiModel):
    """Price of one video: its time on the shard's GPUs."""

    per_video: Annotated[FiniteFloat, Field(ge=0)]
    currency: Annotated[str, Field(max_length=3)]
    per_gpu_hour: Amount
    device: Text128 = Field(description="Whose price it is, as the table has it.")
    source: ShortText


class Costs(ApiModel):
    """What a video costs, by the factors of the runner class when the run was accepted."""

    carbon: Carbon | None = None
    cost: Cost | None = None


def costs_of(measured: Measured, accounting: Accounting, gpus: int) -> Costs | None:
    """Return what a video of a shard costs that held so many GPUs; None where no factor applies to what was measured."""
    carbon, cost = _carbon(measured, accounting.grid), _cost(measured, accounting.prices, gpus)
    return None if carbon is None and cost is None else Costs(carbon=carbon, cost=cost)


def find_price(prices: tuple[GpuPrice, ...], device: str) -> GpuPrice | None:
    """Return the price of a GPU by its name, or the one for any."""
    by_name = {_plain(price.device): price for price in prices}
    return by_name.get(_plain(device), by_name.get(ANY_DEVICE))


def _plain(device: str) -> str:
    return device.replace(" ", "-").lower()


def _carbon(measured: Measured, grid: GridFactor | None) -> Carbon | None:
    energy = measured.find_series(SeriesName.ENERGY)
    if grid is None or energy is None or energy.statistics.mean < 0:
        return None
    grams = energy.statistics.mean / MILLIJOULES_PER_KILOWATT_HOUR * float(grid.grams_per_kilowatt_hour)
    return Carbon(
        grams_per_video=round(grams, _DIGITS), grams_per_kilowatt_hour=grid.grams_per_kilowatt_hour, source=grid.source
    )


def _cost(measured: Measured, prices: tuple[GpuPrice, ...], gpus: int) -> Cost | None:
    latency, environment = measured.find_series(SeriesName.LATENCY), measured.environment
    # A shard that ran on the CPU, or at a service, had no GPU of ours that computed.
    if (
        latency is None
        or latency.statistics.mean < 0
        or not gpus
        or environment is None
        or not environment.device_count
    ):
        return None
    price = find_price(prices, environment.device)
    if price is None:
        return None
    hours = gpus * latency.statistics.mean / _MICROSECONDS_PER_HOUR
    return Cost(
        per_video=round(hours * float(price.per_gpu_hour), _DIGITS),
        currency=price.currency,
        per_gpu_hour=price.per_gpu_hour,
        device=price.device,
        source=price.source,
    )
