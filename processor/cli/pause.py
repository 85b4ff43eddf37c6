"""`processor pause` and `processor resume`: whether the calls of an operation, or all calls, leave (docs/waiting.md)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import ActJson, ActReport, ask_or_fail, fail, login, settings_or_fail
from processor.cli.render_status import told_of
from processor.clock import clock_ms
from processor.contract.amounts import count
from processor.contract.pauses import REASON_CHARS_MAX, PauseAct, PauseKind, Pauses
from processor.monitoring.factories import monitor_for_command
from processor.monitoring.formatting import verbatim
from processor.repair.pause import PauseIndex, call_of, pausable, publish_pause
from processor.runtime.event_loop import run_loop
from processor.settings import Settings

app = typer.Typer(help="Pause operations, and let them go on.")

_NOT_YET = 1
_LOOK_S = 0.5

Operation = Annotated[str | None, typer.Option("--operation", help="as `processor operations` lists them")]
All = Annotated[bool, typer.Option("--all", help="every call, of all operations")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask")]
Wait = Annotated[float, typer.Option(min=0, max=3600, help="seconds to wait until all replicas obey")]


@app.command()
def pause(
    *,
    reason: Annotated[str, typer.Option("--reason", help="why; all operators see it, so no personal data")],
    operation: Operation = None,
    everything: All = False,
    yes: Yes = False,
    wait: Wait = 30.0,
    as_json: ActJson = False,
) -> None:
    """Stop the calls of an operation, or all calls, until `processor resume`. Requests wait; calls in flight finish.

    Exit status: 0 if all replicas obey, or none runs; 1 if some do not yet, you said no, or Kafka cannot be asked; 2 if nothing was done
    because an option or the configuration is wrong, or nobody answered.
    """
    _act(PauseKind.PAUSED, operation, everything, reason, yes=yes, wait_s=wait, as_json=as_json)


@app.command()
def resume(
    *,
    reason: Annotated[str, typer.Option("--reason", help="why; all operators see it, so no personal data")] = "the pause is over",
    operation: Operation = None,
    everything: All = False,
    yes: Yes = False,
    wait: Wait = 30.0,
    as_json: ActJson = False,
) -> None:
    """End a pause. `--all` ends the pause of all calls; operations that were paused one by one stay paused.

    Exit status: 0 if all replicas obey, or nothing was paused; 1 if some do not yet, you said no, or Kafka cannot be asked; 2 if nothing
    was done because an option or the configuration is wrong, or nobody answered.
    """
    _act(PauseKind.RESUMED, operation, everything, reason, yes=yes, wait_s=wait, as_json=as_json)


def _act(kind: PauseKind, operation: str | None, everything: bool, reason: str, *, yes: bool, wait_s: float, as_json: bool) -> None:
    reason = " ".join(reason.split())
    if everything == (operation is not None):
        fail("say what is meant: --operation NAME, or --all")
    if not 1 <= len(reason) <= REASON_CHARS_MAX or not reason.isprintable():
        fail(f"--reason takes 1 to {REASON_CHARS_MAX} characters: whoever looks at it later has only that")
    call = None if operation is None else call_of(operation)
    if operation is not None and call is None:
        fail(f"--operation {operation!r}: there is no such operation; these are: {', '.join(pausable())}")
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    act = PauseAct(kind, call, login(), reason, clock_ms(), str(uuid.uuid4()))
    before = _before(settings)
    standing = before.everything if call is None else before.by_operation.get(call)
    if call != operation:
        report.say(f"{operation} begins with {call}: that is what is {kind}, for whoever asks; sessions that are there are followed on")
    if standing is not None:
        report.say(f"paused: {told_of(standing)}")
    elif kind is PauseKind.RESUMED:
        report.say(f"{act.name} is not paused; nothing is to be done")
        report.end(_document(act, None, before, ()))
        return
    if not yes:
        question = f"Pause {act.name}?" if kind is PauseKind.PAUSED else f"Let {act.name} go on?"
        ask_or_fail(question, "nothing was changed", as_json=as_json)
    with kafka_or_fail("Whether it was written is not known.", "Then run it again: written twice it does no harm."):
        offset = run_loop(publish_pause(settings, act))
    _tell(report, settings, act, offset, wait_s)


def _before(settings: Settings) -> Pauses:
    async def look() -> Pauses:
        async with PauseIndex(settings) as index:
            return await index.refresh()

    with kafka_or_fail():
        return run_loop(look())


def _tell(report: ActReport, settings: Settings, act: PauseAct, offset: int, wait_s: float) -> None:
    """Whether all replicas obey; ends with status 1 if some do not."""
    with kafka_or_fail("It is written, but whether the replicas obey cannot be seen."):
        pauses, obeying, late = run_loop(_obeyed(settings, offset, wait_s))
    report.end(_document(act, offset, pauses, late))
    for other in pauses.in_force:
        report.say(f"paused now: {told_of(other)}")
    say_who_obeys(report, act, obeying, late)


def say_who_obeys(report: ActReport, act: PauseAct, obeying: int, late: Sequence[str]) -> None:
    """How many replicas obey an act; ends with status 1 and the names of those that do not, if any: members of the group chose them."""
    if late:
        names = verbatim(", ".join(late))
        fail(f"{act.name} is {act.kind}; not obeyed yet by {names}: not heard, or of a version without pauses", _NOT_YET)
    obeyed = count(obeying, "replica obeys", "replicas obey") if obeying else "no replica runs, those that start will obey"
    report.say(f"{act.name} is {act.kind}; {obeyed}")


async def _obeyed(settings: Settings, offset: int, within_s: float) -> tuple[Pauses, int, tuple[str, ...]]:
    """What is paused now, how many replicas have read the record, and which have not."""
    until = time.monotonic() + within_s
    async with monitor_for_command(settings) as monitor:
        while True:
            obeying, late = await monitor.obedience(offset)
            if not late or time.monotonic() >= until:
                return await monitor.pauses(), obeying, late
            await asyncio.sleep(_LOOK_S)


def _document(act: PauseAct, offset: int | None, pauses: Pauses, late: tuple[str, ...]) -> dict[str, object]:
    """For a program; ``offset`` is None where nothing was written."""
    return {
        "kind": act.kind,
        "operation": act.operation,
        "reason": act.reason,
        "by": act.by,
        "offset": offset,
        "not_obeying": list(late),
        "paused": [asdict(other) for other in pauses.in_force],
    }
