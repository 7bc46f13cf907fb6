"""The termination message by example: what a full shard needs, what goes first, what is refused and how it is said."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from vidbench_api.health import Health, HostHealth
from vidbench_api.measured import (
    ClipFacts,
    DeviceFacts,
    EnergyFacts,
    Environment,
    Memory,
    ModelFacts,
    Series,
    SeriesName,
    Setup,
    Statistics,
    Steadiness,
    ValidityVerdict,
)
from vidbench_api.message import QUALITY_DETAILS, MessageError, decode, encode
from vidbench_api.message_dictionary import DICTIONARY
from vidbench_api.names import MESSAGE_LIMIT, Outcome, Validity
from vidbench_api.verdict import Verdict

UNITS: dict[SeriesName, Any] = {
    SeriesName.ENERGY: "millijoules",
    SeriesName.ENERGY_NET: "millijoules",
    SeriesName.MEMORY_ALLOCATED: "bytes",
    SeriesName.MEMORY_RESERVED: "bytes",
    SeriesName.FRAMES: "count",
    SeriesName.DENOISER_CALLS: "count",
    SeriesName.TEXT_ENCODE_CALLS: "count",
    SeriesName.VAE_DECODE_CALLS: "count",
    SeriesName.DYNAMIC_DEGREE: "millipixels",
    SeriesName.FROZEN_FRAMES: "count",
    SeriesName.SCENE_CUTS: "count",
    SeriesName.BLACK_FRAMES: "count",
    SeriesName.DUPLICATE_FRAMES: "count",
}
TIMES = tuple(SeriesName)[: tuple(SeriesName).index(SeriesName.FRAMES)]
"""The columns before the counts: times, energy and memory."""


DETAILS = tuple(SeriesName)[tuple(SeriesName).index(SeriesName.SHARPNESS) :]


COLUMNS = [name for name in SeriesName if name not in {SeriesName.SERVICE_QUEUE, SeriesName.SERVICE_RUN}]
"""Of a GPU shard: no sample has those of a service beside them."""


def column(name: SeriesName, samples: int, chance: random.Random) -> Series:
    unit = UNITS.get(name, "microseconds" if name in TIMES else "partsPerMillion")
    middle = 60 if unit == "count" else chance.randrange(10**5, 10**8)
    spread = 0 if unit in ("count", "bytes") else middle * 0.003
    if unit in ("partsPerMillion", "millipixels"):
        middle, spread = (30_000, 9_000)
    values = tuple(max(0, round(chance.gauss(middle, spread))) for _ in range(samples))
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
        validity=ValidityVerdict(state=Validity.VALID, notes=("SwPowerCap",)), samples_done=samples,
        energy=EnergyFacts(
            idle_milliwatts=118_250, per_frame_millijoules=798_765, per_step_millijoules=1_294_321,
            phase_millijoules={"denoise": 58_765_432, "vae_decode": 4_321_098}, disagreement_ppm=-12_345,
        ),
        watch=DeviceFacts(
            readings=9_540, throttled_ppm={"swPowerCap": 912_345}, sm_clock_megahertz=1755, sm_clock_min_megahertz=1410,
            memory_clock_megahertz=2619, temperature_celsius=64, temperature_max_celsius=71, sampler_ppm=4_321,
        ),
        steadiness=Steadiness(
            drift_ppm=-1_234, trend_p_ppm=345_678, autocorrelation_ppm=123_456, effective_samples=7.8, outliers=1,
        ),
        setup=Setup(
            fetch_microseconds=87_654_321, fetch_bytes=28_904_512_345,
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
        series=tuple(column(name, samples, chance) for name in COLUMNS),
    )  # fmt: skip


@pytest.mark.parametrize("samples", [10, 30, 64])
def test_message_of_a_full_shard_keeps_its_head_whatever_columns_go(samples: int) -> None:
    verdict = full(samples)
    text = encode(verdict)
    assert len(text) <= MESSAGE_LIMIT
    back = decode(text)
    dropped = set(back.columns_dropped)
    assert dropped <= {name.value for name in SeriesName} | {QUALITY_DETAILS}, "only columns go, no part of the head"
    assert (back.environment, back.loaded, back.memory, back.setup) == (
        verdict.environment, verdict.loaded, verdict.memory, verdict.setup,
    )  # fmt: skip
    sent = {entry.name: entry.statistics for entry in verdict.series}
    assert all(entry.statistics == sent[entry.name] for entry in back.series)
    assert {entry.name for entry in back.series} >= set(COLUMNS) - set(DETAILS)
    assert not dropped & {"latency", "denoise", "vaeDecode"}


FIVE_CONTAINERS = 12_288 // 5
"""What a pod of five containers leaves to each."""


@pytest.mark.parametrize(
    ("columns", "samples", "whole"),
    [
        pytest.param(25, 64, True, id="25 columns of 64 samples fit beside four sidecars"),
        pytest.param(17, 64, True, id="those without quality"),
        pytest.param(33, 30, True, id="all columns of 30 samples"),
        pytest.param(33, 64, False, id="all columns of 64 samples do not, and lose their last ones"),
    ],
)
def test_message_in_a_pod_of_five_containers(columns: int, samples: int, whole: bool) -> None:
    verdict = full(samples)
    verdict = verdict.model_copy(update={"series": verdict.series[:columns]})
    text = encode(verdict, FIVE_CONTAINERS)
    back = decode(text)
    print(
        f"{columns} columns x {samples} samples: {len(text)} of {FIVE_CONTAINERS} bytes, without {back.columns_dropped}"
    )
    assert len(text) <= FIVE_CONTAINERS
    assert MESSAGE_LIMIT <= FIVE_CONTAINERS
    assert (back.columns_dropped == ()) is whole
    kept = [entry.name for entry in back.series if entry.values]
    assert kept == [name for name in COLUMNS[:columns] if name.value not in back.columns_dropped][: len(kept)]


def test_dictionary_is_part_of_the_format() -> None:
    """A changed dictionary makes every message of an older runner unreadable: new words are sent instead."""
    assert hashlib.sha256(DICTIONARY).hexdigest() == "551b4779699235e25f876caf8c760dc05a3e0f807e413f475caf4a6503f8c45b"


def test_message_of_ten_samples_loses_no_column() -> None:
    assert decode(encode(full(10))).columns_dropped == ()


@pytest.mark.parametrize("limit", [2200, 2000, 1800, 1600, 1400, 1200])
def test_message_columns_go_in_the_stated_order(limit: int) -> None:
    back = decode(encode(full(64), limit))
    order = [name.value for name in COLUMNS if name not in DETAILS]
    columns = [name for name in back.columns_dropped if name in order]
    assert QUALITY_DETAILS in back.columns_dropped
    assert columns == order[::-1][: len(columns)]
    kept = [entry.name.value for entry in back.series if entry.values]
    assert kept == order[: len(order) - len(columns)]


def test_message_details_of_quality_lose_their_values_one_by_one() -> None:
    back = decode(encode(full(10), 1650))
    order = [name.value for name in COLUMNS]
    assert list(back.columns_dropped) == order[::-1][: len(back.columns_dropped)]
    assert 0 < len(back.columns_dropped) < len(DETAILS)
    assert len(back.series) == len(order), "their statistics stay as long as one of them has values"


def test_message_of_a_tight_limit_names_every_part_that_went() -> None:
    back = decode(encode(full(64), 650))
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
        pytest.param("vb2.deadbeef", "no checksum", id="no body"),
        pytest.param("vb2.deadbeef.00000", "checksum is wrong", id="overwritten"),
        pytest.param("vb3." + encode(full(3))[4:], "does not start", id="a later version"),
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


def test_message_of_the_first_format_is_still_read() -> None:
    """Written by a runner of before: statistics in the head, values as differences."""
    back = decode(
        "vb1.8766cb45.c-nQ5zfQw25XN~3CdQki5>p_5R`Lui6@zPEnv-lN*iKc5GP3ZfJODH2&=w)VV(B~I_xX3e31p0DhX}REK%p^ELo"
        "ROCa;r3Or8lE>q4E7NpoV$_t(O)9JY|4~0aZl(AdLx7Pjdz>ImrpFGyya4_&j2W4ej_m=HA}j7iE>wvE}?A?O-r8y+f$itW}3rKB"
        "5oQJGSgeZ_%l4Mg8?2y(Sf}Me?C1rl>a)7<9YXEpEqXY%(&k=Owj887V|kiI0aFU0fQiJn+DIE*OUuO1H?I<tk4FO{WqwFC}7KRT"
        "aZ8u}({`8{88=kVwl?tg3QOcQ`DcIXX&1TT;FcsCuUZ%-Iibe&#)X=|8yQgj<|Ri(in%nNJjd0DQ;Hys*$Q^YMz4!sydVr+L2ke1"
        "HA8e7pJr>cOYG"
    )
    values = (1_000_123, 1_001_456, 999_789)
    assert back.series == (
        Series(name=SeriesName.LATENCY, unit="microseconds", statistics=Statistics.of(values), values=values),
        Series(name=SeriesName.FRAMES, unit="count", statistics=Statistics.of((17,))),
    )
    assert (back.columns_dropped, back.samples_done) == (("frames",), 3)


def test_message_statistics_finer_than_a_thousandth_come_back_as_they_were() -> None:
    verdict = full(3)
    fine = verdict.series[0].statistics.model_copy(update={"mean": 1 / 3, "standard_deviation": 1e-9})
    series = (verdict.series[0].model_copy(update={"statistics": fine}), *verdict.series[1:])
    assert decode(encode(verdict.model_copy(update={"series": series}))).series == series


def test_message_without_room_gives_up_the_details_of_quality_with_their_statistics_before_any_time() -> None:
    back = decode(encode(full(30), 1800))
    kept = {entry.name for entry in back.series}
    assert SeriesName.WARPING_ERROR in kept
    assert not kept & {SeriesName.SHARPNESS, SeriesName.DRIFT_2, SeriesName.DUPLICATE_FRAMES}
    assert QUALITY_DETAILS in back.columns_dropped
    assert back.find_series(SeriesName.LATENCY) == full(30).series[0].model_copy(
        update={"step": back.series[0].step, "values": back.series[0].values}
    )
