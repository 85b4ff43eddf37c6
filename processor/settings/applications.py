"""Several applications of Didit in one deployment: each has a key, limits and topics of its own, and shares every other setting.

`VP_APPLICATIONS` is a JSON object, name -> settings of an application; or the file that `VP_CONFIG_FILE` names has a table for each, e.g.
`[applications.shop]`. One that is in both is taken whole from the variable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import orjson
from pydantic import AfterValidator, Field, SecretStr, TypeAdapter, ValidationError, model_validator

from processor.settings.base import TOPIC_NAME, Group, fault_lines, file_fault, header_fault, refuse, secret
from processor.settings.budget import BudgetSettings, ScopeLimit, unknown_scopes
from processor.settings.didit import DiditSettings, WorkflowId
from processor.settings.environment import NOT_JSON
from processor.settings.faults import errors_of
from processor.settings.kafka import KafkaSettings
from processor.settings.webhooks import WebhookSettings

VARIABLE = "VP_APPLICATIONS"
DEFAULT_APPLICATION = "default"  # the one that VP_DIDIT__API_KEY is of, and of a deployment that names none
CHOICE = "VP_APPLICATION"  # the one that a command is about
TABLE = "applications"  # of the configuration file
DERIVED = frozenset(
    {f"VP_KAFKA__{name}" for name in ("TOPIC_PREFIX", "GROUP", "INSTANCE_ID", "RESULTS_TOPIC")}
    | {f"VP_DIDIT__{name}" for name in ("API_KEY", "API_KEY_FILE", "WORKFLOWS", "WORKFLOWS_ONLY")}
    | {"VP_BUDGET__LIMITS", "VP_BUDGET__TOPIC"}
    | {f"VP_WEBHOOKS__{name}" for name in ("SECRETS", "SECRETS_FILE", "IN_RUN")}
)
"""What an application has of its own, whatever the variable says."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_TOPICS = ("requests", "results", "retry", "budget", "events", "dead-letters", "repairs", "controls")
_TAKEN = frozenset({DEFAULT_APPLICATION, *_TOPICS})
_APPLICATIONS_MAX = 100
_G = TypeVar("_G", bound=Group)


def _free_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("the name of an application is 1 to 40 characters of a-z, 0-9 and -, the first and last one no -")
    if name in _TAKEN:
        raise ValueError("this name is taken: topics are named like that, or the application that names none")
    return name


class ApplicationSettings(Group):
    """One application beside the default one (docs/applications.md). What is not named here is as for the default application."""

    api_key: SecretStr | None = Field(None, description="x-api-key of the application")
    api_key_file: Path | None = Field(None, description="file that holds the key; read again when Didit refuses the key")
    limits: dict[str, ScopeLimit] = Field(
        default_factory=dict, description="as VP_BUDGET__LIMITS, for this key; scopes left out have the documented limit, not the default's"
    )
    budget_topic: str | None = Field(
        None, pattern=TOPIC_NAME, description="the budget log; default <prefix>.<name>.budget. Applications with one key must name the same"
    )
    results_topic: str | None = Field(None, pattern=TOPIC_NAME, description="where its results go; default <prefix>.<name>.results")
    webhook_secrets_file: Path | None = Field(
        None, description="as VP_WEBHOOKS__SECRETS_FILE, for `processor webhooks --application <name>`, a service of its own"
    )
    workflows: tuple[WorkflowId, ...] | None = Field(
        None, description="the only workflows that its requests may name, and those that `processor check` looks for; null: any"
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        faults = []
        if self.api_key is not None and self.api_key_file is not None:
            faults.append("set api_key or api_key_file, not both")
        elif self.api_key_file is not None and (fault := file_fault(self.api_key_file)):
            faults.append(f"api_key_file: {fault}")
        elif (key := self.key()) is not None and (fault := header_fault(key)):
            faults.append(f"api_key {fault}" if self.api_key is not None else f"api_key_file: {self.api_key_file} {fault}")
        if unknown := unknown_scopes(self.limits):
            faults.append(f"limits names scopes that no operation counts in: {', '.join(unknown)}")
        if self.workflows is not None and not self.workflows:
            faults.append("workflows is empty, so that no session could be made; leave it out to allow any")
        refuse(faults)
        return self

    def key(self) -> str | None:
        """The API key from the settings or the file (read again at each call of this function)."""
        return secret(self.api_key, self.api_key_file)


Applications = Mapping[str, ApplicationSettings]

_FORM: TypeAdapter[dict[str, ApplicationSettings]] = TypeAdapter(
    Annotated[dict[Annotated[str, AfterValidator(_free_name)], ApplicationSettings], Field(max_length=_APPLICATIONS_MAX)]
)


def given_applications(file: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """What the environment and the configuration file say of applications, unchecked; and why it cannot be read."""
    text = next((value for name, value in os.environ.items() if name.upper() == VARIABLE), "")
    found = file.get(TABLE, {})
    try:
        own = orjson.loads(text) if text else {}
    except ValueError:
        return found, [f"{VARIABLE}: {NOT_JSON}"]
    if not isinstance(own, dict) or not isinstance(found, Mapping):
        return {}, [f"{VARIABLE}: must be an object, name of an application -> its settings"]
    return {**found, **own}, []


def chosen_application() -> str | None:
    """The application that the environment names; None if it names none."""
    return next((value for name, value in os.environ.items() if name.upper() == CHOICE and value), None)


def read_applications(given: Any) -> tuple[dict[str, ApplicationSettings], list[str]]:
    """The applications; and all faults, each with its path, e.g. ``VP_APPLICATIONS.shop.limits``, and without its value."""
    try:
        return _FORM.validate_python(given), []
    except ValidationError as exc:
        return {}, [line for e in errors_of(exc) for line in fault_lines(_path(e["loc"]), e["msg"])]


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join([VARIABLE, *(str(part) for part in location if part != "[key]")])


def kafka_of(common: KafkaSettings, name: str, own: ApplicationSettings) -> KafkaSettings:
    """Names of its own: topics, group, and the member of the group and of the budget log.

    Raises:
        ValidationError: if a name gets too long.
    """
    return _changed(
        common,
        topic_prefix=f"{common.topic_prefix}.{name}",
        group=f"{common.group}-{name}",
        instance_id=f"{common.instance_id}.{name}",
        results_topic=own.results_topic,
    )


def didit_of(common: DiditSettings, own: ApplicationSettings) -> DiditSettings:
    """Its key and its workflows."""
    workflows = own.workflows
    named = {"workflows": workflows or (), "workflows_only": workflows is not None}
    return _changed(common, api_key=own.api_key, api_key_file=own.api_key_file, **named)


def budget_of(common: BudgetSettings, own: ApplicationSettings) -> BudgetSettings:
    """The budget of its key."""
    return _changed(common, limits=own.limits, topic=own.budget_topic)


def webhooks_of(common: WebhookSettings, own: ApplicationSettings) -> WebhookSettings:
    """Its secrets. Received in a process of its own: two receivers of one process would want one port."""
    return _changed(common, secrets=(), secrets_file=own.webhook_secrets_file, in_run=False)


def _changed(common: _G, /, **changes: Any) -> _G:
    """A group with other members, checked again."""
    return type(common)(**{name: getattr(common, name) for name in type(common).model_fields} | changes)


class ApplicationClaims:
    """What each application has to itself, to see what two of them cannot have at once.

    Args:
        prefixes: of the topics of all applications.
    """

    def __init__(self, prefixes: Collection[str]) -> None:
        self._fixed = {f"{prefix}.{kind}" for prefix in prefixes for kind in _TOPICS if kind not in {"results", "budget"}}
        self._delays = tuple(f"{prefix}.retry." for prefix in prefixes)
        self._results: dict[str, str] = {}
        self._budgets: dict[str, tuple[str, str | None, Mapping[str, ScopeLimit]]] = {}  # log -> first application, key, limits
        self._keys: dict[str, tuple[str, str]] = {}  # key -> first application, log
        self._secrets: dict[Path, str] = {}

    def results(self, name: str, topic: str) -> Iterator[str]:
        """Faults of the topic of results."""
        if (other := self._results.setdefault(topic, name)) != name:
            yield f"{_of(name)}.results_topic: {topic} is that of {other!a} too, so that callers would read each other's decisions"
        if topic in self._fixed or topic.startswith(self._delays):
            yield f"{_of(name)}.results_topic: {topic} is a topic for something else"

    def budget(self, name: str, log: str, key: str | None, limits: Mapping[str, ScopeLimit]) -> Iterator[str]:
        """Faults of key and budget log: one log for each key."""
        if log in self._fixed or log in self._results or log.startswith(self._delays):
            yield f"{_of(name)}.budget_topic: {log} is a topic for something else"
        first, its_key, its_limits = self._budgets.setdefault(log, (name, key, limits))
        if first != name and None not in (key, its_key) and key != its_key:
            yield f"{_of(name)}.budget_topic: {log} is that of {first!a} too, which has another API key; one log counts for one key"
        elif first != name and limits != its_limits:
            yield f"{_of(name)}.limits: differ from those of {first!a}, which has the same budget log"
        if key is None:
            return
        first, its_log = self._keys.setdefault(key, (name, log))
        if its_log != log:
            yield (
                f"{_of(name)}.budget_topic: has the API key of {first!a} and another budget log; what shares a key must name one "
                f"budget_topic, {its_log}"
            )

    def secrets(self, name: str, file: Path | None) -> Iterator[str]:
        """Faults of the webhook secrets."""
        if file is not None and (other := self._secrets.setdefault(file, name)) != name:
            yield f"{_of(name)}.webhook_secrets_file: is that of {other!a} too, so that events of one would count for the other"


def _of(name: str) -> str:
    return f"{VARIABLE}.{name}"
