"""What pydantic has found, in lines for whoever has to correct it: each with its variable, none with a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from processor.settings.base import fault_lines
from processor.settings.environment import NO_SETTING, NOT_JSON, variable

_OF_NO_JSON = {"dict_type", "list_type", "tuple_type", "model_type", "set_type", "frozen_set_type"}  # of a text: Environment


def errors_of(found: ValidationError) -> list[ErrorDetails]:
    """Without the values."""
    return found.errors(include_input=False, include_url=False)


def lines_of(error: ErrorDetails) -> list[str]:
    """Each fault of an error, with its variable."""
    return fault_lines(variable(error["loc"]), _in_words(error))


def further_faults(settings: type[BaseModel], errors: Iterable[ErrorDetails], sources: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What else is wrong with a group that has a member of a wrong form: pydantic does not ask such a group's own check.

    It is asked with the members that have their form. What it then says of a wrong one, or because of a wrong choice of a mode, is left
    out: it would be said of the default.

    Args:
        settings: the groups.
        errors: that were found.
        sources: what was given, by group and name; a later one goes before the others.
    """
    wrong: dict[str, set[str]] = {}
    for error in errors:
        if len(error["loc"]) > 1:
            wrong.setdefault(str(error["loc"][0]), set()).add(str(error["loc"][1]))
    given: dict[str, dict[str, Any]] = {}
    for group, members in (item for source in sources for item in source.items() if isinstance(item[1], Mapping)):
        given.setdefault(group, {}).update(members)
    for group, names in wrong.items():
        kind = settings.model_fields[group].annotation
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or any(_is_mode(kind, name) for name in names):
            continue
        try:
            kind(**{name: value for name, value in given.get(group, {}).items() if name in kind.model_fields.keys() - names})
        except ValidationError as exc:
            own = [ErrorDetails(type=e["type"], loc=(group,), msg=e["msg"], input=None) for e in errors_of(exc) if not e["loc"]]
            told = [line for error in own for line in lines_of(error)]
            yield from (line for line in told if not any(variable([group, name]) in line for name in names))


def _is_mode(kind: type[BaseModel], name: str) -> bool:
    """Whether other members mean something else under another value of this one."""
    field = kind.model_fields.get(name)
    return field is not None and (field.annotation is bool or get_origin(field.annotation) is Literal)


def _in_words(error: ErrorDetails) -> str:
    if error["type"] in _OF_NO_JSON:
        return NOT_JSON
    return NO_SETTING if error["type"] == "extra_forbidden" else error["msg"]
