"""What a replica costs that has nothing to do, counted in a virtual minute: no machine decides it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).parent.parent


def test_an_idle_replica_wakes_and_asks_kafka_seldom() -> None:
    environment = {**os.environ, "PYTHONPATH": str(_TESTS), "PYTHONHASHSEED": "0"}
    run = subprocess.run([sys.executable, "-m", "simulation.idle"], env=environment, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr[-2000:]
    found = json.loads(run.stdout)
    asked = found["of_them"]
    assert found["wakeups"] <= 750, found  # 2 000 with fetch loops and a supervisor that look several times a second
    assert found["requests"] <= 320, found
    assert asked["HeartbeatRequest"] <= 31, "of the group, every two seconds"
    assert asked["FetchRequest"] <= 190, "120 of the lanes, whose partitions may change; few of what is read from its end on"
    assert asked["FetchRequest"] >= 20, "it reads all the time"
