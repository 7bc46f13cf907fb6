"""Verdicts of runners that do not exist. Whatever carries one says so: device, validity and `unmeasured`.

The figures are random numbers from a seed, in the shape and size of a real verdict of a video model, so that bytes
to decode and to store are realistic. They mean nothing.
"""

from __future__ import annotations

import random

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
from vidbench_api.names import Outcome, Validity
from vidbench_api.verdict import Verdict

SIMULATED = "simulated by tests/bench: no pod ran, nothing was measured"
_MEAN_MICROSECONDS = {
    SeriesName.LATENCY: 20_350_000,
    SeriesName.DENOISE: 17_900_000,
    SeriesName.VAE_DECODE: 2_100_000,
    SeriesName.STEP: 596_000,
    SeriesName.TEXT_ENCODE: 140_000,
    SeriesName.PREPARE: 21_000,
    SeriesName.POSTPROCESS: 88_000,
    SeriesName.OTHER: 12_000,
}


def simulated_verdict(cell: str, shard: int, attempt: int, request_digest: str, samples: int) -> Verdict:
    """Return a final, succeeded verdict of an attempt: the same one for the same arguments."""
    chance = random.Random(f"{request_digest}/{cell}/{shard}/{attempt}")
    return Verdict(
        request_digest=request_digest[:16],
        cell=cell,
        shard=shard,
        attempt=attempt,
        final=True,
        outcome=Outcome.SUCCEEDED,
        validity=ValidityVerdict(state=Validity.INVALID, reasons=("Simulated",)),
        samples_done=samples,
        setup=Setup(
            load_microseconds=chance.randrange(10**7, 10**8),
            to_device_microseconds=chance.randrange(10**6, 10**7),
            warmups=1,
            first_warmup_microseconds=chance.randrange(10**7, 10**8),
            warmup_microseconds=chance.randrange(10**7, 10**8),
        ),
        environment=Environment(device="simulated", device_count=0, python="3.11.2", torch="2.15.0", vidbench="0.1.0"),
        loaded=ModelFacts(pipeline_class="WanPipeline", parameters=1_418_996_800, dtypes={"vae": "float32"}),
        clip=ClipFacts(height=480, width=832, frames_requested=33, frames_delivered=33, steps=30),
        memory=Memory(host=chance.randrange(10**10, 10**11)),
        output_digest=chance.randbytes(32).hex(),
        series=tuple(_series(name, mean, samples, chance) for name, mean in _MEAN_MICROSECONDS.items()),
        unmeasured={"everything": SIMULATED},
    )


def _series(name: SeriesName, mean: int, samples: int, chance: random.Random) -> Series:
    values = tuple(round(chance.gauss(mean, mean * 0.005)) for _ in range(samples))
    return Series(name=name, unit="microseconds", statistics=Statistics.of(values), values=values)
