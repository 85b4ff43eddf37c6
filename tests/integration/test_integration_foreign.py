"""Clients of other languages: each publishes with its default and with every codec, and reads the final results read_committed.

librdkafka's is in ``test_integration_codecs.py``.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from deploy_files import ROOT
from rig import running

from processor.devkit.jars import ensure_jars
from processor.devkit.java import find_java
from processor.devkit.kafka_cluster import LocalKafka

pytestmark = pytest.mark.broker

FOREIGN = ROOT / "tests" / "foreign"
CODECS = ("default", "none", "gzip", "snappy", "lz4", "zstd")
EACH = 3
_BUILD_S, _RUN_S = 300, 90


def _run(*words: str, within_s: int = _RUN_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=within_s, cwd=FOREIGN)


async def _exchange(kafka: LocalKafka, folder: Path, name: str, *words: str) -> None:
    """Both processes at once: the client starts while the processor does."""
    async with running(kafka, folder, partitions=2) as rig:
        topics = (rig.bootstrap, f"{rig.prefix}.requests", f"{rig.prefix}.results")
        asked = asyncio.create_task(asyncio.to_thread(_run, *words, *topics))
        await rig.start("a")
        done = await asked
        assert done.returncode == 0, done.stderr[-2000:]
        told = dict(line.split() for line in done.stdout.splitlines())
        assert told == {f"{name}-{codec}-{i}": "succeeded" for codec in CODECS for i in range(EACH)}


async def test_a_java_client_publishes_with_every_codec_and_reads_results(kafka: LocalKafka, tmp_path: Path) -> None:
    java = find_java()
    if "jdk.compiler" not in (await asyncio.to_thread(_run, java, "--list-modules")).stdout:
        pytest.skip(f"{java} has no compiler (jdk.compiler): `apt-get install default-jdk-headless`")
    await _exchange(kafka, tmp_path, "java", java, "-XX:TieredStopAtLevel=1", "-cp", f"{ensure_jars()}/*", str(FOREIGN / "Foreign.java"))


async def test_a_go_client_publishes_with_every_codec_and_reads_results(kafka: LocalKafka, tmp_path: Path) -> None:
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on PATH: `apt-get install golang`, 1.26 or newer")
    program = tmp_path / "foreign"
    built = await asyncio.to_thread(_run, go, "build", "-o", str(program), ".", within_s=_BUILD_S)
    if built.returncode:
        assert any(word in built.stderr for word in ("dial", "no such host", "lookup", "toolchain", "proxy")), built.stderr
        pytest.skip("the Go module franz-go is not to be had: `cd tests/foreign && go mod download` says why")
    await _exchange(kafka, tmp_path, "go", str(program))
