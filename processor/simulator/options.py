"""Options of the command line. Pure."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

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


def config_of(
    *,
    seed: int,
    limits: str | None = None,
    faults: str | None = None,
    ledger: str | None = None,
    behaviour: str | None = None,
    switches: str | None = None,
    webhook_url: str | None = None,
    webhook_secret: str | None = None,
    webhook_retry_s: str | None = None,
    webhook_faults: str | None = None,
) -> Config:
    """The configuration that options describe.

    Raises:
        SimulatorOptionError: if an option cannot be used.
    """
    webhooks = webhook_options_from_json(webhook_faults, WebhookOptions(url=webhook_url, secret=webhook_secret or WebhookOptions().secret))
    if webhook_retry_s is not None:
        webhooks = replace(webhooks, retry_s=_waits(webhook_retry_s))
    return Config(
        seed=seed,
        limits=limits_from_json(limits),
        faults=faults_from_json(faults),
        behaviour=behaviour_from_json(behaviour),
        switches=switches_from_json(switches),
        webhooks=webhooks,
        ledger_path=ledger,
    )


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
