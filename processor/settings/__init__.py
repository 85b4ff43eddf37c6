"""All settings, from the environment and a TOML file beside it, checked at once.

Only the local Kafka (``devkit``) reads more of the environment: where Java and its jars are.

Names are ``VP_<GROUP>__<NAME>``, e.g. ``VP_KAFKA__BOOTSTRAP``. Secrets may come from a file (``..._FILE``) and are masked
wherever settings are printed. docs/configuration.md is generated from this file.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from processor.settings.base import header_fault
from processor.settings.budget import BudgetSettings, ScopeLimit, documented_limits
from processor.settings.config_file import CONFIG_FILE, ConfigFileError, read_config_file, secrets_in, variables_of
from processor.settings.didit import DiditSettings
from processor.settings.environment import NO_SETTING, NOT_JSON, PREFIX, Environment, unknown_variables, variable
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
    "secrets_in_file",
]


_OF_NO_JSON = {"dict_type", "list_type", "tuple_type", "model_type", "set_type", "frozen_set_type"}  # of a text: Environment


class ConfigurationError(Exception):
    """The start is refused. The text lists every fault, one a line, with the variable that holds it."""


class Settings(BaseSettings):
    """Everything that a process of ours is configured with: one frozen group for each part, e.g. ``settings.budget``.

    A value that is built is usable: every group has checked its members and what they mean together. Durations are seconds
    (``..._s``), sizes bytes (``..._bytes_max``). Secrets are ``SecretStr``; ask the group for the text (``settings.didit.key()``),
    which reads a mounted file again at each call. Pass a group, not the whole, to what needs only one.

    Build it with ``load_settings``, which names the variable of each fault.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no such file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - secrets have settings that name their files
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, then the environment, then the file."""
        try:
            values = read_config_file()
        except ConfigFileError:
            values = {}  # ``load_settings`` says so
        return init_settings, Environment(settings_cls), InitSettingsSource(settings_cls, values)

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
    """Settings from the environment, and from the file that ``VP_CONFIG_FILE`` names.

    Args:
        overrides: groups by name, as a mapping or a built group; they go before the environment. For tests and for
            ``processor.client``; a service is configured by its environment alone.

    Raises:
        ConfigurationError: with every fault at once, one a line, each with its variable and without its value.

    Example:
        >>> load_settings(kafka={"bootstrap": "kafka:9092"}).kafka.topic_prefix
        'verification'
    """
    faults: list[str] = []
    of_file: set[str] = set()
    try:
        of_file = set(variables_of(read_config_file()))
    except ConfigFileError as exc:
        faults.append(f"{CONFIG_FILE}: {exc}")
    names = [name for name in [*os.environ, *of_file] if name.upper() != CONFIG_FILE]
    faults += [f"{name}: {advice}" for name, advice in unknown_variables(Settings, names).items()]
    settings = None
    try:
        settings = Settings(**overrides)
    except ValidationError as exc:
        unknown = {fault.partition(":")[0] for fault in faults}
        errors = exc.errors(include_input=False, include_url=False)
        faults += [f"{name}: {_in_words(e)}" for e in errors if (name := variable(e["loc"])) not in unknown]
    if settings is None or faults:
        raise ConfigurationError("the configuration is not usable:\n" + "\n".join(f"  {fault}" for fault in faults)) from None
    return settings


def secrets_in_file() -> list[str]:
    """Secrets that stand in the configuration file itself, as ``group.name``; it is not made for them.

    Raises:
        ConfigFileError: if the file cannot be used.
    """
    return secrets_in(Settings, read_config_file())


def _in_words(error: ErrorDetails) -> str:
    if error["type"] in _OF_NO_JSON:
        return NOT_JSON
    return NO_SETTING if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
