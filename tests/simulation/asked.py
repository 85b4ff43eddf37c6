"""What callers of a world have asked for, for the judge."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulation.starving import Published


@dataclass(slots=True)
class Asked:
    """What callers have asked for, by the brokers' acknowledgements.

    Attributes:
        acknowledged: ids of requests.
        published: when each request was, and its priority, if they differ.
        cancels: ids of cancels, and what they take back.
        conflicts: ids that another content was published under.
        repeated: ids of requests whose doubts are to be repeated.
        erased: ids of requests that an operator takes back, as their person is erased.
        attempts_max: a doubt that was repeated as often ends as one.
        expiring: ids of requests with a deadline.
        places: by id of a request, the topics that its records were written to.
    """

    acknowledged: list[str] = field(default_factory=list)
    published: dict[str, Published] = field(default_factory=dict)
    cancels: dict[str, str] = field(default_factory=dict)
    conflicts: set[str] = field(default_factory=set)
    repeated: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    attempts_max: int = 6
    expiring: set[str] = field(default_factory=set)
    places: dict[str, set[str]] = field(default_factory=dict)
