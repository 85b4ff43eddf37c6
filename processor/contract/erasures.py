"""The record of the repairs topic that says that a person was erased, without naming them. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass

from processor.contract import schemas
from processor.contract.acts import encode_act, find_act

KIND = "erased"
_SCHEMA = "erase.v1"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure came to; ``schemas/erase.v1.json`` describes it."""

    run_id: str
    at_ms: int
    by: str
    person: str  # see ``person_mark``
    ended: int  # waiting requests that were told to end
    discarded: int  # dead letters
    deletions: int  # requests to delete sessions and the user at Didit
    tombstones: int


def person_mark(run_id: str, vendor_data: str) -> str:
    """Stands for a person in one run: whoever has both can confirm it, and nobody can link two runs, or read a name out of it."""
    return hmac.new(run_id.encode(), vendor_data.encode(), hashlib.sha256).hexdigest()


def encode_erasure(erasure: Erasure) -> bytes:
    """The value of its record.

    Raises:
        ValueError: if it is not as its schema says.
    """
    return encode_act(_SCHEMA, {"schema_version": 1, "kind": KIND, **asdict(erasure)}, "record")


def is_erasure(value: bytes | None) -> bool:
    """Whether a record of the repairs topic says that a person was erased."""
    return (found := find_act(value, KIND)) is not None and not schemas.faults(_SCHEMA, found)
