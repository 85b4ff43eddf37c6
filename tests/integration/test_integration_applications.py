"""Three applications in one process, each with a key of its own: requests end once, at the right key, and no fault touches another."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands import run_command
from rig import WIDE_LIMITS, WORKFLOW_ID, Rig, create_request, read_whole, running

from processor.client.topics import publish_requests
from processor.contract.records import Headers
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess
from processor.devkit.topic_watch import TopicWatch
from processor.settings import Settings
from processor.simulator.ledger import key_digest
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics
from processor.stream.writer import RecordWriter

pytestmark = pytest.mark.broker

KEYS = {"default": "sim-key", "bank": "bank-key", "shop": "sim-sandbox-key"}
APPLICATIONS = {name: {"api_key": KEYS[name]} for name in ("bank", "shop")}
OTHER_WORKFLOW = "00000000-0000-4000-8000-00000000000f"
FLOOD = range(1000, 1300)


class Fleet:
    """A rig, and the results of every application."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.settings = {each.application: each for each in rig.settings.installations}
        self.watches: dict[str, TopicWatch] = {}
        self.finals: dict[str, list[dict[str, Any]]] = {name: [] for name in self.settings}

    async def publish(self, name: str, requests: Sequence[tuple[bytes, bytes]]) -> None:
        await publish_requests(self.settings[name], requests)

    async def wait(self, name: str, ids: Sequence[str]) -> None:
        wanted = set(ids)

        def ended() -> bool:
            return wanted <= {final["request_id"] for final in self.finals[name]}

        await self.rig.until(ended, f"{len(ids)} final results of {name}")

    def statuses(self, name: str) -> dict[str, str]:
        return {final["request_id"]: final["status"] for final in self.finals[name]}

    def created(self) -> dict[str, Counter[str]]:
        """How many sessions each key has made for each user."""
        found: dict[str, Counter[str]] = {name: Counter() for name in KEYS}
        names = {key_digest(key): name for name, key in KEYS.items()}
        ledger = self.rig.simulator.ledger()
        key_of = {call["session_id"]: names[call["key"]] for call in ledger["calls"] if call["acted"] and call["route"] == "session.create"}
        for session in ledger["sessions"]:
            found[key_of[session["session_id"]]][session["vendor_data"]] += 1
        return found


@asynccontextmanager
async def fleet(kafka: LocalKafka, folder: Path, applications: dict[str, Any], *, without: str = "") -> AsyncIterator[Fleet]:
    """``without``: the application whose topics are not there yet."""
    given = {name: {"limits": WIDE_LIMITS, **own} for name, own in applications.items()}
    named = {"APPLICATIONS": json.dumps(given), "LANES__COPY_HEADERS": '["correlation-id"]'}
    async with running(kafka, folder, partitions=2, apply=not without, more=named) as rig:
        rig.simulator.post("/_sim/api-keys", {"keys": [KEYS["default"], KEYS["bank"]]})
        found, stop = Fleet(rig), asyncio.Event()
        async with AsyncExitStack() as stack:
            for name, settings in found.settings.items():
                if name == without:
                    continue
                if without:
                    assert not (await apply_topics(settings, partitions=2, replication=1)).report.faults
                found.watches[name] = TopicWatch(settings, found.finals[name].append)
                task = asyncio.create_task(found.watches[name].follow(stop))
                stack.push_async_callback(asyncio.wait_for, task, 20)
            stack.callback(stop.set)
            yield found


async def send(settings: Settings, request: tuple[bytes, bytes], headers: Headers) -> None:
    async with RecordWriter.of_one_act(settings) as writer:
        await writer.send_and_wait(topic_names(settings).requests, request[1], request[0], headers=headers)


def users(numbers: range) -> list[str]:
    return [f"user-{n:06d}" for n in numbers]


def ids(numbers: range) -> list[str]:
    return [f"r-{n:06d}" for n in numbers]


async def test_each_request_ends_once_at_its_own_key_and_no_fault_of_one_touches_another(kafka: LocalKafka, tmp_path: Path) -> None:
    shop_alone = {**APPLICATIONS, "shop": {**APPLICATIONS["shop"], "workflows": [WORKFLOW_ID]}}
    async with fleet(kafka, tmp_path, shop_alone) as f:
        [replica] = await f.rig.start("a")
        await asyncio.to_thread(replica.wait_event, "partitions_assigned", count=3)
        await _each_ends_at_its_own_key(f)
        await _a_revoked_key_and_a_flood(f, replica)
        await _a_pause_and_no_credits(f)
        created = f.created()
        assert created["bank"] == Counter(users(range(20, 22)) + users(FLOOD) + users(range(301, 321))), "each once, after all that"
        assert all(count == 1 for counts in created.values() for count in counts.values())
        for name, found in f.finals.items():
            assert len({(final["request_id"], final.get("replay", 0)) for final in found}) == len(found), f"results of {name} are doubled"


async def _each_ends_at_its_own_key(f: Fleet) -> None:
    common = f.settings["default"]
    # by nothing, by field, by header, by topic
    await f.publish("default", [create_request(n) for n in range(3)] + [create_request(n, application="shop") for n in range(10, 13)])
    await send(common, create_request(20), (("vp-application", b"bank"), ("correlation-id", b"c-20"), ("other", b"kept")))
    await f.publish("bank", [create_request(21)])
    # what is refused: an unknown name, another one than the topic's, another workflow than the application's
    await f.publish("default", [create_request(30, application="nobody")])
    await f.publish("shop", [create_request(31, application="bank")])
    elsewhere = {"workflow_id": OTHER_WORKFLOW, "vendor_data": "user-000032"}
    await send(common, create_request(32, application="shop", input=elsewhere), (("correlation-id", b"c-32"),))
    await f.wait("default", [*ids(range(3)), "r-000030"])
    await f.wait("shop", [*ids(range(10, 13)), "r-000031", "r-000032"])
    await f.wait("bank", ids(range(20, 22)))
    codes = {final["request_id"]: final["error"]["code"] for found in f.finals.values() for final in found if final["error"]}
    assert codes == {
        "r-000030": "application_unknown",
        "r-000031": "application_not_allowed",
        "r-000032": "workflow_not_allowed",
    }
    unknown = next(final for final in f.finals["default"] if final["request_id"] == "r-000030")
    assert not {"shop", "bank"} & set(unknown["error"]["message"].split()), "no caller is told which applications there are"
    created = f.created()
    assert created == {
        "default": Counter(users(range(3))),
        "shop": Counter(users(range(10, 13))),
        "bank": Counter(users(range(20, 22))),
    }
    by_header = next(final for final in f.finals["bank"] if final["request_id"] == "r-000020")
    assert by_header["source"]["topic"] == topic_names(common).requests, "the place of the caller's own record"
    [handed_on] = [r for r in await read_whole(common, f"{f.rig.prefix}.bank.requests") if b"r-000020" in (r.value or b"")]
    assert ("other", b"kept") in handed_on.headers
    assert handed_on.key == create_request(20)[0]
    answers = await read_whole(common, f"{f.rig.prefix}.bank.results")
    assert [dict(r.headers).get("correlation-id") for r in answers if b"r-000020" in (r.value or b"")] == [b"c-20"]
    told = await run_command(f.rig.environment, "deadletters", "redrive", "--request-id", "r-000032", "--yes", "--application", "shop")
    assert told.status == 0, told.err
    await f.rig.until(lambda: sum(final["request_id"] == "r-000032" for final in f.finals["shop"]) == 2, "a result of the redrive")
    answers = await read_whole(common, f"{f.rig.prefix}.shop.results")
    assert [dict(r.headers).get("correlation-id") for r in answers if b"r-000032" in (r.value or b"")] == [b"c-32", b"c-32"]


async def _a_revoked_key_and_a_flood(f: Fleet, replica: ProcessorProcess) -> None:
    f.rig.simulator.post("/_sim/api-keys", {"keys": [KEYS["default"]]})
    await f.publish("default", [create_request(n, application="bank") for n in FLOOD])
    await f.publish("default", [create_request(n) for n in range(100, 120)])
    await f.publish("default", [create_request(n, application="shop") for n in range(200, 220)])
    await f.wait("default", ids(range(100, 120)))
    await f.wait("shop", ids(range(200, 220)))
    await f.rig.until(lambda: any(e.get("event") == "account_fault" for e in replica.events()), "an account fault")
    assert not set(ids(FLOOD)) & set(f.statuses("bank")), "its key is of no use"
    f.rig.simulator.post("/_sim/api-keys", {"keys": [KEYS["default"], KEYS["bank"]]})
    await f.wait("bank", ids(FLOOD))
    faults = {final["request_id"]: final["error"]["code"] for final in f.finals["bank"] if final["error"]}
    assert faults == {}, "the flood waits for its key"


async def _a_pause_and_no_credits(f: Fleet) -> None:
    """The shop is paused by an operator; then the organization of the others has no credits."""
    told = await run_command(f.rig.environment, "pause", "--all", "--reason", "test", "--yes", "--application", "shop")
    assert told.status == 0, told.err
    await f.publish("default", [create_request(300, application="shop")])
    await f.publish("default", [create_request(n, application="bank") for n in range(301, 321)])
    await f.wait("bank", ids(range(301, 321)))
    assert "r-000300" not in f.statuses("shop")
    told = await run_command({**f.rig.environment, "VP_APPLICATION": "shop"}, "resume", "--all", "--yes")
    assert told.status == 0, told.err
    f.rig.simulator.post("/_sim/credits", {"credits": 0, "topped_up": False})
    await f.publish("default", [create_request(400), *(create_request(n, application="shop") for n in range(401, 421))])
    await f.wait("shop", ["r-000300", *ids(range(401, 421))])
    assert "r-000400" not in f.statuses("default")
    f.rig.simulator.post("/_sim/credits", {"credits": 10_000, "topped_up": True})
    await f.wait("default", ["r-000400"])


async def test_a_kill_while_requests_are_handed_on_loses_and_doubles_none(kafka: LocalKafka, tmp_path: Path) -> None:
    """And an application whose topics are missing holds up no other one."""
    async with fleet(kafka, tmp_path, APPLICATIONS, without="bank") as f:
        target = f"{f.rig.prefix}.shop.requests"
        all_ids = ids(range(400))
        replica = f.rig.processor("a", LANES__PUBLISH_MAX="20")
        replica.start()
        await asyncio.to_thread(replica.wait_event, "partitions_assigned", count=2)
        await asyncio.to_thread(replica.wait_event, "application_gave_up")
        await f.publish("default", [create_request(500, application="bank")])
        await f.publish("default", [create_request(n, application="shop") for n in range(400)])
        await f.rig.until(lambda: len(f.finals["shop"]) > 0, "a first result")
        replica.child.kill()
        half = len(await read_whole(f.settings["default"], target))
        assert 0 < half < 400, "the kill was in the middle"
        assert not (await apply_topics(f.settings["bank"], partitions=2, replication=1)).report.faults
        replica.start()
        await f.wait("shop", all_ids)
        handed_on = [orjson.loads(record.value or b"")["request_id"] for record in await read_whole(f.settings["default"], target)]
        assert sorted(handed_on) == all_ids, "each stands once in the topic of its application"
        assert sorted(final["request_id"] for final in f.finals["shop"]) == all_ids
        assert (f.created()["default"], f.created()["shop"]) == (Counter(), Counter(users(range(400))))
        assert f.finals["default"] == []
        assert [e["of"] for e in replica.events("application_topic_unusable")] == ["bank"], "told once"
        waited = [r for delay in ("1s", "2s", "5s") for r in await read_whole(f.settings["default"], f"{f.rig.prefix}.retry.{delay}")]
        assert {dict(r.headers)["vp-last-error"] for r in waited} == {b"application_unready"}
        await f.rig.until(lambda: f.created()["bank"] == Counter(users(range(500, 501))), "the request of the bank")
