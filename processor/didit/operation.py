"""What the catalogue says of an endpoint: the type of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from types import MappingProxyType


class Idempotency(StrEnum):
    """What may be done when the fate of a call is unknown."""

    SAFE = "safe"  # calling again changes and costs nothing
    KEYED = "keyed"  # calling again with the same Idempotency-Key is answered from the first call
    RECONCILABLE = "reconcilable"  # the trace of the first call can be looked up
    SINGLE = "single"  # there is no way to know


@dataclass(frozen=True, slots=True)
class FileRule:
    """What a file of a multipart body may be (Didit's OpenAPI 3.0.0, the standalone APIs)."""

    size_bytes_max: int
    content_types: frozenset[str]
    required: bool = True


@dataclass(frozen=True, slots=True)
class CheckTrace:
    """Where a check of unknown fate is found: Didit keeps it as a session of type API (OpenAPI, "List sessions", "Get decision").

    A company of a registry is kept as a business session, for which the list has no filter by service. Its report wraps the result in
    ``company``, and a result that is still pending is an answer (202).
    """

    service: str  # ``api_service`` of the list
    reports: str  # member of the decision that has its result
    of_company: bool = False


NO_FILES: Mapping[str, FileRule] = MappingProxyType({})
_OK = frozenset({200})


@cache
def _fields_of(path: str) -> tuple[str, ...]:
    return tuple(part.partition("}")[0] for part in path.split("{")[1:])


@dataclass(frozen=True, slots=True)
class Operation:
    """An endpoint, and how its calls count and end."""

    name: str
    method: str
    path: str  # with {fields} of the input
    scopes: tuple[str, ...]  # every rate-limit scope that a call counts in
    idempotency: Idempotency
    timeout_s: float = 30.0
    success_statuses: frozenset[int] = _OK
    required_output: Mapping[str, type] = field(default_factory=dict)  # members that a success must carry, with their type
    files: Mapping[str, FileRule] = field(default_factory=dict)  # members of the input that name files; the body is multipart then
    query: tuple[str, ...] = ()  # members of the input that go into the query
    carries_id: bool = False  # our request id goes into ``metadata``
    unbilled: frozenset[int] = frozenset()  # answers after which nothing was done or billed, by its reference page
    versioned: bool = False  # a v2 path exists beside that of v3
    content_type: str = "application/json"  # of the answer
    keeps_media: bool = False  # the files that its answer links to are put into the store
    trace: CheckTrace | None = None  # how a call is looked up that is billed each time it is made

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Members of the input that go into the path."""
        return _fields_of(self.path)

    @property
    def bills_each_call(self) -> bool:
        """Whether a second call is billed as the first one was."""
        return self.idempotency is Idempotency.SINGLE or self.trace is not None

    @property
    def answer(self) -> str:
        """The member of a check's answer that holds its result."""
        return next(name for name, kind in self.required_output.items() if kind is dict)
