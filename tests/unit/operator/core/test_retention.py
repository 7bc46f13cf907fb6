"""Which results leave the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidbench_operator.core.retention import LedgerEntry, RetentionLimits, find_expired

NOW = 1_000_000.0
OFF = RetentionLimits()
DAY = RetentionLimits(max_age_seconds=86_400)
TWO = RetentionLimits(max_per_namespace=2)


def entry(name: str, age: float, **changes: Any) -> LedgerEntry:
    made = LedgerEntry("team", name, f"uid-{name}", "7", NOW - age, run_uid="ended")
    return replace(made, **changes)


OLD, MIDDLE, YOUNG = entry("old", 90_000), entry("middle", 5_000), entry("young", 10)


@pytest.mark.parametrize(
    ("entries", "limits", "gone"),
    [
        pytest.param([OLD, MIDDLE, YOUNG], OFF, [], id="no limit"),
        pytest.param([OLD, MIDDLE, YOUNG], DAY, ["old"], id="too old"),
        pytest.param([entry("a", 86_400)], DAY, [], id="exactly as old as it may be"),
        pytest.param([YOUNG, OLD, MIDDLE], TWO, ["old"], id="one too many: the oldest"),
        pytest.param([YOUNG, MIDDLE], TWO, [], id="as many as there may be"),
        pytest.param([entry("b", 5), entry("a", 5), entry("c", 5)], TWO, ["a"], id="of one second: by name"),
        pytest.param([replace(OLD, kept=True), MIDDLE, YOUNG], DAY, [], id="kept by its label, though old"),
        pytest.param([replace(OLD, kept=True), MIDDLE, YOUNG], TWO, ["middle"], id="kept ones count all the same"),
        pytest.param([replace(OLD, run_uid="running"), YOUNG], DAY, [], id="its run goes on"),
        pytest.param([replace(OLD, run_uid=None), YOUNG], DAY, [], id="nobody knows whose it is"),
        pytest.param([replace(OLD, run_uid="gone")], DAY, ["old"], id="its run is gone"),
        pytest.param(
            [OLD, MIDDLE, YOUNG, replace(OLD, namespace="other", uid="u2")],
            TWO,
            ["old"],
            id="each namespace has a limit of its own",
        ),
        pytest.param(
            [OLD, MIDDLE, YOUNG, entry("last", 1)],
            RetentionLimits(max_age_seconds=86_400, max_per_namespace=2),
            ["old", "middle"],
            id="what is too old makes room",
        ),
        pytest.param([replace(each, kept=True) for each in (OLD, MIDDLE, YOUNG)], TWO, [], id="all are kept"),
    ],
)
def test_results_beyond_the_limits_go(entries: Sequence[LedgerEntry], limits: RetentionLimits, gone: list[str]) -> None:
    expired = find_expired(entries, frozenset({"running"}), NOW, limits)
    assert [each.entry.name for each in expired] == gone


def test_each_says_why() -> None:
    (aged,) = find_expired([OLD], frozenset(), NOW, DAY)
    assert aged.why == "it is 90000 s old, more than the limit of 86400 s"
    (surplus,) = find_expired([OLD, MIDDLE, YOUNG], frozenset(), NOW, TWO)
    assert surplus.why == "the namespace holds 3 results, 1 more than the limit of 2"


ENTRIES = st.lists(
    st.builds(
        LedgerEntry,
        namespace=st.sampled_from(["a", "b"]),
        name=st.text("xyz", min_size=1, max_size=4),
        uid=st.uuids().map(str),
        version=st.just("1"),
        created_at=st.integers(0, 1000).map(float),
        run_uid=st.sampled_from([None, "running", "ended", "gone"]),
        kept=st.booleans(),
    ),
    unique_by=lambda each: (each.namespace, each.name),
    max_size=30,
)
LIMITS = st.builds(
    RetentionLimits, max_age_seconds=st.none() | st.integers(1, 1200), max_per_namespace=st.none() | st.integers(1, 10)
)


@given(entries=ENTRIES, limits=LIMITS)
def test_nothing_protected_goes_and_nothing_more_than_needed(
    entries: list[LedgerEntry], limits: RetentionLimits
) -> None:
    expired = [each.entry for each in find_expired(entries, frozenset({"running"}), 1000.0, limits)]
    assert len(set(expired)) == len(expired)
    assert all(not each.kept and each.run_uid not in (None, "running") for each in expired)
    for namespace in ("a", "b"):
        held = [each for each in entries if each.namespace == namespace]
        gone = [each for each in expired if each.namespace == namespace]
        left = [each for each in held if each not in gone]
        free = [each for each in left if not each.kept and each.run_uid not in (None, "running")]
        oldest_left = min(((each.created_at, each.name) for each in free), default=(float("inf"), ""))
        assert all((each.created_at, each.name) < oldest_left for each in gone), "the oldest first"
        aged = [each for each in gone if limits.max_age_seconds and 1000.0 - each.created_at > limits.max_age_seconds]
        if limits.max_per_namespace is not None:
            assert len(left) <= limits.max_per_namespace or not free
            assert len(gone) == len(aged) or len(left) >= limits.max_per_namespace, "no more than the surplus"
        else:
            assert gone == aged
        assert not [
            each for each in free if limits.max_age_seconds and 1000.0 - each.created_at > limits.max_age_seconds
        ]
    again = find_expired([each for each in entries if each not in expired], frozenset({"running"}), 1000.0, limits)
    assert again == (), "one sweep is enough"
