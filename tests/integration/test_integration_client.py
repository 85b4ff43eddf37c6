"""The client for Python services, on a real broker."""

from __future__ import annotations

import asyncio
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from aiokafka.admin import NewPartitions
from commands import run_command
from page_examples import examples
from rig import WITHIN_S, WORKFLOW_ID, running

from processor.client import (
    BrokersUnavailableError,
    ClientClosedError,
    InvalidRequestError,
    Priority,
    ResultKind,
    ResultTimeoutError,
    Status,
    VerificationClient,
)
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker
ANN = {"full_name": "Ann Example"}


async def test_a_service_asks_and_gets_its_answers(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1]") as rig, VerificationClient(kafka=rig.settings.kafka) as client:
        await rig.start("a", "b")
        found = await asyncio.gather(*(client.request("aml", {"full_name": f"Ann {n}"}, timeout_s=120) for n in range(20)))
        assert all(r.succeeded and r.is_final and r.output["aml"]["status"] == "Approved" for r in found)
        assert len({r.output["request_id"] for r in found}) == 20

        given = {"workflow_id": WORKFLOW_ID, "vendor_data": "user-1"}
        seen = []
        async for result in client.follow("verification", given, timeout_s=120):
            seen.append((result.kind, result.status))
            if result.status is Status.WAITING:
                for step in ("In Progress", "Approved"):
                    rig.simulator.post(f"/_sim/sessions/{result.output['session_id']}/status", {"status": step})
        assert seen == [(ResultKind.PROGRESS, Status.WAITING), (ResultKind.FINAL, Status.SUCCEEDED)]

        everything = client.results()
        first = asyncio.ensure_future(anext(everything))
        await asyncio.sleep(0)
        chosen = await client.submit(
            "email.send", {"email": "a@example.com"}, priority=Priority.URGENT, deadline=datetime.now(UTC) + timedelta(minutes=5)
        )
        assert (await asyncio.wait_for(first, 60)).request_id == chosen
        await everything.aclose()

        other = await client.request("aml", {"full_name": "Someone Else"}, timeout_s=120, request_id=chosen)
        assert (other.status, other.error and other.error.code) == (Status.CONFLICT, "request_id_reused")

        with pytest.raises(InvalidRequestError, match=r"input\.full_name") as caught:
            await client.submit("aml", {})
        assert caught.value.code == "missing_field"
        with pytest.raises(InvalidRequestError, match="bytes are more than a record may have") as caught:
            await client.submit("session.create", given | {"metadata": {"note": "x" * 1_048_380}})
        assert caught.value.code == "too_large"


async def test_the_examples_of_the_page_do_what_they_say(kafka: LocalKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = types.ModuleType("clients_0")
    exec(examples()["clients_0"], page.__dict__)  # noqa: S102 - our own page
    async with running(kafka, tmp_path, FOLLOW__POLLS_S="[1]") as rig, VerificationClient(kafka=rig.settings.kafka) as client:
        everything = client.results()
        first = asyncio.ensure_future(anext(everything))
        await rig.start("a")
        assert await page.screen(client, "Ann Example", "user-17") == "screened: Approved"
        await first
        verified = asyncio.ensure_future(page.verify(client, WORKFLOW_ID, "user-17"))
        waiting = await asyncio.wait_for(anext(everything), 120)
        assert waiting.status is Status.WAITING
        for step in ("In Progress", "Declined"):
            rig.simulator.post(f"/_sim/sessions/{waiting.output['session_id']}/status", {"status": step})
        assert await asyncio.wait_for(verified, 120) == "Declined"
        assert capsys.readouterr().out == f"send this link to user-17: {waiting.output['url']}\n"


async def test_what_takes_too_long_says_so_and_goes_on(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig, VerificationClient(kafka=rig.settings.kafka) as client:
        with pytest.raises(ResultTimeoutError, match="r-1") as caught:
            await client.request("aml", ANN, timeout_s=4, request_id="r-1")
        assert caught.value.request_id == "r-1"
        again = [asyncio.ensure_future(client.request("aml", ANN, timeout_s=120, request_id="r-1")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(InvalidRequestError, match="its own id"):
            await client.request("aml", {"full_name": "Someone Else"}, timeout_s=120, request_id="r-1")
        await rig.start("a")
        one, other = await asyncio.gather(*again)
        assert one.succeeded, "all three records end; one call was made"
        assert one == other, "whoever waits for the request gets its result"
        assert len(rig.simulator.ledger()["checks"]) == 1
        async with VerificationClient(kafka=rig.settings.kafka) as restarted:
            for asker in (client, restarted):  # a copy has no result of its own: it is that of before
                assert await asker.request("aml", ANN, timeout_s=120, request_id="r-1") == one
            other = await restarted.request("aml", {"full_name": "Someone Else"}, timeout_s=120, request_id="r-1")
            assert other.status is Status.CONFLICT, "a result of another content is nobody's answer"
            assert await restarted.request("aml", ANN, timeout_s=120, request_id="r-1") == one, "a conflict is none either"
        assert len(rig.simulator.ledger()["checks"]) == 1


async def test_nobody_gets_the_answer_of_another_request_under_the_same_id(kafka: LocalKafka, tmp_path: Path) -> None:
    """Two services use one id: for different requests, where one is answered while the other still waits; and for the same one."""
    async with (
        running(kafka, tmp_path) as rig,
        VerificationClient(kafka=rig.settings.kafka) as one,
        VerificationClient(kafka=rig.settings.kafka) as other,
    ):
        assert (await run_command(rig.environment, "pause", "--operation", "email.send", "--reason", "a test", "--yes")).status == 0
        asked = [
            one.request("aml", ANN, timeout_s=120, request_id="r-1"),
            other.request("email.send", {"email": "a@example.com"}, timeout_s=120, request_id="r-1"),
            *(client.request("aml", ANN, timeout_s=120, request_id="r-2") for client in (one, other)),
        ]
        waits = [asyncio.ensure_future(each) for each in asked]
        async with asyncio.timeout(60):
            while len(await rig.records("requests")) < 4:
                await asyncio.sleep(0.05)
        await rig.start("a")
        mine, same, too = await asyncio.gather(waits[0], *waits[2:])
        assert mine.succeeded
        assert same.succeeded
        assert same == too, "the one result of both"
        assert (await run_command(rig.environment, "resume", "--operation", "email.send", "--yes")).status == 0
        theirs = await waits[1]
        assert (theirs.status, theirs.error and theirs.error.code) == (Status.CONFLICT, "request_id_reused")


async def test_who_only_publishes_and_asks_again_gets_a_marked_copy(kafka: LocalKafka, tmp_path: Path) -> None:
    """Whichever partition and replica has it, also one that came later; the audit takes no copy for a second final result.

    Partitions are added to the results meanwhile: the record of key k-0 stands in partition 3 of the requests, its result in 1 of 2,
    where it would be in 3 of 4. Copies go to where the result is. A deadline that has passed by then changes nothing.
    """
    async with running(kafka, tmp_path, partitions=2) as rig, rig.admin() as admin:
        await admin.create_partitions({f"{rig.prefix}.requests": NewPartitions(4)})
        await rig.start("a")
        value = b'{"request_id":"%s","operation":"aml","input":{"full_name":"Ann Example"}}'
        asked, bad = value % b"r-1", value.replace(b"full_name", b"fullname") % b"r-2"
        until = datetime.now(UTC) + timedelta(seconds=WITHIN_S / 20)
        late, gone = (
            orjson.dumps({**orjson.loads(value % name), "deadline": deadline.isoformat()})
            for name, deadline in ((b"r-3", until), (b"r-4", until - timedelta(days=1)))
        )
        await rig.publish([(b"k-0", asked), (b"k", bad), (b"k", late), (b"k", gone)])
        await rig.wait_finals(4)
        await asyncio.to_thread(rig.processors[0].child.stop, 20.0)
        await admin.create_partitions({f"{rig.prefix}.results": NewPartitions(4)})
        await rig.start("b")  # what is known of the requests it has from the budget log
        again = [*((f"k-{n}".encode(), asked) for n in range(4)), *((b"k", each) for each in (bad, late, gone))]
        await asyncio.sleep((until - datetime.now(UTC)).total_seconds())
        await rig.publish([*again, (b"k", asked.replace(b"Ann", b"Bob"))])
        await rig.until(lambda: len(rig.watch.seen.copies) == 7 and len(rig.finals) == 5, "seven copies and a conflict")
        results = await rig.records("results")
        assert len(results) == 12
        copies = [r for r in results if dict(r.headers).get("vp-copy-for")]
        first = {r.key: r.value for r in results if r not in copies}
        assert all(r.value == first[r.key] for r in copies), "with the same result_id"
        assert {r.source.partition for r in results if r.key == b"r-1"} == {1}, "the same key, the same partition"
        assert {orjson.loads(r.value)["source"]["partition"] for r in results if r.key == b"r-1"} == {3}
        assert len({dict(r.headers)["vp-copy-for"] for r in copies}) == 7, "each names the record that it answers"
        assert len(rig.simulator.ledger()["checks"]) == 2
        assert {f["request_id"]: f["status"] for f in rig.finals}.items() >= {"r-3": "succeeded", "r-4": "expired"}.items()
        shown = (await run_command(rig.environment, "results")).lines
        assert sum("copy_for" in line for line in shown) == 7
        await asyncio.to_thread(rig.processors[1].child.stop, 20.0)
        (audit,) = (await run_command(rig.environment, "verify", "--older-than", "1s", "--json")).lines
        assert (audit["clean"], audit["figures"]["copies"], audit["figures"]["finals"]) == (True, 7, 5), audit


async def test_closing_ends_every_wait(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path) as rig:
        async with VerificationClient(kafka=rig.settings.kafka) as client:
            everything = client.results()
            wait, stream = asyncio.ensure_future(client.request("aml", ANN, timeout_s=600)), asyncio.ensure_future(anext(everything, None))
            await client.submit("aml", ANN)  # one producer, in order: the first one is published, too
        with pytest.raises(ClientClosedError, match="is closed"):
            await asyncio.wait_for(wait, 20)
        assert await asyncio.wait_for(stream, 20) is None
        with pytest.raises(ClientClosedError):
            await client.submit("aml", ANN)
        with pytest.raises(ClientClosedError, match="opened once"):
            await client.__aenter__()


async def test_a_client_without_its_topic_does_not_open(kafka: LocalKafka, tmp_path: Path) -> None:
    async with running(kafka, tmp_path, apply=False) as rig:
        with pytest.raises(BrokersUnavailableError, match="processor topics apply"):
            async with VerificationClient(kafka=rig.settings.kafka):
                pass
