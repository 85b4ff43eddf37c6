"""Moments and positions as they are typed."""

from __future__ import annotations

import pytest
from dead_letters import NOW

from processor.repair.parsing import read_moment, read_position


def test_moments_and_positions_are_read_as_typed_or_refused() -> None:
    assert read_moment("2h", NOW) == NOW - 7_200_000
    assert read_moment("3d", NOW) == NOW - 3 * 86_400_000
    assert read_moment("1970-01-01T01:00:00+01:00", NOW) == 0
    assert read_position("3:1042") == (3, 1042)
    for text in ("yesterday", "", "2 h", "2026-01-01"):
        with pytest.raises(ValueError, match="write"):
            read_moment(text, NOW)
    for text in ("3", "a:b", "-1:2", ":"):
        with pytest.raises(ValueError, match="PARTITION:OFFSET"):
            read_position(text)
