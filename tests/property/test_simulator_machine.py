"""Hypothesis plays the simulated cluster: rules are what can happen to it, and what fails is shrunk to the least of it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from simulator.actions import FAULTS, PEOPLE, WORLD
from simulator.invariants import Violation
from simulator.mutants import MUTANTS
from simulator.simulation import REAL, Code, Simulation, Step
from simulator.story import finish, take

numbers = st.integers(0, 2**32 - 1)


class Cluster(RuleBasedStateMachine):
    """One simulated cluster with its operators."""

    code: Code = REAL

    def __init__(self) -> None:
        super().__init__()
        self.sim: Simulation | None = None

    @initialize(seed=st.integers(0, 10_000))
    def begin(self, seed: int) -> None:
        self.sim = Simulation(seed, self.code)
        self.look()

    @rule(number=numbers)
    def time_passes(self, number: int) -> None:
        self.happens("wait", number)

    @rule(action=st.sampled_from(WORLD), number=numbers)
    def world_moves(self, action: object, number: int) -> None:
        self.happens(getattr(action, "__name__", ""), number)

    @rule(action=st.sampled_from(FAULTS), number=numbers)
    def something_fails(self, action: object, number: int) -> None:
        self.happens(getattr(action, "__name__", ""), number)

    @rule(action=st.sampled_from(PEOPLE), number=numbers)
    def people_act(self, action: object, number: int) -> None:
        self.happens(getattr(action, "__name__", ""), number)

    @precondition(lambda self: self.sim is not None and self.sim.processes)
    @rule()
    def every_operator_looks(self) -> None:
        assert self.sim is not None
        for process in self.sim.processes:
            for key in self.sim.server.runs:
                process.add(key)
        self.sim.advance(0.1)
        self.look()

    def happens(self, action: str, number: int) -> None:
        assert self.sim is not None
        take(self.sim, Step(action, number))
        self.look()

    def look(self) -> None:
        assert self.sim is not None
        if self.sim.violation is not None:
            raise self.sim.violation

    def teardown(self) -> None:
        """Faults stop; then every run ends within its bound, and all rests."""
        if self.sim is not None and self.sim.violation is None:
            finish(self.sim)
            self.look()


BOUNDED = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.timeout(600)
def test_every_invariant_holds_whatever_hypothesis_does() -> None:
    run_state_machine_as_test(Cluster, settings=BOUNDED)


@pytest.mark.timeout(600)
def test_hypothesis_finds_an_operator_that_forgets_to_write_ahead() -> None:
    class Careless(Cluster):
        code = MUTANTS["forgets to write ahead"]

    with pytest.raises(Violation, match="write ahead"):
        run_state_machine_as_test(Careless, settings=settings(BOUNDED, phases=[Phase.generate], database=None))
