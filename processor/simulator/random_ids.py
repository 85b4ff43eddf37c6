"""Ids in Didit's format. Pure: random numbers come from the generator given."""

from __future__ import annotations

import random
import uuid


def random_uuid(rng: random.Random) -> str:
    """A UUID of version 4 that ``rng`` draws, in its canonical text form."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
