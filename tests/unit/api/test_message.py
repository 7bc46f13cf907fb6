"""The termination message by example: what a full shard needs, what goes first, what is refused and how it is said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vidbench_api.health import Health, HostHealth
from vidbench_api.measured import (
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
from vidbench_api.message import MessageError, decode, encode
from vidbench_api.names import MESSAGE_LIMIT, Outcome, Validity
from vidbench_api.verdict import Verdict

UNITS: dict[SeriesName, Any] = {
    SeriesName.ENERGY: "millijoules",
    SeriesName.MEMORY_ALLOCATED: "bytes",
    SeriesName.MEMORY_RESERVED: "bytes",
    SeriesName.FRAMES: "count",
    SeriesName.DENOISER_CALLS: "count",
    SeriesName.TEXT_ENCODE_CALLS: "count",
    SeriesName.VAE_DECODE_CALLS: "count",
}


def column(name: SeriesName, samples: int, chance: random.Random) -> Series:
    unit = UNITS.get(name, "microseconds")
    middle = 60 if unit == "count" else chance.randrange(10**5, 10**8)
    spread = 0 if unit in ("count", "bytes") else middle * 0.003
    values = tuple(round(chance.gauss(middle, spread)) for _ in range(samples))
    return Series(name=name, unit=unit, statistics=Statistics.of(values), values=values)


def look(chance: random.Random) -> HostHealth:
    return HostHealth(
        cpu_percent=chance.randrange(100), memory_available_bytes=chance.randrange(2**40),
        cgroup_memory_bytes=chance.randrange(2**37), scratch_free_bytes=chance.randrange(2**40),
        gpu_temperature_celsius=chance.randrange(30, 90), gpu_foreign_memory_bytes=chance.randrange(2**36),
        gpu_uncorrected_errors=0, gpu_xids=0,
    )  # fmt: skip


def full(samples: int) -> Verdict:
    """A GPU shard in which everything was measured."""
    chance = random.Random(samples)
    digest = "".join(chance.choice("0123456789abcdef") for _ in range(64))
    return Verdict(
        request_digest=digest[:16], cell="0123abcd", shard=3, attempt=2, final=True, outcome=Outcome.SUCCEEDED,
        validity=ValidityVerdict(state=Validity.VALID), samples_done=samples,
        setup=Setup(
            load_microseconds=123_456_789, to_device_microseconds=9_876_543, warmups=2,
            first_warmup_microseconds=98_765_432, warmup_microseconds=165_432_109,
        ),
        health=Health(before=look(chance), after=look(chance)),
        environment=Environment(
            device="NVIDIA H100 80GB HBM3", device_count=1, gpu_uuid="GPU-1b2c3d4e-5f60-7182-93a4-b5c6d7e8f901",
            driver="580.65.06", power_limit_milliwatts=700_000, cpu="Intel(R) Xeon(R) Platinum 8480CL",
            cpu_count=26, kernel="6.8.0-1024-gcp", python="3.11.2", torch="2.15.0", cuda="13.2.86",
            diffusers="0.42.1", transformers="5.23.0", vidbench="0.1.0",
        ),
        loaded=ModelFacts(
            pipeline_class="WanPipeline", parameters=7_123_456_789,
            dtypes={"text_encoder": "bfloat16", "transformer": "bfloat16", "vae": "float32"}, frame_grid="4k+1",
        ),
        clip=ClipFacts(height=480, width=832, frames_requested=81, frames_delivered=81, steps=50),
        memory=Memory(allocated=23 * 10**9, reserved=25 * 10**9, device=27 * 10**9, host=9 * 10**9, cgroup=31 * 10**9),
        expected_calls={"denoiserCalls": 100, "textEncodeCalls": 2, "vaeDecodeCalls": 1},
        cpu_throttled_periods=0,
        output_digest=digest,
        series=tuple(column(name, samples, chance) for name in SeriesName),
    )  # fmt: skip


@pytest.mark.parametrize("samples", [10, 30, 64])
def test_message_of_a_full_shard_keeps_its_head_whatever_columns_go(samples: int) -> None:
    verdict = full(samples)
    text = encode(verdict)
    assert len(text) <= MESSAGE_LIMIT
    back = decode(text)
    dropped = set(back.columns_dropped)
    assert dropped <= {name.value for name in SeriesName}, "only columns go, no part of the head"
    assert (back.environment, back.loaded, back.memory, back.setup) == (
        verdict.environment, verdict.loaded, verdict.memory, verdict.setup,
    )  # fmt: skip
    assert [entry.statistics for entry in back.series] == [entry.statistics for entry in verdict.series]
    assert not dropped & {"latency", "denoise", "vaeDecode"}


def test_message_of_ten_samples_loses_no_column() -> None:
    assert decode(encode(full(10))).columns_dropped == ()


@pytest.mark.parametrize("limit", [2800, 2400, 2048, 1800, 1600, 1500])
def test_message_columns_go_in_the_stated_order(limit: int) -> None:
    back = decode(encode(full(64), limit))
    order = [name.value for name in SeriesName]
    columns = [name for name in back.columns_dropped if name in order]
    assert columns == order[::-1][: len(columns)]
    kept = [entry.name.value for entry in back.series if entry.values]
    assert kept == order[: len(order) - len(columns)]


def test_message_of_a_tight_limit_names_every_part_that_went() -> None:
    back = decode(encode(full(64), 900))
    assert {"environment", "setup", "statistics"} <= set(back.columns_dropped)
    assert [entry.name for entry in back.series] == [SeriesName.LATENCY]
    assert back.series[0].statistics == full(64).series[0].statistics
    assert (back.outcome, back.samples_done) == (Outcome.SUCCEEDED, 64)


def test_message_below_any_use_is_refused() -> None:
    with pytest.raises(MessageError, match="100 bytes"):
        encode(full(3), 100)


def test_message_is_printable_ascii_in_one_line() -> None:
    text = encode(full(64).model_copy(update={"message": "spät\nund\x00böse"}))
    assert text.isascii()
    assert text.isprintable()
    assert decode(text).message == "spät\nund\x00böse"


def test_message_ignores_blanks_round_it() -> None:
    assert decode(f"\n  {encode(full(3))}   \n\n") == decode(encode(full(3)))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("", "does not start", id="nothing"),
        pytest.param("Traceback (most recent call last):", "does not start", id="a traceback"),
        pytest.param("{}" * 20_000, "longer than", id="a flood"),
        pytest.param("vb1.deadbeef", "no checksum", id="no body"),
        pytest.param("vb1.deadbeef.00000", "checksum is wrong", id="overwritten"),
        pytest.param("vb2." + encode(full(3))[4:], "does not start", id="a later version"),
        pytest.param(encode(full(3))[:-7], "checksum is wrong", id="cut at the tail, as beside many sidecars"),
        pytest.param(encode(full(3))[9:], "does not start", id="cut at the head, as an over-long file"),
    ],
)
def test_message_refusal_says_what_is_wrong_and_repeats_nothing(text: str, word: str) -> None:
    with pytest.raises(MessageError, match=word) as refusal:
        decode(text)
    assert len(str(refusal.value)) < 100


def test_message_with_a_series_named_twice_is_refused() -> None:
    verdict = full(3)
    doubled = verdict.model_copy(update={"series": (verdict.series[0], verdict.series[0])})
    with pytest.raises(MessageError, match="series names something twice"):
        decode(encode(doubled))
