"""Values: dataclasses of which some are made for each record and each call. They never change; mypy sees to that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, slots: bool, order: bool = False) -> Callable[[type], type]:
        """``dataclass`` for the type checker, which refuses to set a field of a frozen one; at run time nothing does.

        A frozen dataclass sets each field through ``object.__setattr__``: that takes five times as long, for some fifteen
        values a record (docs/benchmarks.md).
        """
        return dataclass(slots=slots, order=order, unsafe_hash=frozen)


__all__ = ["value"]
