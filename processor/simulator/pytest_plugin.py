"""The pytest plug-in (docs/testing-your-integration.md). Every pytest run of an environment loads it, so it imports next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from processor.simulator.testing import DiditSimulator

_MARKER = "didit_simulator(seed, limits, faults, behaviour, switches, webhooks): how clean_didit_simulator begins this test"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def didit_simulator_options() -> list[str]:
    """Options of ``processor simulate``; a project's own fixture of this name sets others."""
    return []


@pytest.fixture(scope="session")
def didit_simulator(didit_simulator_options: list[str]) -> Iterator[DiditSimulator]:
    """One simulator of Didit for the whole run (for each worker of pytest-xdist)."""
    from processor.simulator.testing import started  # noqa: PLC0415 - only a run that uses it pays for it

    with started(didit_simulator_options) as simulator:
        yield simulator


@pytest.fixture
def clean_didit_simulator(didit_simulator: DiditSimulator, request: pytest.FixtureRequest) -> DiditSimulator:
    """The same simulator as it was started, with nothing of the tests before, and with the changes of the test's marker."""
    marker = request.node.get_closest_marker("didit_simulator")
    didit_simulator.reset(**(marker.kwargs if marker is not None else {}))
    return didit_simulator
