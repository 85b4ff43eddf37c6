"""`make mutants`: plants one fault after the other into a copy of the tree, and says whether a fast test goes red.

The last line is JSON: how many were planted, how many of them killed (a test failed, or came to no end), survived, are known to be
equivalent (no test can see them, for the reason that stands with them), and how many are stale (their text is not in the product any
more, or what it makes is no program). The status is 1 if one survived that is not equivalent, or is stale.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tools.mutants.fault import Fault, Stale, planted
from tools.mutants.faults import FAULTS

_ROOT = Path(__file__).parent.parent.parent
_COPIED = ("processor", "schemas", "tests", "docs", "deploy", "pyproject.toml", "README.md", "CHANGELOG.md", "Makefile")
_FAILED = 1  # pytest: tests failed; what is above means that it could not run them
_PATIENCE = 10  # a planted fault may make a test hang: so many times what the tests took without one
_LEAST_S = 60.0


class Outcome(NamedTuple):
    """What became of a fault."""

    fault: Fault
    result: str  # killed, survived, equivalent or stale
    detail: str


def _copy(into: Path) -> Path:
    into.mkdir()
    for name in _COPIED:
        source = _ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, into / name)
    return into


def _pytest(tree: Path, tests: Iterable[str], limit_s: float | None = None) -> tuple[int, str]:
    """Status and last lines of a run of fast tests in a tree; -1 if it came to no end."""
    command = [sys.executable, "-m", "pytest", *tests, "-n", "0", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-m", "not broker and not slow", "--hypothesis-profile=fast"]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=limit_s, check=False)  # noqa: S603 - our own tests
    except subprocess.TimeoutExpired:
        return -1, f"no end in {limit_s:.0f} s"
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))] or done.stdout.splitlines()[-1:]
    return done.returncode, told[0][:200] if told else done.stderr[-200:]


def _try(fault: Fault, trees: SimpleQueue[Path], limit_s: float) -> Outcome:
    tree = trees.get()
    path = tree / "processor" / fault.file
    before = path.read_text()
    try:
        after = planted(before, fault)
        if isinstance(after, Stale):
            return Outcome(fault, "stale", f"its text stands {after.found} times in {fault.file}")
        path.write_text(after)
        status, told = _pytest(tree, fault.tests, limit_s)
    finally:
        path.write_text(before)
        trees.put(tree)
    if status > _FAILED:
        return Outcome(fault, "stale", f"its tests cannot run: {told}")
    if status:
        return Outcome(fault, "killed", told)
    return Outcome(fault, "equivalent", fault.equivalent) if fault.equivalent else Outcome(fault, "survived", "")


def _run(faults: list[Fault], jobs: int) -> list[Outcome]:
    with TemporaryDirectory(prefix="processor-mutants-") as folder:
        trees: SimpleQueue[Path] = SimpleQueue()
        copies = [_copy(Path(folder, str(number))) for number in range(jobs)]
        began = time.monotonic()
        status, told = _pytest(copies[0], dict.fromkeys(test for fault in faults for test in fault.tests))
        if status:
            sys.exit(f"the tests are red before anything is planted: {told}")
        limit_s = max(_LEAST_S, _PATIENCE * (time.monotonic() - began))
        for copy in copies:
            trees.put(copy)
        outcomes = []
        with ThreadPoolExecutor(jobs) as pool:
            for outcome in pool.map(lambda fault: _try(fault, trees, limit_s), faults):
                outcomes.append(outcome)
                sys.stdout.write(
                    f"{outcome.result:10} {outcome.fault.id:4} {outcome.fault.promise:3} {outcome.fault.bug}: {outcome.detail}\n"
                )
                sys.stdout.flush()
        return outcomes


def main() -> int:
    """Plant, run, tell."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="only these faults, e.g. W1 J6")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="copies of the tree that are tried at once")
    options = parser.parse_args()
    if unknown := set(options.ids) - {fault.id for fault in FAULTS}:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    faults = [fault for fault in FAULTS if not options.ids or fault.id in options.ids]
    counts = Counter(outcome.result for outcome in _run(faults, options.jobs))
    sums = {name: counts[name] for name in ("killed", "survived", "equivalent", "stale")}
    sys.stdout.write(json.dumps({"planted": len(faults) - counts["stale"], **sums}) + "\n")
    return 1 if counts["survived"] or counts["stale"] else 0


if __name__ == "__main__":
    sys.exit(main())
