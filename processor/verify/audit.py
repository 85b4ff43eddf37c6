"""Reads an installation's topics once and judges them. It commits nothing, joins no group and writes to no topic.

The order of reading is what makes a running installation judgeable: first what the group has committed, then how far every topic goes,
then the records up to there, and at the end the commits once more. A commit and its outcome are one transaction, so the outcome of what
the first look calls done is among the records; and what was seen with a result is done by the last look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from processor.budget.call_journal import CLAIMS_MAX
from processor.budget.circuit_breaker import account_rules
from processor.budget.rules import budget_rules
from processor.clock import clock_ms
from processor.contract.records import Record, Source
from processor.repair.committed import read_finished
from processor.repair.redrive import horizon_s
from processor.settings import DEFAULT_APPLICATION, Settings
from processor.stream.offsets import Finished
from processor.stream.partitions import TopicPartition, partition_of
from processor.stream.topic_reader import TopicReader
from processor.stream.topics import topic_names
from processor.verify.bills import Bills
from processor.verify.facts import Fact, FactKind
from processor.verify.findings import AuditFinding, BrokenPromise, Findings
from processor.verify.intake import Intake, request_id_of
from processor.verify.judge import CLAIMED, JudgingRules, RequestJudge
from processor.verify.log_audit import LogAudit, LogRules
from processor.verify.report import AuditReport, WaitingRequest
from processor.verify.spill import FactSpill
from processor.verify.waiting import Waiting, WaitingPlace

OLDER_S = 600.0
_SKEW_S = 0.5  # the brokers' clocks agree to within this much
_BROKERS_OWN_S = 15.0  # by which the brokers' deadline of a transaction is later than ours
_DAY_MS = 86_400_000
_RETENTION_MS_MIN = 3_600_000  # of results, as `processor topics check` demands it

OnProgress = Callable[[str, int, int], None]  # what, done, of
_Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What is judged.

    Attributes:
        since_ms: requests and acts from this moment on, epoch ms; None for everything that the topics still hold.
        older_s: a request that is older has a final result, or waits visibly.
        bills: what was paid for, where that is known.
        folder: where temporary files go; None for the system's.
    """

    since_ms: int | None = None
    older_s: float = OLDER_S
    bills: Bills | None = None
    folder: Path | None = None


async def audit(settings: Settings, options: AuditOptions, on_progress: OnProgress = lambda _what, _done, _of: None) -> AuditReport:
    """Read, judge, and look up the request ids of what is shown.

    Raises:
        KafkaFailedError: if something cannot be read.
        OSError: if the temporary files cannot be written.
    """
    run = _Run(settings, options, on_progress)
    async with TopicReader(settings) as reader:
        await run.look(reader)
        with FactSpill(sum(end - begin for begin, end in run.ranges.values()), options.folder) as spill:
            await run.read(reader, spill)
            done_after = await read_finished(settings, run.inputs)
            judge = run.judge(spill, done_after)
            return await run.report(reader, judge, spill.size_bytes)


class _Run:
    def __init__(self, settings: Settings, options: AuditOptions, on_progress: OnProgress) -> None:
        self.settings, self.options, self.on_progress = settings, options, on_progress
        self.inputs: list[TopicPartition] = []
        self.ranges: dict[TopicPartition, _Range] = {}
        self.findings, self.notes = Findings(options.since_ms or 0), list[str]()
        self._names = topic_names(settings)
        named = settings.application != DEFAULT_APPLICATION
        self._intake = Intake(self._names, options.bills or Bills(), takes_handed_on=named)
        rules = budget_rules(settings)
        log_rules = LogRules(
            rules.limits,
            rules.wait_s,
            _SKEW_S,
            rules.slack_s,
            rules.pause_max_s,
            account_rules(rules.refused_requests, rules.account_probe_s),
        )
        self._log = LogAudit(log_rules, self._intake, self.findings)
        self._done: Mapping[TopicPartition, Finished] = {}
        self._whole: set[TopicPartition] = set()  # retention has deleted records of these, and what is left is read
        self._first_ms: dict[TopicPartition, int] = {}  # of those, the stamp of the first that is left
        self._looked_ms = 0  # before the ends were asked for
        self._still = False  # nothing was written while it was read
        self._claimed = 0

    async def look(self, reader: TopicReader) -> None:
        """The commits, and then how far each topic goes."""
        names = self._names
        topics = (*names.inputs, *names.outputs, names.repairs, names.controls, names.budget)
        by_topic = {topic: await reader.partitions(topic) for topic in topics}
        self.inputs = [tp for topic in names.inputs for tp in by_topic[topic]]
        self._done = await read_finished(self.settings, self.inputs)
        everything = [tp for partitions in by_topic.values() for tp in partitions]
        self._looked_ms = clock_ms()
        ends = await reader.ends(everything)
        starts = {tp: found.begin for tp, found in ends.items()}
        if self.options.since_ms is not None:
            before_ms = self.options.since_ms - int(1000 * (self.settings.budget.memory_s + self._late_s))
            found = await reader.offsets_at(everything, max(0, before_ms))
            waited_ms = int(1000 * horizon_s(self.settings))  # a round may have been begun long before its result
            found |= await reader.offsets_at(by_topic[names.repairs], max(0, before_ms - waited_ms))
            starts = {tp: ends[tp].high if (at := found[tp]) is None else at for tp in everything}
        starts |= {tp: ends[tp].begin for tp in by_topic[names.controls]}  # what is paused may have been paused long ago
        self.ranges = {tp: (starts[tp], ends[tp].high) for tp in everything}
        self._whole = {tp for tp in everything if 0 < ends[tp].begin == starts[tp]}
        for tp in self.inputs:
            self._look_at_commit(tp, ends[tp].begin, ends[tp].high)

    def _look_at_commit(self, tp: TopicPartition, begin: int, end: int) -> None:
        floor = self._done[tp].floor
        if floor < begin and floor > 0:
            text = f"the commit stands at {floor}; the topic begins at {begin} now"
            self.findings.add(AuditFinding(BrokenPromise.DELETED_UNFINISHED, tp.topic, tp.partition, floor, text))
        elif floor > end:
            text = f"the commit stands at {floor}; the topic ends at {end}"
            self.findings.add(AuditFinding(BrokenPromise.OFFSET_BEYOND_WORK, tp.topic, tp.partition, floor, text))
        elif floor == 0 and end > begin:
            self.notes.append(
                f"the group {self.settings.kafka.group} has no commit for {tp.topic}[{tp.partition}]: nothing of it counts as done"
            )

    async def read(self, reader: TopicReader, spill: FactSpill) -> None:
        """Every record once, into the spill."""
        total = sum(end - begin for begin, end in self.ranges.values())
        positions = {tp: begin for tp, (begin, _) in self.ranges.items()}
        spill.add(self._intake.bill_facts())
        async with reader.read(self.ranges) as batches:
            async for batch in batches:
                for record in batch:
                    tp = partition_of(record.source)
                    if record.source.offset >= positions[tp]:  # a reader that has lost its broker may go back
                        positions[tp] = record.source.offset + 1
                        spill.add(self._take(record, tp))
                self.on_progress("reading", sum(positions.values()) - sum(begin for begin, _ in self.ranges.values()), total)
        self.on_progress("reading", total, total)
        ends = await reader.ends([tp for tp in self.ranges if tp.topic != self._names.budget])
        self._still = all(self.ranges[tp][1] == found.high for tp, found in ends.items())

    def _take(self, record: Record, tp: TopicPartition) -> list[Fact]:
        if tp in self._whole:
            self._first_ms.setdefault(tp, record.timestamp_ms)
        if tp.topic == self._names.budget:
            return list(self._log.take(record))
        facts = list(self._intake.take(record))
        self._claimed += any(fact.kind == FactKind.RESULT and fact.status in CLAIMED for fact in facts)
        return facts

    def judge(self, spill: FactSpill, done_after: Mapping[TopicPartition, Finished]) -> RequestJudge:
        """Part after part of what was read."""
        judge = RequestJudge(self._rules(done_after), self.findings)
        for number, facts in enumerate(spill.read(), 1):
            judge.take(facts)
            self.on_progress("judging", number, spill.parts)
        return judge

    @property
    def _late_s(self) -> float:
        return self.settings.lanes.transaction_s + _BROKERS_OWN_S

    def _rules(self, done_after: Mapping[TopicPartition, Finished]) -> JudgingRules:
        intake, budget = self._intake, self.settings.budget
        now_ms = clock_ms()
        begins = {(intake.number_of(tp.topic), tp.partition): begin for tp, (begin, _) in self.ranges.items()}
        return JudgingRules(
            now_ms=now_ms,
            older_ms=int(1000 * self.options.older_s),
            judged_from_ms=max(self.options.since_ms or 0, self._kept_from_ms(self._names.results, now_ms)),
            dead_letters_from_ms=max(self.options.since_ms or 0, self._kept_from_ms(self._names.dead_letters, now_ms)),
            memory_ms=int(1000 * budget.memory_s),
            late_ms=int(1000 * self._late_s),
            skew_ms=int(1000 * _SKEW_S),
            topics=intake.topics,
            dead_letter_topic=intake.number_of(self._names.dead_letters),
            complete_ms=now_ms + 1 if self._still else self._looked_ms - int(1000 * self._late_s),
            ranges={(intake.number_of(tp.topic), tp.partition): of for tp, of in self.ranges.items()},
            done_before={(intake.number_of(tp.topic), tp.partition): finished for tp, finished in self._done.items()},
            done_after={(intake.number_of(tp.topic), tp.partition): finished for tp, finished in done_after.items()},
            released=frozenset(intake.released),
            ended=frozenset(intake.ended),
            cancelled=frozenset(intake.cancelled),
            cut=frozenset(intake.cut),
            forgets_claims=self._claimed > CLAIMS_MAX,
            forgets_calls=self._log.figures.asks > budget.memory_calls,
            acts_cut=intake.acts_cut,
            retries_from_ms=self._retries_from_ms(now_ms),
            ended_unread=any(offset < begins.get((topic, partition), 0) for topic, partition, offset in intake.ended),
        )

    def _retries_from_ms(self, now_ms: int) -> int:
        """The same of records of delay topics; one that holds nothing any more has kept its records for as long as it must."""
        kept_ms = int(1000 * horizon_s(self.settings)) + _DAY_MS
        return max((self._first_ms.get(tp, now_ms - kept_ms) for tp in self._whole if tp.topic in self._names.inputs[1:]), default=0)

    def _kept_from_ms(self, topic: str, now_ms: int) -> int:
        """From then on no record of a topic was deleted by retention, epoch ms."""
        kept_from_ms = 0
        for tp in sorted(tp for tp in self._whole if tp.topic == topic):
            if tp not in self._first_ms:
                self.notes.append(f"{tp.topic}[{tp.partition}] holds nothing any more: what is older than an hour may have stood there")
            kept_from_ms = max(kept_from_ms, self._first_ms.get(tp, now_ms - _RETENTION_MS_MIN))
        return kept_from_ms

    async def report(self, reader: TopicReader, judge: RequestJudge, spilled_bytes: int) -> AuditReport:
        """What was found, with the request ids of what is shown."""
        found = [Source(finding.topic, finding.partition, finding.offset) for finding in self.findings.kept]
        ids = await self._ids(reader, [*found, *(self._source(waiting.request) for _, waiting in judge.waiting.oldest)])
        self.findings.kept = [replace(finding, request_id=ids.get(at)) for finding, at in zip(self.findings.kept, found, strict=True)]
        return AuditReport(
            installation=self._names.prefix,
            group=self.settings.kafka.group,
            at_ms=judge.rules.now_ms,
            since_ms=self.options.since_ms,
            older_s=self.options.older_s,
            judged_from_ms=judge.rules.judged_from_ms,
            findings=self.findings,
            figures=judge.figures,
            log=self._log.figures,
            waiting=judge.waiting,
            oldest=tuple(self._waiting_row(place, waiting, ids) for place, waiting in judge.waiting.oldest),
            progress=self._intake.progress,
            foreign=self._intake.foreign,
            handed_on=self._intake.handed_on,
            acts=len(self._intake.released) + len(self._intake.cancelled),
            billing=self.options.bills is not None,
            scopes=self._intake.bills.scopes,
            account_held=self._log.is_account_held,
            paused=tuple(act.name for act in self._intake.pauses.in_force),
            spilled_bytes=spilled_bytes,
            notes=tuple(self.notes),
        )

    def _source(self, fact: Fact) -> Source:
        return Source(self._intake.topics[fact.topic], fact.partition, fact.offset)

    def _waiting_row(self, place: WaitingPlace, waiting: Waiting, ids: Mapping[Source, str]) -> WaitingRequest:
        asked, stands = self._source(waiting.request), self._source(waiting.alive)
        return WaitingRequest(str(asked), str(stands), place, waiting.request.stamp_ms, waiting.alive.due_ms or None, ids.get(asked))

    async def _ids(self, reader: TopicReader, sources: Iterable[Source]) -> dict[Source, str]:
        """Request ids of records, where they have one that can be read."""
        without = (self._names.budget, self._names.repairs, self._names.controls)
        wanted = [(partition_of(source), source.offset) for source in sources if source.topic not in without]
        if not wanted:
            return {}
        found = await reader.fetch(wanted)
        ids = {record.source: request_id_of(record, self._names) for record in found.values()}
        return {source: request_id for source, request_id in ids.items() if request_id is not None}
