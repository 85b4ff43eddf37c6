"""Dead letters: found, redriven once and only once whatever happens, discarded; and the journey of a request."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import ProducerFenced
from aiokafka.partitioner import DefaultPartitioner
from commands import Command
from dead_letters import cli, dead_letter, delayed_records, headers_of, write_dead_letters
from rig import Rig, running

from processor.client.topics import read_topics, topic_reader
from processor.contract import schemas
from processor.contract.codes import ErrorCode, ErrorType
from processor.contract.encode import retry_output
from processor.contract.records import ErrorInfo, Hop, Record, Source
from processor.contract.repairs import Repair, RepairKind, Target, repair_value
from processor.devkit.kafka_cluster import LocalKafka
from processor.monitoring.factories import monitor_for_command
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.model import DeadLetter
from processor.repair.redrive import RepairFencedError, RepairLine, discard, redrive
from processor.stream.clients import build_repair_producer
from processor.stream.errors import KafkaFailedError
from processor.stream.topics_admin import apply_topics, check_topics

pytestmark = pytest.mark.broker


def request(request_id: str, operation: str = "email.send", **extra: object) -> tuple[bytes, bytes]:
    mail = f"{abs(hash(request_id))}@example.org"
    body = {"request_id": request_id, "operation": operation, "input": {"email": mail}, **extra}
    return f"key of {request_id}".encode(), orjson.dumps(body)


async def create_topic(rig: Rig, name: str, **configs: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
    await admin.start()
    try:
        named = {key.replace("_", "."): value for key, value in configs.items()}
        await admin.create_topics([NewTopic(f"{rig.prefix}.{name}", 1, 1, topic_configs=named)])
    finally:
        await admin.close()


async def test_a_redriven_request_gets_one_more_final_result_under_its_own_key(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False, RETRY__ATTEMPTS_MAX="1") as rig:
        await create_topic(
            rig, "dead-letters", max_message_bytes="2000000", message_timestamp_type="LogAppendTime"
        )  # one partition, the requests have twenty
        applied = await apply_topics(rig.settings, partitions=20, replication=1)
        assert not applied.report.faults, applied.report.faults
        await rig.start("a")
        names = ["Null", "No", "~", *(f"r-{n}" for n in range(17))]
        rig.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}})
        await rig.publish([request(name) for name in names])
        await rig.wait_finals(20)
        rig.simulator.post("/_sim/faults", {"rates": {}})

        listed = await cli(rig, "deadletters", "list")
        assert listed.status == 0, listed.err
        assert {line.split()[3] for line in listed.text.splitlines() if line.split()[0:1] and line.split()[0].startswith("0:")} == set(
            names
        )
        assert "exhausted: http_503" in listed.text
        as_json = await cli(rig, "deadletters", "list", "--json", "--reason", "http_503", "--operation", "email.send")
        assert {line["request_id"] for line in as_json.lines} == set(names)
        dry = await cli(rig, "deadletters", "redrive", "--all", "--dry-run")
        assert (dry.status, "20 to redrive" in dry.text) == (0, True), dry.err
        unasked = await cli(rig, "deadletters", "redrive", "--all")
        assert (unasked.status, "--yes" in unasked.err) == (2, True), "nobody answers, nothing is done"
        assert not await rig.records("repairs")

        done = await cli(rig, "deadletters", "redrive", "--all", "--yes", "--by", "tester", "--note", "Didit is back")
        assert done.status == 0, done.err
        assert "20 redriven" in done.text
        assert "processor results --follow" in done.text
        await rig.until(lambda: len(rig.finals) >= 40, "a second final result of each")
        await rig.read_rest()
        by_replay = Counter((f["request_id"], f.get("replay", 0)) for f in rig.finals)
        assert by_replay == Counter({(name, replay): 1 for name in names for replay in (0, 1)})
        assert {f["status"] for f in rig.finals if f.get("replay")} == {"succeeded"}
        assert len({f["result_id"] for f in rig.finals}) == 40, "a reader that drops copies by result_id sees both"
        results = await rig.records("results")
        assert all(r.source.partition == orjson.loads(r.value)["source"]["partition"] for r in results), "that of the caller's record"
        assert len({r.source.partition for r in results}) > 1
        assert all(not schemas.faults("result.v1", f) for f in rig.finals)

        repairs = [orjson.loads(r.value) for r in await rig.records("repairs")]
        assert all(not schemas.faults("repair.v1", r) for r in repairs)
        assert {(r["kind"], r["by"], r["note"], r["replay"]) for r in repairs} == {("redriven", "tester", "Didit is back", 1)}
        assert Counter(r["request_id"] for r in repairs) == Counter(names)
        redriven = await delayed_records(rig)
        for record in redriven:
            assert headers_of(record)["vp-replay"] == "1"
            assert headers_of(record)["vp-first-topic"] == f"{rig.prefix}.requests"
            assert record.source.partition == DefaultPartitioner()(record.key, [0, 1], None), "its own key, not the dead letter's partition"
        assert {r.key for r in redriven} == {request(name)[0] for name in names}
        again = await cli(rig, "deadletters", "redrive", "--all", "--yes")
        assert (again.status, "0 to redrive" in again.text) == (0, True)
        handled = await cli(rig, "deadletters", "list", "--handled", "--json")
        assert {(line["status"], line["handled_by"]) for line in handled.lines} == {("redriven", "tester")}


async def test_the_journey_of_a_request_and_what_is_shown_of_a_dead_letter(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, RETRY__ATTEMPTS_MAX="1") as rig:
        await rig.start("a")
        rig.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}})
        secret = {"full_name": "Secret Person", "vendor_data": "secret-user", "metadata": {"secret": ["secret"]}}
        key, value = request("No", "aml", input=secret)
        await rig.publish([(key, value)])
        await rig.wait_finals(1)
        rig.simulator.post("/_sim/faults", {"rates": {}})
        (dead_letter,) = (await cli(rig, "deadletters", "list", "--json", "--request-id", "No")).lines
        position = f"{dead_letter['partition']}:{dead_letter['offset']}"
        shown = await cli(rig, "deadletters", "show", position)
        assert "in_doubt: http_503" in shown.text
        assert '"full_name": "***"' in shown.text
        assert '"***": [' in shown.text, "a name that no schema knows is masked too"
        raw = await cli(rig, "deadletters", "show", position, "--raw")
        assert raw.out == value
        assert (await cli(rig, "deadletters", "redrive", "--at", position, "--yes", "--by", "tester")).status == 0
        await rig.until(lambda: len(rig.finals) == 2, "the second final result")
        found = await cli(rig, "results", "find", "No")
        assert found.status == 0, found.err
        as_json = (await cli(rig, "results", "find", "No", "--json")).lines[0]
        what = [step["what"] for step in as_json["steps"]]
        assert (what[0], set(what[1:3]), what[3:]) == ("requested", {"result", "dead-letter"}, ["redriven", "result"])
        assert as_json["request"] == {
            "request_id": "No",
            "operation": "aml",
            "input": {"full_name": "***", "vendor_data": "***", "metadata": {"***": ["***"]}},
        }
        assert "redriven by tester" in found.text
        for told in (shown, found):
            assert "secret" not in told.text.lower()
        nothing = await cli(rig, "results", "find", "Nobody")
        assert (nothing.status, "nothing is known of Nobody" in nothing.text) == (1, True)
        printed = await cli(rig, "results")
        assert [line["request_id"] for line in printed.lines] == ["No", "No"], "the command without a word still prints results"


async def test_what_waits_and_what_is_in_line_is_part_of_a_journey(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        rig.simulator.post("/_sim/faults", {"rates": {"throttle_429": 1.0}, "retry_after_s": 300})
        (a,) = await rig.start("a", BUDGET__PAUSE_PARK_S="1")
        await rig.publish([request("waits")])
        await rig.until(lambda: bool(rig.watch.seen.retries), "a waiting record")
        await asyncio.to_thread(a.child.stop, 20.0)
        await rig.publish([request("in line")])
        waiting = (await cli(rig, "results", "find", "waits", "--json")).lines[0]
        assert [step["what"] for step in waiting["steps"]] == ["requested", "waiting"]
        assert waiting["steps"][1]["detail"]["reason"] == "throttled"
        queued = (await cli(rig, "results", "find", "in line", "--json")).lines[0]
        assert [step["what"] for step in queued["steps"]] == ["requested", "queued"]


async def test_a_redrive_that_is_killed_goes_on_where_it_was(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        count = 3000
        await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(count)])
        child = Command(rig.environment, "deadletters", "redrive", "--all", "--yes")
        await first_repair(rig)
        await child.kill()
        before = len(await delayed_records(rig))
        assert 0 < before < count, "it was killed half-way"
        told = await cli(rig, "deadletters", "redrive", "--all", "--yes")
        assert told.status == 0, told.err
        await each_redriven_once(rig, count)


async def test_of_two_redrives_at_once_one_stops_and_nothing_is_done_twice(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        count = 3000
        await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(count)])
        first = Command(rig.environment, "deadletters", "redrive", "--all", "--yes")
        await first_repair(rig)
        second = Command(rig.environment, "deadletters", "redrive", "--all", "--yes")
        told = [await first.end(), await second.end()]
        assert [t.status for t in told] in ([1, 0], [0, 0]), [t.err for t in told]
        assert all("Traceback" not in t.err for t in told)
        if told[0].status:  # it was not through before the second one began
            assert "another repair began" in told[0].err
            assert "run this one again" in told[0].err
        await each_redriven_once(rig, count)


async def test_who_begins_a_repair_knows_all_that_is_done_and_stops_everybody_else(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(3)])
        index = DeadLetterIndex(rig.settings, kept_max=2)
        try:
            await index.refresh()
            assert (len(index.dead_letters), index.complete, index.counts.open) == (2, False, 2)
            await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(3, 5)])
            await index.refresh()
            assert {x.request_id for x in index.dead_letters} == {"dead-00003", "dead-00004"}
            first, second = index.dead_letters
            async with RepairLine(rig.settings) as line:
                await line.commit((), [repair_of(rig, first)])
            async with build_repair_producer(rig.settings) as earlier:
                await earlier.begin_transaction()  # and there it stops, its records sent and not committed
                await earlier.send_and_wait(f"{rig.prefix}.repairs", repair_value(repair_of(rig, second)))
                async with RepairLine(rig.settings) as later:
                    assert later.log.done_to(first) is not None
                    assert later.log.done_to(second) is None, "what was not committed was not done"
                    with pytest.raises(ProducerFenced):
                        await earlier.commit_transaction()
                    await later.commit((), [repair_of(rig, second)])
                    async with RepairLine(rig.settings):
                        with pytest.raises(RepairFencedError, match="run this one again"):
                            await later.commit((), [repair_of(rig, second)])
            record = Record(Source(f"{rig.prefix}.requests", 0, 0), b"key", b"{}")
            several = [dead_letter(rig.prefix, 9), retry_output(record, Hop(record.source, 1), rig.settings.retry.delays_s[0])]
            async with RepairLine(rig.settings) as earlier, RepairLine(rig.settings):
                with pytest.raises(RepairFencedError):  # it hears of it between two sends, while it asks for the second one's topic
                    await earlier.commit(several, [repair_of(rig, second)])
            await index.refresh()
            assert (index.counts.open, index.counts.discarded) == (0, 2)
            done = await redrive(rig.settings, [first, second], by="tester")
            assert (done.count, dict(done.left_out)) == (0, {"handled": 2}), "whatever the plan said when it was made"
            ghost = replace(first, offset=10_000)
            done = await redrive(rig.settings, [ghost, replace(first, offset=second.offset, partition=second.partition)], by="tester")
            assert dict(done.left_out) == {"gone": 2}, "a record of another time at that position is not meant"
        finally:
            await index.close()


def repair_of(rig: Rig, dead_letter: DeadLetter) -> Repair:
    target = Target(f"{rig.prefix}.dead-letters", dead_letter.partition, dead_letter.offset, dead_letter.failed_ms)
    return Repair(RepairKind.DISCARDED, str(uuid.uuid4()), 1, "tester", target)


async def test_live_requests_keep_their_share_while_many_are_redriven(kafka: LocalKafka, tmp_path: Path) -> None:
    limits = {"generic-write": {"limit": 40, "window_s": 20.0}}
    async with running(
        kafka, tmp_path, simulator_options=["--limits", json.dumps(limits)], BUDGET__LIMITS=json.dumps(limits), BUDGET__SKEW_S="0.5"
    ) as rig:
        await rig.start("a", "b")
        mails = [dead_letter(rig.prefix, n, operation="email.send", given={"email": f"d{n}@example.org"}) for n in range(36)]
        await write_dead_letters(rig, mails)
        assert (await cli(rig, "deadletters", "redrive", "--all", "--yes", "--limit", "12")).status == 0
        assert (await cli(rig, "deadletters", "redrive", "--all", "--yes")).status == 0
        live: dict[str, float] = {}
        while sum(1 for f in rig.finals if f.get("replay")) < 36:
            name = f"live-{len(live)}"
            await rig.publish([request(name)])
            live[name] = time.monotonic()
            await rig.until(lambda name=name: name in rig.watch.seen.final_ids, f"the result of {name}")  # type: ignore[misc]
            live[name] = time.monotonic() - live[name]
        assert max(live.values()) < 6, live
        judged = await rig.judge([f"dead-{n:05d}" for n in range(36)])
        assert judged.ok, judged
        assert judged.scopes["generic-write"]["max_in_window"] <= 40
        starts = sorted(orjson.loads(r.value)["due_ms"] for r in await rig.records("repairs"))
        in_window = max(sum(1 for at in starts if begin <= at < begin + 20_000) for begin in starts)
        assert in_window <= 20, "both runs together take half of the budget"


async def first_repair(rig: Rig) -> None:
    """Wait until a repair can be read."""
    async with topic_reader(rig.settings, [f"{rig.prefix}.repairs"]) as consumer, asyncio.timeout(60):
        while not await read_topics(consumer, wait_s=0.2):
            pass


async def each_redriven_once(rig: Rig, count: int) -> None:
    redriven = await delayed_records(rig)
    firsts = Counter(headers_of(r)["vp-first-offset"] for r in redriven)
    assert len(firsts) == count
    assert set(firsts.values()) == {1}
    repairs = Counter(
        (r["target"]["partition"], r["target"]["offset"]) for r in [orjson.loads(x.value) for x in await rig.records("repairs")]
    )
    assert len(repairs) == count
    assert set(repairs.values()) == {1}


async def test_readers_that_come_at_once_share_one_client_and_leave_nothing_behind(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(300)])
        before = fetchers()
        async with monitor_for_command(rig.settings) as monitor:
            await asyncio.gather(*(monitor.refresh_dead_letters() for _ in range(4)))
            assert monitor.dead_letters.counts.open == 300
            assert fetchers() == before + 1
            kept = monitor.dead_letters._reader._reader  # noqa: SLF001 - what a consumer has paused is told nowhere else
            assert kept is not None
            reader = kept._reader._consumer  # noqa: SLF001 - the same
            assert reader.paused() == reader.assignment() != frozenset(), "between two looks nothing is fetched"
        assert fetchers() == before


def fetchers() -> int:
    """Consumers that run in this process."""
    return sum("_fetch_requests_routine" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_what_the_topic_keeps_no_more_is_not_open_and_a_topic_made_anew_is_read(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, partitions=1) as rig:
        await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(10)])
        index, admin = DeadLetterIndex(rig.settings), AIOKafkaAdminClient(bootstrap_servers=rig.bootstrap)
        await admin.start()
        try:
            await index.refresh()
            assert (await discard(rig.settings, index.dead_letters[5:7], by="tester")).count == 2
            async with asyncio.timeout(30):
                while not index.counts.discarded:  # a broker writes the end of a transaction some moments after it has taken it
                    await index.refresh()
            assert (index.counts.open, index.counts.discarded) == (8, 2)
            await admin.delete_records({TopicPartition(f"{rig.prefix}.dead-letters", 0): RecordsToDelete(before_offset=6)})
            await index.refresh()
            assert ([x.offset for x in index.dead_letters], index.counts.open, index.counts.discarded) == ([6, 7, 8, 9], 3, 1)
            await admin.delete_topics([f"{rig.prefix}.dead-letters", f"{rig.prefix}.repairs"])
            async with asyncio.timeout(120):
                while len((await check_topics(rig.settings)).faults) < 2:
                    await asyncio.sleep(0.1)
            await apply_topics(rig.settings, partitions=1, replication=1)
            await write_dead_letters(rig, [dead_letter(rig.prefix, n) for n in range(20, 23)])
            async with asyncio.timeout(120):
                while [x.request_id for x in index.dead_letters] != ["dead-00020", "dead-00021", "dead-00022"]:
                    with suppress(KafkaFailedError):
                        await index.refresh()
            assert (await discard(rig.settings, index.dead_letters[:1], by="tester")).count == 1
            await index.refresh()
            assert (index.counts.open, index.counts.discarded) == (2, 1)
        finally:
            await index.close()
            await admin.close()


async def test_one_that_is_too_large_stops_no_others_and_the_last_start_is_the_last(kafka: LocalKafka, tmp_path: Path) -> None:
    limits = json.dumps({"generic-write": {"limit": 60, "window_s": 60.0}})
    async with running(kafka, tmp_path, BUDGET__LIMITS=limits) as rig:
        small = rig.settings.model_copy(update={"lanes": rig.settings.lanes.model_copy(update={"output_bytes_max": 100_000})})
        calls = [dead_letter(rig.prefix, n, operation="email.send", given={"email": f"d{n}@example.org"}) for n in range(201)]
        large = dead_letter(rig.prefix, 201, given={"full_name": "x" * 200_000})
        unread = replace(dead_letter(rig.prefix, 202), value=b"{")
        await write_dead_letters(rig, [*calls, large, unread])
        index = DeadLetterIndex(rig.settings)
        try:
            await index.refresh()
            done = await redrive(small, index.dead_letters, by="tester")
        finally:
            await index.close()
        assert (done.count, dict(done.left_out)) == (202, {"too_large": 1})
        dues = {r["request_id"]: r["due_ms"] for r in [orjson.loads(x.value) for x in await rig.records("repairs")]}
        assert done.last_due_ms == max(dues.values()) > dues[None]


async def test_every_request_id_can_be_asked_for_and_what_is_none_is_told(kafka: LocalKafka, tmp_path: Path) -> None:
    ids = ["Null", "\U0001f600" * 128, " two  spaces ", "--help me", "ключ/№1", "\u202eabc"]
    async with running(kafka, tmp_path) as rig:
        body = orjson.loads(dead_letter(rig.prefix, 0).value or b"")
        dead_letters = [dead_letter(rig.prefix, n) for n in range(len(ids))]
        values = [orjson.dumps({**body, "request_id": odd}) for odd in ids]
        await write_dead_letters(rig, [replace(x, value=value) for x, value in zip(dead_letters, values, strict=True)])
        for odd in ids:
            found = await cli(rig, "results", "find", "--json", "--", odd)
            assert (found.status, found.lines[0]["request_id"]) == (0, odd), found.err
        for wrong in ("\udcff", "x" * 129, "a\nb"):
            told = await cli(rig, "results", "find", "--json", "--", wrong)
            assert (told.status, told.out, "cannot be a request_id" in told.err, "Traceback" in told.err) == (2, b"", True, False)


async def test_nothing_is_redriven_to_topics_that_nobody_reads(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await write_dead_letters(rig, [dead_letter(rig.prefix, 0)])
        rig.environment["VP_RETRY__DELAYS_S"] = "[1, 2, 5, 77]"
        told = await cli(rig, "deadletters", "redrive", "--all", "--yes")
        assert told.status == 1
        assert "VP_RETRY__DELAYS_S" in told.err
        assert not await rig.records("repairs")
        assert (await cli(rig, "deadletters", "discard", "--all", "--yes")).status == 0, "that needs no delay topic"


async def test_dead_letters_of_every_kind_are_listed_and_only_the_sound_ones_redriven(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        doubt = ErrorInfo(ErrorType.IN_DOUBT, ErrorCode.CALL_UNANSWERED, "look in the console")
        await write_dead_letters(
            rig,
            [
                dead_letter(rig.prefix, 0),
                dead_letter(rig.prefix, 1, operation="email.send", given={"email": "a@example.org"}, error=doubt, doubt_ms=5),
                dead_letter(rig.prefix, 2, replay=3),
                dead_letter(rig.prefix, 3, error=ErrorInfo(ErrorType.CONFLICT, ErrorCode.REQUEST_ID_REUSED, "no", field="request_id")),
            ],
        )
        told = await cli(rig, "deadletters", "redrive", "--all", "--dry-run")
        assert "1 to redrive" in told.text
        for why in ("in_doubt", "replayed", "conflict"):
            assert f"1 left out ({why})" in told.text
        insisted = await cli(rig, "deadletters", "redrive", "--all", "--dry-run", "--in-doubt", "--replays-max", "9")
        assert "3 to redrive" in insisted.text
        for wrong in (["--at", "x"], ["--since", "yesterday"], []):
            refused = await cli(rig, "deadletters", "redrive", *wrong)
            assert (refused.status, "Traceback" in refused.err) == (2, False), refused.err
        discarded = await cli(rig, "deadletters", "discard", "--reason", "conflict", "--yes", "--note", "asked again")
        assert (discarded.status, "1 discarded" in discarded.text) == (0, True), discarded.err
        rest = await cli(rig, "deadletters", "list", "--json", "--since", "2h")
        assert {line["reason_type"] for line in rest.lines} == {"exhausted", "in_doubt"}
        (kept,) = (await cli(rig, "deadletters", "list", "--json", "--handled")).lines
        assert (kept["status"], kept["request_id"]) == ("discarded", "dead-00003")


async def test_an_operator_who_insists_gets_a_call_for_a_request_in_doubt(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        await rig.start("a")
        rig.simulator.post("/_sim/script", {"route": "email.send", "answers": [{"fault": "lost_reply"}]})
        await rig.publish([request("doubtful", "email.send", input={"email": "a@example.org"})])
        await rig.wait_finals(1)
        assert rig.finals[0]["status"] == "in_doubt"
        assert "0 to redrive" in (await cli(rig, "deadletters", "redrive", "--all", "--yes")).text
        assert (await cli(rig, "deadletters", "redrive", "--all", "--yes", "--in-doubt")).status == 0
        await rig.until(lambda: len(rig.finals) == 2, "the second final result")
        assert (rig.finals[1]["status"], rig.finals[1]["replay"]) == ("succeeded", 1)
        assert len([c for c in rig.simulator.ledger()["calls"] if c["reference"]]) == 2


@pytest.mark.parametrize("topic", ["dead-letters", "repairs"])
@pytest.mark.parametrize("wrong", [{"cleanup_policy": "compact"}, {"retention_ms": "3600000"}])
async def test_dead_letters_and_repairs_that_would_be_lost_stop_the_start(
    kafka: LocalKafka, tmp_path: Path, topic: str, wrong: dict[str, str]
) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        await create_topic(rig, topic, max_message_bytes="2000000", **wrong)
        await apply_topics(rig.settings, partitions=2, replication=1)
        checked = await cli(rig, "topics", "check")
        assert checked.status == 2
        assert f"{rig.prefix}.{topic}: {next(iter(wrong)).replace('_', '.')} is" in checked.err
        replica = rig.processor("refused")
        replica.start()
        assert await asyncio.to_thread(replica.child.wait, 120.0) == 2
        assert any(topic in event["detail"] for event in replica.events("topic_unusable"))


async def test_repairs_that_are_forgotten_before_their_dead_letters_are_told(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        await create_topic(rig, "repairs", retention_ms=str(10 * 86_400_000))
        await apply_topics(rig.settings, partitions=2, replication=1)
        checked = await cli(rig, "topics", "check")
        assert checked.status == 2
        assert f"raise retention.ms of {rig.prefix}.repairs" in checked.err
        (replica,) = await rig.start("a")
        assert any("repairs" in event["detail"] for event in replica.events("memory_too_short")), "it runs, and says so"
