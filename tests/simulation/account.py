"""What may be wrong with the account at Didit for a time: no credits are left, the key is taken no more. Requests wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processor.simulator.applications import ApplicationDirectory

if TYPE_CHECKING:
    from simulation.world import World

_CREDITS = 1_000_000
_ANOTHER_KEY = "another-key"


def _directory(world: World) -> ApplicationDirectory:
    assert world.simulator is not None
    return world.simulator.state.directory


def spend_all(world: World) -> None:
    """Somebody has used up the credits."""
    _directory(world).organization.credits = 0


def top_up(world: World) -> None:
    """There are credits again."""
    _directory(world).organization.credits = _CREDITS


def revoke_key(world: World) -> None:
    """Somebody has replaced the key at Didit."""
    _directory(world).replace_live_keys([_ANOTHER_KEY])


def restore_key(world: World) -> None:
    """The key is taken again."""
    key = world.settings("operator").didit.key()
    assert key is not None
    _directory(world).replace_live_keys([key])
