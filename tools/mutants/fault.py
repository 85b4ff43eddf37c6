"""What a planted fault is, and where it stands in the product. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Fault:
    """One change of the product's text.

    ``file`` is below processor/; ``old`` stands there once. ``promise`` is the guarantee of docs/guarantees.md that it breaks. ``tests``
    are files or node ids of fast tests, one of which shall fail. ``equivalent``: why no test can see it, if none can.
    """

    id: str
    promise: str
    file: str
    bug: str  # in words
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""


class Stale(NamedTuple):
    """A fault that cannot be planted any more: the product has changed, and its text must follow."""

    fault: Fault
    found: int  # times that its old text stands in its file


def planted(text: str, fault: Fault) -> str | Stale:
    """The text of a file with the fault in it."""
    count = text.count(fault.old)
    return text.replace(fault.old, fault.new) if count == 1 else Stale(fault, count)
