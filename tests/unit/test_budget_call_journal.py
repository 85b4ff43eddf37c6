"""Who has called for which request: duplicates, conflicts and doubts, also after a restart and from long ago."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from memory_log import MemoryLog, MemoryTopic
from virtual_time import run_virtual

from processor.budget import call_journal
from processor.budget.call_index import JournaledCall
from processor.budget.call_journal import CLAIMS_MAX, CLEAR, CallJournal, PriorCalls
from processor.budget.finished_records import FinishedRecords
from processor.budget.log import Entry
from processor.budget.log_records import Asked, Ended, LaneDone, decode_entry, encode
from processor.budget.permits import CallIdentity, Duplicate, EarlierRecord
from processor.budget.replay import replay_lane
from processor.contract.digests import source_digest
from processor.contract.records import Source

MARK = CallIdentity("request", "content", "first", "t[0]", 5)


class Scene:
    def __init__(self) -> None:
        self.journal, self.offset = CallJournal(3600.0, 1000), -1

    def ask(self, name: str, identity: CallIdentity = MARK, at: float = 0.0, *, announced: bool = False) -> int:
        self.offset += 1
        asked = Asked(name, ("a",), 90.0, "op", identity=identity, announced=announced)
        self.journal.asked(asked, identity, self.offset, at, int(at * 1000) + 7)
        return self.offset

    def claim(self, identity: CallIdentity, at: float = 0.0) -> None:
        self.offset += 1
        self.journal.claimed(identity, self.offset, at, int(at * 1000) + 7)

    def done(self, floor: int, gap_map: bytes = b"") -> None:
        self.offset += 1
        self.journal.finished.note(LaneDone("t[0]", floor, gap_map), self.offset)

    def begin(self, name: str) -> bool:
        self.offset += 1
        return self.journal.begun(name, self.offset)

    def prior_calls(self, identity: CallIdentity = MARK) -> PriorCalls:
        """Of an ask that comes now."""
        return self.journal.prior_calls(identity, self.offset + 1)


def test_nobody_asked_before() -> None:
    scene = Scene()
    offset = scene.ask("x")
    assert scene.journal.prior_calls(MARK, offset) == CLEAR, "an ask is not its own doubt"
    assert scene.prior_calls(replace(MARK, request="another")) == CLEAR


@pytest.mark.parametrize(
    ("ended", "prior_calls"),
    [
        (None, PriorCalls(doubt_ms=7, over_ms=90_007)),
        (Ended("x", used=True, acted=True), PriorCalls(doubt_ms=7, over_ms=7)),
        (Ended("x", used=True, acted=False), CLEAR),
        (Ended("x", used=False), CLEAR),
    ],
    ids=["may still come about", "done", "void", "never"],
)
def test_a_former_life_of_the_same_record_leaves_a_doubt_unless_nothing_was_done(ended: Ended | None, prior_calls: PriorCalls) -> None:
    scene = Scene()
    scene.ask("x")
    if ended:
        scene.journal.ended(ended)
    assert scene.prior_calls() == prior_calls


def test_a_claim_is_remembered_and_leaves_no_doubt() -> None:
    scene = Scene()
    scene.claim(MARK)
    assert scene.prior_calls() == CLEAR, "the same record again: its answer was not published"
    assert scene.prior_calls(replace(MARK, first="copy")) == PriorCalls(duplicate=True)
    assert scene.prior_calls(replace(MARK, first="other", content="other")) == PriorCalls(conflict=True)
    scene.claim(replace(MARK, first="copy"))
    assert scene.prior_calls() == CLEAR, "a copy takes nothing over"
    assert scene.prior_calls(replace(MARK, first="copy", replay=1)) == CLEAR, "a redrive is a new round"


def test_a_duplicate_is_told_whose_the_request_is_and_when_its_last_call_was_asked_for() -> None:
    scene, copy = Scene(), replace(MARK, first="copy")
    scene.ask("x", at=1.0)
    scene.ask("again", replace(MARK, lane="retry[0]", offset=9), at=20.0)
    scene.ask("withdrawn", replace(MARK, lane="retry[0]", offset=10), at=30.0)
    scene.journal.ended(Ended("withdrawn", used=False))
    scene.ask("of the copy", copy, at=40.0)
    told = scene.prior_calls(replace(MARK, first="another copy")).obstacle
    assert isinstance(told, Duplicate)
    assert told.earlier == EarlierRecord("first", 20_007, MARK.lane), "the lane of its first call"
    scene.claim(replace(MARK, request="claimed"), at=50.0)
    assert scene.prior_calls(replace(copy, request="claimed")).earlier == EarlierRecord("first", 50_007, MARK.lane)


def test_a_record_that_is_finished_itself_is_told_of_no_other_one() -> None:
    scene = Scene()
    scene.ask("x")
    scene.done(6)
    told = scene.prior_calls().obstacle
    assert isinstance(told, Duplicate)
    assert told.earlier is None


def test_a_claim_behind_a_call_is_nothing() -> None:
    scene = Scene()
    scene.ask("x")
    scene.claim(replace(MARK, first="copy"))
    scene.journal.ended(Ended("x", used=False))
    assert scene.prior_calls() == CLEAR


def test_claims_are_bounded_in_number_and_time() -> None:
    scene = Scene()
    scene.claim(replace(MARK, request="old"))
    for n in range(CLAIMS_MAX):
        scene.claim(replace(MARK, request=str(n)))
    copy = replace(MARK, first="copy")
    assert scene.prior_calls(replace(copy, request="old")) == CLEAR
    assert scene.prior_calls(replace(copy, request="0")).duplicate
    scene.claim(replace(MARK, request="late"), at=3601.0)
    assert scene.prior_calls(replace(copy, request="0")) == CLEAR
    assert scene.prior_calls(replace(copy, request="late")).duplicate


def test_the_first_end_counts() -> None:
    scene = Scene()
    scene.ask("x")
    scene.journal.ended(Ended("x", used=True, acted=True))
    scene.journal.ended(Ended("x", used=False))
    assert scene.prior_calls().doubt_ms == 7


def test_the_doubt_begins_with_the_first_call() -> None:
    scene = Scene()
    scene.ask("x", at=1.0)
    scene.ask("y", at=2.0)
    assert scene.prior_calls().doubt_ms == 1007


def test_a_hop_is_no_copy_and_carries_on_the_doubt() -> None:
    scene = Scene()
    scene.ask("x")
    assert scene.prior_calls(replace(MARK, lane="t.retry[1]", offset=99)) == PriorCalls(doubt_ms=7, over_ms=90_007)


@pytest.mark.parametrize("ended", [None, Ended("x", used=True, acted=True), Ended("x", used=True)])
def test_another_position_with_the_same_id_is_a_copy_and_with_another_content_a_conflict(ended: Ended | None) -> None:
    scene = Scene()
    scene.ask("x")
    if ended:
        scene.journal.ended(ended)
    assert scene.prior_calls(replace(MARK, first="elsewhere")) == PriorCalls(duplicate=True)
    assert scene.prior_calls(replace(MARK, first="elsewhere", content="else")) == PriorCalls(conflict=True)


def test_the_first_one_stays_the_first_whoever_asks_after_it() -> None:
    scene = Scene()
    scene.ask("x")
    scene.journal.ended(Ended("x", used=True))
    for first, content in (("second", "content"), ("third", "else")):
        scene.ask(first, replace(MARK, first=first, content=content))  # their holders die before they can withdraw
        assert scene.prior_calls(replace(MARK, lane="retry[0]")) == CLEAR
    assert scene.prior_calls(replace(MARK, first="second")).duplicate
    scene.ask("late", replace(MARK, first="second"), at=3500.0)
    scene.ask("w", replace(MARK, request="w"), at=3700.0)
    assert scene.prior_calls() == CLEAR, "the ask of a duplicate does not take over when the first one is forgotten"


@pytest.mark.parametrize("announced", [True, False])
def test_a_copy_at_the_end_of_the_memory_that_was_called_leaves_a_doubt(announced: bool) -> None:
    """Its holder forgot the first one a moment before us, and died in the call."""
    scene = Scene()
    scene.ask("x", at=0.0)
    copy = replace(MARK, first="an hour later")
    scene.ask("y", copy, at=3599.0, announced=announced)
    if announced:
        assert scene.begin("y")
    scene.ask("w", replace(MARK, request="w"), at=3601.0)
    assert scene.prior_calls(replace(copy, offset=9)).doubt_ms is not None, "its heir must not call again"
    assert scene.prior_calls(replace(MARK, first="third")).duplicate
    scene.journal.ended(Ended("y", used=True, acted=True))
    assert scene.prior_calls().duplicate, "the first one, too, finds that its request has been answered"


def test_an_ask_that_was_withdrawn_claims_nothing() -> None:
    scene = Scene()
    scene.ask("x")
    scene.journal.ended(Ended("x", used=False))
    assert scene.prior_calls(replace(MARK, first="elsewhere")) == CLEAR


def test_a_redrive_is_a_new_round() -> None:
    scene = Scene()
    scene.ask("x")
    assert scene.prior_calls(replace(MARK, replay=1)) == CLEAR
    assert scene.prior_calls(replace(MARK, first="elsewhere", replay=1)) == CLEAR
    scene.ask("y", replace(MARK, replay=1))
    assert scene.prior_calls(replace(MARK, replay=1)).doubt_ms == 7
    assert scene.prior_calls(replace(MARK, first="elsewhere")).duplicate, "a duplicate stays a duplicate"


def test_memory_ends_and_says_from_where_it_is_whole() -> None:
    scene = Scene()
    scene.ask("x", at=0.0)
    scene.ask("y", replace(MARK, request="z"), at=3000.0)
    assert len(scene.journal) == 2
    scene.ask("w", replace(MARK, request="w"), at=3601.0)
    assert scene.prior_calls(replace(MARK, first="elsewhere")) == CLEAR
    assert (len(scene.journal), scene.journal.floor) == (2, 1)


def test_what_a_restored_lane_recalls_outlives_the_memory() -> None:
    scene = Scene()
    scene.ask("x", at=0.0)
    scene.ask("done", replace(MARK, request="d", offset=6), at=0.0)
    scene.ask("other lane", replace(MARK, request="o", lane="t[1]"), at=0.0)
    found = scene.journal.replay("t[0]", 0, lambda offset: offset != 6)
    assert found.first_calls() == {5: 0}
    scene.ask("w", replace(MARK, request="w"), at=9999.0)
    assert scene.prior_calls().doubt_ms == 7
    assert scene.prior_calls(replace(MARK, request="o", lane="t[1]")) == CLEAR
    scene.journal.ended(Ended("x", used=False))
    assert scene.prior_calls() == CLEAR, "its end is heard too"


def test_an_ask_at_the_place_of_a_new_one_in_a_lost_log_is_looked_up() -> None:
    scene = Scene()
    place = scene.ask("x")
    scene.journal.replay("t[0]", 0, lambda _: True)
    scene.journal.outlive_log()
    assert scene.journal.prior_calls(MARK, place).doubt_ms == 7


async def _recall(since: int, *, purge: bool = False, floor: int = 100) -> tuple[bool, dict[int, int], CallJournal, MemoryLog]:
    topic = MemoryTopic()
    log, journal = MemoryLog(topic), CallJournal(3600.0, 1000)
    for n in range(10):  # request n is asked for at 2 n; those of even numbers end
        identity = CallIdentity(f"r{n}", "c", f"f{n}", f"t[{n % 3}]", n)
        topic.put(encode(Asked(f"x{n}", ("a",), 90.0, "op", identity=identity)))
        topic.put(encode(Ended(f"x{n}", used=True, acted=n % 4 == 0)) if n % 2 == 0 else b"nonsense")
    if purge:
        topic.begin, topic.entries = 8, topic.entries[8:]
    journal.floor = floor
    whole_from, replayed = await replay_lane(log, journal, "t[0]", since, topic.end, lambda offset: offset != 9)
    return whole_from <= since <= topic.end, replayed.first_calls(), journal, log


def test_older_records_are_read_back_for_the_lane_alone() -> None:
    reaches, first_calls, journal, log = run_virtual(_recall(0))
    assert (reaches, first_calls, log.sections) == (True, {0: 0, 3: 6, 6: 12}, 1)
    doubts = {n: journal.prior_calls(CallIdentity(f"r{n}", "c", f"f{n}", "t[0]", n), 10**9).doubt_ms is not None for n in range(10)}
    assert doubts == {0: True, 3: True, 6: False} | dict.fromkeys((1, 2, 4, 5, 7, 8, 9), False)


def test_nothing_is_read_back_that_the_memory_holds() -> None:
    reaches, _, _, log = run_virtual(_recall(7, floor=7))
    assert (reaches, log.sections) == (True, 0)


def test_a_log_that_does_not_reach_back_says_so() -> None:
    reaches, first_calls, _, _ = run_virtual(_recall(0, purge=True))
    assert (reaches, first_calls) == (False, {6: 12})


def test_a_hole_in_the_log_is_no_whole_memory() -> None:
    async def recall(since: int) -> int:
        topic = MemoryTopic()
        for n in range(10):
            identity = CallIdentity(f"r{n}", "c", f"f{n}", "t[0]", n)
            topic.put(encode(Asked(f"x{n}", ("a",), 90.0, "op", identity=identity)))
        del topic.entries[4:6]
        journal = CallJournal(3600.0, 1000)
        journal.floor = 100
        return (await replay_lane(MemoryLog(topic), journal, "t[0]", since, topic.end, lambda _: True))[0]

    assert [run_virtual(recall(since)) for since in (0, 3, 6, 8)] == [6, 6, 0, 0]


def test_a_position_beyond_the_end_belongs_to_another_log() -> None:
    reaches, first_calls, _, _ = run_virtual(_recall(500))
    assert reaches is False
    assert first_calls == {0: 0, 3: 6, 6: 12}


def test_a_long_past_of_a_lane_does_not_hold_the_loop() -> None:
    class OneFetch(MemoryLog):
        async def section(self, start: int, stop: int) -> AsyncIterator[list[Entry]]:
            yield [entry for entry in self.topic.entries if start <= entry.offset < stop]

    async def turns_of_the_loop() -> int:
        topic, journal = MemoryTopic(), CallJournal(3600.0, 1000)
        for n in range(10_000):
            topic.put(encode(Asked(f"x{n}", ("a",), 90.0, "op", identity=CallIdentity(f"r{n}", "c", f"f{n}", "t[0]", n))))
        journal.floor = 10**6
        task = asyncio.create_task(replay_lane(OneFetch(topic), journal, "t[0]", 0, topic.end, lambda _: False))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await task
        return turns

    assert asyncio.run(turns_of_the_loop()) >= 5, "of 10 ms each"


def test_an_end_that_comes_while_older_records_are_read_is_not_missed() -> None:
    async def play() -> PriorCalls:
        topic, journal = MemoryTopic(), CallJournal(3600.0, 1000)
        topic.put(encode(Asked("x", ("a",), 90.0, "op", identity=MARK)))
        journal.floor = 1
        task = asyncio.create_task(replay_lane(MemoryLog(topic), journal, "t[0]", 0, topic.end, lambda _: True))
        while not journal.replaying:
            await asyncio.sleep(0)
        journal.ended(Ended("x", used=False))
        await task
        return journal.prior_calls(MARK, 10)

    assert run_virtual(play()) == CLEAR


def test_a_record_that_is_done_is_a_duplicate_of_itself() -> None:
    scene = Scene()
    scene.ask("x")
    scene.done(5)
    assert scene.prior_calls() == PriorCalls(doubt_ms=7, over_ms=90_007), "it is the first that is not done"
    scene.done(5, b"\x01")
    assert scene.prior_calls() == PriorCalls(duplicate=True)
    assert scene.prior_calls(replace(MARK, lane="t.retry[0]")).duplicate is False, "its next hop"
    assert scene.prior_calls(replace(MARK, replay=1)) == PriorCalls(duplicate=True), "the same record"


def test_what_is_called_after_the_word_is_another_record() -> None:
    """The topic was created again: its first records stand where others stood."""
    scene = Scene()
    scene.done(1000)
    scene.ask("x")
    assert scene.prior_calls().doubt_ms == 7
    scene.done(0)
    assert scene.prior_calls().doubt_ms == 7


def test_a_callers_record_is_done_when_a_later_hop_has_called() -> None:
    first = source_digest(Source("t", 0, 5))
    caller, hop = replace(MARK, first=first), replace(MARK, first=first, lane="t.retry[1]", offset=2)
    scene = Scene()
    scene.ask("x", hop)
    assert scene.prior_calls(caller) == PriorCalls(duplicate=True)
    assert scene.prior_calls(hop).doubt_ms == 7
    assert scene.prior_calls(replace(hop, offset=9)).doubt_ms == 7, "only of the first it is certain"
    assert scene.prior_calls(replace(caller, replay=1)).duplicate is False


def test_the_farthest_word_is_kept_beside_the_newest() -> None:
    finished = FinishedRecords()
    for offset, floor in enumerate((10, 500, 0, 3, 3)):
        finished.note(LaneDone("t[0]", floor), offset + 100)
    called = replace(MARK, offset=400)
    assert finished.hold(called, 100)
    assert not finished.hold(called, 101)
    assert finished.hold(replace(MARK, offset=2), 103)
    assert not finished.hold(replace(called, lane="t[1]"), 0)
    again = FinishedRecords()
    again.follow_on(finished)
    assert again.hold(called, 100)


def test_a_gap_map_is_kept_when_the_offsets_are_committed_by_hand_where_they_stood() -> None:
    scene = Scene()
    scene.ask("x")
    scene.done(2, b"\x08")  # 0, 1 and 5
    scene.done(2)  # the next owner found a text that is no gap map
    assert scene.prior_calls() == PriorCalls(duplicate=True)
    scene.done(3, b"\x08")  # 0 to 2 and 6: it goes farther, and has not come to 5 yet
    assert scene.prior_calls() == PriorCalls(duplicate=True)


def test_few_words_are_kept_of_a_lane_the_newest_and_the_farthest_among_them() -> None:
    finished = FinishedRecords()
    finished.note(LaneDone("t[0]", 500), 100)
    for offset in range(100):
        finished.note(LaneDone("t[0]", 2, bytes(offset) + b"\x01"), 101 + offset)  # none of them tells what another one does
    assert finished.hold(replace(MARK, offset=499), 99)
    assert finished.hold(replace(MARK, offset=2 + 8 * 99), 199)
    assert not finished.hold(replace(MARK, offset=2 + 8 * 90), 189), "or a lane could take any memory"


def test_the_word_survives_the_log() -> None:
    done = LaneDone("t[0]", 2, b"\x02\x80")
    assert decode_entry(encode(done)) == [done]
    assert [n for n in range(20) if done.holds(n)] == [0, 1, 3, 17]
    assert decode_entry(b'{"t":"done","l":"t[0]","o":2,"d":"no base64"}') == [None]
    assert decode_entry(b'{"t":"done","l":"t[0]","o":2,"d":"' + b"A" * 5000 + b'"}') == [None]


def test_an_announced_ask_leaves_a_doubt_from_its_beginning_on() -> None:
    scene = Scene()
    scene.ask("x", announced=True)
    assert scene.prior_calls() == CLEAR, "nothing was called"
    assert scene.prior_calls(replace(MARK, first="elsewhere")).duplicate, "it claims the request all the same"
    assert scene.begin("x")
    assert scene.begin("x"), "the same record sent twice"
    assert scene.prior_calls().doubt_ms == 7
    scene.journal.ended(Ended("x", used=False))
    assert scene.prior_calls() == CLEAR


def test_a_beginning_after_a_later_ask_for_the_same_request_does_not_count() -> None:
    scene = Scene()
    scene.ask("zombie", announced=True)
    scene.ask("heir", announced=True)
    scene.ask("other", replace(MARK, request="other"), announced=True)
    assert not scene.begin("zombie")
    assert not scene.begin("zombie")
    assert scene.begin("heir")
    assert scene.begin("other")
    assert not scene.begin("never heard of")
    assert scene.prior_calls().doubt_ms == 7


@pytest.mark.parametrize("identity", [replace(MARK, first="duplicate"), replace(MARK, replay=1)])
def test_a_copy_or_another_round_does_not_overtake(identity: CallIdentity) -> None:
    scene = Scene()
    scene.ask("x", announced=True)
    scene.ask("y", identity, announced=True)
    assert scene.begin("x")


def test_an_heir_that_was_withdrawn_does_not_overtake() -> None:
    scene = Scene()
    scene.ask("x", announced=True)
    scene.ask("y", announced=True)
    scene.journal.ended(Ended("y", used=False))
    assert scene.begin("x")


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("early", [True, False], ids=["the follower is ahead", "the reader of the past is ahead"])
def test_a_beginning_is_recalled_in_whatever_order_it_is_read(begun: bool, early: bool) -> None:
    journal = CallJournal(1.0, 1000)
    journal.floor = 10
    replayed = journal.replay("t[0]", 0, lambda _: True)
    journal.replaying.add("t[0]")
    asked = Asked("x", ("a",), 90.0, "op", identity=MARK, announced=True)
    call = JournaledCall.asked(asked, MARK, 3, 0.0, 7)
    if not early:
        replayed.add("x", call)
    if begun:
        journal.begun("x", 12)
    if early:
        replayed.add("x", call)
    assert journal.prior_calls(MARK, 20).doubt_ms == (7 if begun else None)


@pytest.mark.parametrize("announced", [True, False])
def test_of_what_comes_early_so_many_are_kept_and_what_is_found_later_is_in_doubt(monkeypatch: pytest.MonkeyPatch, announced: bool) -> None:
    """All calls of everybody came there while a week was read back: hundreds of megabytes for each lane."""
    monkeypatch.setattr(call_journal, "EARLY_MAX", 4)
    journal = CallJournal(1.0, 1000)
    journal.floor = 10
    replayed = journal.replay("t[0]", 0, lambda _: True)
    journal.replaying.add("t[0]")
    for number in range(1000):
        journal.begun(f"x{number}", 12)
        journal.ended(Ended(f"x{number}", used=True))
    assert len(replayed._early) + len(replayed._early_begun) == 4  # noqa: SLF001 - what is bounded
    identities = {number: replace(MARK, request=f"r{number}", offset=number) for number in (1, 2, 3)}
    for number, identity in identities.items():
        asked = Asked(f"x{number}", ("a",), 90.0, "op", identity=identity, announced=announced)
        replayed.add(asked.id, JournaledCall.asked(asked, identity, 3, 0.0, 7))
    replayed.ended(Ended("x3", used=False), replaying=False)  # as the log tells behind the ask
    doubts = {number: journal.prior_calls(identity, 20).doubt_ms for number, identity in identities.items()}
    assert doubts == {1: None, 2: 7, 3: None}
    journal.replay_done("t[0]")
    asked = Asked("x4", ("a",), 90.0, "op", identity=MARK, announced=True)
    replayed.add("x4", JournaledCall.asked(asked, MARK, 3, 0.0, 7))
    assert replayed.index.get("x4") is not None
    assert journal.prior_calls(MARK, 20).doubt_ms is None, "from then on each beginning is heard"
