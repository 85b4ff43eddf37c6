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
        description="the longest time, in days, for which you state that personal data of one request is kept in the topics; "
        "`processor topics check` computes the real one and warns if it is longer",
    )
