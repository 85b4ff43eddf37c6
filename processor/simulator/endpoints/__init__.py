"""What each route does with an admitted call."""

from __future__ import annotations

from processor.simulator.endpoints.accounts import AccountEndpoints
from processor.simulator.endpoints.checks import CheckEndpoints
from processor.simulator.endpoints.corrections import CorrectionEndpoints
from processor.simulator.endpoints.device_transactions import DeviceTransactionEndpoints
from processor.simulator.endpoints.imports import ImportEndpoints
from processor.simulator.endpoints.lists import ListEndpoints
from processor.simulator.endpoints.monitoring import MonitoringEndpoints
from processor.simulator.endpoints.oauth import OAuthEndpoints
from processor.simulator.endpoints.questionnaires import QuestionnaireEndpoints
from processor.simulator.endpoints.records import RecordEndpoints
from processor.simulator.endpoints.registry import RegistryEndpoints
from processor.simulator.endpoints.reviews import ReviewEndpoints
from processor.simulator.endpoints.sandbox import SandboxEndpoints
from processor.simulator.endpoints.sessions import SessionEndpoints
from processor.simulator.endpoints.sharing import SharingEndpoints
from processor.simulator.endpoints.transactions import TransactionEndpoints
from processor.simulator.endpoints.travel_rule import TravelRuleEndpoints
from processor.simulator.endpoints.users import UserEndpoints
from processor.simulator.endpoints.webhooks import WebhookEndpoints
from processor.simulator.endpoints.workflows import WorkflowEndpoints

__all__ = [
    "AccountEndpoints",
    "CheckEndpoints",
    "CorrectionEndpoints",
    "DeviceTransactionEndpoints",
    "ImportEndpoints",
    "ListEndpoints",
    "MonitoringEndpoints",
    "OAuthEndpoints",
    "QuestionnaireEndpoints",
    "RecordEndpoints",
    "RegistryEndpoints",
    "ReviewEndpoints",
    "SandboxEndpoints",
    "SessionEndpoints",
    "SharingEndpoints",
    "TransactionEndpoints",
    "TravelRuleEndpoints",
    "UserEndpoints",
    "WebhookEndpoints",
    "WorkflowEndpoints",
]
