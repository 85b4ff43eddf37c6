"""What is promised about personal data."""

from __future__ import annotations

from pydantic import Field

from processor.settings.base import Group


class PrivacySettings(Group):
    """What is promised about personal data (docs/privacy.md)."""

    longest_days: float = Field(
        30.0,
        gt=0,
        le=36_500,
        description="the longest time, in days, that you state for personal data of one request in the topics; `processor topics check` "
        "computes the true one and warns where it is longer",
    )
