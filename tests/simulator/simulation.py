"""One simulated cluster with its operators, made from a seed: steps happen to it, and every step is looked at.

A trace is a list of steps, each an action's name and a number; the same seed and trace give the same story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from support.builders import NOW, references

from vidbench_api.names import LABEL_HARVEST, LABEL_MODEL, RowPhase
from vidbench_operator.core.policy import Policy
from vidbench_operator.core.status import is_terminal
from vidbench_operator.ports import RunKey
from vidbench_operator.reconciler import Reconciler
from vidbench_operator.shell.children import ChildStore

from . import fates
from .clock import Clock
from .connection import Call, Connection
from .controllers import GarbageCollector, JobController, NodeController, PodCollector, Queue, Scheduler
from .eventloop import SeededLoop
from .invariants import Invariants, Violation
from .kubelet import Kubelets
from .process import OperatorProcess
from .scenario import Scenario, make_run, make_scenario
from .server import NAMESPACE, Manifest, Server

POLICY = Policy()
RECENT_CALLS = 40


@dataclass(frozen=True)
class Step:
    """Something that happens: an action by its name, and the number that decides its choices."""

    action: str
    number: int


@dataclass(frozen=True)
class Code:
    """Whose operator is simulated: the real one, or one with a mistake in it, to prove that it is found."""

    reconciler: type[Reconciler] = Reconciler
    connection: type[Connection] = Connection
    server: type[Server] = Server


REAL = Code()


class Simulation:
    """The cluster, its operators, and what has happened."""

    def __init__(self, seed: int, code: Code = REAL, scenario: Scenario | None = None) -> None:
        self.seed = seed
        self._code = code
        self.clock = Clock()
        self.server = code.server(self.clock)
        self.counts: Counter[str] = Counter()
        self.calls: list[Call] = []
        self.scenario = scenario or make_scenario(self.chance("scenario"))
        self.invariants = Invariants(self.server, POLICY)
        self.loop = SeededLoop(self.chance("loop"), lambda: self.clock.monotonic)  # type: ignore[abstract]
        self.jobs = JobController(self.server, self.chance("jobs"))
        self.garbage = GarbageCollector(self.server, self.chance("garbage"))
        self.collector = PodCollector(self.server, self.chance("collector"))
        self.node_controller = NodeController(self.server)
        self.scheduler = Scheduler(self.server, self.chance("scheduler"))
        self.kubelets = Kubelets(
            self.server, self.node_controller, self.chance("kubelets"), self._fate_of, self._fate_came_true
        )
        self.queue = Queue(self.server, self.chance("queue"))
        self.processes: list[OperatorProcess] = []
        self.violation: BaseException | None = None
        self._started = 0
        self._faultless = False
        self._pods_of_job: Counter[str] = Counter()
        self.server.by("people", self._begin)
        for _ in range(self.scenario.replicas):
            self.start_operator()

    def chance(self, *what: object) -> Random:
        """Return dice of their own for something, so that other things do not change its fate."""
        return Random("/".join(str(part) for part in (self.seed, *what)))

    def _begin(self) -> None:
        for node in self.scenario.nodes:
            self.server.put_node(node)
        for run, found, broken in zip(self.scenario.runs, self.scenario.references, self.scenario.broken, strict=True):
            self.server.add_run(replace(run, created_at=float(int(NOW))), found, broken)

    # Time

    def advance(self, seconds: float) -> None:
        """Let time pass, and whatever falls due in it happen."""
        until = self.clock.monotonic + seconds
        while self.violation is None:
            if not self._turn_clock(until):
                break
        self.clock.monotonic = max(self.clock.monotonic, until)

    def advance_until(self, over: Callable[[], bool], limit: float) -> bool:
        """Let time pass until something is so; returns whether it came to be within the limit."""
        until = self.clock.monotonic + limit
        while self.violation is None and not over():
            if not self._turn_clock(until):
                return over()
        return self.violation is None

    def _turn_clock(self, until: float) -> bool:
        """Let all that falls due at the next moment begin, and then go on in any order; False if nothing does."""
        call = self.clock.pop_due(until)
        if call is None:
            return False
        while call is not None:
            call()
            call = self.clock.pop_due(self.clock.monotonic)
        self._drive()
        return True

    def drive(self) -> None:
        """Let what was just done have its first consequences."""
        self._drive()

    def _drive(self) -> None:
        if self.loop.driving:
            return
        self.loop.drive()
        if self.loop.errors and self.violation is None:
            self.violation = self.loop.errors[0]
        for process in [process for process in self.processes if not process.alive]:
            self._bury(process)
        try:
            self.invariants.check()
        except Violation as found:
            self.violation = self.violation or found

    # Operators

    def start_operator(self) -> OperatorProcess:
        """Start a process with empty memory."""
        self._started += 1
        number = self._started
        chance = self.chance("process", number)
        connection = self._code.connection(
            number, self.server, self.invariants, chance, self.advance, self.meddle, self._record, self.count
        )
        connection.skew = 0.0 if self._faultless else chance.choice((0.0, 0.0, -1.0, 1.0))
        process = OperatorProcess(
            connection, self.loop, chance, self._make_reconciler, self._attempt_ended, self._failed
        )
        self.processes.append(process)
        process.start()
        self.drive()
        return process

    def stop_operator(self, process: OperatorProcess) -> None:
        """Let a process end, as if killed."""
        process.stop()
        self.processes.remove(process)

    def _bury(self, process: OperatorProcess) -> None:
        """Notice that a process has crashed, and start another one for it a while later."""
        self.stop_operator(process)
        self.count("operator crashed")
        self.clock.after(self.chance("restart", self._started).choice((0.5, 3.0, 40.0)), self._replace_operator)

    def _replace_operator(self) -> None:
        if not self.processes:
            self.start_operator()

    def _make_reconciler(
        self, connection: Connection, store: ChildStore, count_end: Callable[[str], None]
    ) -> Reconciler:
        return self._code.reconciler(connection, store, {}, POLICY, count_end)

    def meddle(self, how: str, verb: str, subject: str) -> bool:
        """Let somebody write just before a call: a label on every run, or another object of the name that it is about."""
        return self.server.by("people", lambda: self._meddle(how, verb, subject))

    def _meddle(self, how: str, verb: str, subject: str) -> bool:
        if how == "edited before":
            for key in list(self.server.runs):
                self.server.edit_run(key)
            return True
        job = self.server.jobs.get(subject)
        if job is not None and verb in ("delete job", "patch job"):
            self.server.remove_job(subject)
            self.invariants.excused |= {job.seen.uid, self.server.add_job(job.manifest, None).seen.uid}
            return True
        key = RunKey(NAMESPACE, subject)
        if verb == "delete run" and key in self.server.runs:
            self.server.remove_run(key)
            self.apply_again(key)
            return True
        return False

    def apply_again(self, key: RunKey) -> None:
        """Make a run under a name that is free."""
        serial = int(self.server.next_uid("run").split("-")[1])
        run = make_run(self.chance("again", serial), key.name, 2 + serial)
        self.server.add_run(replace(run, created_at=self.clock.stamp), references(run.spec))

    # What is told

    def count(self, what: str) -> None:
        """Note that something happened."""
        self.counts[what] += 1

    def _attempt_ended(self, reason: str) -> None:
        self.count(f"attempt: {reason}")

    def _fate_came_true(self, word: str) -> None:
        self.count(f"pod: {word}")

    def _failed(self, error: BaseException) -> None:
        self.violation = self.violation or error

    def _record(self, call: Call) -> None:
        self.calls.append(call)
        if len(self.calls) > 4 * RECENT_CALLS:
            del self.calls[:-RECENT_CALLS]

    def _fate_of(self, _uid: str, manifest: Manifest, node: str) -> fates.Fate:
        name = manifest["metadata"]["name"]
        self._pods_of_job[name] += 1
        fate = fates.choose(self.chance("fate", name, self._pods_of_job[name]), self.scenario.calm)
        if LABEL_HARVEST in manifest["metadata"]["labels"]:
            word = self.chance("harvest", name, self._pods_of_job[name]).choice(
                ("succeeds", "exits 96 without a verdict", fate.word)
            )
            self.count("harvest pod")
            return fates.force(word, fate)
        if node == self.scenario.unhappy_node:
            return fates.force("exits 91", fate)
        if manifest["metadata"]["labels"][LABEL_MODEL] == self.scenario.unhappy_model:
            return fates.force("exits 81", fate)
        return fate

    # Questions

    def terminal(self, key: RunKey) -> bool:
        """Whether a run has ended, is gone or going, or cannot be read."""
        stored = self.server.runs.get(key)
        if stored is None or stored.deleting or stored.broken is not None:
            return True
        return is_terminal(stored.seen.status)

    def all_terminal(self) -> bool:
        """Whether every run has ended."""
        return all(self.terminal(key) for key in self.server.runs)

    def active_names(self) -> list[str]:
        """Return the names of the Jobs that runs have now or will have next."""
        names = []
        for key, stored in self.server.runs.items():
            for row in stored.seen.status.rows:
                for shard in row.shards:
                    attempt = shard.attempt + (shard.phase is RowPhase.PENDING)
                    if shard.phase is not RowPhase.FINISHED:
                        names.append(f"{key.name}-{row.id}-{shard.index}-{attempt}")
        return names

    @property
    def key(self) -> RunKey:
        """The run that every scenario has."""
        return RunKey(NAMESPACE, "nightly")

    def be_faultless(self) -> None:
        """Let no new operator start with a wrong clock any more."""
        self._faultless = True
