"""Everything that users do, each under a principal of its own, on a broker that allows what `processor acls` grants and nothing else.

The broker's audit is the judge: nothing that was needed was refused, and every right that was granted was used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from commands import Told, run_command
from operator_page import OperatorPage, plain
from rig import FAST, create_request
from secured_kafka import MTLS, SCRAM, Asked, SecuredKafka, secured_kafka
from signing import SECRET, delivery, signed

from processor.cli.acls import rights_by_principal
from processor.devkit.processes import ProcessorProcess, SimulatorProcess, processor_environment, settings_of
from processor.settings import Settings
from processor.stream.acl_table import AclResource, AclRole

pytestmark = pytest.mark.broker

PREFIXES = {SCRAM: "v", MTLS: "m"}
ROLES = [role for role in AclRole if role is not AclRole.PAGE]  # the page is the processors'
SOME = [AclRole.PROCESSORS, AclRole.CALLERS, AclRole.JOB, AclRole.ONLOOKER]
LONG = {
    "RETRY__DELAYS_S": "[300]",
    "RETRY__BACKOFF_BASE_S": "300",
    "RETRY__BACKOFF_MAX_S": "300",
}  # what waits is released
REFUSAL = {"status": 400, "body": '{"workflow_id":"Invalid workflow_id."}'}
KINDS = {AclResource.TOPIC: "Topic", AclResource.GROUP: "Group", AclResource.TRANSACTIONAL_ID: "TransactionalId"}
KINDS |= {AclResource.CLUSTER: "Cluster"}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """With the rights of both companies, as the printed commands give them; the second one's processors have none for their page."""
    users = [f"{prefix}-{role}" for prefix in PREFIXES.values() for role in ROLES]
    with secured_kafka(tmp_path_factory.mktemp("secured"), users) as found:
        found.run_acls(printed(found, SCRAM, ()) + printed(found, MTLS, SOME))
        yield found


def printed(secured: SecuredKafka, listener: str, roles: Sequence[AclRole]) -> str:
    """What `processor acls` tells an administrator, who comes in by SCRAM."""
    prefix, named = PREFIXES[listener], [word for role in roles for word in ("--role", role.value)]
    environment = processor_environment(secured.addresses[SCRAM], "http://127.0.0.1:1", prefix)
    login = secured.variables(f"{prefix}-{AclRole.JOB}", listener) | {"VP_KAFKA__BOOTSTRAP": secured.addresses[SCRAM]}
    told = asyncio.run(run_command(environment | login, "acls", "--command-config", str(secured.admin_config()), *named))
    assert told.status == 0, told.err
    return told.text


class Company:
    """One installation: its topics, its users, its simulator."""

    def __init__(self, secured: SecuredKafka, listener: str, folder: Path, simulator: SimulatorProcess) -> None:
        self.secured, self.listener, self.folder, self.simulator = secured, listener, folder, simulator
        self.prefix = PREFIXES[listener]
        self.processors: list[ProcessorProcess] = []

    def environment(self, role: AclRole) -> dict[str, str]:
        address = self.secured.addresses[self.listener]
        own = {"WEBHOOKS__SECRETS": f'["{SECRET}"]', "WEBHOOKS__PORT": "0", **FAST, **LONG}
        login = self.secured.variables(f"{self.prefix}-{role}", self.listener)
        return processor_environment(address, self.simulator.url, self.prefix, **own) | login

    def settings(self, role: AclRole) -> Settings:
        return settings_of(self.environment(role))

    async def act(self, role: AclRole, *words: str, status: int = 0) -> Told:
        told = await run_command(self.environment(role), *words)
        assert told.status == status, (role, words, told.out, told.err)
        return told

    async def start(self, role: AclRole, command: str, event: str) -> ProcessorProcess:
        process = ProcessorProcess(f"{self.prefix}-{command}", self.environment(role), self.folder, command)
        self.processors.append(process)
        process.start()
        await asyncio.to_thread(process.wait_event, event)
        return process

    async def publish(self, *bodies: Mapping[str, object]) -> None:
        path = self.folder / f"{self.prefix}.jsonl"
        path.write_bytes(b"\n".join(orjson.dumps(body) for body in bodies))
        await self.act(AclRole.CALLERS, "publish", str(path))

    async def results(self, count: int) -> list[dict[str, object]]:
        """What callers read, once so many finals are there."""
        end = time.monotonic() + 120
        while len(found := (await self.act(AclRole.CALLERS, "results")).lines) < count:
            assert time.monotonic() < end, found
        return found

    def stop(self) -> None:
        for process in self.processors:
            process.child.stop(20.0)


def aml(name: str) -> dict[str, object]:
    return {"request_id": name, "operation": "aml", "input": {"full_name": "Ann Example"}}


def session(number: int) -> dict[str, object]:
    body: dict[str, object] = orjson.loads(create_request(number)[1])
    return body


async def begin(company: Company) -> ProcessorProcess:
    await company.act(AclRole.JOB, "topics", "apply", "--partitions", "1", "--replication", "1")
    return await company.start(AclRole.PROCESSORS, "run", "partitions_assigned")


async def receive(company: Company) -> None:
    """One signed webhook."""
    receiver = await company.start(AclRole.RECEIVERS, "webhooks", "webhooks_listening")
    (event,) = receiver.events("webhooks_listening")
    at = int(time.time())
    body, headers = signed(delivery(timestamp=at, created_at=at - 4))
    url = f"http://{event['host']}:{event['port']}{event['path']}"
    async with aiohttp.ClientSession() as client, client.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200, await answer.text()


async def read_in_a_group(company: Company) -> None:
    """A caller's own consumer, as any client is."""
    group = f"{company.prefix}-callers-shop"
    options = company.settings(AclRole.CALLERS).kafka.client_options()
    consumer = AIOKafkaConsumer(f"{company.prefix}.results", group_id=group, auto_offset_reset="earliest", **options)
    await consumer.start()
    try:
        await asyncio.wait_for(consumer.getone(), 60)
        await consumer.commit()
    finally:
        await consumer.stop()


async def take_back(company: Company) -> None:
    """A caller cancels a request, and one person is erased, who has a dead letter."""
    company.simulator.post("/_sim/script", {"route": "session.create", "answers": [REFUSAL]})
    await company.publish(session(7))
    await company.publish({"request_id": "back-1", "operation": "cancel", "input": {"request_id": "late-9"}})
    await company.results(12)
    told = await company.act(AclRole.ERASER, "person", "find", "--vendor-data", "user-000001", "--json")
    assert told.lines, told.text
    await company.act(AclRole.ERASER, "person", "erase", "--vendor-data", "user-000007", "--yes")


async def scale(company: Company) -> None:
    """What KEDA asks for."""
    options = company.settings(AclRole.SCALER).kafka.client_options()
    admin, consumer = AIOKafkaAdminClient(**options), AIOKafkaConsumer(**options)
    tp = TopicPartition(f"{company.prefix}.requests", 0)
    await admin.start()
    await consumer.start()
    try:
        committed = await admin.list_consumer_group_offsets(f"{company.prefix}-group", partitions=[tp])
        assert (await consumer.end_offsets([tp]))[tp] >= committed[tp].offset > 0
    finally:
        await consumer.stop()
        await admin.close()


async def look(company: Company) -> None:
    """By every command that only looks."""
    several = [["status"], ["lag"], ["budget"], ["retry", "list"], ["deadletters", "list"], ["results", "find", "r-000001"]]
    told = await asyncio.gather(*(company.act(AclRole.ONLOOKER, *words) for words in several))
    assert all(one.text for one in told)
    audit = await company.act(AclRole.ONLOOKER, "verify", "--json")
    assert audit.lines[0]["clean"], audit.text


async def repair(company: Company) -> None:
    """One dead letter is redriven, one discarded; one waiting request is released, one ended."""
    first, second = (await dead_letters(company))[:2]
    await company.act(AclRole.REPAIRER, "deadletters", "redrive", "--at", first, "--yes")
    await company.act(AclRole.REPAIRER, "deadletters", "discard", "--at", second, "--yes", "--note", "a test")
    await company.act(AclRole.RELEASER, "retry", "release", "--request-id", "late-1", "--yes")
    await company.act(AclRole.RELEASER, "retry", "end", "late-2", "--yes")
    await company.act(AclRole.RELEASER, "partitions", "skip", f"{company.prefix}.requests", "0")
    await company.act(AclRole.PAUSER, "pause", "--operation", "aml", "--reason", "a test", "--yes")
    await company.act(AclRole.PAUSER, "resume", "--operation", "aml", "--yes")


def work_on_the_page(page: OperatorPage, position: str) -> None:
    """The same on the processors' page."""
    assert "redriven" in page.redrive(position).lower()
    assert "late-3" in page.get("/waiting")
    page.confirm("/waiting/release", [("reason", "http_503")])
    page.confirm("/pauses/change", [("kind", "paused"), ("operation", "aml")], note="a test")
    assert "a test" in page.get("/pauses")
    page.confirm("/pauses/change", [("kind", "resumed"), ("operation", "aml")], note="a test")


async def dead_letters(company: Company) -> list[str]:
    found = (await company.act(AclRole.ONLOOKER, "deadletters", "list", "--json")).lines
    return sorted(f"{letter['partition']}:{letter['offset']}" for letter in found)


async def journey(company: Company) -> None:
    """One day of a company."""
    replica = await begin(company)
    company.simulator.post("/_sim/faults", {"rates": {"error_503": 1.0}, "routes": ["aml"]})
    company.simulator.post("/_sim/script", {"route": "session.create", "answers": [REFUSAL] * 3})
    bodies = [*(session(n) for n in range(4)), *(aml(f"late-{n}") for n in (1, 2, 3))]
    await asyncio.gather(receive(company), company.publish(*bodies))
    await company.results(4)
    company.simulator.post("/_sim/faults", {"rates": {}})
    await company.publish(session(3))  # asked again: a copy of its result
    *_, last = await dead_letters(company)
    await repair(company)
    await asyncio.to_thread(work_on_the_page, OperatorPage(replica), last)
    await company.results(9)
    await take_back(company)
    await look(company)
    await asyncio.gather(
        company.act(AclRole.JOB, "topics", "check"),
        company.act(AclRole.CHECKER, "check"),
        read_in_a_group(company),
        scale(company),
    )


async def test_all_that_users_do_needs_what_is_documented_and_nothing_more(secured: SecuredKafka, tmp_path: Path) -> None:
    with ExitStack() as stack:
        company = Company(secured, SCRAM, tmp_path, stack.enter_context(SimulatorProcess(tmp_path)))
        stack.callback(company.stop)
        await journey(company)
    asked = [one for one in secured.audit() if one.user.startswith(f"{company.prefix}-")]
    assert refused(asked) == []
    assert unused(asked, company) == []


async def test_certificates_alone_are_a_login_and_a_missing_right_is_told_as_one(secured: SecuredKafka, tmp_path: Path) -> None:
    with ExitStack() as stack:
        company = Company(secured, MTLS, tmp_path, stack.enter_context(SimulatorProcess(tmp_path)))
        stack.callback(company.stop)
        replica = await begin(company)
        company.simulator.post("/_sim/script", {"route": "session.create", "answers": [REFUSAL]})
        await company.publish(session(1), aml("a"))
        assert sorted(str(result["status"]) for result in await company.results(2)) == ["failed", "succeeded"]
        assert "1" in (await company.act(AclRole.ONLOOKER, "deadletters", "list")).text
        await ask_again_in_a_batch(company, aml("a"))
        with pytest.raises(HTTPError) as refusal:
            await asyncio.to_thread(OperatorPage(replica).get, "/dead-letters")
        assert "does not allow this user to use topic m.dead-letters" in plain(refusal.value.read().decode())
    asked = [one for one in secured.audit() if one.user.startswith(f"CN={company.prefix}-")]
    assert {(one.user, one.name) for one in refused(asked)} == {("CN=m-processors", "m.dead-letters"), ("CN=m-callers", "m.requests")}


async def ask_again_in_a_batch(company: Company, body: dict[str, object]) -> None:
    """It has a result, which is told by its id alone, as callers have no right to read what was asked."""
    source, target = company.folder / "again.jsonl", company.folder / "again.done.jsonl"
    source.write_bytes(orjson.dumps(body))
    told = await company.act(AclRole.CALLERS, "batch", str(source), str(target))
    assert "Results were told by their request ids alone" in told.err
    assert "done before: 1" in told.err
    (line,) = target.read_bytes().splitlines()
    assert orjson.loads(line)["status"] == "succeeded"


def refused(asked: list[Asked]) -> list[Asked]:
    """Whatever was refused. An idempotent producer's question for IdempotentWrite is none: Write on its topic is the answer (KIP-679)."""
    return [one for one in asked if not one.allowed]


def unused(asked: list[Asked], company: Company) -> list[str]:
    """Rights that nobody used: Describe by Read or Write does not count as using these."""
    principals = {role: f"{company.prefix}-{role}" for role in AclRole} | {AclRole.PAGE: f"{company.prefix}-{AclRole.PROCESSORS}"}
    return [
        f"{rights.principal}: {operation.title} on {grant.resource} {grant.name}"
        for rights in rights_by_principal(company.settings(AclRole.JOB), AclRole, principals)
        for grant in rights.grants
        for operation in sorted(grant.operations)
        if not any(
            one.allowed
            and one.user == rights.principal
            and one.operation == operation.name
            and one.resource == KINDS[grant.resource]
            and grant.covers(grant.resource, one.name)
            for one in asked
        )
    ]
