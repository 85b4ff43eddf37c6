"""Names that carry what they mean and what to do about it, so that commands, page and docs show the same texts."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Explained(StrEnum):
    """A member is made of its name and both texts.

    Attributes:
        meaning: what is wrong, or what speaks against it.
        remedy: what to do about it.
    """

    meaning: str
    remedy: str

    def __new__(cls, name: str, meaning: str, remedy: str) -> Self:
        """One row."""
        member = str.__new__(cls, name)
        member._value_, member.meaning, member.remedy = name, meaning, remedy
        return member
