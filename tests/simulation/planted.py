"""How many seeds until a planted fault is found: the faults of tools/mutants, in worlds of their own.

``python -m simulation.planted P1 P2``: a line of JSON for each. The tree is copied, the fault planted in the copy, and `simulation` run on
it until a promise breaks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.mutants.fault import Fault, Stale, planted
from tools.mutants.faults import FAULTS

_ROOT = Path(__file__).parent.parent.parent
_COPIED = ("processor", "schemas")


def main() -> int:
    """Plant, run, tell; the status is 1 if one was not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="+", help="of faults in tools/mutants")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--within-s", type=float, default=600.0, help="for each fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    by_id = {fault.id: fault for fault in FAULTS}
    missed = 0
    for name in options.ids:
        told = _try(by_id[name], options)
        missed += not told["violations"]
        sys.stdout.write(json.dumps({"fault": name, "bug": by_id[name].bug, **told}) + "\n")
        sys.stdout.flush()
    return 1 if missed else 0


def _try(fault: Fault, options: argparse.Namespace) -> dict[str, object]:
    with TemporaryDirectory(prefix="processor-simulated-") as folder:
        for name in _COPIED:
            shutil.copytree(_ROOT / name, Path(folder, name))
        path = Path(folder, "processor", fault.file)
        text = planted(path.read_text(), fault)
        if isinstance(text, Stale):
            sys.exit(f"{fault.id}: its text stands {text.found} times in {fault.file}")
        path.write_text(text)
        command = [sys.executable, "-m", "simulation", "--until-found", "--seeds", str(options.seeds), "--from", str(options.first)]
        environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{_ROOT / 'tests'}", "PYTHONHASHSEED": "0"}
        command += ["--jobs", str(options.jobs), "--within-s", str(options.within_s)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines() or [done.stderr[-500:]]
    sums = json.loads(lines[-1])
    return {"how": lines[0][:160] if len(lines) > 1 else "", **sums, "last_seed": options.first + sums["seeds"] - 1}


if __name__ == "__main__":
    sys.exit(main())
