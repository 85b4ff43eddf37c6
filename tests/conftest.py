"""Fixtures for all tests: one real Kafka for the whole run; what is skipped is told at its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import effort  # noqa: F401 - the Hypothesis profile of `make test-fast` is known before any test is read
import pytest
from fork_server import start_forked
from scheduling import BROKERS, BrokerScheduling
from shared_kafka import kafka_of_the_run, mend
from xdist.remote import Producer

from processor.devkit.child_process import ChildProcess
from processor.devkit.held_ports import HeldPorts
from processor.devkit.kafka_cluster import LocalKafka

ChildProcess.start_by = start_forked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long come first: workers that take one test at a time then end together."""
    for item in items:
        if {"kafka", *BROKERS}.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)
    items.sort(key=lambda item: item.get_closest_marker("broker") is None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BrokerScheduling:
    """What runs with several workers."""
    return BrokerScheduling(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was not tested, why, and how to get what is missing."""
    reasons = Counter(str(report.longrepr[-1]).removeprefix("Skipped: ") for report in terminalreporter.getreports("skipped"))
    if reasons:
        terminalreporter.section("not tested here")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"{count:4} skipped: {reason}")


@pytest.fixture
def held_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, and which nobody gets who does not name it."""
    with HeldPorts() as held:
        yield held.numbers[0]


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[LocalKafka]:
    """One broker for the whole run; KAFKA_BOOTSTRAP set means that one."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    own = tmp_path_factory.getbasetemp()  # that of the run is above those of its workers
    with kafka_of_the_run(own if worker_id == "master" else own.parent) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spare_kafka() -> Iterator[LocalKafka]:
    """Behind ``own_kafka``. It makes topics for whoever names one, which no client of ours may lead it to."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka(overrides={"auto.create.topics.enable": "true"}) as cluster:
        yield cluster


@pytest.fixture
def own_kafka(spare_kafka: LocalKafka) -> Iterator[LocalKafka]:
    """A broker that a test may stop, kill, freeze and move; whole again when the next one gets it, with the topics of those before."""
    if spare_kafka.external:
        pytest.skip("KAFKA_BOOTSTRAP is set: its brokers are not ours (unset it, and a local one is started)")
    try:
        yield spare_kafka
    finally:
        mend(spare_kafka)


@pytest.fixture(scope="session")
def other_port() -> Iterator[int]:
    """Where ``own_kafka`` may move, and stay."""
    with HeldPorts() as held:
        yield held.numbers[0]
