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


def keys(world: World) -> list[str]:
    """Of all applications."""
    return [key for each in world.settings("operator").installations if (key := each.didit.key()) is not None]


def revoke_key(world: World, application: str) -> None:
    """Somebody has replaced the key at Didit; only that of an application, if one is named."""
    every = {each.application: each.didit.key() for each in world.settings("operator").installations}
    left = [key for name, key in every.items() if key is not None and application in every and name != application]
    _directory(world).replace_live_keys([_ANOTHER_KEY, *left])


def restore_key(world: World) -> None:
    """All keys are taken again."""
    _directory(world).replace_live_keys(keys(world))
