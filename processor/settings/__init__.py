"""All settings, from the environment, checked at once. Only the local Kafka (``devkit``) reads more of it: where Java and its jars are.

Names are ``VP_<GROUP>__<NAME>``, e.g. ``VP_KAFKA__BOOTSTRAP``. Secrets may come from a file (``..._FILE``) and are masked
wherever settings are printed. docs/configuration.md is generated from this file.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from processor.settings.base import header_fault
from processor.settings.budget import BudgetSettings, ScopeLimit, documented_limits
from processor.settings.didit import DiditSettings
from processor.settings.files import FileSettings
from processor.settings.follow import FollowSettings
from processor.settings.kafka import KafkaSettings
from processor.settings.lanes import LaneSettings
from processor.settings.log import LogSettings
from processor.settings.observe import ObserveSettings
from processor.settings.retry import RetrySettings
from processor.settings.webhooks import WebhookSettings

__all__ = [
    "BudgetSettings",
    "ConfigurationError",
    "DiditSettings",
    "FileSettings",
    "FollowSettings",
    "KafkaSettings",
    "LaneSettings",
    "LogSettings",
    "ObserveSettings",
    "RetrySettings",
    "ScopeLimit",
    "Settings",
    "WebhookSettings",
    "header_fault",
    "load_settings",
]


class ConfigurationError(Exception):
    """The start is refused. The text lists every fault, one a line, with the variable that holds it."""


class Settings(BaseSettings):
    """Everything that a process of ours is configured with: one frozen group for each part, e.g. ``settings.budget``.

    A value that is built is usable: every group has checked its members and what they mean together. Durations are seconds
    (``..._s``), sizes bytes (``..._bytes_max``). Secrets are ``SecretStr``; ask the group for the text (``settings.didit.key()``),
    which reads a mounted file again at each call. Pass a group, not the whole, to what needs only one.

    Build it with ``load_settings``, which names the variable of each fault.
    """

    model_config = SettingsConfigDict(env_prefix="VP_", env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    didit: DiditSettings = Field(default_factory=DiditSettings)
    budget: BudgetSettings = Field(default_factory=BudgetSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    lanes: LaneSettings = Field(default_factory=LaneSettings)
    files: FileSettings = Field(default_factory=FileSettings)
    follow: FollowSettings = Field(default_factory=FollowSettings)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    observe: ObserveSettings = Field(default_factory=ObserveSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @property
    def rate_limits(self) -> dict[str, ScopeLimit]:
        """Of every scope: as configured, else as Didit documents it for the version of its API."""
        return documented_limits(self.didit.api_version) | self.budget.limits

    @property
    def call_s_max(self) -> float:
        """From the start of a call, its files to be read first, to the last moment at which Didit may count it."""
        return self.files.reading_s_max + self.didit.timeout_s + self.budget.call_margin_s

    @property
    def promise_s_max(self) -> float:
        """The same from the sending of its ask."""
        return self.budget.ask_wait_s + self.call_s_max


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment.

    Args:
        overrides: groups by name, as a mapping or a built group; they go before the environment. For tests and for
            ``processor.client``; a service is configured by its environment alone.

    Raises:
        ConfigurationError: with every fault at once, one a line, each with its variable and without its value.

    Example:
        >>> load_settings(kafka={"bootstrap": "kafka:9092"}).kafka.topic_prefix
        'verification'
    """
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        errors = exc.errors(include_input=False, include_url=False)
        faults = [f"  {_variable(e['loc'])}: {e['msg'].removeprefix('Value error, ')}" for e in errors]
        raise ConfigurationError("the configuration is not usable:\n" + "\n".join(faults)) from None
    except SettingsError as exc:
        raise ConfigurationError(f"the configuration is not usable:\n  {_unparsed(exc)}: must be JSON, with double quotes") from None


def _unparsed(error: SettingsError) -> str:
    """The variable whose text was no JSON: the error holds the text, and must not show it."""
    text = getattr(error.__cause__, "doc", None)
    return ", ".join(sorted(name for name, value in os.environ.items() if name.startswith("VP_") and value == text)) or "a VP_ variable"


def _variable(location: tuple[int | str, ...]) -> str:
    return "VP_" + "__".join(str(part).upper() for part in location)
