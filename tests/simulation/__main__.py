"""`make simulate`: worlds of many seeds, and what they broke.

The last line is JSON. The status is 1 if a promise was broken. ``--replay SEED`` runs one seed and prints its timeline, ``--only 0,3``
with these of its disturbances alone, ``--shrink SEED`` looks for fewer of them that still do it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice, takewhile
from itertools import count as count_from

from simulation import machine

machine.prepare()  # before the product is imported: default arguments keep the clock of that moment

from simulation import seeds  # noqa: E402 - see above
from simulation.seeds import Outcome, fresh_seed  # noqa: E402 - see above


def main() -> int:
    """Run them, tell."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first one")
    parser.add_argument("--fresh", type=int, default=0, help="and so many more, from a seed on that the commit decides")
    parser.add_argument("--fresh-small", type=int, default=0, help="and so many small ones of the commit's own")
    parser.add_argument("--size", choices=("usual", "small"), default="usual", help="of the worlds; small ones have seeds of their own")
    parser.add_argument("--theme", help="only seeds of this theme, so many of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worlds at once")
    parser.add_argument("--within-s", type=float, default=float("inf"), help="begin no further one after so long, s")
    parser.add_argument("--until-found", action="store_true", help="end with the first broken promise")
    parser.add_argument("--each", action="store_true", help="a line for each seed")
    parser.add_argument("--replay", type=int, metavar="SEED", help="run this one, with its timeline")
    parser.add_argument("--only", help="numbers of its disturbances, e.g. 0,3")
    parser.add_argument("--also", metavar="KIND@SECONDS", help="and one more of this kind, e.g. 'kill all@20'")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="fewer disturbances that break the same promise")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        parser.error("PYTHONHASHSEED must be 0, or a seed means something else in each run; `make simulate` sets it")
    if options.replay is not None:
        return _replay(options.replay, options.only, options.also)
    if options.shrink is not None:
        return _shrink(options.shrink)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    began, count, found, calls, disturbances, cpu_s = time.monotonic(), 0, 0, 0, 0, 0.0
    first, sizes = seeds.SMALL_FROM if options.size == "small" and options.first < seeds.SMALL_FROM else 0, set()
    chosen = _seeds(first + options.first, options.seeds, options.theme)
    for begin, further in ((first, options.fresh), (seeds.SMALL_FROM, options.fresh_small)):
        if further:
            fresh = begin + fresh_seed(_commit())
            sys.stdout.write(f"fresh seeds: FROM={fresh} SEEDS={further}\n")
            chosen = chain(chosen, _seeds(fresh, further, options.theme))
    in_time = takewhile(lambda _: time.monotonic() - began < options.within_s, chosen)
    for outcome in seeds.run_apart(in_time, options.jobs):
        count, calls, disturbances = count + 1, calls + outcome.calls, disturbances + outcome.disturbances
        cpu_s += outcome.cpu_s
        sizes.add(seeds.size_of(outcome.seed))
        if outcome.violations:
            found += 1
            _tell(outcome)
        if options.each:
            _line(outcome)
        if outcome.violations and options.until_found:
            break
    minutes = (time.monotonic() - began) / 60
    told = {"size": " and ".join(sorted(sizes)), "seeds": count, "violations": found, "seeds_per_min": round(count / minutes, 1)}
    told |= {"calls": calls, "disturbances": disturbances}
    sys.stdout.write(json.dumps({**told, "cpu_s_per_seed": round(cpu_s / max(1, count), 2)}) + "\n")
    return 1 if found else 0


def _seeds(first: int, count: int, theme: str | None) -> Iterator[int]:
    return islice((seed for seed in count_from(first) if theme in (None, seeds.plan_of(seed).theme)), count)


def _commit() -> str:
    """What is checked out; where that cannot be told, the day."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or time.strftime("%Y-%m-%d", time.gmtime())


def _tell(outcome: Outcome) -> None:
    for rule, detail in outcome.violations:
        sys.stdout.write(f"seed {outcome.seed}: {rule}: {detail}\n")
    sys.stdout.write(f'  again, with its timeline: make simulate ARGS="--replay {outcome.seed}"\n')
    sys.stdout.flush()


def _line(outcome: Outcome) -> None:
    finals = ", ".join(f"{count} {status}" for status, count in sorted(outcome.finals.items()))
    sys.stdout.write(
        f"seed {outcome.seed}: {seeds.plan_of(outcome.seed).theme}: {outcome.digest} {outcome.virtual_s:.0f} s in {outcome.cpu_s:.1f} s, "
        f"{outcome.disturbances} disturbances, {outcome.calls} calls, {finals}; {outcome.fullest}\n"
    )
    sys.stdout.flush()


def _replay(seed: int, only: str | None, also: str | None) -> int:
    disturbances = seeds.disturbances_of(seed, also)
    if only is not None:
        chosen = [int(number) for number in only.split(",") if number]
        disturbances = [disturbances[number] for number in chosen]
    outcome = seeds.run_seed(seed, disturbances, sys.stdout)
    for number, one in enumerate(disturbances):
        sys.stdout.write(f"{number:3} {one}\n")
    _line(outcome)
    for rule, detail in outcome.violations:
        sys.stdout.write(f"{rule}: {detail}\n")
    sys.stdout.flush()
    os._exit(1 if outcome.violations else 0)  # the world is left as it stands


def _shrink(seed: int) -> int:
    every = seeds.disturbances_of(seed)
    try:
        needed = seeds.shrink(seed, every)
    except ValueError as exc:
        sys.stdout.write(f"{exc}\n")
        return 2
    for number in needed:
        sys.stdout.write(f"{number:3} {every[number]}\n")
    sys.stdout.write(f"{len(needed)} of {len(every)} disturbances are needed: ")
    sys.stdout.write(f'make simulate ARGS="--replay {seed} --only={",".join(map(str, needed))}"\n')
    return 0


if __name__ == "__main__":
    sys.exit(main())
