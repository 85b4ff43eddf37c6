"""The settings of a caller: how to reach Kafka, from the arguments or the environment.

In the wheel ``verification-client`` this module stands where the processor has all its settings (``hatch_build.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from processor.settings.base import Group, Seconds, fault_lines
from processor.settings.kafka import KafkaSettings

__all__ = ["DEFAULT_APPLICATION", "ConfigurationError", "KafkaSettings", "Settings", "load_settings"]

DEFAULT_APPLICATION = "default"  # a caller of another one gives the prefix of its topics
_PREFIX = "VP_KAFKA__"
_MEMORY = "VP_BUDGET__MEMORY_S"


class ConfigurationError(Exception):
    """The client cannot be built. The text lists every fault, one a line, with the variable that holds it."""


class CallerBudget(Group):
    """What a caller needs to know of the processors' budget."""

    topic: None = None  # no caller reads it
    memory_s: Seconds = 3600.0


class CallerRetry(Group):
    """The delay topics are the processors' own."""

    delays_s: tuple[int, ...] = ()


class Settings(Group):
    """What the modules of Kafka ask for."""

    kafka: KafkaSettings
    budget: CallerBudget = Field(default_factory=CallerBudget)
    retry: CallerRetry = Field(default_factory=CallerRetry)
    application: Literal["default"] = "default"
    applications: tuple[()] = ()  # requests are handed on by the processors
    budget_topic: Literal[""] = ""


def load_settings(*, kafka: KafkaSettings | Mapping[str, Any]) -> Settings:
    """Settings from what is given, and from the environment for what is not.

    Args:
        kafka: everything about the connection, or some members of it.

    Raises:
        ConfigurationError: with every fault at once, one a line, each with its variable and without its value.
    """
    found = {name.upper(): text for name, text in os.environ.items()}
    own = {name.removeprefix(_PREFIX).lower(): text for name, text in found.items() if name.startswith(_PREFIX)}
    values: dict[str, Any] = {"kafka": kafka if isinstance(kafka, KafkaSettings) else {**own, **kafka}}
    if memory_s := found.get(_MEMORY):
        values["budget"] = {"memory_s": memory_s}
    try:
        return Settings(**values)
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_url=False)
        faults = [f"  {line}" for e in errors for line in fault_lines(_variable(e["loc"]), e["msg"])]
        raise ConfigurationError("\n".join(["the configuration is not usable:", *faults])) from None


def _variable(location: tuple[int | str, ...]) -> str:
    return "VP_" + "__".join(str(part).upper() for part in location)
