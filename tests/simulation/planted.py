"""How many seeds until a planted fault is found: the faults of tools/mutants, in worlds of their own.

``python -m simulation.planted P1 J6+J21``: a line of JSON for each; faults with a plus between them are planted together, where one guard
holds what the other lets go. The tree is copied, the fault planted in the copy, and `simulation` run on it until a promise breaks. With
``--theme`` only seeds of the theme run in which the fault can do harm; ``seed`` is then still the number of worlds that all themes together
would have taken.
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
    parser.add_argument("ids", nargs="+", help="of faults in tools/mutants, joined by a plus if they go together")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--size", default="usual", help="see `simulation --size`")
    parser.add_argument("--theme", help="see `simulation --theme`")
    parser.add_argument("--all", action="store_true", help="run all of the seeds; `violations` says how many found it")
    parser.add_argument("--shrink", action="store_true", help="and which of its disturbances are needed")
    parser.add_argument("--within-s", type=float, default=600.0, help="for each fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    by_id = {fault.id: fault for fault in FAULTS}
    missed = 0
    for name in options.ids:
        faults = [by_id[one] for one in name.split("+")]
        told = _try(faults, options)
        missed += not told["violations"]
        sys.stdout.write(json.dumps({"fault": name, "bug": "; ".join(fault.bug for fault in faults), **told}) + "\n")
        sys.stdout.flush()
    return 1 if missed else 0


def _try(faults: list[Fault], options: argparse.Namespace) -> dict[str, object]:
    with TemporaryDirectory(prefix="processor-simulated-") as folder:
        for name in _COPIED:
            shutil.copytree(_ROOT / name, Path(folder, name))
        for fault in faults:
            path = Path(folder, "processor", fault.file)
            text = planted(path.read_text(), fault)
            if isinstance(text, Stale):
                sys.exit(f"{fault.id}: its text stands {text.found} times in {fault.file}")
            path.write_text(text)
        command = [sys.executable, "-m", "simulation", "--seeds", str(options.seeds), "--from", str(options.first)]
        command += [] if options.all else ["--until-found"]
        command += ["--theme", options.theme] if options.theme else []
        command += ["--size", options.size, "--jobs", str(options.jobs), "--within-s", str(options.within_s)]
        lines = _run(command, folder)
        sums = json.loads(lines[-1])
        found = lines[0] if sums["violations"] else ""
        seed = int(found.split()[1].rstrip(":")) if found else None
        needed = _run([sys.executable, "-m", "simulation", "--shrink", str(seed)], folder) if found and options.shrink else []
    return {"seed": seed, "how": found[:160], **sums, **({"needed": needed} if needed else {})}


def _run(command: list[str], folder: str) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{_ROOT / 'tests'}", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() or [done.stderr[-500:]]


if __name__ == "__main__":
    sys.exit(main())
