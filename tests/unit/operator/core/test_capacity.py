"""The capacity window: when it opens, when it closes, and that it does neither without cause."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import NOW

from vidbench_api.kinds import Resources
from vidbench_api.run_spec import Hardware
from vidbench_api.run_status import HardwareWindow
from vidbench_operator.core.capacity import Bounds, Load, first_window, next_window, room_in, slots_on, takes_pods
from vidbench_operator.core.observed import ObservedNode
from vidbench_operator.core.timestamps import format_time, parse_time

COOLDOWN = 100.0
BOUNDS = Bounds(smallest=1, largest=64, cooldown_seconds=COOLDOWN)
ENDLESS = 1000


def window(probe: int, changed_at: float = NOW) -> HardwareWindow:
    return HardwareWindow(hardware="gpu", probe=probe, changed_at=format_time(changed_at))


@pytest.mark.parametrize(
    ("probe", "pending", "freed", "room"),
    [
        pytest.param(4, 0, 0, 4, id="nothing waits"),
        pytest.param(4, 3, 0, 1, id="some wait"),
        pytest.param(4, 4, 0, 0, id="as many wait as may"),
        pytest.param(1, 6, 0, 0, id="more wait than may, from before"),
        pytest.param(1, 1, 3, 3, id="three ended: the one that waits takes one place, three follow"),
        pytest.param(1, 6, 1, 0, id="one ended, but enough wait for its place"),
    ],
)
def test_room_is_what_the_window_leaves_and_what_became_free(probe: int, pending: int, freed: int, room: int) -> None:
    assert room_in(window(probe), Load(pending=pending, freed=freed)) == room


GROWTH: list[Any] = [
    pytest.param(Load(scheduled_at=(NOW + 1,) * 4), 8, id="as many as the window is wide were scheduled"),
    pytest.param(Load(pending=3, scheduled_at=(NOW + 1,) * 4), 8, id="and those that follow do not wait long"),
    pytest.param(Load(scheduled_at=(NOW + 1,)), 8, id="one was, and none is left over"),
    pytest.param(Load(pending=1, scheduled_at=(NOW + 1,) * 3), 4, id="not all of them yet"),
    pytest.param(Load(), 4, id="nothing was scheduled"),
    pytest.param(Load(scheduled_at=(NOW - 1,) * 9), 4, id="that was before the window changed"),
    pytest.param(
        Load(pending=1, unschedulable_since=NOW, scheduled_at=(NOW + 1,) * 9), 4, id="one finds no node meanwhile"
    ),
]


@pytest.mark.parametrize(("load", "probe"), GROWTH)
def test_window_doubles_when_all_of_it_was_scheduled(load: Load, probe: int) -> None:
    assert next_window(window(4), load, ENDLESS, BOUNDS, NOW + 2).probe == probe


def test_window_that_holds_nothing_back_stays() -> None:
    assert next_window(window(4), Load(scheduled_at=(NOW + 1,) * 4), 4, BOUNDS, NOW + 2) == window(4)


def test_window_is_never_wider_than_parallelism() -> None:
    assert next_window(window(48), Load(scheduled_at=(NOW,) * 48), ENDLESS, BOUNDS, NOW + 2).probe == 64


@pytest.mark.parametrize(
    ("after", "probe", "changed"),
    [
        pytest.param(99, 8, 0, id="not within the cooldown"),
        pytest.param(100, 4, 100, id="once after it"),
        pytest.param(199, 4, 100, id="not again within the next"),
        pytest.param(250, 2, 200, id="twice after two, however late one looks"),
        pytest.param(100_000, 1, 100_000, id="never to nothing"),
    ],
)
def test_window_is_halved_for_every_cooldown_without_a_node(after: float, probe: int, changed: float) -> None:
    load = Load(pending=8, unschedulable_since=NOW - 500)
    assert next_window(window(8), load, ENDLESS, BOUNDS, NOW + after) == window(probe, NOW + changed)


def test_cooldown_begins_when_the_first_finds_no_node_and_not_when_the_window_last_changed() -> None:
    load = Load(pending=8, unschedulable_since=NOW + 5000)
    assert next_window(window(8), load, ENDLESS, BOUNDS, NOW + 5001) == window(8)


def test_window_follows_a_minimum_that_the_user_raised() -> None:
    assert next_window(window(1), Load(), ENDLESS, Bounds(5, 64, COOLDOWN), NOW).probe == 5


loads = st.builds(
    Load,
    pending=st.integers(0, 40),
    unschedulable_since=st.none() | st.integers(-500, 100).map(lambda seconds: NOW + seconds),
    scheduled_at=st.lists(st.integers(-50, 100).map(lambda seconds: NOW + seconds), max_size=20).map(tuple),
    freed=st.integers(0, 10),
)
bounds = st.builds(Bounds, st.integers(1, 20), st.integers(0, 100), st.just(COOLDOWN))


@given(st.integers(1, 100), loads, st.integers(0, 200), bounds, st.integers(0, 2000))
def test_window_computed_twice_is_the_window_computed_once(
    probe: int, load: Load, wanted: int, limits: Bounds, seconds: int
) -> None:
    """Nobody has to store it for it to be right, and storing it changes nothing that follows at once."""
    first = next_window(window(probe), load, wanted, limits, NOW + seconds)
    assert first == next_window(window(probe), load, wanted, limits, NOW + seconds)
    if load.unschedulable_since is not None:
        assert next_window(first, load, wanted, limits, NOW + seconds) == first


@given(st.integers(1, 100), loads, st.integers(0, 200), bounds, st.integers(0, 2000))
def test_window_moves_by_a_factor_of_two_within_its_bounds(
    probe: int, load: Load, wanted: int, limits: Bounds, seconds: int
) -> None:
    after = next_window(window(probe), load, wanted, limits, NOW + seconds)
    assert after.probe >= limits.smallest
    assert after.probe <= max(2 * max(probe, limits.smallest), limits.smallest)
    if after.probe > max(probe, limits.smallest):
        assert load.unschedulable_since is None
        assert after.probe <= max(limits.largest, limits.smallest)
        assert (parse_time(after.changed_at) or 0.0) == NOW + seconds


@given(st.integers(1, 100), loads, st.integers(0, 200), bounds)
def test_more_that_found_a_node_never_makes_the_window_smaller(
    probe: int, load: Load, wanted: int, limits: Bounds
) -> None:
    more = Load(load.pending, load.unschedulable_since, (*load.scheduled_at, NOW + 5), load.freed)
    before, after = (next_window(window(probe), each, wanted, limits, NOW + 10).probe for each in (load, more))
    assert after >= before


@given(st.integers(1, 64), st.integers(1, 10_000))
def test_with_free_capacity_all_run_after_a_logarithm_of_steps(probe: int, wanted: int) -> None:
    """Each step creates what there is room for, and the cluster schedules it."""
    limits, current, running, steps = Bounds(1, wanted, COOLDOWN), window(probe), 0, 0
    now, scheduled = NOW, ()
    while running < wanted:
        now += 10
        current = next_window(current, Load(scheduled_at=scheduled), wanted - running, limits, now)
        new = min(room_in(current, Load()), wanted - running)
        running, steps, scheduled = running + new, steps + 1, (now + 1,) * new
    assert steps <= wanted.bit_length() + 1


@given(st.integers(1, 64), st.integers(1, 40), st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_on_a_full_cluster_the_window_and_what_waits_settle(probe: int, slots: int, ends: list[int]) -> None:
    """A cluster of so many slots that all run: those that end make room for as many, and the window only shrinks."""
    limits, current, now = Bounds(1, 1000, 10.0), window(probe), NOW
    running, pending = slots, current.probe
    widest = pending
    for ended in ends:
        now += 30
        freed = min(ended, running)
        current = next_window(current, Load(pending, NOW, (now,) * freed, freed), ENDLESS, limits, now)
        new = room_in(current, Load(pending=pending, freed=freed))
        assert pending + new <= max(pending, current.probe + freed)
        pending += new - freed
        widest = max(widest, pending)
        running = slots
    assert widest <= probe, "more waits than ever had cause to"
    assert current.probe <= max(1, probe >> len(ends)), "a full cluster widens no window"


HARDWARE = Hardware(name="gpu", node_selector={"gpu": "h100"}, gpus=2)
RESOURCES = Resources(cpu="4", memory="32Gi")


def node(name: str = "n", **changes: Any) -> ObservedNode:
    given_values = {"nvidia.com/gpu": "8", "cpu": "64", "memory": "512Gi"} | changes.pop("allocatable", {})
    fields: dict[str, Any] = {"labels": {"gpu": "h100", "zone": "a"}, "ready": True} | changes
    return ObservedNode(name, allocatable=given_values, **fields)


@pytest.mark.parametrize(
    ("allocatable", "slots"),
    [
        pytest.param({}, 4, id="by GPUs"),
        pytest.param({"nvidia.com/gpu": "7"}, 3, id="a GPU that is left over is none"),
        pytest.param({"cpu": "10500m"}, 2, id="by processors"),
        pytest.param({"memory": "33554432Ki"}, 1, id="by memory"),
        pytest.param({"nvidia.com/gpu": "0"}, 0, id="no device plugin yet"),
        pytest.param({"cpu": "many"}, 0, id="nonsense is nothing"),
    ],
)
def test_slots_of_a_node_are_what_its_scarcest_resource_holds(allocatable: dict[str, str], slots: int) -> None:
    assert slots_on(node(allocatable=allocatable), HARDWARE, RESOURCES) == slots


def test_without_gpus_processors_and_memory_count_alone() -> None:
    assert slots_on(node(allocatable={"nvidia.com/gpu": "0"}), Hardware(name="cpu", gpus=0), RESOURCES) == 16


@pytest.mark.parametrize(
    ("changes", "takes"),
    [
        ({}, True),
        ({"ready": False}, False),
        ({"unschedulable": True}, False),
        ({"labels": {"gpu": "l40s"}}, False),
        ({"labels": {}}, False),
    ],
    ids=str,
)
def test_node_of_an_entry_is_ready_not_cordoned_and_matches(changes: dict[str, Any], *, takes: bool) -> None:
    assert takes_pods(node(**changes), HARDWARE) is takes


@pytest.mark.parametrize(
    ("nodes", "held", "minimum", "probe"),
    [
        pytest.param(None, {}, 1, 1, id="nodes are not visible"),
        pytest.param([], {}, 3, 3, id="none fits: as many as the user wants to wait"),
        pytest.param([node("a"), node("b")], {}, 1, 8, id="all free slots"),
        pytest.param([node("a"), node("b")], {"a": 3}, 1, 5, id="but those that the run holds"),
        pytest.param([node("a"), node("b")], {"a": 9, "b": 2}, 1, 2, id="a node that is overfull takes nothing away"),
        pytest.param([node("a", ready=False), node("b")], {}, 1, 4, id="and those of nodes that take no pods"),
        pytest.param([node(str(number)) for number in range(9)], {}, 1, 16, id="at most sixteen"),
    ],
)
def test_first_window_is_what_the_nodes_show(
    nodes: list[ObservedNode] | None, held: dict[str, int], minimum: int, probe: int
) -> None:
    seen = None if nodes is None else {each.name: each for each in nodes}
    first = first_window(HARDWARE, RESOURCES, seen, held, Bounds(minimum, 100, COOLDOWN), NOW)
    assert first == HardwareWindow(hardware="gpu", probe=probe, changed_at=format_time(NOW))
