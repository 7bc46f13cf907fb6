"""The simulated cluster does what a real one does: records of seeds are played to the real control plane."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from itertools import count, islice
from random import Random

import pytest
from integration.simulator_replay import SIMULATED_NODE, Replay
from integration.test_operator_cluster import connect
from simulator import actions
from simulator.recording import RecordingServer
from simulator.scenario import Scenario, make_node, make_scenario
from simulator.simulation import Code, Simulation, Step
from simulator.story import take
from support.kube_api import KubeApi

from localcluster.controlplane import ControlPlane
from vidbench_operator.adapters.api import Api
from vidbench_operator.adapters.kube import KubeCluster

STORIES = 11
STEPS = 14
ENTRIES = 45
"""Of the record of a story in which something happens. Which seeds tell one changes with the operator's code."""

MANY = 15
GPUS = 64
"""Enough for all: which of several pods gets the last one is the scheduler's whim."""

PLAYABLE = (
    actions.pod_is_evicted, actions.pod_is_preempted, actions.pod_is_deleted_by_hand, actions.job_is_deleted_by_hand,
    actions.job_is_restored, actions.name_of_job_is_taken, actions.queue_takes_a_job_back, actions.run_is_scaled,
    actions.run_is_suspended, actions.run_is_resumed, actions.run_is_labelled, actions.run_is_deleted,
    actions.run_is_applied_again, actions.time_to_live_is_changed, actions.call_goes_wrong, actions.operator_is_killed,
    actions.second_operator_starts, actions.operators_look_at_once,
)  # fmt: skip
"""What can be done to a control plane without kubelets, and takes no time of its own."""


@pytest.fixture
async def connected(control_plane: ControlPlane) -> AsyncIterator[tuple[Api, KubeCluster]]:
    api, cluster = await connect(control_plane.admin_kubeconfig)
    yield api, cluster
    await api.close()


def _needs_a_claim(scenario: Scenario) -> bool:
    """Whether its pods wait for a claim: there is nobody here who would provide one."""
    return any(run.spec.artifacts.storage_uri for run in scenario.runs)


def simulated(seed: int) -> Simulation:
    """Play a seed of one run on one node, with what can be done again for real, and let it come to rest."""
    chance = Random(f"{seed}/honesty")
    scenario = make_scenario(chance)
    while scenario.broken != (None,) or scenario.references[0].runner_class is None or _needs_a_claim(scenario):
        scenario = make_scenario(chance)
    scenario = replace(scenario, nodes=(make_node(SIMULATED_NODE, GPUS),), unhappy_node=None, calm=0.5)
    sim = Simulation(seed, Code(server=RecordingServer), scenario)
    for _ in range(STEPS):
        action = actions.wait if chance.random() < 0.5 else chance.choice(PLAYABLE)
        take(sim, Step(action.__name__, chance.randrange(2**32)))
    sim.advance(60.0)
    assert sim.violation is None, sim.violation
    return sim


@cache
def eventful_seeds() -> tuple[int, ...]:
    """Return the first seeds that tell a story in which something happens."""

    def entries(seed: int) -> int:
        server = simulated(seed).server
        return len(server.record) if isinstance(server, RecordingServer) else 0

    return tuple(islice((seed for seed in count(1) if entries(seed) >= ENTRIES), STORIES))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("story", range(STORIES))
async def test_real_control_plane_answers_and_acts_as_the_simulated_one_did(
    story: int, api: KubeApi, connected: tuple[Api, KubeCluster], namespace: str
) -> None:
    server = simulated(eventful_seeds()[story]).server
    assert isinstance(server, RecordingServer)
    replay = Replay(api, *connected, namespace)
    try:
        await replay.play(server.record)
        for run in {job.key for job in server.jobs.values()}:
            await replay.compare_children(run.name, *server.list_children(run))
    finally:
        replay.tear_down()
    assert replay.compared >= MANY
