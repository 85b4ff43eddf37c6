"""The statuses of a session and the transitions between them. Pure (Didit, "Verification statuses", "Update status")."""

from __future__ import annotations

from itertools import pairwise

UNFINISHED = frozenset({"Not Started", "In Progress", "Resubmitted", "Awaiting User"})
SETTLED = frozenset({"Approved", "Declined", "In Review", "Kyc Expired"})
UPDATABLE = frozenset({"Approved", "Declined", "In Review", "Kyc Expired", "Abandoned", "Resubmitted"})
TRANSITIONS = {
    "Not Started": {"In Progress", "Expired"},
    "In Progress": {"Approved", "Declined", "In Review", "Awaiting User", "Abandoned"},
    "Awaiting User": {"Approved", "Declined", "In Review"},
    "In Review": {"Approved", "Declined", "Resubmitted"},
    "Declined": {"Resubmitted", "Approved"},
    "Resubmitted": {"Approved", "Declined", "In Review", "Awaiting User"},
    "Approved": {"Kyc Expired", "Declined", "Resubmitted"},
    "Kyc Expired": {"Approved", "Declined", "Resubmitted"},
    "Abandoned": {"Approved", "Declined", "Resubmitted"},
    "Expired": set(),
}
ALL_STATUSES = frozenset(TRANSITIONS)


class IllegalTransitionError(Exception):
    """The status machine has no such transition."""


def user_path(text: str) -> tuple[str, ...]:
    """Parse the statuses that a user goes through after Not Started: ``Approved``, ``Expired``, ``In Review > Approved``.

    ``In Progress`` is inserted where it is needed; ``Not Started`` is the empty path.

    Raises:
        ValueError: if the status machine has no such path.
    """
    steps = tuple(part.strip() for part in text.split(">"))
    if steps == ("Not Started",):
        return ()
    if steps[0] not in TRANSITIONS["Not Started"]:
        steps = ("In Progress", *steps)
    for before, after in pairwise(("Not Started", *steps)):
        if after not in TRANSITIONS.get(before, set()):
            raise ValueError(f"no step from {before} to {after}")
    return steps
