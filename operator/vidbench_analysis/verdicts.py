"""The words for what came of comparing two cells, why, and how. Knows no figures."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """What came of a comparison, for the subject."""

    BETTER = "Better"
    WORSE = "Worse"
    EQUIVALENT = "Equivalent"
    """Whatever the difference is, it is below the margin."""

    IDENTICAL = "Identical"
    """Not a bit differs."""

    INCONCLUSIVE = "Inconclusive"


class Reason(StrEnum):
    """Why a comparison is inconclusive, or identical."""

    NO_RESULTS = "NoResults"
    """A side has nothing that counts; `message` says what was left out and why."""

    NOT_MEASURED = "NotMeasured"
    """A side has results, but not this metric."""

    ONE_SHARD = "OneShard"
    """A side has one process: nobody knows how much another one differs."""

    ONE_DEVICE = "OneDevice"
    """A side ran on one device and the other on others: GPUs were compared as much as cells."""

    ONE_PROMPT = "OnePrompt"
    PROMPTS_UNKNOWN = "PromptsUnknown"
    NO_PAIRS = "NoPairs"
    """Pairing was asked for, and fewer than two pairs ran on the same node."""

    DIFFERENT_KIND = "DifferentKind"
    """A device against a service."""

    OTHER_DEVICE = "OtherDevice"
    """The sides ran on different products or numbers of GPUs, and no name says so."""

    OTHER_CLIP = "OtherClip"
    """The sides made clips of different sizes or steps, and no name says so."""

    SHARDS_FAILED = "ShardsFailed"
    """It holds for the shards that survived, and others ran out of memory or failed."""

    DIFFERENT_BASIS = "DifferentBasis"
    """Two currencies, or device memory against host memory."""

    NOT_POSITIVE = "NotPositive"
    """A ratio of figures that are not all above zero."""

    WIDE_INTERVAL = "WideInterval"
    """The interval holds both what matters and what does not."""

    NO_DIRECTION = "NoDirection"
    """They differ, and this metric knows no better."""

    SAME_OUTPUT = "SameOutput"
    """Identical: digests of all latents and frames are the same."""

    SAME_RESULTS = "SameResults"
    """Identical: both sides are the same results."""

    SAME_VALUES = "SameValues"
    """Identical: all values of both sides are the same."""


class Method(StrEnum):
    """How the two were compared."""

    NONE = "None"
    WELCH_ON_SHARDS = "WelchOnShards"
    WELCH_ON_DEVICES = "WelchOnDevices"
    WITHIN_DEVICES = "WithinDevices"
    PAIRED_BY_DEVICE = "PairedByDevice"
    PAIRED_BY_PROMPT = "PairedByPrompt"
