"""Three ways to be kept out of Kafka have three texts, the same one in every command and part: nobody there, not known, not allowed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from acls import Grant, grant
from aiokafka.admin import AIOKafkaAdminClient
from commands import run_command

from processor.budget.log import LogUnavailableError
from processor.client import BrokersUnavailableError, VerificationClient
from processor.client.topics import publish_requests
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess, SimulatorProcess, processor_environment
from processor.monitoring.group_inspector import GroupInspector
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.delayed_index import DelayedIndex
from processor.repair.redrive import RepairLine
from processor.repair.release import publish_releases
from processor.settings import Settings, load_settings
from processor.stream.admin import GroupAdmin
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import AuthenticationError, KafkaFailedError, KafkaUnavailableError, NotAuthorizedError, RightsMissingError
from processor.stream.reader import PartitionReader
from processor.stream.releases import Release
from processor.stream.rights import needed_on_topics
from processor.stream.topics import topic_names
from processor.stream.topics_admin import apply_topics, check_rights, check_topics
from processor.webhooks.producer import EventProducer

pytestmark = pytest.mark.broker

PASSWORDS = {name: f"{name}-secret" for name in ("app", "guest", "limited", "job", "auditor")}
NOT_KNOWN = "refuses the login with SCRAM-SHA-512"
NOBODY = "does not answer (nothing listens on that port)"
NOT_ALLOWED = "does not allow this user to use"


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalKafka]:
    """A broker with rights: ``app`` may do everything, the others nothing until they are granted something."""
    if os.environ.get("KAFKA_BOOTSTRAP"):
        pytest.skip("KAFKA_BOOTSTRAP is set")
    jaas = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="app" password="app-secret";'
    overrides = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT,CHAOS:PLAINTEXT",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.plaintext.scram-sha-512.sasl.jaas.config": jaas,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:app;User:ANONYMOUS",  # the latter: the controller's own listener
    }
    scram = [f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]" for name, password in PASSWORDS.items()]
    options = settings_of("127.0.0.1:1").kafka.client_options()
    del options["bootstrap_servers"]
    with LocalKafka(overrides=overrides, format_options=scram, client_options=options) as cluster:
        asyncio.run(apply_topics(settings_of(cluster.bootstrap), partitions=1, replication=1))
        yield cluster


def settings_of(bootstrap: str, user: str = "app", password: str | None = None) -> Settings:
    kafka = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": user, "topic_prefix": "v"}
    return load_settings(kafka={**kafka, "bootstrap": bootstrap, "group": "v-group", "sasl_password": password or PASSWORDS[user]})


async def check(settings: Settings) -> None:
    await check_topics(settings)


async def apply(settings: Settings) -> None:
    await apply_topics(settings, partitions=1, replication=1)


async def read(settings: Settings) -> None:
    async with PartitionReader(settings) as reader:
        await reader.partitions("v.results")


async def describe(settings: Settings) -> None:
    admin = GroupAdmin(settings, 10.0)
    try:
        await admin.start()
        await admin.describe()
    finally:
        await admin.close()


async def inspect(settings: Settings) -> None:
    inspector = GroupInspector(settings, ["aml"], now_ms=lambda: 1, patient=False)
    try:
        await inspector.survey()
    finally:
        await inspector.close()


async def dead_letters(settings: Settings) -> None:
    index = DeadLetterIndex(settings)
    try:
        await index.refresh()
    finally:
        await index.close()


async def delayed(settings: Settings) -> None:
    index = DelayedIndex(settings)
    try:
        await index.refresh()
    finally:
        await index.close()


async def release(settings: Settings) -> None:
    await publish_releases(settings, [Release("v.retry.10m", 0, (1,), "0189f7e4-6f6e-7b6e-8000-000000000000")], by="test", at_ms=1)


async def repair(settings: Settings) -> None:
    async with RepairLine(settings):
        pass


async def event(settings: Settings) -> None:
    producer = EventProducer(settings)
    try:
        await producer.publish(b"k", b"{}")
    finally:
        await producer.close()


async def budget(settings: Settings, *, read_only: bool = False) -> None:
    log = KafkaBudgetLog(settings, read_only=read_only)
    try:
        await log.open()
    except LogUnavailableError as exc:
        raise same_text(exc) from None
    finally:
        await log.close()


async def look_at_budget(settings: Settings) -> None:
    await budget(settings, read_only=True)


async def client(settings: Settings) -> None:
    try:
        async with VerificationClient(kafka=settings.kafka):
            pass
    except BrokersUnavailableError as exc:
        raise same_text(exc) from None


def same_text(error: Exception) -> KafkaFailedError:
    """An error of a room that knows no Kafka says the border's text."""
    cause = error.__cause__
    assert isinstance(cause, KafkaFailedError)
    assert str(cause) in str(error)
    return cause


PARTS: dict[Callable[[Settings], Awaitable[None]], str] = {
    check: "topic v.",  # any of them, as the broker lists them
    apply: "topic v.",
    read: "topic v.results",
    describe: "group v-group",
    inspect: "topic v.requests",
    dead_letters: "topic v.dead-letters",
    delayed: "topic v.retry.10s",
    release: "the cluster",
    repair: "topic v.repairs",
    event: "the cluster",
    budget: "the cluster",
    look_at_budget: "topic v.budget",
    client: "topic v.results",
}


async def text_of(part: Callable[[Settings], Awaitable[None]], settings: Settings, kind: type[KafkaFailedError]) -> str:
    with pytest.raises(kind) as raised:
        async with asyncio.timeout(120):
            await part(settings)
    text = str(raised.value)
    assert settings.kafka.bootstrap in text
    assert not [secret for secret in (*PASSWORDS.values(), "wrong-secret") if secret in text]
    return text


async def test_every_part_tells_the_three_apart_with_one_text_each(guarded: LocalKafka, held_port: int) -> None:
    stranger, guest = settings_of(guarded.bootstrap, "app", "wrong-secret"), settings_of(guarded.bootstrap, "guest")
    absent = settings_of(f"127.0.0.1:{held_port}")
    assert len({await text_of(part, absent, KafkaUnavailableError) for part in PARTS}) == 1
    assert NOBODY in await text_of(read, absent, KafkaUnavailableError)
    assert len({await text_of(part, stranger, AuthenticationError) for part in PARTS}) == 1
    assert NOT_KNOWN in await text_of(read, stranger, AuthenticationError)
    for part, resource in PARTS.items():
        text = await text_of(part, guest, NotAuthorizedError)
        assert f"{NOT_ALLOWED} {resource}" in text, (part, text)


async def test_every_part_of_one_that_may_works(guarded: LocalKafka) -> None:
    settings = settings_of(guarded.bootstrap)
    for part in PARTS:
        async with asyncio.timeout(120):
            await part(settings)


def environment_of(settings: Settings) -> dict[str, str]:
    password = settings.kafka.password() or ""
    names: dict[str, Any] = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "SCRAM-SHA-512", "GROUP": "v-group"}
    names |= {"SASL_USERNAME": settings.kafka.sasl_username, "SASL_PASSWORD": password}
    return processor_environment(settings.kafka.bootstrap, "http://127.0.0.1:1", "v", **{f"KAFKA__{k}": v for k, v in names.items()})


COMMANDS = [("topics", "check"), ("results",), ("budget",), ("status",), ("lag",), ("retry", "list"), ("deadletters", "list")]


@pytest.mark.parametrize("arguments", COMMANDS, ids="-".join)
async def test_a_command_says_which_of_the_three_it_is(guarded: LocalKafka, held_port: int, arguments: tuple[str, ...]) -> None:
    cases = {
        NOBODY: settings_of(f"127.0.0.1:{held_port}"),
        NOT_KNOWN: settings_of(guarded.bootstrap, "app", "wrong-secret"),
        NOT_ALLOWED: settings_of(guarded.bootstrap, "guest"),
    }
    for text, settings in cases.items():
        done = await run_command(environment_of(settings), *arguments)
        assert done.status == 1, done.err
        said = " ".join(done.err.split())
        assert text in said
        assert said.count(settings.kafka.bootstrap) == 1, said
        assert "Traceback" not in said
        assert not [secret for secret in (*PASSWORDS.values(), "wrong-secret") if secret in said]


async def test_a_processor_that_is_not_known_ends_and_says_so(guarded: LocalKafka, tmp_path: Path) -> None:
    wrong = ProcessorProcess("wrong", environment_of(settings_of(guarded.bootstrap, "app", "wrong-secret")), tmp_path)
    wrong.start()
    assert await asyncio.to_thread(wrong.child.wait, 120.0) == 2
    (line,) = wrong.events("kafka_login_refused")
    assert NOT_KNOWN in line["detail"]


async def missing_of(settings: Settings, count: int) -> list[str]:
    """The rights that are missing, once there are so many: a grant takes effect some moments after its answer."""
    async with asyncio.timeout(120):
        while True:
            try:
                await check_rights(settings)
            except RightsMissingError as exc:
                if len(exc.missing) == count:
                    return list(exc.missing)
            else:
                if not count:
                    return []
            await asyncio.sleep(0.1)


def grants_of(settings: Settings) -> dict[str, Grant]:
    """What docs/deploy.md lists for processors, by topic or kind."""
    found = {name: Grant("topic", name, [o.title for o in operations]) for name, operations in needed_on_topics(settings).items()}
    found["group"] = Grant("group", settings.kafka.group, ["Read"])
    found["transactional id"] = Grant("transactional id", f"{settings.kafka.group}-*", ["Write"])
    return found


async def test_a_processor_calls_nothing_before_it_has_every_right(guarded: LocalKafka, tmp_path: Path) -> None:
    app, limited = settings_of(guarded.bootstrap), settings_of(guarded.bootstrap, "limited")
    everything = await missing_of(limited, sum(len(g.operations) for g in grants_of(limited).values()) + 1)
    assert everything[-3:-1] == ["Read on group v-group", "Write on transactional ids that begin with v-group-"]
    assert everything[-1].startswith("IdempotentWrite on the cluster")
    grants = grants_of(limited)
    kept_back = [grants.pop("group"), grants.pop("v.results")._replace(operations=["Write"])]
    await grant(app, "limited", *grants.values(), Grant("topic", "v.results", ["Describe", "DescribeConfigs"]))
    named = ["Write on topic v.results", "Read on group v-group"]
    assert await missing_of(limited, 2) == named
    body = orjson.dumps({"request_id": "r-1", "operation": "aml", "input": {"full_name": "Zoe Example"}})
    await publish_requests(app, [(b"k", body)])
    with SimulatorProcess(tmp_path) as simulator:
        environment = {**environment_of(limited), "VP_DIDIT__BASE_URL": simulator.url}
        refused = ProcessorProcess("refused", environment, tmp_path)
        refused.start()
        assert await asyncio.to_thread(refused.child.wait, 120.0) == 2
        assert [e["detail"] for e in refused.events("right_missing")] == [f"{right} is not granted to user limited" for right in named]
        assert simulator.ledger()["calls"] == []
        await grant(app, "limited", *kept_back)
        assert await missing_of(limited, 0) == []
        allowed = ProcessorProcess("allowed", environment, tmp_path)
        allowed.start()
        try:
            await asyncio.to_thread(allowed.wait_event, "partitions_assigned")
            async with asyncio.timeout(120):
                while not simulator.ledger()["calls"]:
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.to_thread(allowed.child.stop, 20.0)


async def test_an_auditor_only_reads(guarded: LocalKafka) -> None:
    app, auditor = settings_of(guarded.bootstrap), settings_of(guarded.bootstrap, "auditor")
    refused = await run_command(environment_of(auditor), "verify")
    assert refused.status == 2
    assert NOT_ALLOWED in " ".join(refused.err.split())
    await grant(app, "auditor", Grant("topic", "v.*", ["Read", "Describe"]), Grant("group", "v-group", ["Describe"]))
    async with asyncio.timeout(120):
        while (told := await run_command(environment_of(auditor), "verify", "--json")).status == 2:  # until the grant has taken effect
            assert "does not allow" in told.err, told
    assert told.status == 0, told
    assert told.lines[0]["clean"]


async def test_apply_fails_when_the_beginnings_are_refused(guarded: LocalKafka) -> None:
    """And what the first run could not write the second one does, once it may."""
    app, job = settings_of(guarded.bootstrap), settings_of(guarded.bootstrap, "job")
    job = job.model_copy(update={"kafka": job.kafka.model_copy(update={"topic_prefix": "w", "group": "w-group"})})
    environment = {**environment_of(job), "VP_KAFKA__TOPIC_PREFIX": "w", "VP_KAFKA__GROUP": "w-group"}
    await grant(app, "job", Grant("topic", "w.*", ["Create", "Describe", "DescribeConfigs"]), Grant("group", "w-group", ["Read"]))
    arguments = ("topics", "apply", "--partitions", "1", "--replication", "1")
    async with asyncio.timeout(120):
        while "created" not in (refused := await run_command(environment, *arguments)).err:  # until the grant has taken effect
            assert refused.status == 1, refused
    assert refused.status == 1
    said = " ".join(refused.err.split())
    assert "created w.requests" in said
    assert (
        f"where the group w-group begins could not be written. Kafka at {guarded.bootstrap} does not allow this user to use topic w."
        in said
    )
    await grant(app, "job", Grant("topic", "w.requests", ["Read"]), Grant("topic", "w.retry.*", ["Read"]))
    async with asyncio.timeout(120):
        while (done := await run_command(environment, *arguments)).status:
            assert "does not allow" in done.err, done
    admin = AIOKafkaAdminClient(**app.kafka.client_options())
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets("w-group")
    finally:
        await admin.close()
    assert {tp.topic for tp in committed} == set(topic_names(job).inputs)
    assert {found.offset for found in committed.values()} == {0}
