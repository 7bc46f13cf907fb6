"""Which calls a rule strikes."""

from __future__ import annotations

import pytest
from faults.rules import (
    ANY_CALL,
    EVENT,
    MUTATING,
    WATCH,
    Call,
    Delay,
    Drop,
    Hang,
    Lose,
    Moment,
    Rule,
    RuleBook,
    always,
    verb_of,
)
from hypothesis import given
from hypothesis import strategies as st

POST_JOB = Call("POST", "/apis/batch/v1/namespaces/a/jobs?fieldManager=x", "client/1")
PUT_STATUS = Call("PUT", "/apis/example.io/v1/namespaces/a/things/one/status", "client/1")
LIST_PODS = Call("GET", "/api/v1/namespaces/a/pods?limit=500", "kopf/1")
WATCH_PODS = Call(WATCH, "/api/v1/namespaces/a/pods?watch=true", "kopf/1")
POD_EVENT = Call(EVENT, "/api/v1/namespaces/a/pods#a/one-x DELETED", "kopf/1")


@pytest.mark.parametrize(
    ("rule", "call", "matches"),
    [
        (Rule(Drop()), POST_JOB, True),
        (Rule(Drop()), WATCH_PODS, True),
        (Rule(Drop()), POD_EVENT, False),
        (Rule(Drop(), MUTATING), POST_JOB, True),
        (Rule(Drop(), MUTATING), LIST_PODS, False),
        (Rule(Drop(), "GET"), WATCH_PODS, False),
        (Rule(Drop(), "PUT", r"/things/one/status$"), PUT_STATUS, True),
        (Rule(Drop(), "PUT", r"/things/two/status$"), PUT_STATUS, False),
        (Rule(Lose(), EVENT, r"#a/one.* DELETED$"), POD_EVENT, True),
        (Rule(Lose(), EVENT, r"#a/one.* ADDED$"), POD_EVENT, False),
        (Rule(Drop(), client="^kopf"), LIST_PODS, True),
        (Rule(Drop(), client="^kopf"), POST_JOB, False),
        (Rule(Drop(), "POS"), POST_JOB, False),
    ],
)
def test_rule_matches_by_verb_target_and_client(rule: Rule, call: Call, matches: bool) -> None:
    assert rule.matches(call) is matches


@pytest.mark.parametrize(
    ("rule", "struck"),
    [
        (Rule(Drop()), [1]),
        (Rule(Drop(), first=3), [3]),
        (always(Drop()), [1, 2, 3, 4, 5, 6, 7]),
        (Rule(Drop(), first=2, every=3), [2, 5]),
        (Rule(Drop(), first=2, every=2, times=2), [2, 4]),
    ],
)
def test_rule_strikes_at_the_numbers_that_it_names(rule: Rule, struck: list[int]) -> None:
    assert [number for number in range(1, 8) if rule.strikes_at(number)] == struck


def test_each_rule_counts_its_own_matches_and_the_first_that_strikes_decides() -> None:
    second_of_all = Rule(Drop(), ANY_CALL, first=2)
    second_post = Rule(Hang(), "POST", first=2, moment=Moment.AFTER)
    third_of_all = Rule(Delay(1), ANY_CALL, first=3)
    book = RuleBook.of([second_of_all, second_post, third_of_all])
    struck = []
    for call in (POST_JOB, PUT_STATUS, POST_JOB, POST_JOB):
        book, strike = book.meet(call)
        struck.append(strike and (strike.rule.fault, strike.number))
    assert struck == [None, (Drop(), 2), (Hang(), 2), None]
    assert book.counts == (4, 3, 4)


@given(st.integers(1, 20), st.one_of(st.none(), st.integers(1, 7)), st.one_of(st.none(), st.integers(1, 4)))
def test_a_book_strikes_exactly_where_its_rule_says(first: int, every: int | None, times: int | None) -> None:
    rule = Rule(Drop(), first=first, every=every, times=times)
    book, struck = RuleBook.of([rule]), []
    for number in range(1, 60):
        book, strike = book.meet(POST_JOB)
        if strike is not None:
            struck.append(number)
    assert struck == [number for number in range(1, 60) if rule.strikes_at(number)]
    assert len(struck) <= (1 if every is None else times or 60)
    assert struck[0] == first


@pytest.mark.parametrize(
    ("method", "query", "verb"),
    [
        ("GET", "", "GET"),
        ("GET", "limit=500&labelSelector=watch", "GET"),
        ("GET", "watch=true&timeoutSeconds=300", WATCH),
        ("GET", "labelSelector=a&watch=1", WATCH),
        ("GET", "rewatch=true", "GET"),
        ("POST", "watch=true", "POST"),
    ],
)
def test_verb_of_a_request(method: str, query: str, verb: str) -> None:
    assert verb_of(method, query) == verb
