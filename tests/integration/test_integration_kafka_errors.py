"""Three ways to be kept out of Kafka have three texts, the same one in every command and part: nobody there, not known, not allowed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import run_command

from processor.budget.log import LogUnavailableError
from processor.client import BrokersUnavailableError, VerificationClient
from processor.devkit.kafka_cluster import LocalKafka
from processor.devkit.processes import ProcessorProcess, processor_environment
from processor.monitoring.group_inspector import GroupInspector
from processor.repair.dead_letter_index import DeadLetterIndex
from processor.repair.delayed_index import DelayedIndex
from processor.repair.redrive import RepairLine
from processor.repair.release import publish_releases
from processor.settings import Settings, load_settings
from processor.stream.admin import GroupAdmin
from processor.stream.budget_log import KafkaBudgetLog
from processor.stream.errors import AuthenticationError, KafkaFailedError, KafkaUnavailableError, NotAuthorizedError
from processor.stream.reader import PartitionReader
from processor.stream.releases import Release
from processor.stream.topics_admin import apply_topics, check_topics
from processor.webhooks.producer import EventProducer

pytestmark = pytest.mark.broker

PASSWORDS = {"app": "app-secret", "guest": "guest-secret"}
NOT_KNOWN = "refuses the login with SCRAM-SHA-512"
NOBODY = "does not answer (ConnectionRefusedError)"
NOT_ALLOWED = "does not allow this user to use"


@pytest.fixture(scope="module")
def guarded() -> Iterator[LocalKafka]:
    """A broker with rights: ``app`` may do everything, ``guest`` nothing."""
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


def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


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
        await index.start()
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


async def budget(settings: Settings) -> None:
    log = KafkaBudgetLog(settings)
    try:
        await log.open()
    except LogUnavailableError as exc:
        raise same_text(exc) from None
    finally:
        await log.close()


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
    client: "topic v.results",
}


async def text_of(part: Callable[[Settings], Awaitable[None]], settings: Settings, kind: type[KafkaFailedError]) -> str:
    with pytest.raises(kind) as raised:
        async with asyncio.timeout(30):
            await part(settings)
    text = str(raised.value)
    assert settings.kafka.bootstrap in text
    assert not [secret for secret in (*PASSWORDS.values(), "wrong-secret") if secret in text]
    return text


async def test_every_part_tells_the_three_apart_with_one_text_each(guarded: LocalKafka) -> None:
    stranger, guest = settings_of(guarded.bootstrap, "app", "wrong-secret"), settings_of(guarded.bootstrap, "guest")
    absent = settings_of(nobody())
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
        async with asyncio.timeout(30):
            await part(settings)


def environment_of(settings: Settings) -> dict[str, str]:
    password = settings.kafka.password() or ""
    names: dict[str, Any] = {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "SCRAM-SHA-512", "GROUP": "v-group"}
    names |= {"SASL_USERNAME": settings.kafka.sasl_username, "SASL_PASSWORD": password}
    return processor_environment(settings.kafka.bootstrap, "http://127.0.0.1:1", "v", **{f"KAFKA__{k}": v for k, v in names.items()})


COMMANDS = [("topics", "check"), ("results",), ("budget",), ("status",), ("lag",), ("retry", "list"), ("deadletters", "list")]


@pytest.mark.parametrize("arguments", COMMANDS, ids="-".join)
async def test_a_command_says_which_of_the_three_it_is(guarded: LocalKafka, arguments: tuple[str, ...]) -> None:
    cases = {
        NOBODY: settings_of(nobody()),
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


async def test_a_processor_that_is_not_known_waits_and_says_so(guarded: LocalKafka, tmp_path: Path) -> None:
    wrong = ProcessorProcess("wrong", environment_of(settings_of(guarded.bootstrap, "app", "wrong-secret")), tmp_path)
    guest = ProcessorProcess("guest", environment_of(settings_of(guarded.bootstrap, "guest")), tmp_path)
    for process, text in ((wrong, NOT_KNOWN), (guest, NOT_ALLOWED)):
        process.start()
        try:
            await asyncio.to_thread(process.wait_event, "kafka_unreachable")
            assert text in next(iter(process.events("kafka_unreachable")))["detail"]
            assert process.child.alive
        finally:
            await asyncio.to_thread(process.child.stop, 20.0)
