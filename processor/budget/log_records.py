"""The records of the budget log, to bytes and back. Pure; what cannot be read is no record.

All replicas of an API key read and write one partition of them; what one has to say at a time goes into one entry of it. Everybody who may
write there can free or fake holds: access to the topic is to be restricted. Unknown kinds are skipped, so a later version may add some.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from processor.budget.log import place_of
from processor.budget.permits import REFUSALS, CallIdentity, HealthSignal
from processor.budget.replica_facts import ReplicaFacts, read_facts, write_facts
from processor.budget.tenant_shares import TenantsWaiting, read_tenants, write_tenants

_TEXT_CHARS_MAX = 300
_SECONDS_MAX = 366 * 86_400.0
_COUNT_MAX = 1_000_000_000
_SCOPES_MAX = 16
_OFFSET_MAX = 2**63 - 1
GROUP_MAX = 1000  # records in an entry
_GAP_MAP_CHARS_MAX = 4096  # as long as the metadata of a commit
DIGEST_CHARS, ID_CHARS = 20, 24  # as ``contract.digests`` makes them, and as ours are at most
_USUAL_MEMBERS = 6  # of an ask with an identity, where all else is as usual
_USUAL_END_MEMBERS = 5


# Two or three of these are made for each call of anybody: not frozen, because that takes ten times as long to make.
@dataclass(slots=True, unsafe_hash=True)
class Asked:
    """A call is wanted. It holds its weight in every scope from here on."""

    id: str
    scopes: tuple[str, ...]
    promise_s: float  # the call starts, and is counted by the server, within this time of the sending of this record
    endpoint: str
    weight: int = 1
    probe: bool = False
    identity: CallIdentity | None = None
    announced: bool = False  # its call is not made before a ``Begun`` of it stands in the log


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request that never calls has come, and will be answered: a rejected one. Its copies are duplicates from here on."""

    id: str
    identity: CallIdentity


@dataclass(slots=True, unsafe_hash=True)
class Begun:
    """The call of an announced ask is made now, unless somebody has asked for the same request between the two records."""

    id: str


@dataclass(slots=True, unsafe_hash=True)
class Ended:
    """The call was answered (``used``), or will never be made."""

    id: str
    used: bool
    acted: bool = False
    health: HealthSignal = HealthSignal.NEUTRAL


@dataclass(frozen=True, slots=True)
class Failed:
    """The call may still be counted: its hold stays. Only the health of the endpoint is known."""

    id: str
    health: HealthSignal = HealthSignal.BAD


@dataclass(frozen=True, slots=True)
class Paused:
    """No call of this scope starts for so long. ``counts`` if a 429 said so just now; False if it is said again for newcomers."""

    scope: str
    wait_s: float
    counts: bool = True
    limit: int | None = None  # of the scope, as that 429 named it; absent in records of older versions


@dataclass(frozen=True, slots=True)
class Alive:
    """A replica joins, or is still there."""

    client: str  # begins the ids of its asks
    instance: str
    limits: Mapping[str, int]
    windows_s: Mapping[str, float] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)  # requests by endpoint
    lost: bool = False  # it has seen the log break: nobody knows who has called lately
    clock_off_s: float = 0.0  # by how much its wall clock differs from the brokers'
    log_name: str = ""  # what the log is called; the first name in it counts, so a log that was created again is known by its name
    reads_groups: bool = False  # entries of several records: nobody writes them while an earlier version, which cannot read them, is there
    facts: ReplicaFacts | None = None  # for people; absent in records of older versions
    tenants: Mapping[str, TenantsWaiting] = field(default_factory=dict)  # by endpoint, where requests of named ones wait
    group: str = ""  # the consumer group in which the instance name is unique; absent in records of older versions


@dataclass(frozen=True, slots=True)
class LaneDone:
    """What the owner of a lane has committed, for the case that the group's own offsets are lost."""

    lane: str  # ``topic[partition]``
    floor: int  # the outcomes of all records below this offset are published
    gap_map: bytes = b""  # and of those that have a bit here, from the floor on, least significant first

    def holds(self, offset: int) -> bool:
        """Whether the record at an offset is done."""
        index = offset - self.floor
        return index < 0 or (index >> 3 < len(self.gap_map) and bool(self.gap_map[index >> 3] >> (index & 7) & 1))


LogRecord = Asked | Claimed | Begun | Ended | Failed | Paused | Alive | LaneDone
_HEALTHS = {health.value: health for health in HealthSignal}
_GOOD = HealthSignal.GOOD.value
_REFUSALS_READ = frozenset(health.value for health in REFUSALS)


def encode(record: LogRecord) -> bytes:
    """A record as JSON."""
    return orjson.dumps(_WRITERS[type(record)](record))


def encode_group(values: Sequence[bytes]) -> bytes:
    """One entry of the log for several records, each as ``encode`` makes it, in order."""
    return values[0] if len(values) == 1 else b"[" + b",".join(values) + b"]"


def parse_entry(value: bytes | None) -> list[Any]:
    """The records of an entry as JSON, in order, whatever they are; None for an entry that is no JSON."""
    try:
        raw = orjson.loads(value or b"")
    except ValueError:
        return [None]
    return raw if type(raw) is list and 0 < len(raw) <= GROUP_MAX else [raw]


def decode_entry(value: bytes | None) -> list[LogRecord | None]:
    """The records of an entry, in order; None for what is none that this version understands."""
    return [read_record(raw) for raw in parse_entry(value)]


def decode_placed(offset: int, value: bytes | None) -> list[tuple[int, LogRecord | None]]:
    """The same, each with its place in the log; ``offset`` is that of the entry."""
    return list(enumerate(decode_entry(value), place_of(offset, 0)))


def read_record(raw: Any) -> LogRecord | None:
    """A record from its JSON; None for what is none that this version understands."""
    try:
        record: LogRecord = _READERS[raw["t"]](raw)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record


def _write_asked(r: Asked) -> dict[str, Any]:
    out: dict[str, Any] = {"t": "ask", "i": r.id, "s": r.scopes, "h": r.promise_s, "e": r.endpoint}
    if r.weight != 1:
        out["n"] = r.weight
    if r.probe:
        out["p"] = True
    if r.announced:
        out["b"] = True
    if r.identity is not None:
        out["m"] = _write_identity(r.identity)
    return out


def _read_asked(raw: dict[str, Any]) -> Asked:
    ask_id, listed = raw["i"], raw["s"]
    if type(ask_id) is not str or not 0 < len(ask_id) <= _TEXT_CHARS_MAX or type(listed) is not list or len(listed) > _SCOPES_MAX:
        raise ValueError("ask")
    scopes, promise_s, endpoint = _wanted(tuple(listed), raw["h"], raw["e"])
    return Asked(
        ask_id,
        scopes,
        promise_s,
        endpoint,
        _count(raw["n"], 1) if "n" in raw else 1,
        "p" in raw and raw["p"] is True,
        _read_identity(raw["m"]) if "m" in raw else None,
        "b" in raw and raw["b"] is True,
    )


@lru_cache(maxsize=256, typed=True)  # True is no number
def _wanted(scopes: tuple[Any, ...], promise_s: Any, endpoint: Any) -> tuple[tuple[str, ...], float, str]:
    """What is alike in very many asks."""
    if not scopes or len(set(scopes)) != len(scopes):
        raise ValueError("scopes")
    return tuple(_text(scope) for scope in scopes), _seconds(promise_s), _text(endpoint)


def _write_identity(m: CallIdentity) -> list[Any]:
    return [m.request, m.content, m.first, m.lane, m.offset, m.replay]


def _read_identity(raw: Any) -> CallIdentity:
    request, content, first, lane, at, replay = raw
    if (  # each ask of anybody comes by here: one expression, no calls
        type(raw) is list
        and type(request) is type(content) is type(first) is type(lane) is str
        and 0 < len(request) <= _TEXT_CHARS_MAX
        and 0 < len(content) <= _TEXT_CHARS_MAX
        and 0 < len(first) <= _TEXT_CHARS_MAX
        and 0 < len(lane) <= _TEXT_CHARS_MAX
        and type(at) is type(replay) is int
        and 0 <= at <= _OFFSET_MAX
        and 0 <= replay <= _COUNT_MAX
    ):
        return CallIdentity(request, content, first, lane, at, replay)
    raise ValueError("identity")


UsualAsk = tuple[str, tuple[str, ...], float, str, str, str, int, int, bytes]


def read_usual_ask(raw: dict[str, Any]) -> UsualAsk | None:
    """An ask for a request's own call with nothing unusual about it, and digests and an id of our lengths; None for any other.

    Nearly all asks of others are such. Without an object of each, and the checks one by one, they cost half as much.

    Returns: id, scopes, promise in s, endpoint, digest of the request, lane, offset in it, replay; the three digests and the id as bytes.
    """
    try:
        ask_id, listed, mark = raw["i"], raw["s"], raw["m"]
        request, content, first, lane, at, replay = mark
        texts = request + content + first + ask_id
        if (  # texts that add up to a text are texts
            type(texts) is str
            and len(request) == len(content) == len(first) == DIGEST_CHARS
            and 0 < len(ask_id) <= ID_CHARS
            and texts.isascii()
            and "\0" not in texts
            and type(lane) is str
            and 0 < len(lane) <= _TEXT_CHARS_MAX
            and type(at) is type(replay) is int
            and 0 <= at <= _OFFSET_MAX
            and 0 <= replay <= _COUNT_MAX
            and len(raw) == _USUAL_MEMBERS
            and type(mark) is type(listed) is list
            and len(listed) <= _SCOPES_MAX
        ):
            scopes, promise_s, endpoint = _wanted(tuple(listed), raw["h"], raw["e"])
            return ask_id, scopes, promise_s, endpoint, request, lane, at, replay, texts.encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def read_usual_end(raw: dict[str, Any]) -> tuple[str, bool] | None:
    """The end of a call that was answered, and shows its endpoint at work; None for any other. Nearly all ends are such.

    Returns: the id of its ask, and whether the call acted.
    """
    try:
        ask_id, acted = raw["i"], raw["a"]
        if (
            raw["u"] is True
            and raw["x"] == _GOOD
            and (acted is True or acted is False)
            and type(ask_id) is str
            and 0 < len(ask_id) <= _TEXT_CHARS_MAX
            and len(raw) == _USUAL_END_MEMBERS
        ):
            return ask_id, acted
    except KeyError:
        pass
    return None


def _write_ended(r: Ended) -> dict[str, Any]:
    out: dict[str, Any] = {"t": "end", "i": r.id, "u": r.used, "a": r.acted, "x": r.health.value}
    if r.health in REFUSALS:  # members of a later version; an earlier one reads that the end says nothing
        out |= {"x": HealthSignal.NEUTRAL.value, "r": r.health.value}
    return out


def _read_ended(raw: dict[str, Any]) -> Ended:
    ask_id, used, acted = raw["i"], raw["u"], raw["a"]
    if type(ask_id) is not str or not 0 < len(ask_id) <= _TEXT_CHARS_MAX or type(used) is not bool or type(acted) is not bool:
        raise ValueError("end")
    named = raw["r"] if "r" in raw and raw["r"] in _REFUSALS_READ else raw["x"]
    return Ended(ask_id, used, acted, _HEALTHS[named])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _TEXT_CHARS_MAX:
        raise ValueError("text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("flag")  # noqa: TRY004 - one kind of error for all that is malformed
    return value


def _count(value: Any, least: int, most: int = _COUNT_MAX) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError("count")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or not 0 <= value <= _SECONDS_MAX:
        raise ValueError("seconds")
    return float(value)


def _counts(value: Any, least: int) -> dict[str, int]:
    if not isinstance(value, dict) or len(value) > 100:  # noqa: PLR2004 - more than there are scopes or endpoints
        raise ValueError("counts")
    return {_text(k): _count(v, least) for k, v in value.items()}


def _write_alive(r: Alive) -> dict[str, Any]:
    out = {"t": "alive", "c": r.client, "n": r.instance, "l": dict(r.limits), "w": dict(r.windows_s), "q": dict(r.waiting), "z": r.lost}
    return (
        out
        | ({"i": r.log_name} if r.log_name else {})
        | ({"k": r.clock_off_s} if r.clock_off_s else {})
        | ({"g": True} if r.reads_groups else {})
        | ({"f": write_facts(r.facts)} if r.facts else {})
        | ({"v": write_tenants(r.tenants)} if r.tenants else {})
        | ({"o": r.group} if r.group else {})
    )


def _read_alive(raw: dict[str, Any]) -> Alive:
    windows = raw["w"]
    if not isinstance(windows, dict) or len(windows) > 100:  # noqa: PLR2004 - as above
        raise ValueError("windows")
    return Alive(
        _text(raw["c"]),
        _text(raw["n"]),
        _counts(raw["l"], 1),
        {_text(k): _seconds(v) for k, v in windows.items()},
        _counts(raw["q"], 0),
        lost=_flag(raw["z"]),
        clock_off_s=_seconds(raw.get("k", 0)),
        reads_groups=raw.get("g") is True,
        log_name=_text(raw["i"]) if "i" in raw else "",
        facts=read_facts(raw.get("f")),
        tenants=read_tenants(raw.get("v")),
        group=_text(raw["o"]) if "o" in raw else "",
    )


def _write_paused(r: Paused) -> dict[str, Any]:
    return {"t": "pause", "s": r.scope, "d": r.wait_s, "r": r.counts} | ({} if r.limit is None else {"n": r.limit})


def _read_paused(raw: dict[str, Any]) -> Paused:
    limit = _count(raw["n"], 1, _OFFSET_MAX) if "n" in raw else None
    return Paused(_text(raw["s"]), _seconds(raw["d"]), counts=_flag(raw["r"]), limit=limit)


def _read_lane_done(raw: dict[str, Any]) -> LaneDone:
    packed = raw["d"]
    if not isinstance(packed, str) or len(packed) > _GAP_MAP_CHARS_MAX:
        raise ValueError("gap map")
    return LaneDone(_text(raw["l"]), _count(raw["o"], 0, _OFFSET_MAX), base64.b64decode(packed, validate=True))


_WRITERS: dict[type, Any] = {
    Asked: _write_asked,
    Claimed: lambda r: {"t": "claim", "i": r.id, "m": _write_identity(r.identity)},
    Begun: lambda r: {"t": "begin", "i": r.id},
    Ended: _write_ended,
    Failed: lambda r: {"t": "fail", "i": r.id, "x": r.health.value},
    Paused: _write_paused,
    Alive: _write_alive,
    LaneDone: lambda r: {"t": "done", "l": r.lane, "o": r.floor, "d": base64.b64encode(r.gap_map).decode()},
}
_READERS: dict[str, Any] = {
    "ask": _read_asked,
    "claim": lambda raw: Claimed(_text(raw["i"]), _read_identity(raw["m"])),
    "begin": lambda raw: Begun(_text(raw["i"])),
    "end": _read_ended,
    "fail": lambda raw: Failed(_text(raw["i"]), _HEALTHS[raw["x"]]),
    "pause": _read_paused,
    "alive": _read_alive,
    "done": _read_lane_done,
}
