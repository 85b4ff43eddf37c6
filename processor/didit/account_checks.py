"""What three reads say of an account: its API key, its application, the workflows that requests name, the credits. Pure.

Didit answers 403 to a key that it does not know and to a key without the right, in the same words (OpenAPI 3.0.0, "List workflows",
"Get credit balance"): so one read that succeeds shows that the key works, and only three refusals show that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from processor.contract.amounts import count
from processor.contract.codes import ErrorCode
from processor.didit.verdicts import AccountFault, Forbidden, Success, Throttled, Verdict

_AGAIN = "try again"


class CheckState(StrEnum):
    """What one check came to."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"  # it could not be found out
    SKIPPED = "skipped"  # it was not looked at, and need not be


@dataclass(frozen=True, slots=True)
class SetupCheck:
    """One row: what was looked at, what was found, and what to do about it (empty: nothing)."""

    name: str
    state: CheckState
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class NotAsked:
    """There was no call: why, and what to do about it."""

    why: str
    remedy: str = _AGAIN


Found = Verdict | NotAsked

_KEY = "see VP_DIDIT__API_KEY and VP_DIDIT__API_KEY_FILE; a key of a sandbox and of a live application differ"
_OTHER_APPLICATION = "look for it in Didit's console, under the application of this key, and correct VP_DIDIT__WORKFLOWS"


def account_checks(sessions: Found, workflows: Found, credit: Found, configured: Sequence[str]) -> list[SetupCheck]:
    """All rows that need Didit.

    Args:
        sessions: the answer to ``session.list`` of one session.
        workflows: the answer to ``workflow.list``; of several pages one, with all ``results``.
        credit: the answer to ``billing.balance``.
        configured: ids of workflows that requests name.
    """
    key, application = _access(sessions, workflows, credit)
    if CheckState.FAILED in (key.state, application.state):
        names = ("sessions", *(f"workflow {one}" for one in configured), "credits")
        return [key, application, *(SetupCheck(name, CheckState.SKIPPED, "not looked at: no call would succeed") for name in names)]
    return [key, application, _sessions(sessions), *_workflows(workflows, configured), _credits(credit)]


def no_key_checks() -> list[SetupCheck]:
    """The rows where there is no API key to ask with."""
    return [SetupCheck("key", CheckState.FAILED, "there is none", "set VP_DIDIT__API_KEY, or VP_DIDIT__API_KEY_FILE")]


def _access(*found: Found) -> tuple[SetupCheck, SetupCheck]:
    """Key and application."""
    fault = next((one for one in found if isinstance(one, AccountFault)), None)
    if fault is not None and fault.code is ErrorCode.KEY_REFUSED:
        return _key_failed(f"Didit does not take it (HTTP {fault.http_status})")
    if fault is not None:
        return _good_key(), SetupCheck("application", CheckState.FAILED, fault.code.meaning, fault.code.remedy)
    if any(isinstance(one, Success) or (isinstance(one, Forbidden) and one.key_works) for one in found):
        return _good_key(), SetupCheck("application", CheckState.OK, "it is there")
    if all(isinstance(one, Forbidden) for one in found):
        return _key_failed("Didit answers 403 to every read: it does not know the key, or the key has no right to read anything")
    told = next(one for one in found if not isinstance(one, Forbidden))
    return tuple(SetupCheck(name, CheckState.UNKNOWN, _text(told), _remedy(told)) for name in ("key", "application"))  # type: ignore[return-value]


def _good_key() -> SetupCheck:
    return SetupCheck("key", CheckState.OK, "Didit takes it")


def _key_failed(found: str) -> tuple[SetupCheck, SetupCheck]:
    return SetupCheck("key", CheckState.FAILED, found, _KEY), SetupCheck(
        "application", CheckState.SKIPPED, "not looked at: the key does not work"
    )


def _sessions(found: Found) -> SetupCheck:
    """Whether the list of sessions may be read: lost calls are found there, and the key is tried with it."""
    if isinstance(found, Success):
        return SetupCheck("sessions", CheckState.OK, "the key may list them")
    if isinstance(found, Forbidden):
        return SetupCheck(
            "sessions",
            CheckState.FAILED,
            "the key may not list them: what became of a call whose reply was lost cannot be looked up",
            "give the key the right to read sessions",
        )
    return SetupCheck("sessions", CheckState.UNKNOWN, _text(found), _remedy(found))


def _workflows(found: Found, configured: Sequence[str]) -> list[SetupCheck]:
    if not isinstance(found, Success):
        told = "the key may not list them" if isinstance(found, Forbidden) else _text(found)
        if not configured:
            return [SetupCheck("workflows", CheckState.SKIPPED, f"none is configured; {told}")]
        remedy = "give the key the right to read workflows" if isinstance(found, Forbidden) else _remedy(found)
        return [SetupCheck(f"workflow {one}", CheckState.UNKNOWN, told, remedy) for one in configured]
    versions = [row for row in found.output["results"] if isinstance(row, dict)]
    usable = {_group(row) for row in versions if _is_usable(row)}
    if not configured:
        told = f"none is configured; the application has {len(usable)} that are published"
        return [
            SetupCheck("workflows", CheckState.SKIPPED, told, "name those that requests use in VP_DIDIT__WORKFLOWS, or with --workflow")
        ]
    whole = found.output.get("next") is None
    return [_workflow(one, versions, len(usable), whole=whole) for one in configured]


def _workflow(wanted: str, versions: Sequence[Mapping[str, Any]], others: int, *, whole: bool) -> SetupCheck:
    """One workflow: sessions use the newest published version of its group, whichever of its ids is named ("List workflows")."""
    name = f"workflow {wanted}"
    groups = {_group(row) for row in versions if wanted in (_id(row, "workflow_id"), _id(row, "uuid"))}
    group = [row for row in versions if _group(row) in groups]
    if not group and not whole:
        return SetupCheck(name, CheckState.UNKNOWN, "not among the newest that were read, and the application has more of them")
    if not group:
        return SetupCheck(
            name, CheckState.FAILED, f"the application has no such workflow, and {count(others, 'other')}", _OTHER_APPLICATION
        )
    published = [row for row in group if row.get("status") == "published"]
    if not published:
        return SetupCheck(name, CheckState.FAILED, f"{_label(group)} is a draft", "publish it in Didit's console")
    newest = max(published, key=_version)
    if newest.get("is_archived") is True:
        return SetupCheck(name, CheckState.FAILED, f"{_label(group)} is archived", "restore it in Didit's console, or use another one")
    return SetupCheck(name, CheckState.OK, f"{_label(group)}, version {_version(newest)}, is published")


def _group(row: Mapping[str, Any]) -> str:
    return _id(row, "workflow_id") or _id(row, "uuid")


def _id(row: Mapping[str, Any], name: str) -> str:
    return str(row.get(name) or "").lower()


def _label(group: Iterable[Mapping[str, Any]]) -> str:
    return next((f'"{row["workflow_label"]}"' for row in group if row.get("workflow_label")), "it")


def _version(row: Mapping[str, Any]) -> int:
    version = row.get("version")
    return version if isinstance(version, int) else 0


def _is_usable(row: Mapping[str, Any]) -> bool:
    return row.get("status") == "published" and row.get("is_archived") is not True


def _credits(found: Found) -> SetupCheck:
    if isinstance(found, Forbidden):
        return SetupCheck("credits", CheckState.SKIPPED, "the key may not read them")
    if not isinstance(found, Success):
        return SetupCheck("credits", CheckState.UNKNOWN, _text(found), _remedy(found))
    balance = balance_of(found.output)
    if balance is None:
        return SetupCheck("credits", CheckState.UNKNOWN, "Didit's answer names no amount")
    usd, refilled = balance
    told = f"{usd:.2f} US dollars, {'refilled' if refilled else 'not refilled'} automatically"
    if usd <= 0 and not refilled:
        return SetupCheck("credits", CheckState.FAILED, told, "top up in Didit's console (a sandbox application is not billed)")
    return SetupCheck("credits", CheckState.OK, told)


def _remedy(found: Found) -> str:
    return found.remedy if isinstance(found, NotAsked) else _AGAIN


def _text(found: Found) -> str:
    """Why an answer says nothing."""
    match found:
        case NotAsked(why):
            return why
        case Throttled():
            return "Didit answered 429: the rate limit is used up"
        case Success():
            return "Didit's answer was not needed"
        case _:
            code = getattr(found, "code", "")
            status = getattr(found, "http_status", None)
            return (code.meaning if isinstance(code, ErrorCode) else str(code)) + (f" (HTTP {status})" if status else "")


def balance_of(output: Any) -> tuple[float, bool] | None:
    """US dollars, and whether Didit refills them by itself; None if the answer does not say.

    The amount is a decimal as text (Didit, "Get credit balance").
    """
    try:
        usd = float(output["balance"])
    except (KeyError, TypeError, ValueError):
        return None
    return (usd, output.get("auto_refill_enabled") is True) if math.isfinite(usd) else None
