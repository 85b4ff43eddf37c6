"""The settings that are in effect, for people: each with its value and where it comes from, secrets masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from processor.settings import Settings
from processor.settings.applications import DEFAULT_APPLICATION, DERIVED, VARIABLE
from processor.settings.environment import variable


@dataclass(frozen=True)
class EffectiveSetting:
    """One setting."""

    variable: str
    value: Any  # as JSON; a secret is asterisks
    source: Literal["application", "environment", "file", "default"]


def effective_settings(settings: Settings, environment: Iterable[str], file: Iterable[str] = ()) -> Iterator[EffectiveSetting]:
    """Every setting; ``environment`` has the names of variables that are set, ``file`` those that the file would have there."""
    in_file = frozenset(file)
    names = {name.upper() for name in environment}
    groups: Mapping[str, Mapping[str, Any]] = settings.model_dump(mode="json")
    for group, values in groups.items():
        given = getattr(settings, group).model_fields_set if variable([group]) in names else frozenset()
        for name, value in values.items():
            own = variable([group, name])
            is_set = name in given or own in names or any(each.startswith(f"{own}__") for each in names)
            derived = own in DERIVED and settings.application != DEFAULT_APPLICATION
            yield EffectiveSetting(
                own, value, "application" if derived else "environment" if is_set else "file" if own in in_file else "default"
            )
    if settings.applications:
        applications = {name: own.model_dump(mode="json") for name, own in settings.applications.items()}
        yield EffectiveSetting(VARIABLE, applications, "environment" if VARIABLE in names else "file")
