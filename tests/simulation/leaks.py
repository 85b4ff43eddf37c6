"""What a process has left running that nobody needs any more: parts of Kafka clients whose lives are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from simulation.loop import Host, State

_FETCHES, _SENDS, _KEEPS = "Fetcher._fetch_requests_routine", "Sender._sender_routine", "AIOKafkaClient._md_synchronizer"
# of aiokafka's clients; a processor has one member of the group, and few others
_MOST = {"GroupCoordinator._heartbeat_routine": 1, "GroupCoordinator._coordination_routine": 3, _FETCHES: 8}
_PLAIN = 3  # clients that neither read nor write


def routines_of(host: Host) -> Counter[str]:
    """The tasks of a host's process that are not done, by what they run."""
    return Counter(str(getattr(task.get_coro(), "__qualname__", "")) for task in host.tasks if not task.done())


def left_over(hosts: Iterable[Host], partitions: int, applications: int = 1) -> list[str]:
    """For each process that is up, what it has too much of.

    Args:
        hosts: of processors.
        partitions: of all input topics; each has one owner, who has one producer for it, and another one for the budget log.
        applications: that each process works for.
    """
    found, up = [], [host for host in hosts if host.state is State.UP]
    senders = 0
    for host in up:
        counts = routines_of(host)
        found += [f"{host.name}: {counts[name]} of {name}" for name, most in _MOST.items() if counts[name] > most * applications]
        if counts[_KEEPS] > counts[_FETCHES] + counts[_SENDS] + _PLAIN * applications:
            found.append(f"{host.name}: {counts[_KEEPS]} clients, {counts[_FETCHES]} of them read and {counts[_SENDS]} write")
        senders += counts[_SENDS]
    return found + ([f"{senders} producers for {partitions} partitions"] if senders > partitions + applications * len(up) else [])
