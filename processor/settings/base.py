"""What every group of settings is made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

TOPIC_NAME = r"^[a-zA-Z0-9._-]{1,249}$"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Group(BaseModel):
    """Frozen, closed, and silent about values that are wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret itself, from the variable or else from the file, which is read at each call.

    Blanks and line breaks around it are no part of it: editors, ``echo`` and YAML blocks leave them behind.
    """
    if value is not None:
        return value.get_secret_value().strip()
    return file.read_text(errors="replace").strip() if file is not None and file.is_file() else None


def given_twice(group: BaseModel, prefix: str, *names: str) -> list[str]:
    """Secrets of a group that a variable and a file hold: the file would not be read, and to change it would have no effect."""
    both = [name for name in names if getattr(group, name) is not None and getattr(group, f"{name}_file") is not None]
    return [f"set {prefix}{name.upper()} or {prefix}{name.upper()}_FILE, not both" for name in both]


def file_fault(file: Path) -> str | None:
    """Why a file cannot be read, with its name and the system's word; None if it can."""
    if file.is_dir():
        return f"{file} is a folder, and must be a file"
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as exc:
        return f"{file} cannot be read ({exc.strerror or type(exc).__name__})"
    return None


def refuse(faults: Iterable[str]) -> None:
    """Refuse a group for all that is wrong with it; ``load_settings`` tells each on a line of its own.

    Raises:
        ValueError: if anything is.
    """
    if text := "\n".join(faults):
        raise ValueError(text)


def fault_lines(name: str, message: str) -> list[str]:
    """What is said of a group or a member by its variable: each fault that ``refuse`` was told on a line of its own, the variable once."""
    texts = message.removeprefix("Value error, ").splitlines()
    return [text if text.startswith(f"{name}__") else f"{name}: {text}" for text in texts]


def header_fault(text: str) -> str | None:
    """Why a secret cannot be the value of an HTTP header (RFC 9110, 5.5: visible ASCII here); None if it can. Quotes nothing of it."""
    if not text:
        return "is empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds a blank, a line break or another character that no HTTP header can carry; was the file cut or joined?"
    return None
