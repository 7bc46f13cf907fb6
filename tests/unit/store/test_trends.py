"""Trends: the same on both databases, the same figures as the analysis has of whole results, and like with like."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.ledger_documents import EPOCH, document, many

from vidbench_analysis.intervals import estimate
from vidbench_analysis.metrics import METRICS
from vidbench_analysis.observations import observe
from vidbench_api.measured import Environment, ValidityVerdict
from vidbench_api.names import Validity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_cli.trends_page import trends_page
from vidbench_store.store import Filter, Store
from vidbench_store.trends import Axis, NotASeriesError, find_trends

LATENCY = METRICS["latency"]


def test_points_are_what_the_analysis_says_of_the_whole_results(store: Store) -> None:
    store.write("east", list(many(320)))
    for axis in Axis:
        points = find_trends(store, LATENCY, axis)
        assert sum(point.estimate.shards + point.left_out for point in points) == 320
    for point in find_trends(store, LATENCY, Axis.DRIVER):
        specs = [BenchmarkResultSpec.model_validate(entry["spec"]) for entry in store.find_documents()]
        same = [
            spec
            for spec in specs
            if (spec.cell.model, spec.cell.hardware, spec.cell.variant)
            == (point.subject.model, point.subject.hardware, point.subject.variant)
            and (spec.environment.driver if spec.environment and spec.environment.driver else "(not seen)") == point.at
        ]
        whole = estimate(observe(same), LATENCY)
        assert (point.estimate.mean, point.estimate.low, point.estimate.high) == (whole.mean, whole.low, whole.high)
        assert point.estimate.method == whole.method
        assert point.estimate.samples == whole.samples


def test_a_known_case(store: Store) -> None:
    store.write(
        "east",
        [
            document(run_uid=f"run-{number}", latencies=(value,), driver=driver, node="one")
            for number, (value, driver) in enumerate([(100, "580"), (110, "580"), (120, "580"), (90, "595")])
        ],
    )
    old, new = find_trends(store, LATENCY, Axis.DRIVER)
    assert (old.at, old.estimate.shards, old.estimate.mean) == ("580", 3, 110)
    # t(0.975, 2) = 4.30265, sd 10, n 3
    assert old.estimate.low == pytest.approx(110 - 24.8414, abs=1e-3)
    assert (new.at, new.estimate.mean, new.estimate.low, new.estimate.reason) == ("595", 90, None, "OneShard")


def test_what_does_not_count_is_counted(store: Store) -> None:
    invalid = ValidityVerdict(state=Validity.INVALID, reasons=("Throttled",))
    store.write(
        "east",
        [
            document(run_uid="a"),
            document(run_uid="b", validity=invalid),
            document(run_uid="c", superseded=True),
            document(run_uid="a", uid="restored-from-a-backup"),
        ],
    )
    (point,) = find_trends(store, LATENCY, Axis.MONTH)
    assert (point.at, point.estimate.shards, point.left_out) == ("2026-01", 1, 3)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_a_shard_that_is_there_twice_the_first_measurement_counts(store: Store, order: tuple[int, int]) -> None:
    twice = [
        document(run_uid="a", uid="z", latencies=(100,)),
        document(run_uid="a", uid="b", latencies=(200,), measured_at=EPOCH + timedelta(hours=1)),
    ]
    for index in order:
        store.write("east", [twice[index]])
    (point,) = find_trends(store, LATENCY, Axis.MONTH)
    assert (point.estimate.mean, point.left_out) == (100, 1)
    assert (point.first, point.last) == (EPOCH, EPOCH + timedelta(hours=1))


def test_a_device_that_nobody_saw_is_one_subject(store: Store) -> None:
    unseen = [document(run_uid=uid, environment=None, uid=uid) for uid in ("a", "b")]
    store.write("east", unseen)
    (point,) = find_trends(store, LATENCY, Axis.MONTH)
    assert (point.subject.device, point.estimate.products, point.estimate.shards) == ("(not seen)", (), 2)


def test_unlike_is_kept_apart(store: Store) -> None:
    store.write(
        "east",
        [
            document(run_uid="a"),
            document(run_uid="b", generation_hash="f" * 64),
            document(run_uid="c", weights="Random"),
            document(run_uid="d", device="NVIDIA L40S"),
            document(run_uid="e", rung="vae-tiling"),
            document(run_uid="f", environment=Environment(device="NVIDIA H100 80GB HBM3", device_count=8)),
        ],
    )
    points = find_trends(store, LATENCY, Axis.DAY)
    assert [point.estimate.shards for point in points] == [1] * 6
    assert sorted(point.subject.gpus for point in points) == [1] * 5 + [8]
    columns = {column.key: column for column in trends_page(points, LATENCY, Axis.DAY).tables[0].columns}
    assert not columns["gpus"].wide


@pytest.mark.parametrize(
    ("axis", "places"),
    [
        (Axis.DAY, ["2026-01-01", "2026-01-09"]),
        (Axis.WEEK, ["2026-W01", "2026-W02"]),
        (Axis.NODE, ["(not seen)", "gpu-1"]),
        (Axis.CLUSTER, ["east"]),
        (Axis.RUN, ["lab/nightly"]),
    ],
)
def test_axes(store: Store, axis: Axis, places: list[str]) -> None:
    later = document(run_uid="b", measured_at=EPOCH + timedelta(days=8), node=None)
    store.write("east", [document(run_uid="a"), later])
    assert sorted({point.at for point in find_trends(store, LATENCY, axis)}) == places


def test_filters_and_metrics(store: Store) -> None:
    store.write("east", [document(run_uid="a"), document(run_uid="b", model="ltx")])
    assert len(find_trends(store, LATENCY, Axis.DAY, Filter(models=("ltx",)))) == 1
    (point,) = find_trends(store, METRICS["denoise"], Axis.DAY, Filter(models=("ltx",)))
    assert (point.estimate.mean, point.left_out) == (None, 1)
    with pytest.raises(NotASeriesError):
        find_trends(store, METRICS["videosPerHour"], Axis.DAY)
