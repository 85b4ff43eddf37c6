"""Which application the running task works for: one deployment may serve several, each with an API key and topics of its own.

The name is a label of metrics and a field of log lines. It is kept in a context variable, which a task inherits from whoever starts it, so
what counts or logs need not be told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from processor.settings import DEFAULT_APPLICATION

__all__ = ["DEFAULT_APPLICATION", "current_application", "working_for"]

_CURRENT: ContextVar[str] = ContextVar("application", default=DEFAULT_APPLICATION)


current_application: Callable[[], str] = _CURRENT.get
"""The name of the application that this task works for. Called at each count: there is no function of ours around it."""


@contextmanager
def working_for(application: str) -> Iterator[None]:
    """Tasks that are started within work for this application."""
    token = _CURRENT.set(application)
    try:
        yield
    finally:
        _CURRENT.reset(token)
