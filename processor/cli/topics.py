"""`processor topics`: create and check the topics."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import ActJson, ActReport, fail, settings_or_fail
from processor.runtime.event_loop import run_loop
from processor.stream.lifetimes import lifetime_line
from processor.stream.topics_admin import TopicsReport, apply_topics, check_topics

app = typer.Typer(no_args_is_help=True, help="Create and check the topics.")


@app.command("apply")
def topics_apply(
    *,
    partitions: Annotated[int, typer.Option(min=1, help="partitions of requests, results and dead letters")] = 8,
    replication: Annotated[int, typer.Option(min=1, help="copies of each partition; 3 in production")] = 3,
    as_json: ActJson = False,
) -> None:
    """Create the topics that are missing, then check all. Changes nothing that exists; exit status 2 if that leaves anything wrong.

    What is wrong is what `topics check` says. Without --application: those of all applications.
    """
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    created: list[str] = []
    done: list[TopicsReport] = []
    with kafka_or_fail():
        try:
            with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
                bar.add_task("creating and checking topics", total=None)
                for each in settings.installations:
                    applied = run_loop(apply_topics(each, partitions=partitions, replication=replication, ask_broker=True))
                    created += applied.created
                    done.append(applied.report)
        finally:  # also of the applications before one that the brokers refuse
            for name in created:
                report.say(f"created {name}")
    if not created:
        report.say("all topics exist")
    wrong = _wrong(done)
    report.end({"created": created, **wrong})
    _fail_if(wrong)


@app.command("check")
def topics_check(*, as_json: ActJson = False) -> None:
    """Say what is wrong with the topics, and how long each keeps personal data; exit status 2 if anything is wrong.

    Data that is kept longer than VP_PRIVACY__LONGEST_DAYS is a fault, too. Without --application all applications are checked.
    """
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    with kafka_or_fail():
        done = [run_loop(check_topics(each, ask_broker=True)) for each in settings.installations]
    times = [time for checked in done for time in checked.lifetimes]
    for time in times:
        report.say(lifetime_line(time))
    if done[0].assumed:
        report.say(f"the broker does not say how often it deletes; {done[0].check_interval_s:g} s, Kafka's default, are assumed")
    wrong = _wrong(done)
    told = {"assumed": done[0].assumed, "check_interval_s": done[0].check_interval_s}
    report.end({**wrong, **told, "lifetimes": [{**asdict(time), "longest_s": time.longest_s} for time in times]})
    _fail_if(wrong)
    report.say("all topics are as they must be")


def _wrong(checked: Sequence[TopicsReport]) -> dict[str, list[str]]:
    """All that a person has to do, of every application."""
    return {kind: [text for each in checked for text in getattr(each, kind)] for kind in ("faults", "warnings", "unread", "too_long")}


def _fail_if(wrong: Mapping[str, Sequence[str]]) -> None:
    if any(wrong.values()):
        fail("\n".join(text for texts in wrong.values() for text in texts))
