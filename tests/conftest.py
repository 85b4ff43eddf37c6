"""Fixtures for all tests: one real Kafka for the whole run; what is skipped is told at its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import effort  # noqa: F401 - the Hypothesis profile of `make test-fast` is known before any test is read
import pytest
from fork_server import start_forked

from processor.devkit.child_process import ChildProcess
from processor.devkit.held_ports import HeldPorts
from processor.devkit.kafka_cluster import LocalKafka

ChildProcess.start_by = start_forked


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take long come first: workers that take one test at a time then end together."""
    for item in items:
        if "kafka" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)
    items.sort(key=lambda item: item.get_closest_marker("broker") is None)


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
def kafka() -> Iterator[LocalKafka]:
    """One broker; KAFKA_BOOTSTRAP set means that one."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with LocalKafka() as cluster:
        yield cluster
