"""The memory that this process may use, as Linux control groups say (cgroup v2, and v1 as containers see it)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

_MOUNT = PurePosixPath("/sys/fs/cgroup")
_V1 = _MOUNT / "memory" / "memory.limit_in_bytes"
_UNLIMITED_V1 = 1 << 60  # v1 says "none" by a number just below 2**63
_DEPTH_MAX = 32

Read = Callable[[PurePosixPath], str | None]


def read_file(path: PurePosixPath) -> str | None:
    """What a file of the kernel says; None where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return None


def memory_limit_bytes(read: Read = read_file) -> int | None:
    """The lowest limit of the group of this process and of those above it; None where none is set or known."""
    groups = read(PurePosixPath("/proc/self/cgroup")) or ""
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::/")), "/")
    group = _MOUNT / own.lstrip("/")
    paths = [path for path in (group, *group.parents)[:_DEPTH_MAX] if path.is_relative_to(_MOUNT)]
    limits = [_number(read(path / "memory.max")) for path in paths] + [_number(read(_V1))]
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED_V1), default=None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdecimal() else None
