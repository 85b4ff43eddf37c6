"""Themes: what a world is about. Each seed draws one, so that disturbances come in combinations that hurt, and not only at random.

A theme replaces some choices of the plan (`seeds.plan_of`) and brings an episode: disturbances whose times belong together. Most plans of
themes are hasty: promises of calls are short, so that the virtual time in which a hold is waited for costs little.

To add one: a row in ``_THEMES``; or in ``_OF_TWENTY``, so that no other seed means something else.
"""

from __future__ import annotations

import random

from simulation.applications import SECOND, applications
from simulation.broker_episodes import brokers_away, joining, new_leaders, silent, topics
from simulation.disturbances import FIRST_S, LONG_S, Disturbance
from simulation.people import busy, callers, operators, receivers, restarts, waiting
from simulation.stage import Stage
from simulation.theme import BILLED, BURST, CERTAIN, SINGLE, TIGHT, Theme

_ALIVE_EVERY_S = 10.0  # signs of life of a replica, the first one so long after its start


def _long_outage(draw: random.Random, _: Stage) -> list[Disturbance]:
    """Everybody is away for longer than calls are remembered, and the next blow falls before what was under way is settled."""
    found = [Disturbance(busy(draw), "kill all", "replicas", LONG_S)]
    blow = draw.choice(("kill all", "log outage", "killed in an outage", "killed in an outage", "log lost"))
    if blow == "kill all":
        return [*found, Disturbance(draw.uniform(0.2, 4.0), blow, "replicas", draw.uniform(0.2, 3.0), after="partitions_assigned")]
    lasts_s = draw.uniform(32.0, 45.0)  # after 30 s of silence the log is joined again
    found.append(Disturbance(draw.uniform(0.0, 0.3), "log outage", "of the budget log", lasts_s, after="budget_joined"))
    if blow == "log lost":  # in an outage, so that nothing could be asked in the log that is lost; what was called is recalled by then
        found.append(Disturbance(draw.uniform(0.5, 3.0), blow, "and made again", 0.5, after="partitions_assigned"))
    elif blow == "killed in an outage":  # what has expired is committed by then
        found.append(Disturbance(draw.uniform(1.0, 15.0), "kill all", "replicas", draw.uniform(1.0, 10.0), after="--- "))
    return found


def _twice_taken_over(draw: random.Random, _: Stage) -> list[Disturbance]:
    """A second takeover once the first call is older than the memory, while its doubt still waits for what Didit shows."""
    second = draw.choice(("kill all", "kill all", "log outage"))
    target = "replicas" if second == "kill all" else "of the budget log"
    at_s = busy(draw)
    return [
        Disturbance(at_s, "kill all", "replicas", draw.uniform(0.2, 3.0)),
        Disturbance(at_s + draw.uniform(30.0, 50.0), second, target, draw.uniform(1.0, 8.0)),
    ]


def _by_hand(draw: random.Random, _: Stage) -> list[Disturbance]:
    """All are stopped, and an operator commits offsets of the requests topic; or they are lost, and all of it is read again."""
    text = draw.choice(("with a text", "with a text", "without a text", "gone", "gone"))
    if text == "gone":  # while all that was done is remembered
        return [Disturbance(busy(draw), "offsets gone", "of requests", draw.uniform(3.0, 20.0))]
    return [Disturbance(busy(draw), "offsets reset", text, draw.choice((8.0, LONG_S)))]


def _rolling(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """One after the other is stopped and comes again, twice."""
    found, at_s = [], FIRST_S
    for name in stage.replicas * 2:
        at_s += draw.uniform(1.5, 6.0)
        found.append(Disturbance(at_s, "stop", name))
    return found


def _log_outage(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """The budget log takes nothing, outcomes are committed meanwhile, and somebody is started again in it."""
    at_s, lasts_s = busy(draw), draw.uniform(36.0, 50.0)  # after 30 s of silence the log is joined again
    if draw.random() < 0.25:  # before that what was held back is told, later than the promises of its calls
        return [Disturbance(at_s, "log outage", "of the budget log", draw.uniform(20.0, 29.0))]
    found = [Disturbance(at_s, "log outage", "of the budget log", lasts_s)]
    within_s = at_s + (draw.uniform(32.0, lasts_s) if draw.random() < 0.7 else draw.uniform(0.5, 30.0))
    if draw.random() < 0.6:
        return [*found, Disturbance(within_s, "kill all", "replicas", draw.uniform(0.2, 3.0))]
    kind, lasts_s = draw.choice((("kill", draw.uniform(0.2, 12.0)), ("stop", 0.0)))
    return [*found, *(Disturbance(within_s + n * draw.uniform(0.0, 3.0), kind, r, lasts_s) for n, r in enumerate(stage.replicas))]


def _late_count(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """A replica reads its own asks late, and meanwhile its calls are counted as late as may be, while others use all of the budget."""
    name, at_s, found = draw.choice(stage.replicas), busy(draw), []
    what = draw.choice(("slow reads", "slow reads", "freeze", "nothing"))
    if what == "slow reads":  # what it asks is in the log at once, and comes back once or twice as late
        found.append(Disturbance(at_s, what, name, draw.uniform(25.0, 50.0), amount=draw.uniform(0.4, 0.6) * stage.wait_s))
        at_s += draw.uniform(12.0, 24.0)
    elif what == "freeze":
        lasts_s = draw.uniform(0.75, 1.5) * stage.wait_s
        found.append(Disturbance(at_s, what, name, lasts_s))
        at_s += lasts_s - 0.05
    kind = draw.choice(("late calls", "late calls", "cut"))
    return [*found, Disturbance(at_s, kind, name, stage.api_cut_s, "didit")]


def _late_start(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """A replica reads its asks late, and stands still while some of them wait for room: when it thaws they are older than an ask may be.

    What it starts all the same reaches Didit as late as may be, when nobody counts those asks any more. Until then it stands still again,
    so that the others have all of the budget. (What it has not read back when it freezes is given up first of all when it thaws.)
    """
    name, at_s = draw.choice(stage.replicas), busy(draw)
    freeze_s, lasts_s = at_s + draw.uniform(6.0, 10.0), draw.uniform(0.3, 0.7) * stage.wait_s
    thaw_s = freeze_s + lasts_s
    return [
        Disturbance(at_s, "slow reads", name, thaw_s - at_s, amount=draw.uniform(0.45, 0.7) * stage.wait_s),
        Disturbance(freeze_s, "freeze", name, lasts_s),
        Disturbance(thaw_s - 0.05, "late calls", name, stage.api_cut_s, "didit"),
        Disturbance(thaw_s + draw.uniform(0.2, 0.5), "freeze", name, stage.api_cut_s - 1.0),
    ]


def _other_log(draw: random.Random, _: Stage) -> list[Disturbance]:
    """The budget log is deleted and made again while nobody is there; the commits of the one partition name the log of before."""
    return [  # soon after the first burst, when its lane has committed
        Disturbance(draw.uniform(1.2, 4.0), "kill all", "replicas", draw.uniform(0.3, 1.5), after="partitions_assigned"),
        Disturbance(0.05, "log lost", "and made again", 0.2, after="--- "),
    ]


def _held_back(draw: random.Random, _: Stage) -> list[Disturbance]:
    """The log is lost under processors that live, so that producers hold back what is meant for the one of before; then all are killed.

    A sign of life is held back if the log is away at its time; what was called last is under way still when all are killed.
    """
    at_s, lasts_s = draw.uniform(0.8, 1.0) * _ALIVE_EVERY_S, draw.uniform(1.0, 3.0)
    return [
        Disturbance(at_s, "log lost", "and made again", lasts_s),
        Disturbance(at_s + lasts_s + draw.uniform(0.3, 4.0), "kill all", "replicas", draw.uniform(0.3, 3.0)),
    ]


def _idle(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Nobody asks for anything for long, the brokers delete what is old of the budget log, and requests come while all are killed.

    The log may take nothing at that time: lanes commit all the same while it is joined again.
    """
    at_s = stage.idle_s - draw.uniform(0.0, 2.0)
    outage_s = draw.choice((0.0, draw.uniform(36.0, 44.0)))  # after 30 s of silence the log is joined again
    outage = [Disturbance(at_s - outage_s, "log outage", "of the budget log", outage_s + draw.uniform(1.0, 10.0))]
    return [
        *(outage if outage_s else []),
        Disturbance(at_s - draw.uniform(0.1, 10.0), "log retention", "of the budget log"),
        Disturbance(at_s, "kill all", "replicas", draw.uniform(4.0, 8.0)),
    ]


def _upgrade(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """One after the other is stopped or killed and comes again with other settings, twice."""
    found = _rolling(draw, stage)
    if draw.random() < 0.5:
        found.append(Disturbance(FIRST_S + draw.uniform(2.0, 20.0), "kill", draw.choice(stage.replicas), draw.uniform(0.2, 3.0)))
    return found


_THEMES = (
    Theme("mixed", 6),
    Theme(
        "long outage",
        4,
        _long_outage,
        {**BURST, "memory_s": (60.0,), "requests": (30,), "limit": (8, 40), "deadlines": (0.4,)},
        {"requests": (14,), "limit": (6, 20)},
    ),
    Theme("twice taken over", 2, _twice_taken_over, {**BURST, "memory_s": (25.0,), "read_lag_s": (60.0,), "lost": (0.2,)}),
    Theme("by hand", 2, _by_hand, {**BURST, "memory_s": (60.0,), "drain_s": (1.0,)}),
    Theme("rolling", 2, _rolling, {**BURST, "drain_s": (0.5, 1.0), "partitions": (1, 3)}),
    Theme(
        "log outage",
        3,
        _log_outage,
        BURST
        | {"requests": (20, 30), "memory_s": (60.0, 3600.0), "deadlines": (0.5,), "drain_s": (1.0, 10.0)}
        | {"partitions": (1, 6), "idle_s": (0.0, 35.0)},
        {"requests": (14,), "partitions": (1, 3), "limit": (6,)},
    ),
    Theme(
        "late count",
        3,
        _late_count,
        # a call lasts as long as its operation allows: of a shorter one the longest call bounds the promise
        BURST
        | TIGHT
        | {"partitions": (4,), "requests": (70,), "every_s": (0.05,)}
        | {"margin_s": (20.0,), "timeout_s": (30.0,), "wait_s": (7.0,), "operations": (SINGLE, ("aml", "email.send"))},
        # as usual: half of the requests and of the limit cost as much, because of the time it takes, and show S4 half as often
        {"requests": (70,), "partitions": (4,)},
    ),
    Theme(
        "other log",
        2,
        _other_log,
        BURST | {"operations": (SINGLE,), "requests": (60,), "every_s": (0.25,), "latency_s": (0.1,), "lost": (0.0,)},
        {"requests": (24,), "limit": (4,), "partitions": (1,), "every_s": (0.6,)},
    ),
    Theme(
        "held back",
        2,
        _held_back,
        # a lane that is first asked for something late has a commit from its beginning, before most of the log
        BURST
        | {"partitions": (12,), "requests": (20,), "every_s": (0.6, 1.0), "limit": (40,), "operations": (SINGLE, ("database_validation",))}
        | {"latency_s": (4.0,), "timeout_s": (10.0,), "lost": (0.0,), "caller_ahead_s": (0.0, 600.0)},
        {"requests": (14,), "partitions": (6,), "every_s": (1.0,)},
    ),
    Theme(
        "idle",
        1,
        _idle,
        BURST
        | {"idle_s": (120.0,), "renew_s": (5.0,), "log_kept_s": (50.0,), "memory_s": (25.0,)}
        | {"lost": (0.0,), "late_reply": (0.0,), "latency_s": (0.1,)},
    ),
    Theme(
        "overload",
        1,
        restarts,
        BURST
        | {"replicas": (1, 2), "requests": (200,), "every_s": (0.35,), "limit": (20,), "latency_s": (0.1,), "lost": (0.02,)}
        | {"queue_max": (6,), "bulk": (0.1,), "operations": (SINGLE,)},
        None,
    ),
    Theme("two installations", 1, restarts, {**BURST, "installations": (2,)}, {"requests": (8,), "limit": (6,)}),
    Theme("one name", 1, restarts, {**BURST, "one_name": (True,), "bound_s": (120.0,)}),
    Theme(
        "operators",
        0,
        operators,
        BURST
        | {
            "brokers": (1, 3),
            "lost": (0.3, 0.6),
            "attempts_max": (1, 3),
            "limit": (12,),
            "partitions": (1, 3),
            "operations": ((*BILLED, "aml"),),
        },
    ),
    Theme(
        "receivers",
        0,
        receivers,
        BURST | {"receivers": (1, 2), "operations": (("verification",), ("verification", "verification", "aml")), "latency_s": (0.1, 1.0)},
        {"requests": (8,)},
    ),
    Theme(
        "upgrade",
        0,
        _upgrade,
        {**BURST, "mixed": (True,), "replicas": (2, 3), "partitions": (3,), "requests": (20, 40)},
        {"partitions": (2,)},
    ),
    Theme(
        "late start",
        0,
        _late_start,
        BURST
        | TIGHT
        | {"partitions": (4,), "requests": (70,), "every_s": (0.05,)}
        | {"margin_s": (4.0,), "timeout_s": (6.0,), "wait_s": (6.0,)},
        {"requests": (18,), "limit": (2,), "partitions": (2,)},
    ),
    Theme(
        "full lines",
        0,
        restarts,
        # of so many places each class has one at least by its share
        BURST
        | {"replicas": (1,), "requests": (200,), "every_s": (0.05,), "limit": (40,), "latency_s": (0.1,), "lost": (0.02,)}
        | {"queue_max": (40,), "bulk": (0.1,), "operations": (SINGLE,)},
        None,
    ),
    Theme(
        "topics",
        0,
        topics,
        CERTAIN | {"partitions": (2, 3), "requests": (24,), "every_s": (0.5,), "queue_max": (3, 100), "transaction_s": (8.0,)},
        {"requests": (16,), "partitions": (2,), "limit": (4, 8)},
    ),
    Theme(
        "joining",
        0,
        joining,
        CERTAIN | {"partitions": (3, 6), "requests": (40,), "every_s": (0.5,), "limit": (4, 6)},
        {"requests": (24,), "partitions": (3,), "limit": (3,)},
    ),
    Theme(
        "new leaders",
        0,
        new_leaders,
        # what was announced, and could not be taken back while the log had no leader, is in doubt after a stop
        CERTAIN | {"certain": (False,), "brokers": (3,), "partitions": (3, 6), "requests": (40,), "every_s": (0.7,)},
        {"requests": (24,), "partitions": (3,)},
    ),
    Theme(
        "brokers away",
        0,
        brokers_away,
        # a lane that is taken over in that moment may end a life, which has nothing to lose then
        CERTAIN | {"steady": (False,), "brokers": (1, 1, 3), "partitions": (2, 3), "requests": (40,), "every_s": (1.0,)},
        {"requests": (16,), "partitions": (2,), "every_s": (2.0,)},
    ),
    Theme(
        "silent",
        0,
        silent,
        BURST | {"brokers": (3,), "partitions": (2, 3), "requests": (30,), "every_s": (1.0,)},
        {"requests": (12,), "partitions": (2,), "every_s": (4.0,)},
    ),
    Theme(
        "waiting",
        0,
        waiting,
        BURST
        | {
            "client": (True,),
            "memory_s": (3600.0,),
            "answer_again": (True, False),
            "brokers": (1, 3),
            "partitions": (2,),
            "requests": (30,),
            "every_s": (0.5, 1.5),
            "lost": (0.0, 0.1),
        },
        {"requests": (12,)},
    ),
    Theme(
        "callers",
        0,
        callers,
        BURST
        | {
            "vary": (True,),
            "memory_s": (3600.0,),
            "partitions": (2, 3),
            "lost": (0.05, 0.3),
            "deadlines": (0.0, 0.2),
            "operations": ((*BILLED, "aml", *3 * ("session.create",)),),
        },
        {"requests": (10,), "partitions": (2,)},
    ),
)
_LATER_EVERY = 5  # so that other seeds mean what they did before
APPLICATIONS = Theme(
    "applications",
    0,
    applications,
    BURST
    | {"beside": ((SECOND,),), "vary": (True,), "memory_s": (3600.0,), "partitions": (1, 3), "limit": (6, 12), "lost": (0.05, 0.3)}
    | {"every_s": (0.3, 1.5), "transaction_s": (8.0,)}
    | {"operations": ((*BILLED, "aml", "session.create"),)},
    {"requests": (12,), "partitions": (2,)},
)
_OF_TWENTY = {15: APPLICATIONS}  # themes that came last, each with one seed of twenty; the others mean what they did before


THEMES = (*_THEMES, *_OF_TWENTY.values())


def theme_of(draw: random.Random, seed: int, *, small: bool = False) -> Theme:
    """One of them, by weight; of those that can be small."""
    if (newest := _OF_TWENTY.get(seed % 20)) is not None:
        return newest
    themes = [theme for theme in _THEMES if not small or theme.small is not None]
    theme = draw.choices(themes, [theme.weight for theme in themes])[0]
    return theme if seed % _LATER_EVERY != _LATER_EVERY - 1 else draw.choice([theme for theme in themes if not theme.weight])
