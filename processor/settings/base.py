"""What every group of settings is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Group(BaseModel):
    """Frozen, closed, and silent about values that are wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def secret(value: SecretStr | None, file: Path | None) -> str | None:
    """The secret itself, from the variable or else from the file, which is read at each call."""
    if value is not None:
        return value.get_secret_value()
    return file.read_text().strip() if file is not None and file.is_file() else None
