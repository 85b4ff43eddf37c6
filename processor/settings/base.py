"""What every group of settings is made of."""

from __future__ import annotations

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


def header_fault(text: str) -> str | None:
    """Why a secret cannot be the value of an HTTP header (RFC 9110, 5.5: visible ASCII here); None if it can. Quotes nothing of it."""
    if not text:
        return "is empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds a blank, a line break or another character that no HTTP header can carry; was the file cut or joined?"
    return None
