"""Functions of aiokafka with some of the names in them replaced; see ``aiokafka_clients``."""

from __future__ import annotations

from types import FunctionType
from typing import Any


def with_names(function: Any, **names: Any) -> Any:
    """A function of aiokafka in which some global names stand for something else.

    Raises:
        AttributeError: if it does not use such a name: another version of aiokafka works in another way.
    """
    if unused := set(names) - set(function.__code__.co_names):
        raise AttributeError(f"{function.__qualname__} of this aiokafka does not use {', '.join(sorted(unused))}")
    changed = FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__, function.__closure__
    )
    changed.__kwdefaults__ = function.__kwdefaults__
    return changed
