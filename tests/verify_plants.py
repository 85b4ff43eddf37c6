"""Every kind of fault, planted in a world: each says at which record it is to be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
from verify_world import BEGAN_MS, NAMES, REQUESTS, World

from processor.budget.log_records import Begun, Ended, Paused
from processor.contract.codes import ErrorCode
from processor.contract.records import Record, Source, Status
from processor.contract.result_copies import COPY_HEADER
from processor.verify.findings import BrokenPromise as Kind

Found = tuple[Kind, Record]


def lost_request(w: World) -> list[Found]:
    record = w.request("lost")
    w.finish(record)
    return [(Kind.MISSING_RESULT, record), (Kind.OFFSET_BEYOND_WORK, record)]


def lost_retry(w: World) -> list[Found]:
    record = w.request("lost-later")
    retry = w.retry(record)
    w.finish(retry)
    return [(Kind.MISSING_RESULT, record), (Kind.OFFSET_BEYOND_WORK, retry)]


def lost_conflict(w: World) -> list[Found]:
    """Another content under a known id is no copy: it has a result of its own."""
    w.succeed(w.request("reused"))
    record = w.request("reused", vendor="another")
    w.finish(record)
    return [(Kind.MISSING_RESULT, record), (Kind.OFFSET_BEYOND_WORK, record)]


def lost_round(w: World) -> list[Found]:
    record = w.request("lost-round")
    _, letter = w.fail(record)
    redriven = w.redrive(letter, record)
    assert redriven is not None
    w.finish(redriven)
    return [(Kind.OFFSET_BEYOND_WORK, redriven)]


def two_finals(w: World) -> list[Found]:
    record = w.request("twice")
    w.succeed(record)
    return [(Kind.DOUBLE_FINAL, w.result(record))]


def two_different_finals(w: World) -> list[Found]:
    record = w.request("twice-differently")
    w.succeed(record)
    return [(Kind.DOUBLE_FINAL, w.result(record, Status.EXPIRED))]


def answered_copy(w: World) -> list[Found]:
    w.succeed(w.request("copy-answered"))
    return [(Kind.DOUBLE_FINAL, w.succeed(w.request("copy-answered")))]


def copy_of_nothing(w: World) -> list[Found]:
    """A copy hides no second final: what it repeats stands there."""
    record = w.request("copied-out-of-nothing")
    w.succeed(record)
    final = w.result(record, Status.SUCCEEDED, version=1)
    w.topics[NAMES.results, final.source.partition].remove(final)
    return [(Kind.COPY_OF_NOTHING, w.append(NAMES.results, 0, final.value, final.key, ((COPY_HEADER, b"v.requests[0]@2"),)))]


def result_with_foreign_id(w: World) -> list[Found]:
    record = w.request("foreign")
    final = w.succeed(record)
    value = orjson.loads(final.value or b"") | {"result_id": "00000000-0000-4000-8000-000000000009"}
    forged = w.append(NAMES.results, 0, orjson.dumps(value), final.key)
    return [(Kind.DOUBLE_FINAL, forged), (Kind.FOREIGN_RESULT, forged)]


def result_of_nothing(w: World) -> list[Found]:
    record = w.request("known")
    final = w.result(replace(record, value=(record.value or b"").replace(b"known", b"other")))
    return [(Kind.RESULT_WITHOUT_REQUEST, final)]


def result_of_no_round(w: World) -> list[Found]:
    record = w.request("no-round")
    w.succeed(record)
    return [(Kind.RESULT_WITHOUT_ROUND, w.result(replace(record, headers=_first_of(record, replay=1))))]


def commit_set_back(w: World) -> list[Found]:
    record = w.request("set-back")
    w.succeed(record)
    w.undo(record)
    return [(Kind.UNFINISHED_AFTER_FINAL, record)]


def retry_of_what_is_done(w: World) -> list[Found]:
    """A record waits on although its round has its result."""
    record = w.request("waits-on")
    retry = w.retry(record)
    w.result(record)
    return [(Kind.UNFINISHED_AFTER_FINAL, retry)]


def dead_letter_alone(w: World) -> list[Found]:
    record = w.request("letter")
    w.succeed(record)
    return [(Kind.DEAD_LETTER_WITHOUT_RESULT, w.dead_letter(record))]


def failed_alone(w: World) -> list[Found]:
    record = w.request("no-letter")
    w.finish(record)
    return [(Kind.RESULT_WITHOUT_DEAD_LETTER, w.result(record, Status.IN_DOUBT, ErrorCode.CALL_UNANSWERED))]


def rejected_alone(w: World) -> list[Found]:
    record = w.append(REQUESTS, 0, b'{"request_id": "no-letter-rejected"}', b"key")
    w.finish(record)
    return [(Kind.RESULT_WITHOUT_DEAD_LETTER, w.result(record, Status.REJECTED))]


def two_retries(w: World) -> list[Found]:
    record = w.request("two-retries")
    first = w.retry(record)
    second = w.retry(record)
    w.finish(second)
    w.succeed(first)
    return [(Kind.RETRY_TWICE, second)]


def late_retry(w: World) -> list[Found]:
    retry = w.retry(w.request("late"), -41)
    w.succeed(retry)
    return [(Kind.RETRY_PUBLISHED_LATE, retry)]


def early_retry(w: World) -> list[Found]:
    retry = w.retry(w.request("early"), 3600)
    w.call(retry)
    w.succeed(retry)
    return [(Kind.RETRY_STARTED_EARLY, retry)]


def call_in_a_pause(w: World) -> list[Found]:
    ask = w.ask(w.request("paused-for"))
    w.log(Paused("session-create", 600.0))
    w.wait(40)
    begun = w.log(Begun(ask))
    w.log(Ended(ask, used=False))
    return [(Kind.STARTED_IN_PAUSE, begun)]


def full_window(w: World) -> list[Found]:
    w.wait(100)
    ends = [w.call(w.request(f"window-{n}")) for n in range(4)]
    return [(Kind.WINDOW_OVER, ends[-1])]


def paid_twice(w: World) -> list[Found]:
    record = w.request("paid")
    w.succeed(record)
    w.bills.sessions += [("paid", BEGAN_MS), ("paid", BEGAN_MS + 5000)]
    return [(Kind.BILLED_TWICE, record)]


def redrive_in_silence(w: World) -> list[Found]:
    record = w.request("silent-redrive")
    _, letter = w.fail(record)
    redriven = w.redrive(letter, record, audit=False)
    assert redriven is not None
    w.succeed(redriven)
    return [(Kind.REDRIVE_WITHOUT_AUDIT, redriven)]


def audit_of_nothing(w: World) -> list[Found]:
    record = w.request("invented-redrive")
    _, letter = w.fail(record)
    w.redrive(letter, record, moved=False)
    return [(Kind.AUDIT_WITHOUT_REDRIVE, w.topics[NAMES.repairs, 0][-1])]


def audit_of_no_letter(w: World) -> list[Found]:
    record = w.request("invented-letter")
    w.fail(record)
    redriven = w.redrive(replace(record, source=Source(NAMES.dead_letters, 0, 99_998)), record)
    assert redriven is not None
    w.succeed(redriven)
    return [(Kind.AUDIT_WITHOUT_DEAD_LETTER, w.topics[NAMES.repairs, 0][-1])]


def redriven_twice(w: World) -> list[Found]:
    record = w.request("redriven-twice")
    _, letter = w.fail(record)
    redriven = w.redrive(letter, record)
    assert redriven is not None
    audit = w.topics[NAMES.repairs, 0][-1]
    w.succeed(redriven)
    return [(Kind.REDRIVEN_TWICE, w.append(NAMES.repairs, 0, audit.value))]


def ended_by_nobody(w: World) -> list[Found]:
    retry = w.retry(w.request("ended-by-nobody"), 3600)
    final, _ = w.fail(retry, Status.FAILED, ErrorCode.ENDED_BY_HAND)
    return [(Kind.ENDED_WITHOUT_AUDIT, final)]


def taken_back_by_nobody(w: World) -> list[Found]:
    retry = w.retry(w.request("taken-back-by-nobody"), 3600)
    final = w.result(retry, Status.FAILED, ErrorCode.CANCELLED)
    w.finish(retry)
    return [(Kind.ENDED_WITHOUT_AUDIT, final)]


def _first_of(record: Record, **hop: int) -> tuple[tuple[str, bytes], ...]:
    at = record.source
    first = {"topic": at.topic, "partition": at.partition, "offset": at.offset, "ms": record.timestamp_ms}
    return tuple((f"vp-first-{k}", str(v).encode()) for k, v in first.items()) + tuple((f"vp-{k}", str(v).encode()) for k, v in hop.items())


PLANTS: tuple[Callable[[World], list[Found]], ...] = (
    lost_request,
    lost_retry,
    lost_conflict,
    lost_round,
    two_finals,
    two_different_finals,
    answered_copy,
    copy_of_nothing,
    result_with_foreign_id,
    result_of_nothing,
    result_of_no_round,
    commit_set_back,
    retry_of_what_is_done,
    dead_letter_alone,
    failed_alone,
    rejected_alone,
    two_retries,
    late_retry,
    early_retry,
    call_in_a_pause,
    full_window,
    paid_twice,
    redrive_in_silence,
    audit_of_nothing,
    audit_of_no_letter,
    redriven_twice,
    ended_by_nobody,
    taken_back_by_nobody,
)
