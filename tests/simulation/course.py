"""The course of a world: each disturbance begins and ends, at its time or once something was logged."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from simulation.disturbances import BEGINS, ENDS, Disturbance

if TYPE_CHECKING:
    from simulation.world import World

_AWAITED_S = 100.0  # what waits for a line begins then without it


class Course:
    """Lets the disturbances of a world begin and end, each at its time or once something was logged."""

    def __init__(self, world: World, disturbances: Sequence[Disturbance]) -> None:
        self._world, self._all = world, disturbances
        self._awaited: dict[int, str] = {}  # numbers of those that wait for a line -> its text
        self._open = len(disturbances)

    @property
    def over(self) -> bool:
        """Whether nothing is going wrong any more, and nothing will."""
        return not self._open

    def start(self) -> None:
        """Begin; to be called once, when the processors have been started."""
        self._world.timeline.on_line = self._look
        for number, one in enumerate(self._all):
            if not one.after:
                self._world.cluster.later(one.at_s, partial(self._begin, number))
        self._await(0)

    def _await(self, number: int) -> None:
        if number < len(self._all) and (text := self._all[number].after):
            self._awaited[number] = text
            self._world.cluster.later(self._all[number].at_s + _AWAITED_S, partial(self._give_up, number))

    def _look(self, line: str) -> None:
        for number in [number for number, text in self._awaited.items() if text in line]:
            del self._awaited[number]
            self._world.cluster.later(self._all[number].at_s, partial(self._begin, number))

    def _give_up(self, number: int) -> None:
        if self._awaited.pop(number, None) is not None:
            self._begin(number)

    def _begin(self, number: int) -> None:
        one = self._all[number]
        self._await(number + 1)
        self._world.timeline.add(f"--- {one}")
        BEGINS[one.kind](self._world, one)
        self._world.cluster.later(one.lasts_s, partial(self._end, one))

    def _end(self, one: Disturbance) -> None:
        self._open -= 1
        if (undo := ENDS.get(one.kind)) is not None:
            self._world.timeline.add(f"over: {one}")
            undo(self._world, one)
