"""The name and the bounds of one process that takes permits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """What holds for this process alone, beside the ``Rules`` that all replicas of a key share. From the settings."""

    instance: str  # its name in the budget log: VP_KAFKA__INSTANCE_ID, or that of a command
    calls_max: int  # calls in flight in this process
    queue_max: int  # requests that wait in one line before others are sent away
    park_s: float  # s; a pause that lasts longer is not waited out in a line
    group: str = ""  # VP_KAFKA__GROUP: installations that share a key and its log may name their replicas alike
