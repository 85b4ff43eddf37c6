"""A TOML file beside the environment: a table for each group, e.g. ``[kafka]`` with ``bootstrap``. The environment goes before it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from processor.settings.applications import TABLE, VARIABLE
from processor.settings.environment import variable

CONFIG_FILE = "VP_CONFIG_FILE"


class ConfigFileError(Exception):
    """The file cannot be used. The text says why, and shows nothing of it."""


def read_config_file() -> dict[str, Any]:
    """What the file holds, by group; nothing if none is named.

    Raises:
        ConfigFileError: if it cannot be read, or is no TOML of this form.
    """
    path = next((value for name, value in os.environ.items() if name.upper() == CONFIG_FILE), "")
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            found = tomllib.load(file)
    except OSError as exc:
        raise ConfigFileError(f"{path} cannot be read: {exc.strerror}") from None
    except tomllib.TOMLDecodeError as exc:
        raise ConfigFileError(f"{path} is no TOML: {_place(str(exc))}") from None
    except UnicodeDecodeError:
        raise ConfigFileError(f"{path} is no TOML: it is not UTF-8") from None
    stray = sorted(name for name, value in found.items() if not isinstance(value, Mapping))
    if stray:
        raise ConfigFileError(f"{path}: {stray[0]!a} stands in no table; write e.g. [kafka] and below it bootstrap = ...")
    return found


def variables_of(values: Mapping[str, Any]) -> Iterator[str]:
    """The names that the settings of a file would have in the environment."""
    for group, members in values.items():
        if group == TABLE:
            yield VARIABLE
            continue
        for name in members:
            yield variable([group, name])


def secrets_in(settings: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Secrets that stand in the file itself, as ``group.name``."""
    of_applications = [f"{TABLE}.{name}.api_key" for name, members in values.get(TABLE, {}).items() if "api_key" in members]
    return of_applications + [
        f"{group}.{name}"
        for group, members in values.items()
        if (field := settings.model_fields.get(group)) is not None and isinstance(kind := field.annotation, type)
        for name in members
        if issubclass(kind, BaseModel) and (own := kind.model_fields.get(name)) is not None and _holds_secret(own.annotation)
    ]


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_holds_secret(part) for part in get_args(annotation))


def _place(message: str) -> str:
    """Of what tomllib says only where: the rest may quote the file."""
    return message[message.rfind("(") :].strip("()") if "(" in message else "its end is missing"
