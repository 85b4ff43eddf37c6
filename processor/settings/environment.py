"""The variables of the environment: which there are, which are misspelt, and which hold no JSON where they must."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

PREFIX = "VP_"
NOT_JSON = "must be a JSON object or array, with double quotes"
NO_SETTING = "is no setting; docs/configuration.md has them all, remove it"
_NEAR = 0.75  # of 1, as difflib counts


class Environment(EnvSettingsSource):
    """Reads the variables. A text that is no JSON is left as it is, so that its group refuses it beside every other fault."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """What the text holds; the text itself if it is no JSON."""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def variable(location: Iterable[int | str]) -> str:
    """The variable of a field, by its place in the settings."""
    return PREFIX + "__".join(str(part).upper() for part in location if part != "[key]")


def unknown_variables(settings: type[BaseModel], names: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """The names under our prefix that belong to no setting, each with what to do about it. Case does not count.

    ``others``: variables that are read by themselves.
    """
    fields = dict(_fields_of(settings))
    groups = {variable([group]) for group in settings.model_fields}  # a whole one as JSON
    mappings = tuple(f"{name}__" for name, field in fields.items() if get_origin(field.annotation) is dict)
    found = {name.upper() for name in names if name.upper().startswith(PREFIX)} - fields.keys() - groups - set(others)
    return {name: _advice(name, fields) for name in sorted(found) if not name.startswith(mappings)}


def _advice(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, sorted(known), n=1, cutoff=_NEAR)
    return f"is no setting; did you mean {near[0]}?" if near else NO_SETTING


def _fields_of(settings: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for group, described in settings.model_fields.items():
        kind = described.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        for name, field in kind.model_fields.items():
            yield variable([group, name]), field
