"""Everything that Didit remembers, and the endpoints over it. Pure: random numbers come from the seed."""

from __future__ import annotations

import random

from processor.simulator.accounts import Accounts
from processor.simulator.applications import ApplicationDirectory
from processor.simulator.checks.service import CheckService
from processor.simulator.config import Config
from processor.simulator.destinations import Destinations
from processor.simulator.endpoints import (
    AccountEndpoints,
    CheckEndpoints,
    CorrectionEndpoints,
    DeviceTransactionEndpoints,
    ImportEndpoints,
    ListEndpoints,
    MonitoringEndpoints,
    OAuthEndpoints,
    QuestionnaireEndpoints,
    RecordEndpoints,
    RegistryEndpoints,
    ReviewEndpoints,
    SandboxEndpoints,
    SessionEndpoints,
    SharingEndpoints,
    TransactionEndpoints,
    TravelRuleEndpoints,
    UserEndpoints,
    WebhookEndpoints,
    WorkflowEndpoints,
)
from processor.simulator.ledger import Ledger
from processor.simulator.media import MediaHost
from processor.simulator.messages import EndpointHandler
from processor.simulator.sessions import Sessions
from processor.simulator.travel_rule import TravelRule
from processor.simulator.workflows import Workflows


class DiditState:
    """The state of one simulated Didit; ``handlers`` by route name."""

    def __init__(self, config: Config, ledger: Ledger) -> None:
        session_rng = random.Random(config.seed)  # noqa: S311 - reproducible, no secret
        rng = random.Random(config.seed + 2)  # noqa: S311 - as above; other calls do not change what sessions draw
        secret = f"simulator-{rng.getrandbits(128):032x}"
        self.directory = ApplicationDirectory(config)
        self.workflows = Workflows(config.workflows, rng)
        self.sessions = Sessions(config, self.workflows, session_rng)
        self.media = MediaHost()
        self.accounts = Accounts(config, self.directory, rng)
        self.check_endpoints = CheckEndpoints(self.sessions, CheckService(rng), ledger)
        self.record_endpoints = RecordEndpoints(rng)
        questionnaires = QuestionnaireEndpoints(rng)
        self.destinations = Destinations(rng)
        self.webhook_endpoints = WebhookEndpoints(self.destinations)
        self.oauth = OAuthEndpoints(self.directory, f"{secret}-oauth")
        rule = TravelRule(rng)
        self.transactions = transactions = TransactionEndpoints(self.sessions, ledger, config.switches, rule, rng)
        groups = (
            self.oauth,
            SessionEndpoints(self.sessions, self.workflows, ledger, config),
            ReviewEndpoints(self.sessions, config.switches),
            CorrectionEndpoints(self.sessions),
            SharingEndpoints(self.sessions, self.directory, secret, self.workflows),
            SandboxEndpoints(self.sessions),
            ImportEndpoints(config.switches, rng),
            questionnaires,
            self.check_endpoints,
            self.record_endpoints,
            transactions,
            DeviceTransactionEndpoints(transactions, rng),
            TravelRuleEndpoints(rule, transactions, rng),
            UserEndpoints(self.sessions, rng),
            ListEndpoints(self.sessions, rng),
            self.webhook_endpoints,
            WorkflowEndpoints(self.sessions, self.workflows, questionnaires.has),
            RegistryEndpoints(self.sessions, ledger, rng),
            MonitoringEndpoints(self.sessions, ledger, rng),
            AccountEndpoints(self.accounts, secret),
        )
        self.handlers: dict[str, EndpointHandler] = {name: handler for group in groups for name, handler in group.handlers().items()}
