"""What a process has left running that nobody needs any more: parts of Kafka clients whose lives are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from simulation.loop import Host, State

# of aiokafka's clients; a processor has one member of the group, and few others
_MOST = {"GroupCoordinator._heartbeat_routine": 1, "GroupCoordinator._coordination_routine": 3}


def routines_of(host: Host) -> Counter[str]:
    """The tasks of a host's process that are not done, by what they run."""
    return Counter(str(getattr(task.get_coro(), "__qualname__", "")) for task in host.tasks if not task.done())


def left_over(hosts: Iterable[Host]) -> list[str]:
    """For each process that is up, what it has too much of."""
    found = []
    for host in hosts:
        if host.state is State.UP:
            counts = routines_of(host)
            found += [f"{host.name}: {counts[name]} of {name}" for name, most in _MOST.items() if counts[name] > most]
    return found
