"""Everything that Didit remembers, and the endpoints over it. Pure: draws come from the seed."""

from __future__ import annotations

import random

from processor.simulator.accounts import Accounts
from processor.simulator.applications import Directory
from processor.simulator.checks.service import Desk
from processor.simulator.config import Config
from processor.simulator.endpoints import (
    AccountEndpoints,
    CheckEndpoints,
    ImportEndpoints,
    RecordEndpoints,
    ReviewEndpoints,
    SandboxEndpoints,
    SessionEndpoints,
    SharingEndpoints,
)
from processor.simulator.ledger import Ledger
from processor.simulator.messages import Handler
from processor.simulator.sessions import Sessions


class State:
    """One Didit."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        rng = random.Random(config.seed)  # noqa: S311 - reproducible, no secret
        other = random.Random(config.seed + 2)  # noqa: S311 - as above; sessions keep a sequence of their own
        secret = f"simulator-{other.getrandbits(128):032x}"
        self.directory = Directory(config)
        self.sessions = Sessions(config, rng)
        self.accounts = Accounts(config, self.directory, other)
        self.checks = CheckEndpoints(self.sessions, Desk(other), ledger)
        self.records = RecordEndpoints(self.sessions, config.switches, other)
        self.hosted = SessionEndpoints(self.sessions, ledger, config)
        rooms = (
            self.hosted,
            ReviewEndpoints(self.sessions, config.switches),
            SharingEndpoints(self.sessions, self.directory, secret, lambda: self.hosted.workflows),
            SandboxEndpoints(self.sessions),
            ImportEndpoints(config.switches, other),
            self.checks,
            self.records,
            AccountEndpoints(self.accounts, secret),
        )
        self.handlers: dict[str, Handler] = {name: handler for room in rooms for name, handler in room.handlers().items()}
