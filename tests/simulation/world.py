"""A world: brokers, replicas of the real service, the simulated API and a caller, on one loop and one seed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field
from math import inf

from processor.contract.digests import request_digest
from processor.repair.person_erase import EraseSummary
from processor.runtime.process_tasks import EXIT_UNUSABLE
from processor.settings import Settings, load_settings
from processor.simulator.config import Config, FaultPlan, Latency, RateLimit
from processor.simulator.server import running
from processor.simulator.simulator import Simulator
from processor.stream import publisher
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics
from processor.verify.audit import AuditOptions, audit
from processor.verify.bills import bills_of_ledger
from processor.verify.findings import AuditFinding
from processor.worker import service
from simulation import account, machine, monitored, operators, receivers
from simulation.answers import not_erased
from simulation.asked import Asked
from simulation.batches import Batches
from simulation.callers import Callers
from simulation.clients import Clients
from simulation.configured import API_PORT, SCOPES, groups_of, limits_of
from simulation.course import Course
from simulation.disturbances import FORGET, Disturbance
from simulation.judge import Seen
from simulation.kafka import quick_codec
from simulation.kafka.broker import Broker
from simulation.kafka.cluster import Cluster, Topic
from simulation.kafka.coordination import Coordination
from simulation.leaks import left_over
from simulation.loop import HOST, START_S, Host, SimulatedLoop, State
from simulation.mixed import Groups, draw_settings, merged
from simulation.network import Network
from simulation.observed import Finals, Repairs, Retries, asked_for
from simulation.plan import Plan
from simulation.timeline import Timeline

_RESTART_S = (0.3, 3.0)
_START_S = 10.0  # a start may take so long until it says that topics are missing
_LOOK_S, _AFTER_S, _AUDIT_S, _OLD_S = 0.5, 15.0, 300.0, 300.0
_BATCHES = 0.4  # of the callers that wait for their results run a file
_UNCAUGHT = "asyncio: Exception in callback", "aiohttp.server: Error handling request"  # by the event loop, and by a server
_SLACK_MS = 100  # the brokers' time is known to within the time of an append


@dataclass(slots=True)
class World:
    """What stands in a world while it runs."""

    seed: int
    plan: Plan
    loop: SimulatedLoop
    network: Network
    timeline: Timeline
    cluster: Cluster
    coordination: Coordination
    draw: random.Random
    simulator: Simulator | None = None
    gave_up: list[tuple[str, int]] = field(default_factory=list)
    calling: asyncio.Task[None] | None = None
    callers: Callers | Clients | Batches | None = None
    stopped_until_s: float = 0.0  # nobody starts a replica that was stopped before then
    broker_step_s: float = 0.0  # the largest of a broker's clock, either way
    lost_log: Topic | None = None  # the last budget log that was deleted
    deleted: dict[str, Topic] = field(default_factory=dict)  # other topics that are away now
    whole_since_s: float = -inf  # since then all of them are there again
    left_over: list[str] = field(default_factory=list)  # what processes run that nobody needs any more
    monitored: list[str] = field(default_factory=list)  # what monitoring says at the end, and should not
    topics_usable: bool = True  # none has had settings with which no processor works
    results_deleted: bool = False  # results that had been published are gone
    acting: list[tuple[Host, asyncio.Task[None]]] = field(default_factory=list)  # what operators have begun
    missing_offsets: str = "stop"
    erasures: list[EraseSummary] = field(default_factory=list)  # what operators have been told
    failed_acts: list[str] = field(default_factory=list)  # what operators could not do
    insisted: bool = False  # an operator has redriven what was in doubt
    _settings: dict[tuple[str, str, int | None], Settings] = field(default_factory=dict)

    @property
    def installations(self) -> list[str]:
        """What the names of an installation begin with, the first one's with nothing."""
        return ["", "other."][: self.plan.installations]

    @property
    def replicas(self) -> list[str]:
        """Names of the replicas' hosts."""
        return [f"replica-{n}" for n in range(self.plan.replicas)]

    @property
    def receivers(self) -> list[str]:
        """Names of the hosts that receive webhooks."""
        return [f"webhooks-{n}" for n in range(self.plan.receivers)]

    def settings(self, instance: str, installation: str = "", life: int | None = None) -> Settings:
        """Of a replica; ``life``: of one of its processes, which may have settings of its own."""
        key = instance, installation, life if self.plan.mixed else None
        if key not in self._settings:  # frozen, and reading them takes as long as two requests
            self._settings[key] = self._loaded(*key)
        return self._settings[key]

    def _loaded(self, instance: str, installation: str, life: int | None) -> Settings:
        own = {
            "instance_id": instance,
            "group": f"{installation}group",
            "topic_prefix": f"{installation}verification",
            "on_missing_offsets": self.missing_offsets,
        }
        changes: Groups = {}
        if life is not None:
            changes = draw_settings(random.Random(f"{self.seed} {instance} {life}"), limits=limits_of(self.plan), wait_s=self.plan.wait_s)
        return load_settings(**merged(groups_of(self.plan, self.cluster.names, own), changes))

    @property
    def applications(self) -> list[Settings]:
        """Every application of every installation, as an operator has it."""
        return [each for begins in self.installations for each in self.settings("operator", begins).installations]

    def start_broker(self, number: int) -> None:
        """A broker's process on its host."""
        host = self.network.hosts[self.cluster.names[number]]
        host.spawn(Broker(number, self.cluster, self.coordination).serve(), "broker")

    def start_process(self, name: str) -> None:
        """A processor's process on its host, or that of a receiver."""
        host = self.network.hosts[name]
        host.on_exit = lambda status: self._exited(host, status)
        host.spawn(self._process(host), "processor")

    async def _process(self, host: Host) -> None:
        status = await (receivers.receive(self, host) if host.name in self.receivers else self._replica(host))
        self.loop.call_soon(host.on_exit, status, context=Context())

    async def _replica(self, host: Host) -> int:
        installation = self.installations[self.replicas.index(host.name) % self.plan.installations]
        settings = self.settings(self.replicas[0] if self.plan.one_name else host.name, installation, host.lives)
        return await service._run_until_signal(settings, None)  # noqa: SLF001 - run() is this on uvloop

    def now_ms(self, name: str) -> int:
        """By a host's clock; aiokafka would take the machine's own, below Python."""
        return int(1000 * (machine.EPOCH_S + self.loop.time() - START_S + self.network.hosts[name].wall_offset_s))

    def freeze(self, name: str) -> None:
        """Stop a process without ending it."""
        if self.network.hosts[name].state is State.UP:
            self.network.hosts[name].freeze()

    def thaw(self, name: str) -> None:
        """Let it run on, unless it was killed meanwhile."""
        if self.network.hosts[name].state is State.FROZEN:
            self.network.hosts[name].thaw()

    def stop_all(self, for_s: float) -> None:
        """SIGTERM for all replicas, and a start after so long."""
        self.stopped_until_s = self.loop.time() + for_s
        for name in self.replicas:
            self.stop(name)

    def reset_offsets(self, text: str) -> None:
        """An operator commits where the group stands in the requests topic; brokers let nobody do so while the group has members.

        Of delay topics what made no call would be done again then (guarantees.md, G2), and the judge would take that for broken.
        """
        settings = self.settings("operator")
        group, requests = self.coordination.groups.group(settings.kafka.group), topic_names(settings).requests
        if not group.members:
            group.offsets.update({tp: (offset, text) for tp, (offset, _) in group.offsets.items() if tp[0] == requests})

    @property
    def asked(self) -> Asked:
        """What callers have asked for."""
        assert self.callers is not None
        return self.callers.asked

    def start_calling(self) -> None:
        """A process of the callers."""
        assert self.callers is not None
        self.calling = self.network.hosts["caller"].spawn(self.callers.call(), "caller")

    def decide_missing(self, policy: str) -> None:
        """What VP_KAFKA__ON_MISSING_OFFSETS says in processes that are started from now on."""
        self.missing_offsets = policy
        self._settings.clear()

    @property
    def log_topic(self) -> str:
        """The budget log."""
        return topic_names(self.settings("operator")).budget

    def _exited(self, host: Host, status: int) -> None:
        if host.state is State.DEAD:
            return
        self.timeline.add(f"process ended with status {status}", host.name)
        if status and not (status == EXIT_UNUSABLE and self._lacked_topics):
            self.gave_up.append((host.name, status))
        self.kill(host.name)
        self.restart_later(host.name, max(self.draw.uniform(*_RESTART_S), self.stopped_until_s - self.loop.time()))

    @property
    def _lacked_topics(self) -> bool:
        # to who has just looked
        return bool(self.deleted) or self.loop.time() < self.whole_since_s + _START_S

    def kill(self, name: str) -> None:
        """End a process, as SIGKILL does."""
        self.network.kill(name)

    def restart_later(self, name: str, after_s: float | None = None) -> None:
        """Start a process again, as an orchestrator does."""
        self.cluster.later(after_s if after_s is not None else self.draw.uniform(*_RESTART_S), lambda: self.restart(name))

    def restart(self, name: str) -> None:
        """Start the process of a host that is dead."""
        if self.network.hosts[name].state is State.DEAD:
            self.network.revive(name)
            self.timeline.add("started", name)
            self.start_process(name)

    def stop(self, name: str) -> None:
        """SIGTERM."""
        handler = self.network.hosts[name].signals.get(signal.SIGTERM)
        if handler is not None and self.network.hosts[name].state is not State.DEAD:
            handler()

    async def serve_api(self) -> None:
        """The simulated API, on its own host."""
        lost = self.plan.lost
        rates = {"lost_reply": 0.4 * lost, "error_503": 0.4 * lost, "reset": 0.2 * lost, "late_reply": self.plan.late_reply}
        rates |= {"gateway_502": 0.4 * lost} if self.plan.beside else {}  # not elsewhere: other seeds would mean something else
        behaviour, webhooks = receivers.users_of(self)
        config = Config(
            seed=self.seed,
            api_keys=tuple(account.keys(self)),
            limits={scope: RateLimit(self.plan.limit, self.plan.window_s) for scope in SCOPES},
            faults=FaultPlan(rates=rates, latency=Latency(self.plan.latency_s, 0.8, 6.0), hang_s=1.6 * self.plan.timeout_s),
            behaviour=behaviour,
            webhooks=webhooks,
        )
        async with running(config, host="0.0.0.0", port=API_PORT) as (self.simulator, _):  # noqa: S104 - of a simulated host
            await self.loop.create_future()

    async def audited(self) -> list[AuditFinding]:
        """What `processor verify` finds, run on a host of its own; nothing where installations name requests alike."""
        found: list[AuditFinding] = []
        if self.plan.installations > 1 or self.simulator is None:
            return found
        for settings in self.applications:
            options = AuditOptions(older_s=min(_OLD_S, self.plan.bound_s), bills=bills_of_ledger(self.simulator.ledger.document()))
            async with asyncio.timeout(_AUDIT_S):
                report = await self.network.hosts["operator"].spawn(audit(settings, options), "verify")
            found += report.findings.kept
        return found

    def seen(self, finals: Finals, repairs: Repairs, audited: Sequence[AuditFinding]) -> Seen:
        """What the judge gets."""
        assert self.simulator is not None
        finals.look()
        repairs.look()
        logs = [(moment.host, moment.text) for moment in self.timeline.moments if moment.host not in ("world", "caller", "didit")]
        secrets = (*account.keys(self), receivers.SECRET, "Planted-Person", "planted-person", "203.0.113.", "https://verify.didit.me")
        names = topic_names(self.settings("operator"))
        delays = [topic for each in self.settings("operator").installations for topic in topic_names(each).inputs[1:]]
        delayed = Retries({topic: self.cluster.topics[topic].logs for topic in delays}, repairs.released)
        retries = delayed.read(int(_SLACK_MS + 2000 * self.broker_step_s))
        ledger = self.simulator.ledger.document()
        if self.plan.installations > 1:  # they name requests alike, so nobody can say whose call it was
            retries, ledger = [], {**ledger, "calls": [], "checks": [], "sessions": []}
        never, stepped = self._never_asked(), self.broker_step_s > 0
        sessions, now_s = self.simulator.state.sessions, self.now_ms("didit") / 1000
        there = [answer.session_id for answer in finals.answers if sessions.get(answer.session_id or "", now_s) is not None]
        left = not_erased(finals.answers, operators.request_of_person(self), there, self.erasures, self.asked.attempts_max)
        asked, untold = self.asked, receivers.acknowledged_by(ledger) - receivers.events_of(self.cluster.topics[names.events].logs)
        return Seen(
            asked.acknowledged, finals.seen, retries, ledger, logs, secrets, self.gave_up, never, audited, stepped, asked.published,
            frozenset(repairs.rounds), self.insisted, sorted(map(str, untold)), delayed.sent_away,
            certain=self.plan.certain, steady=self.plan.steady, results_deleted=self.results_deleted, left_over=self.left_over,
            answers=finals.answers, asked=asked, monitored=self.monitored, not_erased=list(left), failed_acts=self.failed_acts,
            heard=() if isinstance(self.callers, Callers | None) else self.callers.heard,
            rows=self.callers.rows if isinstance(self.callers, Batches) else None,
            busiest=self._busiest(), applications=1 + len(self.plan.beside), topics_usable=self.topics_usable,
            failed_callbacks=[(moment.host, moment.text) for moment in self.timeline.moments if moment.text.startswith(_UNCAUGHT)],
        )  # fmt: skip

    def _busiest(self) -> dict[str, int]:
        of: dict[str, int] = {}
        for (host, _, _), count in self.network.sent.items():
            if not host.startswith(("kafka", "didit")):  # they answer all others
                of[host] = max(count // (1 + len(self.plan.beside)), of.get(host, 0))
        return of

    def is_open(self, finals: Finals, repairs: Repairs) -> bool:
        """Whether some request, or some round that an operator has begun, has no final result yet."""
        finals.look()
        repairs.look()
        return not finals.ids.issuperset(self.asked.acknowledged) or not finals.rounds >= repairs.rounds

    def _never_asked(self) -> frozenset[str]:
        if self.lost_log is not None or self.plan.installations > 1:
            return frozenset()
        logs = {each.budget_topic for each in self.applications}
        asked = frozenset[str]().union(*(asked_for(self.cluster.topics[name].logs[0]) for name in logs))
        prefixes = [each.kafka.topic_prefix for each in self.applications]
        digests = {request_id: {request_digest(prefix, request_id) for prefix in prefixes} for request_id in self.asked.acknowledged}
        return frozenset(request_id for request_id, named in digests.items() if not named & asked)


def _callers(world: World, disturbances: Sequence[Disturbance]) -> Callers | Clients | Batches:
    if world.plan.client:
        return Batches(world) if random.Random(world.seed ^ 0xBA7C).random() < _BATCHES else Clients(world)
    return Callers(world, vary=world.plan.vary and not any(one.kind in FORGET for one in disturbances))


def build(seed: int, plan: Plan) -> World:
    """An empty world; nothing runs yet."""
    loop = SimulatedLoop()
    asyncio.set_event_loop(loop)
    machine.begin(loop, seed)
    quick_codec.install()
    publisher._RENEW_S = plan.renew_s  # noqa: SLF001 - a constant of the product, of which a world has less time to wait for
    draw = random.Random(seed)
    network = Network(loop, random.Random(seed + 1))
    brokers = [f"kafka-{n}" for n in range(plan.brokers)]
    receiving = [f"webhooks-{n}" for n in range(plan.receivers)]
    for name in (*brokers, "didit", "caller", "operator", *operators.HOSTS, *receiving, *(f"replica-{n}" for n in range(plan.replicas))):
        network.add(name)
    network.sidecars = {API_PORT: ["didit"], receivers.PORT: receiving}
    timeline = Timeline(loop)
    timeline.install()
    cluster = Cluster(loop, random.Random(seed + 2), brokers, lambda name: network.hosts[name])
    return World(seed, plan, loop, network, timeline, cluster, Coordination(cluster), draw)


async def live(world: World, disturbances: Sequence[Disturbance]) -> Seen:
    """Run a world to its end; what the judge needs of it."""
    assert HOST.get() is None
    for number in range(world.plan.brokers):
        world.start_broker(number)
    world.network.hosts["didit"].spawn(world.serve_api(), "api")
    replication = min(3, world.plan.brokers)
    for settings in world.applications:
        applied = apply_topics(settings, partitions=world.plan.partitions, replication=replication)
        await world.network.hosts["operator"].spawn(applied, "topics apply")
        if world.plan.caller_ahead_s:
            world.cluster.keep_stamps(topic_names(settings).requests)
    world.network.hosts["caller"].wall_offset_s = world.plan.caller_ahead_s
    for name in (*world.receivers, *world.replicas):
        world.start_process(name)
    world.callers = _callers(world, disturbances)
    world.start_calling()
    results = [
        (begins, world.cluster.every[topic_names(each).results])
        for begins in world.installations
        for each in world.settings("operator", begins).installations
    ]
    finals = Finals(results)
    repairs = Repairs([log for each in world.applications for log in world.cluster.topics[topic_names(each).repairs].logs])
    course = Course(world, disturbances)
    course.start()
    while world.calling is None or not world.calling.done() or not course.over or operators.are_acting(world):
        await asyncio.sleep(_LOOK_S)
    world.calling.result()
    until = world.loop.time() + world.plan.bound_s
    while world.is_open(finals, repairs) and world.loop.time() < until:
        await asyncio.sleep(_LOOK_S)
    await asyncio.sleep(_AFTER_S)  # a second final result would come now
    inputs = [world.cluster.topics[name] for each in world.applications for name in topic_names(each).inputs]
    world.left_over = left_over(
        (world.network.hosts[name] for name in world.replicas), sum(len(topic.logs) for topic in inputs), 1 + len(world.plan.beside)
    )
    world.monitored = await monitored.look(world)
    return world.seen(finals, repairs, await world.audited())
