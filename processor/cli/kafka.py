"""How every command speaks when Kafka fails: with the text of Kafka's border, once, and without what the clients log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from processor.cli.options import fail
from processor.stream.errors import KafkaFailedError

FAILED = 1


def quiet_clients() -> None:
    """What aiokafka and asyncio log of a failure is said once, in our words."""
    for noisy in ("aiokafka", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


def audible_clients() -> None:
    """From here on a command only waits: what happens to its connections is news."""
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


@contextmanager
def kafka_or_fail(before: str = "", then: str = "") -> Iterator[None]:
    """End with status 1 and one text if Kafka fails. ``before`` and ``then``: what the command knows of it, around that text."""
    quiet_clients()
    try:
        yield
    except KafkaFailedError as exc:
        fail(" ".join(filter(None, (before, str(exc), then))), FAILED)
