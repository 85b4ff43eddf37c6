"""Hides what an environment has and a part of ours must not need."""

from __future__ import annotations

import re
from importlib import metadata

OWN = {"aiohttp", "orjson"}  # distributions; docs/simulator.md names them
# hides all modules but those of the standard library, the simulator, and the names in the first argument
GUARD = """
import json, sys

visible = {*sys.stdlib_module_names, *json.loads(sys.argv.pop(1))}

class Guard:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        ours = name == "processor" or f"{name}.".startswith("processor.simulator.")
        return self.finder.find_spec(name, path, target) if ours or name.partition(".")[0] in visible else None

    def __getattr__(self, name):  # entry points are looked for here too
        return getattr(self.finder, name)

sys.meta_path[:] = [Guard(finder) for finder in sys.meta_path]
"""


def needed(distributions: set[str]) -> set[str]:
    """These distributions and, in turn, all that they need; not their extras, and not what this Python does not need."""
    found: set[str] = set()
    waiting = set(distributions)
    while waiting:
        name = waiting.pop()
        found.add(name)
        for line in metadata.requires(name) or ():
            other = re.split(r"[^\w.-]", line)[0].lower().replace("_", "-")
            if "extra ==" not in line and other not in found and _installed(other):
                waiting.add(other)
    return found


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def modules_of(distributions: set[str]) -> set[str]:
    normal = {name: {d.lower().replace("_", "-") for d in owners} for name, owners in metadata.packages_distributions().items()}
    return {name for name, owners in normal.items() if owners & distributions}
