"""The termination message against whatever a runner may say and whatever a pod may leave there."""

from __future__ import annotations

import base64
import binascii
import json
import random
import statistics
import zlib
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from support.builders import NOW, Scene, ended_pod, finished
from support.published_schemas import problems, problems_of_result, problems_of_verdict

from vidbench_api.health import Health, HostHealth
from vidbench_api.measured import (
    ArtifactsFacts,
    ClipFacts,
    Environment,
    Memory,
    ModelFacts,
    Series,
    SeriesName,
    Setup,
    Statistics,
    ValidityVerdict,
)
from vidbench_api.message import ALL_BUT_HEADLINE, MessageError, decode, encode
from vidbench_api.names import MAX_SAMPLES, MESSAGE_LIMIT, Outcome, RowPhase, Validity
from vidbench_api.result import BenchmarkResultSpec
from vidbench_api.run_status import ShardStatus
from vidbench_api.verdict import Stage, Verdict
from vidbench_operator.core.evidence import Expected, classify
from vidbench_operator.core.results import finished_shard, make_result
from vidbench_runner.core.plan import Attempt
from vidbench_runner.core.stored import StoredError, document_of, verdict_of

LARGEST = 2**52
TEXT = st.text(max_size=64)
COUNT = st.integers(0, 2**31 - 1)


def made(model: Any, **fields: Any) -> Any:
    """Models of that type; `st.builds` would take their aliases for further arguments."""
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


@st.composite
def series(draw: st.DrawFn, name: SeriesName) -> Series:
    middle = draw(st.integers(0, LARGEST))
    spread = draw(st.sampled_from([0, 1, 50, 10**6, LARGEST]))
    values = draw(
        st.lists(st.integers(max(0, middle - spread), min(LARGEST, middle + spread)), min_size=1, max_size=MAX_SAMPLES)
    )
    unit: Any = draw(st.sampled_from(["microseconds", "bytes", "millijoules", "count"]))
    return Series(name=name, unit=unit, statistics=Statistics.of(values), values=tuple(values))


LOOKS = made(
    HostHealth,
    cpu_percent=st.none() | st.integers(0, 100),
    scratch_free_bytes=st.none() | st.integers(0, LARGEST),
    gpu_xids=st.none() | COUNT,
)


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    names = draw(st.lists(st.sampled_from(list(SeriesName)), unique=True))
    return Verdict(
        request_digest=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        cell=draw(st.text("0123456789abcdef", min_size=8, max_size=8)),
        shard=draw(st.integers(1, 64)),
        attempt=draw(st.integers(1, 1000)),
        final=draw(st.booleans()),
        outcome=draw(st.none() | st.sampled_from(Outcome)),
        validity=draw(
            st.none()
            | made(
                ValidityVerdict, state=st.sampled_from(Validity), reasons=st.lists(TEXT, max_size=16, unique=True).map(tuple)
            )
        ),
        reason=draw(st.none() | TEXT),
        message=draw(st.none() | st.text(max_size=256)),
        stage=draw(st.none() | st.sampled_from(Stage)),
        phase=draw(st.none() | st.text(max_size=32)),
        samples_done=draw(COUNT),
        setup=draw(st.none() | made(Setup, load_microseconds=st.none() | st.integers(0, LARGEST), warmups=COUNT)),
        environment=draw(st.none() | made(Environment, device=st.text(max_size=128), cpu=st.text(max_size=128))),
        loaded=draw(
            st.none()
            | made(
                ModelFacts, pipeline_class=st.text(max_size=128), parameters=st.integers(0, 10**12),
                dtypes=st.dictionaries(TEXT, TEXT, max_size=16),
            )
        ),
        clip=draw(st.none() | made(ClipFacts, height=COUNT, width=COUNT, frames_requested=COUNT, steps=COUNT)),
        memory=draw(st.none() | made(Memory, allocated=st.none() | st.integers(0, LARGEST))),
        health=draw(st.none() | made(Health, before=st.none() | LOOKS, after=st.none() | LOOKS)),
        expected_calls=draw(st.dictionaries(TEXT, COUNT, max_size=8)),
        output_digest=draw(st.none() | TEXT),
        artifacts=draw(st.none() | made(ArtifactsFacts, uri=st.text(max_size=512), digest=TEXT)),
        series=tuple(draw(series(name)) for name in names),
        columns_dropped=tuple(draw(st.lists(TEXT, max_size=64, unique=True))),
        unmeasured=draw(st.dictionaries(TEXT, st.text(max_size=256), max_size=32)),
    )  # fmt: skip


LOOK = HostHealth(
    cpu_percent=100, memory_available_bytes=LARGEST, cgroup_memory_bytes=LARGEST - 1, scratch_free_bytes=LARGEST - 3,
    gpu_temperature_celsius=-50, gpu_foreign_memory_bytes=LARGEST - 7, gpu_uncorrected_errors=2**31 - 1, gpu_xids=2**30,
    gpu_last_xid=999_999,
)  # fmt: skip
WORST = Verdict(
    request_digest="0" * 16,
    cell="0" * 8,
    shard=1,
    attempt=1,
    reason="\U0001f4a5" * 64,
    message="\U0001f4a5" * 256,
    stage=Stage.WARMING_UP,
    health=Health(before=LOOK, after=LOOK),
    phase="\U0001f4a5" * 32,
    validity=ValidityVerdict(state=Validity.INVALID, reasons=tuple(chr(0x4E00 + n) * 64 for n in range(16))),
    output_digest="".join(chr(0x5000 + 7 * n) for n in range(64)),
    artifacts=ArtifactsFacts(uri="".join(chr(0x4E00 + 37 * n) for n in range(512)), digest="é" * 64),
    columns_dropped=tuple("".join(chr(0x4E00 + 64 * m + n) for n in range(64)) for m in range(64)),
)
"""As much text that does not compress as the schema allows."""


def decoded(text: str) -> Verdict | None:
    """The verdict, or None for a MessageError; anything else is let through."""
    try:
        return decode(text)
    except MessageError:
        return None


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=150, deadline=None)
@given(verdicts())
@example(WORST)
def test_message_of_any_verdict_fits_and_comes_back(verdict: Verdict) -> None:
    text = encode(verdict)
    assert len(text.encode()) <= MESSAGE_LIMIT
    back = decode(text)
    identity = ("request_digest", "cell", "shard", "attempt", "final", "outcome", "samples_done")
    assert [getattr(back, name) for name in identity] == [getattr(verdict, name) for name in identity]
    sent = {entry.name: entry for entry in verdict.series}
    for entry in back.series:
        assert entry.statistics == sent[entry.name].statistics, "statistics are exact"
        if entry.values:
            half = entry.step / 2 + 1e-9
            pairs = zip(entry.values, sent[entry.name].values, strict=True)
            assert all(abs(value - exact) <= half for value, exact in pairs)
        else:
            assert {entry.name.value, "more", ALL_BUT_HEADLINE} & set(back.columns_dropped)
    latency = sent.get(SeriesName.LATENCY)
    assert latency is None or back.find_series(SeriesName.LATENCY) is not None, "the headline stays"


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60, deadline=None)
@given(verdicts(), st.integers(700, 4096))
def test_message_keeps_a_lower_limit_or_says_that_it_cannot(verdict: Verdict, limit: int) -> None:
    try:
        text = encode(verdict, limit)
    except MessageError:
        assume(False)
    assert len(text) <= limit
    assert decode(text).samples_done == verdict.samples_done


def small() -> Verdict:
    values = (1_000_123, 1_001_456, 999_789)
    latency = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
    return Verdict(
        request_digest="0123456789abcdef", cell="0123abcd", shard=1, attempt=1, samples_done=3, series=(latency,)
    )


SMALL = encode(small())


def test_message_cut_anywhere_is_refused() -> None:
    for length in range(len(SMALL)):
        assert decoded(SMALL[:length]) is None
        assert decoded(SMALL[len(SMALL) - length :]) is None


def test_message_with_any_bit_flipped_is_refused() -> None:
    content = SMALL.encode()
    for position in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            assert decoded(flipped.decode("utf-8", errors="replace")) is None, (position, bit)


@settings(max_examples=300)
@given(st.integers(0, len(SMALL) - 1), st.characters())
def test_message_with_any_character_replaced_is_refused(position: int, character: str) -> None:
    assume(character != SMALL[position])
    assume(position not in (0, len(SMALL) - 1) or not character.isspace())
    assert decoded(SMALL[:position] + character + SMALL[position + 1 :]) is None


@settings(max_examples=300)
@given(st.text(max_size=300))
@example("vb1.")
@example("vb1.00000000.")
def test_message_of_foreign_text_is_refused(text: str) -> None:
    assert decoded(text) is None
    assert decoded(f"vb1.{text}") is None
    assert decoded(f"vb2.{text}") is None


def sealed(body: bytes, prefix: str = "vb1.") -> str:
    """A message with a right checksum round any body: what a hostile pod can write."""
    packed = zlib.compress(body)
    return f"{prefix}{binascii.crc32(packed):08x}.{base64.b85encode(packed).decode()}"


JSON_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
SERIES_ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["latency", "nonsense"]),
        "unit": st.just("microseconds"),
        "length": JSON_VALUES,
        "step": JSON_VALUES,
        "values": JSON_VALUES,
        "statistics": JSON_VALUES,
    },
)


@settings(max_examples=300)
@given(st.binary(max_size=200))
@example(b"\0")
@example(b"[" * 60_000 + b"\0")
@example(b'{"series":' * 5_000 + b"\0")
@example(b"{}\0" + b"\xff" * 200)
def test_message_with_a_hostile_body_is_refused(body: bytes) -> None:
    assert decoded(sealed(body)) is None
    assert decoded(sealed(body, "vb2.")) is None


@settings(max_examples=400)
@given(
    st.lists(st.sampled_from(["latency", "frames", "nonsense"]) | JSON_VALUES, max_size=3) | JSON_VALUES,
    st.just({}) | st.fixed_dictionaries({"latency": JSON_VALUES}) | JSON_VALUES,
    st.binary(max_size=60) | st.lists(st.integers(0, 3), max_size=40).map(bytes),
)
@example(["latency"], {}, b"\x02\x02\x02" + b"\x02" * 7)
@example(["latency"], {"latency": None}, b"\x04\x02\x02\x02")
@example(["latency"], {}, b"\x02" + b"\xff" * 10 + b"\x01" + b"\x04" + b"\xfe" * 9 + b"\x01" + b"\x02" * 8)
def test_message_with_hostile_columns_is_refused(names: Any, odd: Any, columns: bytes) -> None:
    wire = {"requestDigest": "0" * 16, "cell": "0" * 8, "shard": 1, "attempt": 1, "series": names, "statistics": odd}
    verdict = decoded(sealed(json.dumps(wire).encode() + b"\0" + columns, "vb2."))
    assert verdict is None or len(verdict.series) == len(names)


@settings(max_examples=400)
@given(st.lists(SERIES_ENTRY | JSON_VALUES, max_size=3) | JSON_VALUES, st.binary(max_size=40))
@example([{"length": float("inf")}], b"")
@example([{"length": "9" * 5000}], b"")
@example([{"length": 1, "step": 10**400}], b"\x02")
@example([{"length": 2, "step": "x"}], b"\x02\x04")
def test_message_with_hostile_series_is_refused(entries: Any, columns: bytes) -> None:
    wire = {"requestDigest": "0" * 16, "cell": "0" * 8, "shard": 1, "attempt": 1, "series": entries}
    verdict = decoded(sealed(json.dumps(wire).encode() + b"\0" + columns))
    assert verdict is None or len(verdict.series) == len(entries)


def test_message_that_unpacks_to_a_bomb_is_refused() -> None:
    assert decoded(sealed(b"0" * 10_000_000)) is None


@settings(max_examples=200)
@given(
    st.lists(st.floats(-3, 3), min_size=10, max_size=MAX_SAMPLES),
    st.integers(10_000, 10**9),
    st.floats(0.0001, 0.3),
)
def test_message_quantising_hardly_changes_mean_and_spread(draws: list[float], middle: int, variation: float) -> None:
    values = tuple(round(middle * (1 + variation * draw)) for draw in draws)
    assume(len(set(values)) > 1)
    assume(min(values) >= 0)
    column = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
    back = decode(encode(small().model_copy(update={"series": (column,), "samples_done": len(values)})))
    kept = back.series[0].values
    deviation = statistics.stdev(values)
    assert abs(statistics.fmean(kept) - statistics.fmean(values)) <= max(deviation / 32, 1e-6)
    assert abs(statistics.stdev(kept) - deviation) <= deviation * 0.035


def test_message_quantising_has_no_bias() -> None:
    """Over many shards the spread of the kept values is that of the exact ones to well below a percent."""
    chance = random.Random(3)
    ratios = []
    for _ in range(300):
        middle = chance.randrange(10**5, 10**8)
        values = tuple(round(chance.gauss(middle, middle * 0.003)) for _ in range(10))
        column = Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values)
        kept = decode(encode(small().model_copy(update={"series": (column,)}))).series[0].values
        ratios.append(statistics.stdev(kept) / statistics.stdev(values))
        assert abs(statistics.fmean(kept) / statistics.fmean(values) - 1) < 0.0001
    assert abs(statistics.fmean(ratios) - 1) < 0.002


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=100, deadline=None)
@given(verdicts())
def test_any_verdict_and_the_result_made_of_it_hold_to_the_published_schemas(verdict: Verdict) -> None:
    assert problems_of_verdict(verdict) == []
    assert problems_of_result(result_of(encode(verdict.model_copy(update=ATTEMPT)))) == []


SCENE = Scene.of()
JOB = SCENE.job()
ATTEMPT = {"request_digest": SCENE.document.digest[:16], "cell": SCENE.cell.id, "shard": 1, "attempt": 1}


def result_of(message: str) -> BenchmarkResultSpec:
    """What the operator makes of a pod that left this message, by the way that its passes take."""
    expected = Expected(SCENE.cell.id, 1, 1, SCENE.document.digest)
    end = classify(finished(JOB, "Failed"), ended_pod(JOB, message, 1), expected)
    shard = ShardStatus(index=1, phase=RowPhase.ACTIVE, attempt=1, job_uid=JOB.uid)
    spec = make_result(SCENE.run, SCENE.document, SCENE.cell, shard, JOB, end)
    finished_shard(shard, "result", spec, NOW)
    return spec


@st.composite
def mutated_heads(draw: st.DrawFn) -> str:
    """A right checksum round a real verdict in which up to four places hold anything."""
    wire: Any = SCENE.verdict().to_wire() | {"series": ["latency"]}
    for _ in range(draw(st.integers(1, 4))):
        place = wire
        while isinstance(place, dict | list) and place and draw(st.booleans()):
            inner = place[draw(st.sampled_from(sorted(place)))] if isinstance(place, dict) else place[-1]
            if not isinstance(inner, dict | list) or not inner:
                break
            place = inner
        key: Any = draw(st.sampled_from(sorted(place)) | st.text(max_size=8)) if isinstance(place, dict) else 0
        place[key] = draw(JSON_VALUES)
    columns = draw(st.binary(max_size=40) | st.just(b"\x02\x02\x02" + b"\x02" * 7))
    return sealed(json.dumps(wire).encode() + b"\0" + columns, "vb2.")


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=400, deadline=None)
@given(mutated_heads() | st.text(max_size=200))
def test_no_mutated_message_breaks_the_operator_or_its_ledger(message: str) -> None:
    spec = result_of(message)
    assert problems_of_result(spec) == []
    assert spec.outcome is not Outcome.SUCCEEDED or spec.reason is None


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=3), st.booleans())
def test_no_mutated_stored_verdict_breaks_a_harvest(position: int, change: bytes, cut: bool) -> None:
    text = document_of(SCENE.verdict()).encode()
    position %= len(text)
    broken = text[:position] if cut else text[:position] + change + text[position + len(change) :]
    attempt = Attempt(SCENE.document.digest[:16], SCENE.cell.id, 1, 1)
    try:
        verdict = verdict_of(broken.decode("utf-8", "replace"), attempt)
    except StoredError:
        return
    assert verdict == SCENE.verdict(), "white space may change, and nothing else"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"surprise": 1}, "surprise", id="a field that nobody knows"),
        pytest.param({"shard": "one"}, "shard", id="another type"),
        pytest.param({"outcome": "Fine"}, "outcome", id="a word that is none"),
        pytest.param({"samplesDone": -1}, "samplesDone", id="out of bounds"),
        pytest.param({"series": [{"name": "latency"}]}, "series/0", id="a part without what it needs"),
    ],
)
def test_published_schemas_refuse_what_is_no_result(change: dict[str, Any], words: str) -> None:
    verdict = SCENE.verdict().to_wire() | change
    assert words in " ".join(problems("verdict", verdict))
    spec = result_of(SMALL).to_wire() | change
    manifest = {"apiVersion": "vidbench.io/v1alpha1", "kind": "BenchmarkResult", "spec": spec}
    assert words in " ".join(problems("benchmarkresult", manifest))
