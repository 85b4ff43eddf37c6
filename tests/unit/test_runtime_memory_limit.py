"""The limit of memory, from what the kernel says."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from processor.runtime.memory_limit import memory_limit_bytes, read_file

UNIT = "0::/system.slice/processor.service\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "805306368\n"}, 805_306_368),  # a container with its own namespace
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, None),
        ({"/proc/self/cgroup": UNIT, "/sys/fs/cgroup/system.slice/processor.service/memory.max": "1000\n"}, 1000),
        (
            {
                "/proc/self/cgroup": UNIT,
                "/sys/fs/cgroup/system.slice/processor.service/memory.max": "1000",
                "/sys/fs/cgroup/system.slice/memory.max": "900",
            },
            900,
        ),
        ({"/proc/self/cgroup": "4:memory:/x\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "500\n"}, 500),
        ({"/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, None),
        ({"/proc/self/cgroup": "0::/../outside\n", "/sys/fs/cgroup/memory.max": "77"}, 77),
        ({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": ""}, None),
    ],
)
def test_the_lowest_limit_that_holds_for_the_process(files: dict[str, str], limit: int | None) -> None:
    def read(path: PurePosixPath) -> str | None:
        return files.get(str(path))

    assert memory_limit_bytes(read) == limit


def test_a_file_that_is_not_there_says_nothing() -> None:
    assert read_file(PurePosixPath("/sys/fs/cgroup/no/such/file")) is None
