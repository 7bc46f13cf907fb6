"""Carbon and money by hand, only with a factor, and never for what was not measured."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_api.accounting import Accounting, costs_of, find_price
from vidbench_api.measured import Environment, Measured, Series, SeriesName, Statistics

H100 = Environment(device="NVIDIA H100 80GB HBM3", device_count=1)
GRID = {"gramsPerKilowattHour": "380.5", "source": "a grid's operator, 2025"}
PRICE = {"device": "NVIDIA-H100-80GB-HBM3", "perGpuHour": "2.49", "currency": "USD", "source": "a price list, 2026"}
FACTORS = Accounting.model_validate({"grid": GRID, "prices": [PRICE, PRICE | {"device": "*", "perGpuHour": "1"}]})


def measured(environment: Environment | None = H100, **columns: int) -> Measured:
    values = {"latency": 95_400_000, "energy": 64_700_000} | columns
    units: dict[str, Any] = {"latency": "microseconds", "energy": "millijoules"}
    series = tuple(
        Series(name=SeriesName(name), unit=units[name], statistics=Statistics.of((value, value)))
        for name, value in values.items()
        if value is not None
    )
    return Measured(series=series, environment=environment)


def test_costs_by_hand() -> None:
    costs = costs_of(measured(), FACTORS, gpus=2)
    assert costs is not None
    # 64.7 kJ are 0.0179722 kWh; 95.4 s on two GPUs are 0.053 GPU-hours.
    assert costs.carbon is not None
    assert costs.cost is not None
    assert costs.carbon.grams_per_video == pytest.approx(6.838431, abs=1e-6)
    assert (costs.carbon.grams_per_kilowatt_hour, costs.carbon.source) == ("380.5", GRID["source"])
    assert costs.cost.per_video == pytest.approx(0.13197, abs=1e-6)
    assert (costs.cost.currency, costs.cost.per_gpu_hour, costs.cost.source) == ("USD", "2.49", PRICE["source"])
    assert costs.cost.device == "NVIDIA-H100-80GB-HBM3"


@pytest.mark.parametrize(
    ("what", "factors", "gpus", "carbon", "cost"),
    [
        pytest.param(measured(), Accounting(), 1, False, False, id="no factors"),
        pytest.param(measured(energy=None), FACTORS, 1, False, True, id="no energy"),
        pytest.param(measured(latency=None), FACTORS, 1, True, False, id="no time"),
        pytest.param(measured(), FACTORS, 0, True, False, id="no GPU was held"),
        pytest.param(measured(Environment(device="cpu")), FACTORS, 1, True, False, id="it ran on the CPU"),
        pytest.param(measured(None), FACTORS, 1, True, False, id="nobody knows where"),
        pytest.param(Measured(), FACTORS, 1, False, False, id="nothing was measured"),
    ],
)
def test_what_was_not_measured_costs_nothing_that_is_known(
    what: Measured, factors: Accounting, gpus: int, carbon: bool, cost: bool
) -> None:
    costs = costs_of(what, factors, gpus)
    assert (costs is not None) == (carbon or cost)
    if costs is not None:
        assert ((costs.carbon is not None), (costs.cost is not None)) == (carbon, cost)


@pytest.mark.parametrize(
    ("device", "price"),
    [("NVIDIA H100 80GB HBM3", "2.49"), ("nvidia-h100-80gb-hbm3", "2.49"), ("NVIDIA A10", "1")],
)
def test_a_price_is_found_by_name_before_the_one_for_any(device: str, price: str) -> None:
    found = find_price(FACTORS.prices, device)
    assert found is not None
    assert found.per_gpu_hour == price
    assert find_price(FACTORS.prices[:1], "NVIDIA A10") is None


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.integers(0, 16))
def test_costs_are_amounts_whatever_a_pod_says(latency: int, energy: int, gpus: int) -> None:
    costs = costs_of(measured(latency=latency, energy=energy), FACTORS, gpus)
    assert costs is not None
    assert costs.carbon is not None
    assert costs.carbon.grams_per_video >= 0
    assert (costs.cost is None) == (gpus == 0)
