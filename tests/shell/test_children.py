"""What is kept of watch events, and what a sweep puts right."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import NOW, observed_run

from vidbench_operator.adapters.projections import RunHead
from vidbench_operator.core.observed import NodeCondition, NodeTaint, ObservedJob, ObservedNode, ObservedPod
from vidbench_operator.ports import RunKey
from vidbench_operator.shell.children import ChildStore, Listed

RUN = observed_run(name="nightly", namespace="team")
KEY = RunKey("team", "nightly")
JOB = ObservedJob("nightly-0123abcd-1-1", "job-1", RUN.uid, "0123abcd", 1, 1, NOW)
POD = ObservedPod("nightly-0123abcd-1-1-x", "pod-1", "job-1", "Running", NOW, node="node-1")
ENDED = replace(POD, phase="Succeeded", exit_code=0, message="verdict")
NODE = ObservedNode("node-1", {}, ready=True)


@pytest.fixture
def store() -> ChildStore:
    return ChildStore()


def listed(
    jobs: tuple[ObservedJob, ...] = (), pods: tuple[ObservedPod, ...] = (), runs: frozenset[RunKey] = frozenset({KEY})
) -> Listed:
    return Listed(runs, [(KEY, job) for job in jobs], [(KEY, pod) for pod in pods], {NODE.name: NODE})


def test_store_tells_news_from_repetition(store: ChildStore) -> None:
    assert store.put_pod(KEY, POD)
    assert not store.put_pod(KEY, POD)
    assert store.put_pod(KEY, ENDED)


def test_store_keeps_the_last_state_of_a_deleted_pod(store: ChildStore) -> None:
    store.put_pod(KEY, POD)
    assert store.end_pod(KEY, ENDED)
    assert store.pods_of(RUN) == (replace(ENDED, gone=True),)


def test_store_takes_a_deleted_pod_that_it_never_saw_alive(store: ChildStore) -> None:
    assert store.end_pod(KEY, ENDED)
    assert store.pods_of(RUN)[0].gone


def test_store_does_not_raise_the_dead(store: ChildStore) -> None:
    """A list or a replayed event may be older than the deletion."""
    store.put_job(KEY, JOB)
    store.drop_job(KEY, JOB.uid)
    store.end_pod(KEY, ENDED)
    assert not store.put_job(KEY, JOB)
    assert not store.put_pod(KEY, POD)
    store.remember_job(RUN, JOB)
    assert store.jobs_of(RUN) == ()
    assert store.pods_of(RUN)[0].gone


def test_store_shows_a_created_job_before_the_watch_does(store: ChildStore) -> None:
    store.remember_job(RUN, JOB)
    assert store.jobs_of(RUN) == (JOB,)


def test_store_does_not_take_a_created_job_for_newer_than_the_watch(store: ChildStore) -> None:
    finished = replace(JOB, finished="Complete")
    store.put_job(KEY, finished)
    store.remember_job(RUN, JOB)
    assert store.jobs_of(RUN) == (finished,)


def test_store_knows_what_we_changed_before_the_watch_tells(store: ChildStore) -> None:
    finished = replace(JOB, finished="Complete")
    store.put_job(KEY, finished)
    store.remember_ttl(RUN, JOB.uid, 60)
    store.remember_deleting(RUN, JOB.uid)
    changed = replace(finished, ttl_seconds=60, deleting=True)
    assert store.jobs_of(RUN) == (changed,)
    assert not store.put_job(KEY, finished), "an event from before the change is no news"
    assert store.jobs_of(RUN) == (changed,)
    assert not store.put_job(KEY, changed), "nor is the change itself"
    assert store.put_job(KEY, replace(changed, ttl_seconds=90)), "somebody else's change is"


def test_store_does_not_make_up_jobs_that_it_does_not_know(store: ChildStore) -> None:
    store.remember_ttl(RUN, JOB.uid, 60)
    store.remember_deleting(RUN, JOB.uid)
    assert store.jobs_of(RUN) == ()


def test_store_forgets_settled_pods_and_their_messages(store: ChildStore) -> None:
    other = replace(ENDED, uid="pod-2")
    store.end_pod(KEY, ENDED)
    store.put_pod(KEY, other)
    store.forget_pods(RUN, frozenset({"job-1"}))
    assert store.pods_of(RUN) == (replace(other, message=None),)
    assert not store.put_pod(KEY, other), "the message of a settled pod is no news"
    store.end_pod(KEY, other)
    assert store.pods_of(RUN) == ()


def test_store_keeps_nothing_of_a_run_whose_children_are_gone(store: ChildStore) -> None:
    store.put_job(KEY, JOB)
    store.put_pod(KEY, ENDED)
    store.forget_pods(RUN, frozenset({"job-1"}))
    store.end_pod(KEY, ENDED)
    store.drop_job(KEY, JOB.uid)
    later = replace(ENDED, uid="pod-2")
    store.put_pod(KEY, later)
    assert store.pods_of(RUN) == (later,), "that its Job was settled is forgotten too, or runs that end would pile up"


def test_store_keeps_what_is_not_settled(store: ChildStore) -> None:
    store.end_pod(KEY, ENDED)
    store.forget_pods(RUN, frozenset({"job-2"}))
    assert len(store.pods_of(RUN)) == 1


def test_runs_whose_last_words_are_kept_are_known(store: ChildStore) -> None:
    store.put_pod(KEY, POD)
    assert store.remembering() == frozenset()
    store.put_pod(KEY, ENDED)
    other = RunKey("team", "other")
    store.end_pod(other, replace(POD, uid="pod-2", job_uid="job-2"))
    assert store.remembering() == {KEY, other}
    store.forget_pods(RUN, frozenset({"job-1", "job-2"}))
    assert store.remembering() == {other}, "of one run at a time"


def test_run_is_news_if_somebody_else_changed_it(store: ChildStore) -> None:
    head = RunHead("u", 1, deleting=False, accepted=False, phase="Pending")
    assert store.put_run(KEY, head)
    assert not store.put_run(KEY, replace(head, accepted=True, phase="Running")), "our own status is no news"
    assert store.put_run(KEY, replace(head, generation=2))
    assert store.put_run(KEY, replace(head, uid="v", generation=2)), "another run of that name"
    assert store.drop_run(KEY)


def test_unaccepted_runs_are_those_that_wait(store: ChildStore) -> None:
    for namespace, accepted in (("a", False), ("b", False), ("c", True)):
        store.put_run(RunKey(namespace, "r"), RunHead("u", 1, deleting=False, accepted=accepted, phase="Pending"))
    assert store.unaccepted(None) == {RunKey("a", "r"), RunKey("b", "r")}
    assert store.unaccepted("b") == {RunKey("b", "r")}


def test_nodes_are_unknown_until_they_were_listed(store: ChildStore) -> None:
    """Half of the nodes would make pods on the other half look lost."""
    store.put_node(NODE)
    assert store.nodes() is None
    store.finish_sweep(store.begin_sweep(), listed())
    assert store.nodes() == {NODE.name: NODE}
    store.finish_sweep(store.begin_sweep(), replace(listed(), nodes=None))
    assert store.nodes() is None


def test_node_that_is_lost_wakes_the_runs_on_it(store: ChildStore) -> None:
    store.put_pod(KEY, POD)
    store.put_pod(RunKey("team", "other"), replace(POD, uid="pod-2", node="node-2"))
    store.finish_sweep(
        store.begin_sweep(),
        Listed(
            frozenset({KEY}),
            [(KEY, JOB)],
            [(KEY, POD), (RunKey("team", "other"), replace(POD, uid="pod-2", node="node-2"))],
            {"node-1": NODE},
        ),
    )
    assert store.put_node(NODE) == frozenset()
    assert store.put_node(replace(NODE, ready=False, not_ready_since=NOW)) == {KEY}
    assert store.drop_node("node-1") == {KEY}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "node-2"}, {"ready": False}, {"unschedulable": True}, {"allocatable": {"nvidia.com/gpu": "8"}},
        {"taints": (NodeTaint("key", "NoSchedule"),)}, {"labels": {"nvidia.com/gpu.product": "L40S"}},
    ],
)  # fmt: skip
def test_node_that_takes_other_pods_wakes_the_runs_that_wait(store: ChildStore, change: dict[str, Any]) -> None:
    waiting, running = RunKey("team", "waiting"), RunKey("team", "running")
    store.put_run(waiting, RunHead("u", 1, deleting=False, accepted=True, phase="Running", waits=True))
    store.put_run(running, RunHead("v", 1, deleting=False, accepted=True, phase="Running"))
    store.finish_sweep(store.begin_sweep(), Listed(frozenset({waiting, running}), [], [], {"node-1": NODE}))
    assert store.put_node(replace(NODE, conditions=(NodeCondition("DiskPressure", "False"),))) == frozenset()
    assert store.put_node(replace(NODE, **change)) == {waiting}
    assert store.drop_node("node-1") == {waiting}


def test_sweep_finds_what_the_watches_missed(store: ChildStore) -> None:
    assert store.finish_sweep(store.begin_sweep(), listed((JOB,), (POD,))) == {KEY}
    assert store.jobs_of(RUN) == (JOB,)
    assert store.pods_of(RUN) == (POD,)


def test_sweep_drops_ghosts_and_keeps_their_last_words(store: ChildStore) -> None:
    store.put_job(KEY, JOB)
    store.put_pod(KEY, ENDED)
    assert store.finish_sweep(store.begin_sweep(), listed()) == {KEY}
    assert store.jobs_of(RUN) == ()
    assert store.pods_of(RUN) == (replace(ENDED, gone=True),)


def test_watch_is_believed_after_a_list_that_was_wrong(store: ChildStore) -> None:
    """A list from a server that lags does not know of them yet."""
    store.put_job(KEY, JOB)
    store.put_pod(KEY, POD)
    store.finish_sweep(store.begin_sweep(), listed())
    finished = replace(JOB, finished="Complete")
    assert store.put_job(KEY, finished)
    assert store.put_pod(KEY, ENDED)
    assert store.jobs_of(RUN) == (finished,)
    assert store.pods_of(RUN) == (ENDED,)


def test_sweep_of_what_is_right_changes_nothing(store: ChildStore) -> None:
    store.put_job(KEY, JOB)
    store.put_pod(KEY, POD)
    assert store.finish_sweep(store.begin_sweep(), listed((JOB,), (POD,))) == frozenset()
    assert store.unconfirmed == 0


def test_sweep_leaves_what_the_watches_said_after_the_list_was_asked_for(store: ChildStore) -> None:
    store.put_job(KEY, JOB)
    mark = store.begin_sweep()
    finished = replace(JOB, finished="Complete")
    store.put_job(KEY, finished)
    store.put_pod(KEY, POD)
    assert store.finish_sweep(mark, listed((JOB,))) == frozenset()
    assert store.jobs_of(RUN) == (finished,)
    assert store.pods_of(RUN) == (POD,)


def test_sweep_forgets_runs_that_are_gone_with_their_remembered_pods(store: ChildStore) -> None:
    store.put_run(KEY, RunHead("u", 1, deleting=False, accepted=True, phase="Running"))
    store.end_pod(KEY, ENDED)
    store.finish_sweep(store.begin_sweep(), listed())
    assert len(store.pods_of(RUN)) == 1
    store.finish_sweep(store.begin_sweep(), listed(runs=frozenset()))
    assert store.pods_of(RUN) == ()
    assert store.phases() == {}


def test_watch_that_tells_of_it_later_was_only_slow(store: ChildStore) -> None:
    store.finish_sweep(store.begin_sweep(), listed((JOB,), (POD,)))
    assert store.unconfirmed == 2
    store.put_job(KEY, JOB)
    store.put_pod(KEY, POD)
    assert store.unconfirmed == 0


def test_a_sweep_tells_of_which_kinds_the_watches_had_not_told(store: ChildStore) -> None:
    store.put_run(KEY, RunHead("u", 1, deleting=False, accepted=True, phase="Running"))
    store.put_job(KEY, JOB)
    store.finish_sweep(store.begin_sweep(), listed((JOB,), (POD,)))
    assert store.missed == {"pods", "nodes"}
    store.finish_sweep(store.begin_sweep(), listed((JOB,), (POD,)))
    assert store.missed == frozenset()
    store.finish_sweep(store.begin_sweep(), listed((replace(JOB, finished="Complete"),), (POD,)))
    assert store.missed == {"jobs"}
    store.finish_sweep(store.begin_sweep(), listed((), (POD,)))
    assert store.missed == {"jobs"}, "one that is gone"
    store.finish_sweep(store.begin_sweep(), replace(listed((), ()), nodes={}))
    assert store.missed == {"pods", "nodes"}
    store.finish_sweep(store.begin_sweep(), replace(listed(runs=frozenset()), nodes=None))
    assert store.missed == {"benchmarkruns"}
    store.finish_sweep(store.begin_sweep(), listed())
    assert store.missed == {"benchmarkruns", "nodes"}
