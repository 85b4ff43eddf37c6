"""All settings, from the environment and a TOML file beside it, checked at once.

Only the local Kafka (``devkit``) reads more of the environment: where Java and its jars are.

Names are ``VP_<GROUP>__<NAME>``, e.g. ``VP_KAFKA__BOOTSTRAP``. Secrets may come from a file (``..._FILE``) and are masked
wherever settings are printed. docs/configuration.md is generated from this file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from processor.settings.applications import (
    CHOICE,
    DEFAULT_APPLICATION,
    VARIABLE,
    ApplicationClaims,
    Applications,
    ApplicationSettings,
    budget_of,
    chosen_application,
    didit_of,
    given_applications,
    kafka_of,
    read_applications,
    webhooks_of,
)
from processor.settings.base import header_fault
from processor.settings.budget import BudgetSettings, ScopeLimit, documented_limits
from processor.settings.config_file import CONFIG_FILE, ConfigFileError, read_config_file, secrets_in, variables_of
from processor.settings.didit import DiditSettings
from processor.settings.environment import PREFIX, Environment, unknown_variables, variable
from processor.settings.faults import errors_of, further_faults, lines_of
from processor.settings.files import FileSettings
from processor.settings.follow import FollowSettings
from processor.settings.kafka import KafkaSettings
from processor.settings.lanes import LaneSettings
from processor.settings.log import LogSettings
from processor.settings.observe import ObserveSettings
from processor.settings.privacy import PrivacySettings
from processor.settings.retry import RetrySettings
from processor.settings.webhooks import WebhookSettings

__all__ = [
    "DEFAULT_APPLICATION",
    "ApplicationSettings",
    "BudgetSettings",
    "ConfigurationError",
    "DiditSettings",
    "FileSettings",
    "FollowSettings",
    "KafkaSettings",
    "LaneSettings",
    "LogSettings",
    "ObserveSettings",
    "PrivacySettings",
    "RetrySettings",
    "ScopeLimit",
    "Settings",
    "WebhookSettings",
    "header_fault",
    "load_settings",
    "secrets_in_file",
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
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    log: LogSettings = Field(default_factory=LogSettings)

    _application: str = PrivateAttr(default=DEFAULT_APPLICATION)
    _applications: Applications = PrivateAttr(default_factory=dict)

    @property
    def application(self) -> str:
        """The name of the application that these settings are of."""
        return self._application

    @property
    def applications(self) -> Applications:
        """The applications beside the default one, by name; none in the settings of one of them."""
        return self._applications

    def for_application(self, name: str) -> Settings:
        """The settings of one application: its own key, limits, topics, group and member; all else as here.

        Raises:
            ConfigurationError: if it is not known.
            ValidationError: if a name of its topics or its group gets too long.
        """
        if name == self.application:
            return self
        if (own := self.applications.get(name)) is None:
            known = ", ".join([self.application, *self.applications])
            raise ConfigurationError(f"the configuration is not usable:\n  {VARIABLE}: names no application {name!a}; there are: {known}")
        groups = {
            "kafka": kafka_of(self.kafka, name, own),
            "didit": didit_of(self.didit, own),
            "budget": budget_of(self.budget, own),
            "webhooks": webhooks_of(self.webhooks, own),
        }
        return self._as(name, {}, groups)

    def knowing(self, applications: Applications) -> Settings:
        """The same settings, with these applications beside the default one; ``load_settings`` sees whether they go together."""
        return self._as(self.application, applications, {})

    def _as(self, application: str, applications: Applications, groups: Mapping[str, Any]) -> Settings:
        copy = self.model_copy(update=groups)
        copy._application, copy._applications = application, applications  # noqa: SLF001 - of this class
        return copy

    @property
    def installations(self) -> Iterator[Settings]:
        """The settings of every application, these first."""
        yield self
        yield from map(self.for_application, self.applications)

    @property
    def budget_topic(self) -> str:
        """The name of the budget log."""
        return self.budget.topic or f"{self.kafka.topic_prefix}.budget"

    @property
    def results_topic(self) -> str:
        """The name of the topic of results."""
        return self.kafka.results_topic or f"{self.kafka.topic_prefix}.results"

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
        overrides: groups by name, as a mapping or a built group; ``applications``, as a mapping; they go before the environment. For
            tests and for ``processor.client``; a service is configured by its environment alone. ``application``: whose settings, by
            name; default the one that ``VP_APPLICATION`` names, or else the default one, which knows of all others.

    Raises:
        ConfigurationError: with every fault at once, one a line, each with its variable and without its value.

    Example:
        >>> load_settings(kafka={"bootstrap": "kafka:9092"}).kafka.topic_prefix
        'verification'
    """
    faults: list[str] = []
    file: dict[str, Any] = {}
    try:
        file = read_config_file()
    except ConfigFileError as exc:
        faults.append(f"{CONFIG_FILE}: {exc}")
    names = [name for name in [*os.environ, *variables_of(file)] if name.upper() != CONFIG_FILE]
    faults += [f"{name}: {advice}" for name, advice in unknown_variables(Settings, names, {VARIABLE, CHOICE}).items()]
    application = overrides.pop("application", None) or chosen_application() or DEFAULT_APPLICATION
    given, unreadable = (overrides.pop("applications"), []) if "applications" in overrides else given_applications(file)
    beside, wrong = read_applications(given)
    settings = None
    try:
        settings = Settings(**overrides)
    except ValidationError as exc:
        unknown = {fault.partition(":")[0] for fault in faults}
        errors = errors_of(exc)
        faults += [line for e in errors if variable(e["loc"]) not in unknown for line in lines_of(e)]
        faults += further_faults(Settings, errors, (file, Environment(Settings)(), overrides))
    faults += unreadable + wrong
    if settings is not None:
        settings = settings.knowing(beside)
        faults += _contradictions(settings)
    if settings is None or faults:
        raise ConfigurationError("the configuration is not usable:\n" + "\n".join(f"  {fault}" for fault in faults)) from None
    return settings.for_application(application)


def _contradictions(settings: Settings) -> list[str]:
    """What cannot be of the applications together, and names that get too long."""
    faults: list[str] = []
    installations = []
    for name in (DEFAULT_APPLICATION, *settings.applications):
        try:
            installations.append(settings.for_application(name))
        except ValidationError as exc:
            faults += [f"{VARIABLE}.{name}: its {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors(include_input=False)]
    claims = ApplicationClaims([each.kafka.topic_prefix for each in installations])
    if settings.applications:
        for each in installations:
            faults += claims.results(each.application, each.results_topic)
        for each in installations:
            faults += claims.budget(each.application, each.budget_topic, each.didit.key(), each.rate_limits)
            faults += claims.secrets(each.application, each.webhooks.secrets_file)
    return faults


def secrets_in_file() -> list[str]:
    """Secrets that stand in the configuration file itself, as ``group.name``; it is not made for them.

    Raises:
        ConfigFileError: if the file cannot be used.
    """
    return secrets_in(Settings, read_config_file())
