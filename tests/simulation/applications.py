"""Two applications in a world: the same processors work for both, each with a key, topics and a budget log of its own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.contract.headers import APPLICATION_HEADER
from processor.settings import Settings
from processor.settings.applications import DEFAULT_APPLICATION
from processor.stream.topics import topic_names
from simulation.disturbances import FIRST_S, Disturbance

if TYPE_CHECKING:
    from simulation.stage import Stage

SECOND = "shop"
SECOND_KEY = "sim-key-of-shop"
_REFUSALS = (
    ("compacted", f"requests of {SECOND}"),  # records there may have no key
    ("compacted", f"requests of {SECOND}"),
    *(("too few replicas", f"{what} of {SECOND}") for what in ("requests", "results", "delays", "log")),
    ("too few replicas", "results"),
)


class Addressed(NamedTuple):
    """A record for the requests topic of an application, or for the common one. ``key``: None for some that are to be handed on."""

    topic: str
    key: bytes | None
    document: dict[str, Any]
    headers: list[tuple[str, bytes]]


def settings_of(names: Sequence[str], limits: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What `VP_APPLICATIONS` holds."""
    return {name: {"api_key": SECOND_KEY, "limits": limits} for name in names}


class Addresses:
    """How callers say which application a request is for: by its topic, or in the common one by a field or a header.

    Args:
        installations: the settings of every application, the default one first.
        seed: decides which request is for which; the same whatever is published for it.
    """

    def __init__(self, installations: Sequence[Settings], seed: int) -> None:
        self._topics = {each.application: topic_names(each).requests for each in installations}
        self._seed, self._draw = seed, random.Random(seed ^ 0xA991)

    def application_of(self, request_id: str) -> str:
        """The application that a request is for, and what takes it back or asks for it again."""
        number = request_id.rpartition("-")[2]
        return random.Random(f"{self._seed} {number}").choice(tuple(self._topics))

    def addressed(self, key: bytes | None, document: dict[str, Any]) -> Addressed:
        """One of the ways that lead to its application."""
        application, draw = self.application_of(document["request_id"]), self._draw
        common = self._topics[DEFAULT_APPLICATION]
        way = draw.choice(("topic", "field", "header", "all"))
        named = {**document, "application": application} if way in ("field", "all") else document
        headers = [(APPLICATION_HEADER, application.encode())] if way in ("header", "all") else []
        if way in ("topic", "all"):
            return Addressed(self._topics[application], key, named, headers)
        return Addressed(common, draw.choice((key, None)), named, headers)


def applications(draw: random.Random, stage: Stage) -> list[Disturbance]:
    """Processors end while requests are handed on; a topic of one application takes nothing; its key is refused."""
    found, at_s = [], FIRST_S
    for _ in range(draw.choice((1, 2, 3))):
        at_s += draw.uniform(0.3, 6.0)
        kind = draw.choice(("kill", "kill", "stop", "freeze", "kill all"))
        lasts_s = {"stop": 0.0, "freeze": draw.uniform(3.0, 20.0)}.get(kind, draw.uniform(0.2, 3.0))
        found.append(Disturbance(at_s, kind, draw.choice(stage.replicas) if kind != "kill all" else "replicas", lasts_s))
    if draw.random() < 0.7:
        lasts_s = draw.choice((draw.uniform(3.0, 12.0), draw.uniform(36.0, 44.0)))
        found.append(Disturbance(FIRST_S + draw.uniform(-2.0, 6.0), *draw.choice(_REFUSALS), lasts_s))
    if draw.random() < 0.4:
        found.append(Disturbance(FIRST_S + draw.uniform(0.0, 6.0), "key revoked", draw.choice((SECOND, DEFAULT_APPLICATION)), 15.0))
    return found
