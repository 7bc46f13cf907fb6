"""Which sample of a result has which prompt, by request documents: quality counts by prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vidbench_api.request import RequestDocument, RequestedSample

if TYPE_CHECKING:
    from vidbench_analysis.metrics import Metric
    from vidbench_api.result import BenchmarkResultSpec

    from .ledger import Ledger

Samples = Mapping[str, tuple[RequestedSample, ...]]
"""The samples of requests, by their digests."""


def find_samples(ledger: Ledger, results: Iterable[BenchmarkResultSpec], metrics: Iterable[Metric]) -> Samples:
    """Return the samples of what is compared by prompt; a ledger is asked for nothing where nothing is."""
    if not any(metric.is_quality for metric in metrics):
        return {}
    assessed = [result for result in results if result.quality is not None and result.quality.comparable]
    return samples_of(assessed, ledger.requests(assessed))


def samples_of(results: Sequence[BenchmarkResultSpec], documents: Iterable[str]) -> Samples:
    """Return the samples of each request whose document is among these, or one of the same content.

    What a run reused was measured for another request, which may be gone. Its prompts and seeds are part of what its
    generation hash says, so that a document with a cell of that hash has the same.
    """
    by_digest: dict[str, tuple[RequestedSample, ...]] = {}
    by_content: dict[str, tuple[RequestedSample, ...]] = {}
    for text in documents:
        try:
            document = RequestDocument.from_text(text)
        except ValueError:
            continue
        by_digest[document.digest] = document.samples()
        by_content |= dict.fromkeys((cell.generation_hash for cell in document.cells), document.samples())
    found: dict[str, tuple[RequestedSample, ...]] = {}
    for result in results:
        samples = by_digest.get(result.request_digest) or by_content.get(result.generation_hash)
        if samples:
            found[result.request_digest] = samples
    return found
