"""How the session of a verification is polled."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from processor.settings.base import Group, Seconds


class FollowSettings(Group):
    """How the session of a ``verification`` is polled until it is settled."""

    polls_s: tuple[int, ...] = Field(
        (15, 30, 60, 120, 300, 600, 1800, 3600),
        description="JSON array, ascending: waits between the polls of a session; the last one repeats. With webhooks sessions end sooner",
    )
    later_finals_s: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="keep polling for this long after the first final result, and publish another one when an operator "
        "changes the decision. 0: the first one is the only one, and changes are seen in the events topic",
    )
    missing_s: Seconds = Field(
        3600.0,
        description="a session that Didit has shown before and no longer shows for this long is gone: its verification ends as failed",
    )
    longest_s: Seconds = Field(1_209_600.0, description="a session that is not settled this long after its creation ends as expired")

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.polls_s or list(self.polls_s) != sorted(self.polls_s) or self.polls_s[0] < 1:
            raise ValueError("VP_FOLLOW__POLLS_S must be ascending whole seconds, at least one")
        return self
