"""`processor partitions skip`: go on behind a batch that cannot be read and whose end is not certain (docs/repair.md)."""

from __future__ import annotations

from typing import Annotated

import typer

from processor.cli.kafka import kafka_or_fail
from processor.cli.options import ActJson, ActReport, ask_or_fail, fail, login, settings_or_fail
from processor.clock import clock_ms
from processor.contract.amounts import count
from processor.contract.records import Unread
from processor.repair.skip import find_block, skip_block
from processor.runtime.event_loop import run_loop
from processor.settings import Settings
from processor.stream.partitions import TopicPartition
from processor.stream.topics import topic_names

app = typer.Typer(no_args_is_help=True, help="Skip an unreadable batch that blocks a partition.")

_NOT_YET = 1
_BY_MAX = 200


@app.callback()
def of_partitions() -> None:
    """Skip an unreadable batch that blocks a partition."""


@app.command()
def skip(
    topic: Annotated[str, typer.Argument(help="whole name, as `processor lag` shows it")],
    partition: Annotated[int, typer.Argument(min=0)],
    *,
    to: Annotated[int | None, typer.Option(min=1, help="where to read on; needed if no other batch is seen behind it")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="seconds to wait until it goes on")] = 30.0,
    as_json: ActJson = False,
) -> None:
    """Skip the unreadable batch at which a partition waits. Its offsets get one rejected result and one dead letter; its requests are lost.

    Exit status: 0 if the partition has gone on, or waits for nothing; 1 if not yet, you said no, or Kafka cannot be asked; 2 if nothing was
    begun because the configuration or an argument is wrong, or nobody answered.
    """
    settings, report = settings_or_fail(), ActReport(as_json=as_json)
    if topic not in (inputs := topic_names(settings).inputs):
        fail(f"{topic!r} is no input topic; these are: {', '.join(inputs)}")
    tp = TopicPartition(topic, partition)
    with kafka_or_fail():
        block = run_loop(find_block(settings, tp))
    if block is None:
        report.say(f"{topic}[{partition}] can be read on from where the group stands; nothing is to be skipped")
        report.end({"topic": topic, "partition": partition, "skipped": 0})
        return
    last = _last(block, to)
    report.say(f"offsets {block.first} to {last} of {topic}[{partition}]: the batch {block.detail}")
    if not yes:
        what = count(last - block.first + 1, "offset")
        ask_or_fail(
            f"Skip {what}? The requests there are lost, and their callers must publish them again.", "nothing was skipped", as_json=as_json
        )
    went_on = _skip(settings, tp, block.first, last, wait)
    skipped = {"skipped": last - block.first + 1, "first": block.first, "last": last}
    report.end({"topic": topic, "partition": partition, **skipped, "went_on": went_on})
    if not went_on:
        fail("the partition has not gone on yet; is a processor running? Run it again: only a lane that waits there hears of it", _NOT_YET)
    report.say(f"skipped; the partition goes on at offset {last + 1}")


def _last(block: Unread, to: int | None) -> int:
    if to is None and block.last < block.first:
        fail(
            f"where the batch at offset {block.first} ends is not known; say with --to where to read on (`kafka-dump-log.sh` shows batches)"
        )
    if to is not None and to <= max(block.first, block.last):
        fail(f"--to {to}: it must lie behind offset {max(block.first, block.last)}")
    return block.last if to is None else to - 1


def _skip(settings: Settings, tp: TopicPartition, first: int, last: int, wait_s: float) -> bool:
    with kafka_or_fail("Whether it was skipped cannot be seen.", "Then run it again: what is skipped by then is not skipped twice."):
        return run_loop(skip_block(settings, tp, first, last, by=login()[:_BY_MAX], at_ms=clock_ms(), within_s=wait_s))
