"""One seed: its world, run in a process of its own, and what came of it."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import selectors
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TextIO
from zlib import crc32

from simulation.disturbances import Disturbance, draw_disturbances, draw_one
from simulation.judge import Violation, judge
from simulation.loop import DeadlockError, SpinError
from simulation.plan import Plan
from simulation.stage import Stage
from simulation.themes import THEMES, theme_of
from simulation.timeline import Timeline
from simulation.world import build, live

_PLAIN: Mapping[str, tuple[Any, ...]] = {
    "brokers": (1, 1, 3),  # each more costs a third of the time
    "replicas": (2, 2, 3),
    "requests": (12, 25, 40),
    "every_s": (0.2, 0.5, 1.5),
    "limit": (4, 8, 12),
    "memory_s": (60.0, 3600.0),
    "drain_s": (1.0, 10.0),
    "latency_s": (0.1, 1.0),
    "late_reply": (0.01, 0.08),
}
SMALL_FROM = 10_000_000  # seeds from here on have small worlds
_SMALL: Mapping[str, tuple[Any, ...]] = {"requests": (12,), "replicas": (2,), "partitions": (1, 2), "delays_s": ((1, 5),)}
_LIMIT_CPU_S = 240  # a world that computes longer has hung
_LIMIT_S = 1800.0  # of real time, on a machine that has other things to do
_FRESH_FROM = 1_000_000
_VARIED, _VARIES = ("mixed", "rolling", "log outage", "operators", "receivers", "upgrade", "new leaders", "idle"), 0.25
_LONG_MEMORY_S = 600.0
_CALLS_MAX = 8  # of one request, in the mean of a world in which everything is in doubt and looked up


@dataclass(slots=True)
class Outcome:
    """What came of a seed. ``digest``: the same for the same seed, program and Python."""

    seed: int
    violations: list[Violation]
    disturbances: int = 0
    calls: int = 0
    finals: dict[str, int] = field(default_factory=dict)
    fullest: dict[str, str] = field(default_factory=dict)  # by scope, calls in its fullest window, and the limit
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    digest: str = ""


def fresh_seed(commit: str) -> int:
    """The first of the seeds of a commit, beyond those that are run each time: the same for the same commit."""
    return _FRESH_FROM + crc32(commit.encode()) % _FRESH_FROM


def size_of(seed: int) -> str:
    """``usual`` or ``small``: two replicas and a dozen requests, of the themes that can do with that."""
    return "small" if seed >= SMALL_FROM else "usual"


def plan_of(seed: int) -> Plan:
    """The size of a seed's world."""
    draw = random.Random(seed ^ 0x0A11)
    small = size_of(seed) == "small"
    theme = theme_of(draw, seed, small=small)
    choices = {**_PLAIN, **theme.plan, **({**_SMALL, **(theme.small or {})} if small else {})}
    plan = Plan(theme=theme.name, **{name: draw.choice(values) for name, values in choices.items()})
    if theme.name in _VARIED and plan.memory_s >= _LONG_MEMORY_S:  # else who asks again may be called again
        plan = replace(plan, vary=random.Random(seed ^ 0xCA11).random() < _VARIES)
    return replace(plan, bound_s=plan.bound_s + _CALLS_MAX * plan.requests * plan.window_s / plan.limit)


def disturbances_of(seed: int, also: str | None = None) -> list[Disturbance]:
    """What a seed's world has to stand. ``also``: one more, as ``kind@seconds``."""
    plan = plan_of(seed)
    replicas, brokers = [f"replica-{n}" for n in range(plan.replicas)], [f"kafka-{n}" for n in range(plan.brokers)]
    draw, episode = random.Random(seed ^ 0xD157), next(theme.episode for theme in THEMES if theme.name == plan.theme)
    if episode is not None:
        receivers = tuple(f"webhooks-{n}" for n in range(plan.receivers))
        api_cut_s = plan.timeout_s + plan.margin_s - 0.5
        found = episode(draw, Stage(replicas, plan.wait_s, api_cut_s, plan.idle_s, receivers, plan.transaction_s, tuple(brokers)))
    else:
        found = draw_disturbances(draw, replicas=replicas, brokers=brokers, span_s=_span_s(plan))
    if also is not None:
        kind, _, at_s = also.partition("@")
        found.append(draw_one(random.Random(seed), kind, float(at_s), replicas, brokers))
    return found


def _span_s(plan: Plan) -> float:
    """For so long things go wrong: until most requests have had their turn."""
    return max(20.0, 1.2 * plan.requests * max(plan.every_s, plan.window_s / plan.limit))


def run_seed(seed: int, disturbances: list[Disturbance], show: TextIO | None = None) -> Outcome:
    """Run a world in this process, which can run no other one afterwards."""
    gc.disable()  # what is collected when must not depend on the machine
    began = time.process_time()
    plan = plan_of(seed)
    world = build(seed, plan)
    outcome = Outcome(seed, [], len(disturbances))
    try:
        seen = world.loop.run_until_complete(live(world, disturbances))
        outcome.violations = judge(seen)
        outcome.calls = len(seen.ledger["calls"])
        for scopes in seen.ledger["scopes"].values():
            outcome.fullest = {scope: f"{use['max_in_window']}/{use['limit']}" for scope, use in scopes.items() if use["max_in_window"]}
        for final in seen.finals:
            outcome.finals[final.status] = outcome.finals.get(final.status, 0) + 1
    except (DeadlockError, SpinError) as exc:
        outcome.violations = [Violation(type(exc).__name__, str(exc))]
    except Exception:  # noqa: BLE001 - of the model or of the world: told like a violation, or it would look like a good seed
        outcome.violations = [Violation("the simulation failed", traceback.format_exc(limit=-14))]
    outcome.virtual_s, outcome.cpu_s = round(world.loop.time() - 1000, 1), round(time.process_time() - began, 2)
    outcome.digest = f"{world.loop.digest & 0xFFFFFFFFFFFF:012x}"
    if show is not None:
        show_timeline(world.timeline, show)
    return outcome


def show_timeline(timeline: Timeline, out: TextIO) -> None:
    """Every line, with a column for each host."""
    hosts = list(dict.fromkeys(moment.host for moment in timeline.moments))
    out.writelines(f"{at_s:9.3f} {host:>10} {'  ' * hosts.index(host)}{text[:400]}\n" for at_s, host, text in timeline.moments)


def run_apart(seeds: Iterable[int], jobs: int, chosen: dict[int, list[Disturbance]] | None = None) -> Iterator[Outcome]:
    """Run each seed in a forked process, so many at once; outcomes come as they end."""
    waiting = iter(seeds)
    running: dict[int, tuple[int, int, bytearray, float]] = {}  # descriptor -> process, seed, what it said, when it began
    with selectors.DefaultSelector() as selector:
        while True:
            while len(running) < jobs and (seed := next(waiting, None)) is not None:
                picked = disturbances_of(seed) if chosen is None else chosen[seed]
                process, descriptor = _fork(seed, picked)
                running[descriptor] = (process, seed, bytearray(), time.monotonic())
                selector.register(descriptor, selectors.EVENT_READ)
            if not running:
                return
            for key, _ in selector.select(1.0):
                process, seed, said, _began = running[key.fd]
                if part := os.read(key.fd, 65_536):
                    said += part
                    continue
                selector.unregister(key.fd)
                os.close(key.fd)
                del running[key.fd]
                os.waitpid(process, 0)
                yield _read(seed, bytes(said))
            for process, _seed, _said, began in running.values():
                if time.monotonic() - began > _LIMIT_S:
                    os.kill(process, signal.SIGKILL)


def _fork(seed: int, disturbances: list[Disturbance]) -> tuple[int, int]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    os.close(reading)
    resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT_CPU_S, _LIMIT_CPU_S))
    try:
        said = json.dumps(asdict(run_seed(seed, disturbances))).encode()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(said)
    finally:
        os._exit(0)  # no finalizers: the world is left as it stands


def _read(seed: int, said: bytes) -> Outcome:
    if not said:
        return Outcome(seed, [Violation("no end", f"after {_LIMIT_CPU_S} s of CPU or {_LIMIT_S:.0f} s, or killed")])
    document: dict[str, Any] = json.loads(said)
    document["violations"] = [Violation(*pair) for pair in document["violations"]]
    return Outcome(**document)


def shrink(seed: int, every: list[Disturbance]) -> list[int]:
    """Numbers of the disturbances that are needed to break one of the promises that all of them break.

    Raises:
        ValueError: if all of them break none.
    """
    rules = _rules(seed, every)
    if not rules:
        raise ValueError(f"seed {seed} breaks no promise")
    return fewest(len(every), lambda numbers: bool(rules & _rules(seed, [every[number] for number in numbers])))


def fewest(count: int, breaks: Callable[[list[int]], bool]) -> list[int]:
    """Numbers below ``count`` without which it does not break: without half of them, a quarter, and at last one after the other."""
    left, size = list(range(count)), count
    while size and left:
        begin = 0
        while begin < len(left):
            without = left[:begin] + left[begin + size :]
            if breaks(without):
                left = without
            else:
                begin += size
        size //= 2
    return left


def _rules(seed: int, disturbances: list[Disturbance]) -> set[str]:
    return {violation.rule for outcome in run_apart([seed], 1, {seed: disturbances}) for violation in outcome.violations}
