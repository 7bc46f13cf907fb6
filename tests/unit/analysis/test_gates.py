"""Verdicts of gates and hypotheses: tables of what decides, and what holds whatever was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from support.manifests import DIGEST
from support.measured_results import measured_result, shards_of

from vidbench_analysis.gates import (
    GateVerdict,
    HypothesisVerdict,
    Support,
    Verdict,
    evaluate_gate,
    evaluate_hypotheses,
    margin_of,
    more_shards,
)
from vidbench_analysis.intervals import Doubt
from vidbench_analysis.metrics import METRICS, Direction, Margin, Pairing
from vidbench_analysis.references import Cell, Seen
from vidbench_api.gates import ENERGIES, MEMORIES, TIMES, UNDIRECTED, Analysis, Baseline, Gate, Metric, in_metric_unit
from vidbench_api.measured import Environment, QualityFacts, Series, SeriesName, Statistics
from vidbench_api.result import BenchmarkResultSpec

STEADY = (10.0, 10.02, 9.98, 10.01)
TWO_GPUS = Environment(device="NVIDIA H100", device_count=2)
Results = Sequence[BenchmarkResultSpec]


@dataclass(frozen=True)
class Prompted:
    prompt: str


def gate(**fields: Any) -> Gate:
    """A gate against variant `base`; None takes a field away."""
    given_fields = {
        "name": "fast", "metric": "latency", "against": {"variant": "base"}, "test": "NoWorseThan", "margin": "2%",
    } | fields  # fmt: skip
    return Gate.model_validate({name: value for name, value in given_fields.items() if value is not None})


def bounded(bound: str, test: str = "AtMost", **fields: Any) -> Gate:
    return gate(against={"bound": bound}, test=test, margin=None, **fields)


def cell(variant: str, results: Results, model: str = "wan", hardware: str = "gpu") -> Cell:
    return Cell(f"{variant}-{model}", model, hardware, variant, DIGEST, tuple(results))


def fast(means: Sequence[float], **fields: Any) -> Cell:
    return cell("fast", shards_of(means, variant="fast", **fields))


def base(means: Sequence[float] = STEADY, **fields: Any) -> Cell:
    return cell("base", shards_of(means, variant="base", **fields))


def with_series(result: BenchmarkResultSpec, name: SeriesName, values: tuple[int, ...]) -> BenchmarkResultSpec:
    series = Series(name=name, unit=METRICS[name].unit, statistics=Statistics.of(values), values=values)
    return result.model_copy(update={"series": (*result.series, series)})


def judged(statement: Gate, *cells: Cell, **seen: Any) -> GateVerdict:
    return evaluate_gate(statement, Seen(cells, **seen), {"old": Baseline(name="old")})


class TestAgainstAVariant:
    @pytest.mark.parametrize(
        ("means", "test", "verdict", "reason"),
        [
            pytest.param((9.0, 9.02, 8.98, 9.01), "NoWorseThan", Verdict.PASS, None, id="faster"),
            pytest.param((10.05, 10.07, 10.03, 10.04), "NoWorseThan", Verdict.PASS, None, id="slower below the margin"),
            pytest.param((10.5, 10.52, 10.48, 10.51), "NoWorseThan", Verdict.FAIL, "BeyondMargin", id="5 % slower"),
            pytest.param((10.2, 10.25, 10.15, 10.2), "NoWorseThan", Verdict.INCONCLUSIVE, "IntervalHoldsMargin", id="at the margin"),
            pytest.param((10.5,), "NoWorseThan", Verdict.INCONCLUSIVE, "OneShard", id="one shard"),
            pytest.param((), "NoWorseThan", Verdict.INCONCLUSIVE, "NoResults", id="no result"),
            pytest.param((10.05, 10.07, 10.03, 10.04), "Equivalent", Verdict.PASS, None, id="equal enough"),
            pytest.param((9.0, 9.02, 8.98, 9.01), "Equivalent", Verdict.FAIL, "BeyondMargin", id="faster is not equal"),
            pytest.param((10.5, 10.52, 10.48, 10.51), "Equivalent", Verdict.FAIL, "BeyondMargin", id="slower is not equal"),
            pytest.param((9.0, 11.0, 10.0, 10.5), "Equivalent", Verdict.INCONCLUSIVE, "IntervalHoldsMargin", id="not known"),
        ],
    )  # fmt: skip
    def test_the_interval_decides(
        self, means: Sequence[float], test: str, verdict: Verdict, reason: str | None
    ) -> None:
        found = judged(gate(test=test), base(), fast(means))
        assert (found.verdict, found.reason) == (verdict, reason)
        (evidence,) = found.evidence
        assert evidence.cell.variant == "fast"
        assert (evidence.decides is None) is (verdict != Verdict.INCONCLUSIVE)
        if verdict != Verdict.INCONCLUSIVE:
            assert (evidence.shards, evidence.against_shards, evidence.gpus) == (4, 4, 8)

    def test_the_interval_is_that_of_welch_on_logarithms(self) -> None:
        slow = (10.5, 10.62, 10.38, 10.51)
        (evidence,) = judged(gate(), base(), fast(slow)).evidence
        expected = stats.ttest_ind([math.log(v) for v in slow], [math.log(v) for v in STEADY], equal_var=False)
        low, high = expected.confidence_interval(0.95)
        assert evidence.found is not None
        assert evidence.found.low == pytest.approx(math.exp(low) - 1)
        assert evidence.found.high == pytest.approx(math.exp(high) - 1)
        assert evidence.unit == "share"

    def test_a_margin_in_seconds_is_held_against_the_difference(self) -> None:
        slower = fast((10.05, 10.07, 10.03, 10.04))
        assert judged(gate(margin="200ms"), base(), slower).verdict == Verdict.PASS
        assert judged(gate(margin="10ms"), base(), slower).verdict == Verdict.FAIL
        (evidence,) = judged(gate(margin="200ms"), base(), slower).evidence
        assert evidence.unit == "microseconds"
        assert evidence.found is not None
        assert evidence.found.value == pytest.approx(45_000)

    def test_a_run_without_the_other_cell_is_inconclusive(self) -> None:
        found = judged(gate(), fast(STEADY))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "NoVariant")

    def test_what_is_compared_with_is_not_a_cell_of_the_gate(self) -> None:
        found = judged(gate(), base(), fast((9.0, 9.01)), cell("slow", shards_of((11.0, 11.01), variant="slow")))
        assert [entry.cell.variant for entry in found.evidence] == ["fast", "slow"]
        assert found.verdict == Verdict.FAIL

    def test_every_cell_must_pass(self) -> None:
        good, unknown = fast((9.0, 9.01, 9.02)), cell("other", shards_of((9.0,), variant="other"))
        assert judged(gate(), base(), good, unknown).verdict == Verdict.INCONCLUSIVE
        assert judged(gate(where={"variants": ["fast"]}), base(), good, unknown).verdict == Verdict.PASS

    def test_no_cell_at_all_is_no_pass(self) -> None:
        found = judged(gate(where={"models": ["gone"]}), base(), fast(STEADY))
        assert (found.verdict, found.reason, found.evidence) == (Verdict.INCONCLUSIVE, "NoCells", ())

    def test_invalid_results_do_not_count(self) -> None:
        spoilt = [
            measured_result(20.0, shard=9, variant="fast", validity={"state": "Invalid", "reasons": ["Throttled"]})
        ]
        found = judged(gate(), base(), cell("fast", [*shards_of((9.0, 9.01, 9.02), variant="fast"), *spoilt]))
        assert (found.verdict, found.evidence[0].shards) == (Verdict.PASS, 3)

    def test_an_out_of_memory_cell_is_inconclusive(self) -> None:
        oom = [measured_result(9.0, variant="fast", outcome="OutOfMemory", series=())]
        assert judged(gate(), base(), cell("fast", oom)).reason == "NoResults"

    @pytest.mark.parametrize("outcome", ["OutOfMemory", "Failed"])
    @pytest.mark.parametrize("side", ["fast", "base"])
    def test_shards_that_survived_pass_nothing(self, outcome: str, side: str) -> None:
        cells = {"base": base(), "fast": fast((9.0, 9.02))}
        lost = [measured_result(9.0, shard=n, variant=side, outcome=outcome, series=()) for n in (7, 8, 9)]
        cells[side] = cell(side, [*cells[side].results, *lost])
        found = judged(gate(), *cells.values())
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "ShardsFailed")
        (evidence,) = found.evidence
        count = len(cells[side].results)
        assert evidence.message == f"3 of {count} shards of wan/gpu/{side}: {outcome}"
        assert (evidence.p, evidence.decides) == (None, "a run in which these shards succeed")
        (supported,) = evaluate_hypotheses(
            Analysis.model_validate({"hypotheses": [gate().model_dump(by_alias=True, include={"name", "metric", "against", "test", "margin"})]}),
            Seen(tuple(cells.values())),
            {},
        )  # fmt: skip
        assert supported.verdict == Support.INCONCLUSIVE

    def test_shards_that_survived_may_still_fail(self) -> None:
        lost = measured_result(9.0, shard=9, variant="fast", outcome="OutOfMemory", series=())
        found = judged(gate(), base(), cell("fast", [*fast((11.0, 11.02, 10.98)).results, lost]))
        assert (found.verdict, found.reason) == (Verdict.FAIL, "BeyondMargin")

    def test_shards_paired_by_node_are_compared_by_node(self) -> None:
        """Nodes differ by 20 %, the variants by 1 %: unpaired nothing is seen, paired it is."""
        nodes = (8.0, 10.0, 12.0, 9.0)
        first = cell(
            "base", [measured_result(m, shard=n, variant="base", gpu=f"GPU-{n}") for n, m in enumerate(nodes, 1)]
        )
        second = [measured_result(m * 1.01 + n / 1000, shard=n, variant="fast", gpu=f"GPU-{n}") for n, m in enumerate(nodes, 1)]  # fmt: skip
        assert judged(gate(), first, cell("fast", second), pairing=Pairing.NODE).verdict == Verdict.PASS
        apart = shards_of([m * 1.01 for m in nodes], variant="fast")
        assert judged(gate(), first, cell("fast", apart)).verdict == Verdict.INCONCLUSIVE

    @pytest.mark.parametrize("means", [(9.0, 9.02, 8.98), (11.0, 11.02, 10.98)], ids=["faster", "slower"])
    def test_variants_on_different_products_decide_nothing(self, means: Sequence[float]) -> None:
        other = fast(means, device="NVIDIA A100")
        (evidence,) = judged(gate(), base(), other).evidence
        assert (evidence.verdict, evidence.reason, evidence.p) == (Verdict.INCONCLUSIVE, "OtherDevice", None)
        assert evidence.message == "it ran on NVIDIA A100, what it is compared with on NVIDIA H100"
        assert evidence.decides == "a nodeSelector of one product, or measurement.pairing: Node"
        assert evidence.products == ("NVIDIA A100", "NVIDIA H100")

    def test_a_node_of_two_products_pairs_them(self) -> None:
        means, kinds = (8.0, 10.0, 12.0), ("NVIDIA H100", "NVIDIA A100", "NVIDIA H100")
        one, other = (
            [
                measured_result(mean * factor, shard=n, variant=variant, device=kind, gpu=f"GPU-{n}")
                for n, (mean, kind) in enumerate(zip(means, kinds, strict=True), 1)
            ]
            for variant, factor in (("base", 1.0), ("fast", 0.9))
        )
        assert judged(gate(), cell("base", one), cell("fast", other), pairing=Pairing.NODE).verdict == Verdict.PASS


class TestAgainstABound:
    @pytest.mark.parametrize(
        ("bound", "test", "verdict", "reason"),
        [
            ("11s", "AtMost", Verdict.PASS, None),
            ("9s", "AtMost", Verdict.FAIL, "BeyondBound"),
            ("10.005s", "AtMost", Verdict.INCONCLUSIVE, "IntervalHoldsBound"),
            ("9s", "AtLeast", Verdict.PASS, None),
            ("11s", "AtLeast", Verdict.FAIL, "BeyondBound"),
            ("10.005s", "AtLeast", Verdict.INCONCLUSIVE, "IntervalHoldsBound"),
        ],
    )
    def test_the_interval_of_the_mean_decides(
        self, bound: str, test: str, verdict: Verdict, reason: str | None
    ) -> None:
        found = judged(bounded(bound, test), base())
        assert (found.verdict, found.reason) == (verdict, reason)
        low, high = stats.t.interval(0.95, 3, sum(STEADY) / 4, stats.sem(STEADY))
        interval = found.evidence[0].found
        assert interval is not None
        assert interval.low == pytest.approx(low * 1e6, rel=1e-6)
        assert interval.high == pytest.approx(high * 1e6, rel=1e-6)

    def test_a_bound_is_not_kept_by_those_that_survived(self) -> None:
        lost = measured_result(9.0, shard=9, outcome="OutOfMemory", series=())
        found = judged(bounded("11s"), cell("base", [*base().results, lost]))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "ShardsFailed")

    def test_memory_of_devices_and_of_hosts_is_not_one_figure(self) -> None:
        kinds = (("cpu", {"host": 2**30}), ("NVIDIA H100", {"device": 2**31}), ("cpu", {"host": 2**30 + 1}))
        results = [measured_result(10.0, shard=n, device=on, memory=held) for n, (on, held) in enumerate(kinds, 1)]
        found = judged(bounded("24GiB", metric="memory"), cell("base", results))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "DifferentBasis")
        assert found.evidence[0].message == "device and host"

    def test_an_interval_with_outliers_decides_with_a_doubt(self) -> None:
        slow = [
            measured_result([mean] * 9 + [last], shard=n)
            for n, (mean, last) in enumerate(((10.0, 15.0), (10.02, 10.02), (9.98, 9.98)), 1)
        ]
        found = judged(bounded("20s"), cell("base", slow))
        assert (found.verdict, found.evidence[0].doubts) == (Verdict.PASS, (Doubt.OUTLIERS,))
        assert judged(bounded("11s"), base()).evidence[0].doubts == ()
        compared = judged(gate(margin="99%"), cell("base", slow), fast(STEADY))
        assert (compared.verdict, compared.evidence[0].doubts) == (Verdict.PASS, (Doubt.OUTLIERS,))

    def test_one_process_never_decides(self) -> None:
        samples = [measured_result([10.0 + n / 1000 for n in range(30)])]
        found = judged(bounded("20s"), cell("base", samples))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "OneShard")

    def test_what_was_not_measured_is_inconclusive(self) -> None:
        assert judged(bounded("5J", metric="energy"), base()).reason == "NotMeasured"
        assert judged(bounded("5s"), cell("base", ())).reason == "NoResults"

    def test_p_is_that_of_a_one_sided_t_test(self) -> None:
        found = judged(bounded("10.02s"), base())
        expected = stats.ttest_1samp(STEADY, 10.02, alternative="less").pvalue
        assert found.evidence[0].p == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("test", ["AtMost", "AtLeast"])
    def test_p_and_a_skewed_interval_say_the_same(self, test: str) -> None:
        """From 40 units on the interval is bootstrapped and wider to one side."""
        skewed = [10 * math.exp(3 * (number / 45) ** 4) for number in range(45)]
        found = judged(bounded("99s", test), base(skewed)).evidence[0].found
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.high - found.value > 1.2 * (found.value - found.low)
        for edge, apart in ((found.low, -1), (found.low, 1), (found.high, -1), (found.high, 1)):
            bound = f"{(edge + apart * 1_000) / 1e6:.6f}s"
            (evidence,) = judged(bounded(bound, test), base(skewed)).evidence
            assert evidence.p is not None
            assert (evidence.p < 0.025) is (evidence.verdict == Verdict.PASS)
            assert (evidence.p > 0.975) is (evidence.verdict == Verdict.FAIL)


class TestAgainstABaseline:
    OLD = gate(against={"baseline": "old"})

    def judged(
        self, results: Results, baseline: Baseline | None = None, cell_: Cell | None = None, **seen: Any
    ) -> GateVerdict:
        seen_ = Seen((cell_ or base(),), {"old": tuple(results)}, run_uid="uid-of-this", **seen)
        return evaluate_gate(self.OLD, seen_, {"old": baseline or Baseline(name="old")})

    def test_results_of_the_same_names_are_compared(self) -> None:
        assert self.judged(shards_of(STEADY, run="old")).verdict == Verdict.PASS
        found = self.judged(shards_of((9.0, 9.02, 8.98), run="old"))
        assert (found.verdict, found.evidence[0].against_shards) == (Verdict.FAIL, 3)

    def test_results_of_several_runs_are_one_baseline(self) -> None:
        results = [*shards_of((10.0,), run="monday"), *shards_of((10.01,), run="tuesday")]
        found = self.judged(results)
        assert (found.verdict, found.evidence[0].against_shards) == (Verdict.PASS, 2)

    @pytest.mark.parametrize(
        ("across", "fields"),
        [
            ("Model", {"model": "wan-1"}),
            ("Hardware", {"hardware": "old-gpu", "device": "NVIDIA A100"}),
            ("Variant", {"variant": "v0"}),
        ],
    )
    def test_across_lets_one_name_differ(self, across: Any, fields: dict[str, Any]) -> None:
        results = shards_of(STEADY, run="old", **fields)
        assert self.judged(results).reason == "NoBaseline"
        assert self.judged(results, Baseline(name="old", across=across)).verdict == Verdict.PASS

    @pytest.mark.parametrize(
        ("results", "reason"),
        [
            pytest.param((), "NoBaseline", id="none"),
            pytest.param(shards_of(STEADY, run="old", model="ltx"), "NoBaseline", id="of another model"),
            pytest.param(shards_of(STEADY, run="this"), "NoBaseline", id="of this very run"),
            pytest.param(shards_of(STEADY, run="old", rung="VaeTiling"), "NoBaseline", id="of a fallback"),
            pytest.param(shards_of((10.0,), run="old"), "OneShard", id="one shard"),
            pytest.param(shards_of(STEADY, run="old", device="NVIDIA H200"), "OtherDevice", id="on another GPU"),
            pytest.param(shards_of(STEADY, run="old", clip={"height": 720, "width": 1280, "frames_requested": 33, "steps": 30}), "OtherClip", id="another clip"),
            pytest.param(shards_of(STEADY, run="old", clip={"height": 480, "width": 832, "frames_requested": 33, "steps": 4}), "OtherClip", id="in fewer steps"),
            pytest.param(shards_of(STEADY, run="old", environment=TWO_GPUS), "OtherDevice", id="on two GPUs a shard"),
            pytest.param(shards_of(STEADY, run="old", comparability="Service"), "DifferentKind", id="of a service"),
        ],
    )  # fmt: skip
    def test_a_baseline_that_does_not_fit_never_passes(self, results: Results, reason: str) -> None:
        found = self.judged(results)
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, reason)
        assert found.evidence[0].decides

    def test_a_reused_result_is_taken_from_the_baseline_and_not_the_rest_of_its_run(self) -> None:
        march = shards_of((9.0, 9.02, 8.98, 9.01), run="march")
        found = self.judged(march, cell_=cell("base", [march[0], *shards_of(STEADY[1:])]))
        assert found.evidence[0].against_shards == 3
        slow = shards_of((10.0, 10.02, 9.98), run="this")
        assert self.judged(march, cell_=cell("base", slow)).verdict == Verdict.FAIL

    def test_a_cell_that_is_the_baseline_passes(self) -> None:
        march = shards_of(STEADY, run="march")
        (evidence,) = self.judged(march, cell_=cell("base", march)).evidence
        assert evidence.verdict == Verdict.PASS
        assert evidence.compared is not None
        assert (evidence.compared.verdict, evidence.compared.reason) == ("Identical", "SameResults")

    @pytest.mark.parametrize("more", [shards_of((20.0, 20.02)), shards_of((20.0, 20.02), run="april")])
    def test_a_cell_that_is_more_than_the_baseline_does_not(self, more: Results) -> None:
        march = shards_of(STEADY, run="march")
        found = self.judged(march, cell_=cell("base", [*march, *more]))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "NoBaseline")
        assert "results that this cell has reused" in (found.evidence[0].message or "")

    def test_other_cells_of_the_run_are_no_baseline(self) -> None:
        found = self.judged(shards_of(STEADY, variant="v0"), Baseline(name="old", across="Variant"))
        assert found.reason == "NoBaseline"

    def test_an_invalid_shard_on_another_product_takes_no_baseline_away(self) -> None:
        invalid = measured_result(1.0, shard=9, device="NVIDIA A100", validity={"state": "Invalid", "reasons": ["Throttled"]})  # fmt: skip
        found = self.judged(shards_of(STEADY, run="old"), cell_=cell("base", [*base().results, invalid]))
        assert found.verdict == Verdict.PASS

    def test_two_models_are_no_baseline_of_one(self) -> None:
        results = [*shards_of(STEADY, run="old", model="a"), *shards_of(STEADY, run="old", model="b")]
        found = self.judged(results, Baseline(name="old", across="Model"))
        assert found.reason == "AmbiguousBaseline"

    @pytest.mark.parametrize("why", ["TooManyResults", "NotReadable"])
    def test_a_baseline_that_was_not_read_to_its_end_is_inconclusive(self, why: str) -> None:
        found = self.judged(shards_of(STEADY, run="old"), unread={"old": why})
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, why)


class TestQuality:
    @staticmethod
    def frames(variant: str, counts: tuple[int, ...]) -> Cell:
        quality = QualityFacts.model_construct(comparable=True, reason=None)
        result = measured_result((10.0,) * len(counts), variant=variant, quality=None)
        seen = with_series(result, SeriesName.BLACK_FRAMES, counts).model_copy(update={"quality": quality})
        return cell(variant, [seen])

    @staticmethod
    def prompts(ids: str) -> tuple[Prompted, ...]:
        return tuple(map(Prompted, ids))

    @pytest.mark.parametrize("counts", [(5, 5, 5, 5), (5, 6, 7, 5)])
    def test_there_is_no_share_of_zero(self, counts: tuple[int, ...]) -> None:
        cells = self.frames("base", (0, 0, 0, 0)), self.frames("fast", counts)
        found = judged(gate(metric="blackFrames"), *cells, samples=self.prompts("abcd"))
        assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "NotPositive")
        assert found.evidence[0].decides == "a margin in the metric's unit"
        absolute = judged(gate(metric="blackFrames", margin="1"), *cells, samples=self.prompts("abcd"))
        assert absolute.verdict == Verdict.FAIL

    @pytest.mark.parametrize(
        ("ids", "reason", "decides"),
        [
            ("aaaa", "OnePrompt", "3 prompts or more: one does not say how much another one differs"),
            ("abcd", "IntervalHoldsBound", "about 5 more prompts of each cell, at the spread that was seen"),
        ],
    )
    def test_prompts_decide_where_prompts_are_the_units(self, ids: str, reason: str, decides: str) -> None:
        found = judged(bounded("7", metric="blackFrames"), self.frames("fast", (5, 2, 7, 5)), samples=self.prompts(ids))
        assert (found.reason, found.evidence[0].decides) == (reason, decides)


class TestHypotheses:
    @staticmethod
    def judged(analysis: dict[str, Any], *cells: Cell) -> dict[str, HypothesisVerdict]:
        found = evaluate_hypotheses(Analysis.model_validate(analysis), Seen(cells), {})
        return {entry.hypothesis.name: entry for entry in found}

    @staticmethod
    def claim(name: str, **fields: Any) -> dict[str, Any]:
        return {"name": name, "metric": "latency", "against": {"bound": "10.02s"}, "test": "AtMost"} | fields

    def test_holm_corrects_within_a_role(self) -> None:
        claims = [self.claim("a"), self.claim("b", against={"bound": "10.03s"}), self.claim("c", role="Secondary")]
        found = self.judged({"hypotheses": claims}, base())
        first, second = (stats.ttest_1samp(STEADY, b, alternative="less").pvalue for b in (10.02, 10.03))
        expected = multipletests([first, second], method="holm")[1]
        assert [found[name].evidence[0].p for name in "ab"] == pytest.approx(list(expected), rel=1e-4)
        assert found["c"].evidence[0].p == pytest.approx(first, rel=1e-4), "alone in its role"
        plain = self.judged({"hypotheses": claims, "correction": "None"}, base())
        assert plain["a"].evidence[0].p == pytest.approx(first, rel=1e-4)

    def test_supported_refuted_and_neither(self) -> None:
        claims = [self.claim(name, against={"bound": bound}) for name, bound in (("yes", "11s"), ("no", "9s"), ("perhaps", "10.005s"))]  # fmt: skip
        found = self.judged({"hypotheses": claims}, base())
        assert {name: entry.verdict for name, entry in found.items()} == {
            "yes": Support.SUPPORTED, "no": Support.REFUTED, "perhaps": Support.INCONCLUSIVE,
        }  # fmt: skip

    def test_a_correction_may_take_support_away(self) -> None:
        claims = [self.claim(f"h{number}", against={"bound": "10.03s"}) for number in range(8)]
        alone = self.judged({"hypotheses": claims[:1]}, base())
        assert alone["h0"].verdict == Support.SUPPORTED
        together = self.judged({"hypotheses": claims}, base())
        assert together["h0"].verdict == Support.INCONCLUSIVE
        assert together["h0"].reason == "NotSignificant"

    @pytest.mark.parametrize(
        ("bound", "claims", "cells"),
        [("10.013s", 1, Verdict.PASS), ("10.018s", 8, Verdict.INCONCLUSIVE)],
        ids=["significant, interval holds the bound", "interval below the bound, corrected away"],
    )
    def test_cells_say_what_the_hypothesis_says(self, bound: str, claims: int, cells: Verdict) -> None:
        named = [self.claim(f"h{number}", against={"bound": bound}) for number in range(claims)]
        found = self.judged({"hypotheses": named}, base((10.0, 10.01, 9.985, 10.002)))["h0"]
        (evidence,) = found.evidence
        assert evidence.verdict == cells
        assert evidence.p is not None
        assert (found.verdict == Support.SUPPORTED) is (evidence.p < 0.05) is (cells == Verdict.PASS)
        assert (evidence.reason is None) is (evidence.decides is None) is (cells == Verdict.PASS)

    def test_shards_without_the_metric_take_no_freedom_from_those_that_have_it(self) -> None:
        """Two GPUs have energy, two shards each; others, which have none, change nothing about it."""
        joules = ((1, "A", 100_000), (2, "A", 100_500), (3, "B", 100_200), (4, "B", 100_100))
        measured = [with_series(measured_result(10.0, shard=n, gpu=gpu), SeriesName.ENERGY, (value,)) for n, gpu, value in joules]  # fmt: skip
        without = [measured_result(10.0 + n / 1000, shard=n, gpu=f"other-{n}") for n in (5, 6)]
        claims = [self.claim("e", metric="energy", against={"bound": "101J"}), self.claim("l", against={"bound": "12s"})]  # fmt: skip
        plain = {"hypotheses": claims, "correction": "None"}
        alone, found = (self.judged(plain, cell("base", results))["e"] for results in (measured, [*measured, *without]))
        assert alone.evidence[0].p is not None
        assert found.evidence[0].p == pytest.approx(alone.evidence[0].p, rel=1e-9)
        corrected = self.judged({"hypotheses": claims}, cell("base", [*measured, *without]))
        assert corrected["l"].verdict == Support.SUPPORTED

    def test_no_worse_has_the_p_of_a_shifted_welch_test(self) -> None:
        claim = self.claim("a", against={"variant": "base"}, test="NoWorseThan", margin="2%")
        found = self.judged({"hypotheses": [claim]}, base(), fast((10.1, 10.15, 10.05, 10.1)))
        shifted = [math.log(value) - math.log(1.02) for value in (10.1, 10.15, 10.05, 10.1)]
        expected = stats.ttest_ind(shifted, [math.log(v) for v in STEADY], equal_var=False, alternative="less").pvalue
        assert found["a"].evidence[0].p == pytest.approx(expected, rel=1e-6)


MEANS = st.lists(st.floats(5, 20), min_size=0, max_size=5)


@given(MEANS, MEANS, st.sampled_from(["NoWorseThan", "Equivalent"]), st.sampled_from(["1%", "5%", "50%"]))
@settings(max_examples=120, deadline=None)
def test_a_pass_needs_two_shards_of_each_and_bounds_that_hold(
    mine: list[float], other: list[float], test: str, margin: str
) -> None:
    found = judged(gate(test=test, margin=margin), base(other), fast(mine))
    (evidence,) = found.evidence
    if found.verdict == Verdict.INCONCLUSIVE:
        assert found.reason
        return
    assert min(len(mine), len(other)) >= 2
    assert evidence.found is not None
    assert evidence.found.low is not None
    assert evidence.found.high is not None
    limit = float(margin[:-1]) / 100
    if found.verdict == Verdict.FAIL:
        assert evidence.found.low > limit or evidence.found.high < 0
    elif test == "NoWorseThan":
        assert evidence.found.high < limit


@given(MEANS, MEANS, st.floats(0.5, 2))
@settings(max_examples=60, deadline=None)
def test_a_wider_margin_never_fails_what_a_narrow_one_passes(
    mine: list[float], other: list[float], factor: float
) -> None:
    cells = base(other), fast([mean * factor for mean in mine])
    narrow, wide = (judged(gate(margin=margin), *cells).verdict for margin in ("2%", "40%"))
    order = (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL)
    assert order.index(wide) <= order.index(narrow)


def test_the_schema_names_the_metrics_that_there_are() -> None:
    assert set(get_args(Metric)) == METRICS.keys()
    of_unit = {"microseconds": TIMES, "bytes": MEMORIES, "millijoules": ENERGIES}
    for unit, names in of_unit.items():
        assert {name for name, metric in METRICS.items() if metric.unit == unit} == set(names)
    assert {name for name, metric in METRICS.items() if metric.better == Direction.NEITHER} == set(UNDIRECTED)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12.5s", 12_500_000), ("20ms", 20_000), ("40GiB", 40 * 1024**3), ("1.5MiB", 1_572_864), ("350J", 350_000), ("2kJ", 2_000_000), ("3", 3)],
)  # fmt: skip
def test_bounds_are_read_in_the_unit_of_results(text: str, value: float) -> None:
    assert in_metric_unit(text) == value


def test_margins_are_shares_or_figures() -> None:
    assert margin_of(gate()) == Margin(0.02, relative=True)
    assert margin_of(gate(margin="0.5s")) == Margin(500_000, relative=False)
    assert margin_of(bounded("1s")) is None


@pytest.mark.parametrize(
    ("shards", "half", "distance", "more"),
    [(4, 2.0, 1.0, 12), (4, 1.0, 1.0, None), (4, 0.5, 1.0, None), (3, 100.0, 0.1, None), (0, 1.0, 0.1, None), (3, 1.0, 0.0, None)],
)  # fmt: skip
def test_more_shards_shrink_an_interval_by_the_square_root(
    shards: int, half: float, distance: float, more: int | None
) -> None:
    assert more_shards(shards, half, distance) == more
