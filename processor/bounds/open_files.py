"""How many files and connections this process may hold open at once.

A partition that is owned has a producer of its own, so connections grow with partitions. The usual soft limit of 1024 is for programs that
use select(2), which we do not; what a process may have is its hard limit (setrlimit(2)).
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":  # callers' services import this with the client
    import resource

_ENOUGH = 65_536  # no more is asked for, where the hard limit is a thousand million
_SPARE = 8  # of those that are free for a moment, while connections are tried again and again


def allow_open_files() -> None:
    """Raise the soft limit to the hard one."""
    if sys.platform == "win32":
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems have a lower bound beside it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def used_up_open_files() -> int | None:
    """The limit, if all that it allows are open now; None if not, or where it is not known."""
    if sys.platform != "linux":
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return limit if sum(1 for _ in Path("/proc/self/fd").iterdir()) + _SPARE > limit != resource.RLIM_INFINITY else None
    except OSError as exc:
        return limit if exc.errno == errno.EMFILE else None
