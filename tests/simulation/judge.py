"""Whether a finished world kept the promises. Pure: what was seen goes in, what is wrong comes out.

The one thing that the simulation asks of it is ``judge``: another judge of the same shape can take its place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from processor.devkit import verifier
from processor.devkit.verifier import FinalSeen, RetrySeen
from processor.simulator import ledger_checks
from processor.verify.findings import AuditFinding, BrokenPromise
from simulation.answers import leaving_out, misheard, misread, untrue
from simulation.asked import Asked
from simulation.clients import Heard
from simulation.observed import OF_SOURCE, Answer
from simulation.starving import Published, starved


class Violation(NamedTuple):
    """A broken promise. ``rule`` is a word that stays the same over seeds."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A finished world, from its topics, the ledger of the simulated API and the logs of all hosts.

    Attributes:
        requested: ids of the requests that the brokers have acknowledged.
        finals: in the results topic, committed.
        retries: in the delay topics, committed.
        ledger: as ``GET /_sim/ledger`` gives it.
        logs: host and line.
        secrets: texts that no log line may hold.
        gave_up: replicas that ended by themselves, and their exit status.
        never_asked: ids of requests for which nobody has asked to call in a budget log that is whole.
        audited: what `processor verify` has found, which reads the topics as a client of the brokers.
        steps: the brokers' clocks were set, so stamps tell no times.
        published: when each request was, and its priority, if they differ.
        rounds: that operators have begun: request and number.
        insisted: one of them has asked for calls again that may have taken place.
        sent_away: by request, how often it was written once more because its line had no room.
        certain: nothing in it is a reason for a doubt.
        steady: nor for the end of a life.
        results_deleted: some of what had been published is gone from the results topic.
        left_over: what processes still run of clients that are ended.
        untold: webhooks that were acknowledged and of which the events topic tells nothing.
        answers: all final results, and copies of them.
        asked: what callers have asked for.
        heard: what the product's own client has told its caller.
        rows: the table of `processor batch`: request ids and statuses; None if nobody has run a file.
        failed_acts: what operators could not do though the brokers were there.
        not_erased: rules and details, of a person who was.
        busiest: hosts, and how much each sent in its busiest second for an application: messages, and connections that it tried.
        failed_callbacks: host and line: the event loop tells of an error that nobody has caught.
        applications: that the processors work for.
        topics_usable: none of their topics has settings with which no processor works.
        monitored: what monitoring says at the end, and should not.
    """

    requested: Sequence[str]
    finals: Sequence[FinalSeen]
    retries: Sequence[RetrySeen]
    ledger: Mapping[str, Any]
    logs: Sequence[tuple[str, str]]
    secrets: Sequence[str]
    gave_up: Sequence[tuple[str, int]]
    never_asked: frozenset[str] = frozenset()
    audited: Sequence[AuditFinding] = ()
    steps: bool = False
    published: Mapping[str, Published] = field(default_factory=dict)
    rounds: frozenset[tuple[str, int]] = frozenset()
    insisted: bool = False
    untold: Sequence[str] = ()
    sent_away: Mapping[str, int] = field(default_factory=dict)
    certain: bool = False
    steady: bool = False
    results_deleted: bool = False
    left_over: Sequence[str] = ()
    answers: Sequence[Answer] = ()
    asked: Asked = field(default_factory=Asked)
    monitored: Sequence[str] = ()
    heard: Sequence[Heard] = ()
    rows: Sequence[tuple[str, str]] | None = None
    failed_acts: Sequence[str] = ()
    not_erased: Sequence[tuple[str, str]] = ()
    failed_callbacks: Sequence[tuple[str, str]] = ()
    busiest: Mapping[str, int] = field(default_factory=dict)
    applications: int = 1
    topics_usable: bool = True


# what no trouble of brokers, network or API raises; by the product's own log lines, which name types and no texts
_OWN_FAULT = re.compile(r'"error":"(?:Value|Type|Key|Index|Attribute|Assertion|Runtime)Error"')

_BY_TIMES = frozenset(
    {BrokenPromise.RETRY_STARTED_EARLY, BrokenPromise.STARTED_IN_PAUSE, BrokenPromise.WINDOW_OVER, BrokenPromise.RETRY_PUBLISHED_LATE}
)
_BY_RESULTS = frozenset(
    {
        BrokenPromise.MISSING_RESULT,
        BrokenPromise.OFFSET_BEYOND_WORK,
        BrokenPromise.DEAD_LETTER_WITHOUT_RESULT,
        BrokenPromise.COPY_OF_NOTHING,
    }
)
_GAVE_UP = '"event":"application_gave_up"'
_STARTED, _LIVES_MAX = '"event":"started"', 2  # of a frozen process one ends as well
_LIFE_ENDED, _GONE = '"event":"life_ended"', "NodeNotReadyError"  # of a broker that was killed
# 22 turns of others in a line (`budget.fair_queue`), of which there are four: two operations, two replicas
_TURNS_MAX = 100
_WEBHOOKS_ENOUGH, _TAKEN = 10, 200  # of so many deliveries one at least is taken, though receivers are away
_SENT_MAX = 400  # in a second by one process; up to 270 when one starts with three brokers
_SENT_AWAY_MAX = 20  # once, says guarantees.md, G6, and again if more urgent ones come or a process begins anew; those are few here

Judge = Callable[[Seen], list[Violation]]


def judge(seen: Seen) -> list[Violation]:
    """Everything that is wrong."""
    found = verifier.judge(seen.requested, seen.finals, seen.retries, leaving_out(seen.ledger, seen.asked.repeated))
    wrong = [Violation("no final result", request_id) for request_id in found.missing]
    lacking = seen.rounds - {(final.request_id.partition(OF_SOURCE)[0], final.replay) for final in seen.finals}
    wrong += [Violation("no final result of a round", f"{request_id}, round {number}") for request_id, number in sorted(lacking)]
    wrong += [Violation("two final results", f"{i}: {_statuses(seen, i)}") for i in found.duplicated]
    wrong += [
        Violation("over the limit", f"{scope}: {figures['max_in_window']} in {figures['window_s']:g} s, limit {figures['limit']}")
        for scope, figures in found.scopes.items()
        if figures["max_in_window"] > figures["limit"]
    ]
    for_nothing = [final for final in seen.finals if final.status == "in_doubt" and final.request_id in seen.never_asked]
    wrong += [Violation("in doubt though nobody has asked to call", final.request_id) for final in for_nothing]
    if not seen.insisted:  # else `processor verify` counts the bills, which knows what was in doubt in which round
        wrong += [Violation("billed twice", f"{found.billed_twice} requests")] if found.billed_twice else []
        wrong += [Violation("done twice", text) for text in ledger_checks.done_twice(leaving_out(seen.ledger, seen.asked.repeated))]
    if found.early_retries:
        wrong.append(Violation("retried early", f"{found.early_retries} retries"))
    wrong += [Violation("an acknowledged webhook is lost", text) for text in seen.untold]
    webhooks = [attempt["answer"] for attempt in seen.ledger.get("webhooks", ())]
    if len(webhooks) >= _WEBHOOKS_ENOUGH and _TAKEN not in webhooks:
        wrong.append(Violation("no webhook is taken", f"{len(webhooks)} deliveries"))
    wrong += [Violation("starved", text) for text in starved(seen.published, seen.ledger["calls"], _TURNS_MAX)]
    often = [(request_id, count) for request_id, count in seen.sent_away.items() if count > _SENT_AWAY_MAX]
    wrong += [Violation("sent away again and again", f"{request_id}: {count} times") for request_id, count in often]
    planted = [(host, line) for host, line in seen.logs if any(secret in line for secret in seen.secrets)]
    wrong += [Violation("personal data in a log", f"{host}: {line[:80]}") for host, line in planted]
    own = [(host, line) for host, line in seen.logs if _OWN_FAULT.search(line)]
    wrong += [Violation("a fault of the program", f"{host}: {line[:200]}") for host, line in own]
    wrong += [Violation("a callback failed", f"{host}: {line[:300]}") for host, line in seen.failed_callbacks]
    wrong += [Violation("a client is ended in part", text) for text in seen.left_over]
    wrong += [Violation("a replica gave up", f"{host}: exit status {status}") for host, status in seen.gave_up]
    wrong += [
        Violation("an application gave up", f"{host}: {line[:300]}") for host, line in seen.logs if _GAVE_UP in line and seen.topics_usable
    ]
    wrong += [Violation("lives end again and again", text) for text in _restless(seen.logs)] if seen.applications > 1 else []
    wrong += [Violation("asks too often", f"{host}: {n} times in a second") for host, n in seen.busiest.items() if n > _SENT_MAX]
    wrong += [Violation("an operator cannot act", text) for text in seen.failed_acts]
    wrong += [Violation("monitored", text) for text in seen.monitored]
    wrong += [
        Violation(*pair) for pair in (*untrue(seen.answers, seen.asked, seen.ledger), *misheard(seen.answers, seen.heard), *seen.not_erased)
    ]
    if seen.rows is not None:
        wrong += [Violation(*pair) for pair in misread(seen.answers, seen.requested, seen.rows)]
    return wrong + _for_no_reason(seen) + _audited(seen)


def _restless(logs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Processes whose lives end again and again: what one application has too little of is no reason for that."""
    ended = Counter[str]()
    for host, line in logs:
        if _STARTED in line:
            ended[host] = 0
        elif _LIFE_ENDED in line:
            ended[host] += 1
            if ended[host] == _LIVES_MAX + 1:
                yield f"{host}: {line[:300]}"


def _for_no_reason(seen: Seen) -> list[Violation]:
    """What must not be where all calls are answered, and no process is ended before its time."""
    lost = [final for final in seen.finals if final.status != "succeeded"] if seen.certain else []
    ended = [(host, line) for host, line in seen.logs if _LIFE_ENDED in line and _GONE not in line] if seen.steady else []
    wrong = [Violation(f"{final.status} for no reason", final.request_id) for final in lost]
    return wrong + [Violation("a life ended for no reason", f"{host}: {line[:300]}") for host, line in ended]


def _audited(seen: Seen) -> list[Violation]:
    """What `processor verify` finds. That a retry was published late is no fault where brokers are away all the time."""
    left_out = (_BY_TIMES if seen.steps else {BrokenPromise.RETRY_PUBLISHED_LATE}) | (_BY_RESULTS if seen.results_deleted else set())
    found = [finding for finding in seen.audited if finding.kind not in left_out]
    return [Violation(f"verify: {finding.kind.value}", f"{finding.place}: {finding.text}") for finding in found]


def _statuses(seen: Seen, request_id: str) -> str:
    return ", ".join(final.status for final in seen.finals if final.request_id == request_id)
