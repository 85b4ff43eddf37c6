"""The options of the command line, and how they become a configuration. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import orjson

from processor.simulator.config import (
    Behaviour,
    Config,
    SimulatorOptionError,
    Switches,
    WebhookOptions,
    faults_from_json,
    limits_from_json,
    parse_object,
)

_PORT_MAX = 65_535
_WEBHOOKS = WebhookOptions()
_RETRY_S = ",".join(f"{wait_s:g}" for wait_s in _WEBHOOKS.retry_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """The table of options, each with its help: ``processor simulate`` and ``python -m processor.simulator`` are both made from it.

    Raises:
        SimulatorOptionError: if the port is out of range; ``config_of`` checks the other options.
    """

    host: Annotated[str, "address to listen on"] = "127.0.0.1"
    port: Annotated[int, "port to listen on; 0 takes a free one"] = 8080
    seed: Annotated[int, "seed of all random draws: faults, latencies, users, webhooks"] = 1
    limits: Annotated[str | None, 'JSON, e.g. {"session-create": {"limit": 30, "window_s": 10}}'] = None
    faults: Annotated[str | None, 'JSON, e.g. {"rates": {"lost_reply": 0.02}}'] = None
    ledger: Annotated[Path | None, "also append calls, sessions, checks and webhooks to this file, as JSON lines"] = None
    behaviour: Annotated[str | None, 'JSON, what users do, e.g. {"after_s": 5, "odds": {"Approved": 9, "In Review > Declined": 1}}'] = None
    switches: Annotated[str | None, 'JSON, interpretations of contradictory documents, e.g. {"auth_status": 401}'] = None
    webhook_url: Annotated[str | None, "send webhooks to this URL"] = None
    webhook_secret: Annotated[str, "sign webhooks with this secret"] = _WEBHOOKS.secret
    webhook_retry_s: Annotated[str, "waits after the first and the second failed attempt, in seconds"] = _RETRY_S
    webhook_faults: Annotated[str | None, 'JSON, e.g. {"lost": 0.1, "doubled": 0.1, "jitter_s": 2}'] = None
    port_file: Annotated[Path | None, "write the port to this file once it listens"] = None

    until_stdin_closes: Annotated[bool, "end when standard input, a pipe, is closed: with the process that has started it"] = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= _PORT_MAX:
            raise SimulatorOptionError(f"port: must be 0 to {_PORT_MAX}")


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One row of the table. ``kind``: ``str``, ``int``, ``bool`` or ``Path``. With a default of None it has no value unless it is given."""

    name: str
    kind: type
    default: Any
    help: str


def option_rows() -> tuple[OptionRow, ...]:
    """The table, for parsers of command lines."""
    hints = get_type_hints(SimulatorOptions, include_extras=True)
    rows = []
    for option in fields(SimulatorOptions):
        kind, text = get_args(hints[option.name])
        rows.append(OptionRow(option.name, (get_args(kind) or (kind,))[0], option.default, text))
    return tuple(rows)


def config_of(options: SimulatorOptions) -> Config:
    """The configuration that options describe.

    Raises:
        SimulatorOptionError: if an option cannot be used.
    """
    webhooks = WebhookOptions(url=options.webhook_url, secret=options.webhook_secret, retry_s=_waits(options.webhook_retry_s))
    return Config(
        seed=options.seed,
        limits=limits_from_json(options.limits),
        faults=faults_from_json(options.faults),
        behaviour=behaviour_from_json(options.behaviour),
        switches=switches_from_json(options.switches),
        webhooks=webhook_options_from_json(options.webhook_faults, webhooks),
        ledger_path=str(options.ledger) if options.ledger is not None else None,
    )


def changes_from_json(document: Any, config: Config) -> dict[str, Any]:
    """Members of ``Config`` out of the body of a reset: seed, limits, faults, behaviour, switches, webhooks, each as its option.

    Raises:
        SimulatorOptionError: if a member is unknown or cannot be used.
    """
    read: dict[str, Callable[[str], Any]] = {
        "seed": _seed,
        "limits": limits_from_json,
        "faults": faults_from_json,
        "behaviour": behaviour_from_json,
        "switches": switches_from_json,
        "webhooks": lambda text: webhook_options_from_json(text, config.webhooks),
    }
    if not isinstance(document, dict):
        raise SimulatorOptionError("reset: must be a JSON object")
    if unknown := sorted(set(document) - set(read)):
        raise SimulatorOptionError(f"reset: unknown {', '.join(unknown)}; known are {', '.join(sorted(read))}")
    return {name: read[name](orjson.dumps(value).decode()) for name, value in document.items()}


def behaviour_from_json(text: str | None) -> Behaviour:
    """``{"after_s": 5, "odds": {"Approved": 8, "Declined": 1, "In Review > Approved": 1, "Abandoned": 0.5, "Expired": 0.5}}``.

    Raises:
        SimulatorOptionError: if it is not of this form.
    """
    document = parse_object(text, "behaviour")
    try:
        odds = {str(outcome): float(weight) for outcome, weight in document.get("odds", {}).items()}
        behaviour = Behaviour(float(document.get("after_s", 0)), odds)
    except (AttributeError, TypeError, ValueError) as exc:
        raise SimulatorOptionError(f"behaviour: after_s must be a number, odds an object of outcomes and weights: {exc}") from None
    if unknown := sorted(set(document) - {"after_s", "odds"}):
        raise SimulatorOptionError(f"behaviour: unknown {', '.join(unknown)}")
    if odds and (min(odds.values()) < 0 or sum(odds.values()) <= 0 or behaviour.after_s < 0):
        raise SimulatorOptionError("behaviour: weights and times must not be negative, and one weight must be above 0")
    return behaviour


def webhook_options_from_json(text: str | None, webhooks: WebhookOptions = WebhookOptions()) -> WebhookOptions:  # noqa: B008 - frozen
    """``webhooks`` with some members replaced, e.g. ``{"lost": 0.1, "jitter_s": 2, "event_id": "stable"}``.

    Raises:
        SimulatorOptionError: if a member is unknown or has the wrong type.
    """
    return replace(webhooks, **_members(WebhookOptions, parse_object(text, "webhooks"), "webhooks"))


def switches_from_json(text: str | None) -> Switches:
    """Switches, e.g. ``{"auth_status": 401}``.

    Raises:
        SimulatorOptionError: if a switch or its value is unknown.
    """
    return Switches(**_members(Switches, parse_object(text, "switches"), "switches"))


def _seed(text: str) -> int:
    if not text.isdigit():
        raise SimulatorOptionError("reset: seed must be a whole number from 0")
    return int(text)


def _waits(text: str) -> tuple[float, ...]:
    try:
        waits = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        waits = (-1.0,)
    if any(wait < 0 for wait in waits):
        raise SimulatorOptionError("webhook-retry-s: must be seconds with commas between them, e.g. 60,240")
    return waits


def _members(kind: type, document: dict[str, Any], option: str) -> dict[str, Any]:
    hints = get_type_hints(kind)
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(document) - known):
        raise SimulatorOptionError(f"{option}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return {name: _value(hints[name], value, f"{option}: {name}") for name, value in document.items()}


def _value(hint: Any, value: Any, where: str) -> Any:
    """Convert a JSON value to the type of a field."""
    choices = get_args(hint)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if hint is str and isinstance(value, str):
        return value
    if hint == str | None and (value is None or isinstance(value, str)):
        return value
    if Ellipsis in choices and isinstance(value, list):
        return tuple(_value(choices[0], entry, where) for entry in value)
    if choices and value in choices and type(value) in {type(choice) for choice in choices}:
        return value
    expected = f"one of {', '.join(map(str, choices))}" if choices else getattr(hint, "__name__", "text")
    raise SimulatorOptionError(f"{where} must be {expected}")
