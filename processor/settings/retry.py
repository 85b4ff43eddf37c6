"""When to try again."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from processor.settings.base import Group, Seconds


class RetrySettings(Group):
    """When a failed call is made again."""

    attempts_max: int = Field(6, ge=1, le=1000, description="counted attempts before a request is given up")
    backoff_base_s: Seconds = Field(5.0, description="the first backoff is drawn between a tenth of this and this; then it doubles")
    backoff_max_s: Seconds = Field(3600.0, description="the backoff stops growing here")
    retry_after_max_s: Seconds = Field(86_400.0, description="a longer Retry-After is cut to this, with an alarm in the log")
    delays_s: tuple[int, ...] = Field((10, 60, 600, 3600), description="delays of the delay topics; JSON array, ascending")
    partitions: int = Field(
        4, ge=1, le=1000, description="partitions of each delay topic; a replica has one producer for each partition that it owns"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.delays_s or list(self.delays_s) != sorted(set(self.delays_s)) or self.delays_s[0] < 1:
            raise ValueError("VP_RETRY__DELAYS_S must be ascending whole seconds, at least one")
        return self
