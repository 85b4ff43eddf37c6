"""How much a test of chance does: all of it in `make test`, a tenth in `make test-fast` (Hypothesis profile ``fast``)."""

from __future__ import annotations

from hypothesis import settings

QUICK = "fast"
_PART = 10
settings.register_profile(QUICK, max_examples=20, deadline=None, derandomize=True)  # a failure is of this change, and comes again


def full(count: int) -> int:
    """``count`` examples, rounds or records in `make test`; a tenth of them, and at least one, in `make test-fast`."""
    return max(1, count // _PART) if settings.get_current_profile_name() == QUICK else count
