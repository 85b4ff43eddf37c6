"""`processor kafka`: a Kafka of one's own, to develop against."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import orjson
import typer

from processor.cli.options import fail, write_json
from processor.devkit.kafka_cluster import LocalKafka, LocalKafkaError

app = typer.Typer()


@app.command()
def kafka(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 9092,
    as_json: Annotated[bool, typer.Option("--json", help="the address as one JSON object")] = False,
) -> None:
    """Run a Kafka of one broker on this machine until Ctrl-C. It keeps nothing when it ends. Java and Kafka are fetched once.

    Exit status: 0; 2 if it cannot start.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalKafka(port=port) as running:
            if running.external:
                fail("KAFKA_BOOTSTRAP names one that runs; unset it to start another")
            if as_json:
                write_json(orjson.dumps({"bootstrap": running.bootstrap}))
            else:
                typer.echo(f"export VP_KAFKA__BOOTSTRAP={running.bootstrap}")
            sys.stdout.flush()
            typer.echo("Kafka runs; Ctrl-C ends it", err=True)
            signal.pause()
    except LocalKafkaError as exc:
        fail(str(exc))
    except KeyboardInterrupt:
        typer.echo("Kafka has ended", err=True)
