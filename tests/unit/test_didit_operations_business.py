"""What the answers of registries, wallets and monitoring mean, where Didit's OpenAPI tells it in words alone."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from processor.contract.codes import ErrorCode
from processor.didit.answers import NoReply, Reply
from processor.didit.catalog import OPERATIONS
from processor.didit.operations_business import BUSINESS
from processor.didit.verdicts import Ambiguous, Refused, Success, Transient, Unpaid, classify

REPORT = {"request_id": "r", "kyb_registry": {"fetch_status": "pending"}}


@pytest.mark.parametrize(
    ("name", "status", "body", "meaning"),
    [
        ("kyb.ubo", 202, REPORT, Success),  # it is completed and billed by Didit: never asked for again
        ("kyb.search", 200, REPORT, Success),
        ("kyb.search", 403, {"detail": "x", "code": "insufficient_credits"}, Unpaid),
        ("kyb.search", 502, {"code": "kyb_registry_provider_unavailable"}, Transient),  # "the search is not billed"
        ("kyb.select", 502, {"detail": "x"}, Ambiguous),  # nothing is said of this one
        ("wallet_screening", 409, {"detail": "No AML provider is configured"}, Refused),
        ("wallet_screening", 422, {"detail": "x", "candidate_chains": ["ETH", "BASE"]}, Refused),  # neither screened nor billed
        ("wallet_screening", 502, {"detail": "x"}, Transient),  # billed per successful screening
        ("aml_monitoring.users", 202, {"job_id": "j", "status": "PENDING"}, Success),
        ("aml_monitoring.users", 403, {"detail": "Insufficient balance", "estimate": {}}, Unpaid),
        ("aml_monitoring.job", 404, {"detail": "Not found."}, Refused),
    ],
)
def test_answers(name: str, status: int, body: Any, meaning: type) -> None:
    verdict = classify(OPERATIONS[name], Reply(status, {"content-type": "application/json"}, orjson.dumps(body)))
    assert isinstance(verdict, meaning), verdict


def test_what_is_billed_is_not_called_again_when_its_answer_is_lost() -> None:
    lost = NoReply(sent=True, code=ErrorCode.TIMEOUT)
    again = {row.name for row in BUSINESS if isinstance(classify(row, lost), Transient)}
    assert again == {"aml_monitoring.users", "aml_monitoring.businesses", "aml_monitoring.job"}
