"""Which worker of pytest-xdist gets which test: each the next one, but what shares a broker of its own goes to one of them.

(xdist's own ``loadgroup`` writes its groups into an attribute that pytest 9.2 no longer has: it groups nothing, and does not say so.)
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

BROKERS = ("own_kafka", "guarded", "logins", "secured", "short_kafka", "two_brokers")  # fixtures of which each is one broker for one worker
_TEST = re.compile(r"^(?:async )?def (test_\w+)\(([^)]*)\)", re.MULTILINE)


def broker_tests(folder: Path, root: Path) -> dict[str, str]:
    """Node ids, without parameters, of the tests in this folder that ask for one of those fixtures."""
    return {
        f"{path.relative_to(root).as_posix()}::{name}": fixture
        for path in sorted(folder.glob("test_*.py"))
        for name, arguments in _TEST.findall(path.read_text())
        for fixture in BROKERS
        if f"{fixture}:" in arguments
    }


class BrokerScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Units of one test, and one for each such broker, which come first."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._grouped = broker_tests(config.rootpath / "tests" / "integration", config.rootpath)

    def _split_scope(self, nodeid: str) -> str:
        return self._grouped.get(nodeid.partition("[")[0], nodeid)
