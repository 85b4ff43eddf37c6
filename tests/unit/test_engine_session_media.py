"""``session.media``: a free read, the files into the store, and a result that holds neither links nor bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
from test_engine import NOW, SESSION, FakeApi, OpenBudget, Shelf, final, json_reply, keeps_the_table_of_codes, record, records

from processor.budget.permits import Duplicate, Parked
from processor.contract.codes import ErrorCode
from processor.contract.headers import read_hop
from processor.contract.records import Output, OutputKind, Record
from processor.didit.answers import Reply
from processor.engine.engine import Engine
from processor.files.media import LeftMedia, MediaLink, StoredMedia
from processor.files.rules import FileError
from processor.settings import load_settings
from processor.stream.handler import NothingToPublish, Work

SCHEMA = orjson.loads((Path(__file__).parent.parent.parent / "schemas/output.session.media.v1.json").read_bytes())
LINK = "https://media.example.com/front.jpg?signature="


def decision(signature: str = "1", **more: Any) -> Reply:
    images = {"front_image": LINK + signature, "back_image": LINK + signature}
    return json_reply(200, {"session_id": SESSION, "status": "Approved", "id_verifications": [images], "first_name": "Ann", **more})


class Store:
    """Stores every link, but those whose signature has ended; a fault is raised."""

    def __init__(self, ended: Sequence[str] = (), fault: FileError | None = None) -> None:
        self.ended, self.fault = ended, fault
        self.asked: list[tuple[list[str], str, str, float | None]] = []

    async def fetch(
        self, links: Sequence[MediaLink], session_id: str, reference: str, within_s: float | None
    ) -> dict[str, StoredMedia | LeftMedia]:
        self.asked.append(([link.member for link in links], session_id, reference, within_s))
        if self.fault is not None:
            raise self.fault
        return {link.member: self._one(link) for link in links}

    def _one(self, link: MediaLink) -> StoredMedia | LeftMedia:
        if link.url.rpartition("=")[2] in self.ended and link.member.endswith("front_image"):
            return LeftMedia(link.member, ErrorCode.MEDIA_MISSING)
        return StoredMedia(link.member, f"file:///media/{link.member}.jpg", "image/jpeg", 7, "0" * 64)


def run(api: FakeApi, store: Store | None, rec: Record | None = None, budget: OpenBudget | None = None) -> list[Output]:
    rec = record(operation="session.media") if rec is None else rec
    engine = Engine(load_settings(), api, Shelf(), budget or OpenBudget(), clock_ms=lambda: NOW, draw=lambda: 0.5, media=store)
    outputs = records(asyncio.run(engine.handle(rec, Work(rec))))
    for output in outputs:
        keeps_the_table_of_codes(output)
    return outputs


def waits_for(outputs: list[Output]) -> tuple[str | None, int]:
    (retry,) = outputs
    assert retry.kind is OutputKind.RETRY
    hop = read_hop(Record(record().source, retry.key, retry.value, retry.headers, NOW))
    return hop.last_error, hop.attempt


def test_the_result_names_the_files_and_holds_no_link_and_nothing_of_the_person() -> None:
    api, store = FakeApi(decision()), Store()
    result = final(run(api, store))
    assert (result["status"], [call.path for call in api.calls]) == ("succeeded", [f"/v3/session/{SESSION}/decision/"])
    jsonschema_rs.validate(SCHEMA, result["output"])
    assert [row["member"] for row in result["output"]["files"]] == ["id_verifications[0].front_image", "id_verifications[0].back_image"]
    assert result["output"]["not_stored"] == []
    text = orjson.dumps(result).decode()
    assert "signature" not in text
    assert "Ann" not in text
    assert store.asked[0][1] == SESSION


def test_a_link_that_has_ended_is_renewed_by_one_more_call_under_a_permit() -> None:
    api, store, budget = FakeApi(decision("1"), decision("2")), Store(ended=["1"]), OpenBudget()
    result = final(run(api, store, budget=budget))
    assert (len(api.calls), len(budget.asks), budget.held) == (2, 2, set())
    assert [asked[0] for asked in store.asked] == [
        ["id_verifications[0].front_image", "id_verifications[0].back_image"],
        ["id_verifications[0].front_image"],
    ]
    assert store.asked[0][2] == store.asked[1][2]
    assert (len(result["output"]["files"]), result["output"]["not_stored"]) == (2, [])


def test_a_file_that_is_not_there_with_a_fresh_link_either_is_told() -> None:
    api = FakeApi(decision("1"), decision("2"))
    result = final(run(api, Store(ended=["1", "2"])))
    assert (result["status"], len(api.calls)) == ("succeeded", 2), "and no third call"
    jsonschema_rs.validate(SCHEMA, result["output"])
    assert result["output"]["not_stored"] == [{"member": "id_verifications[0].front_image", "code": "media_missing"}]


def test_a_file_that_the_fresh_decision_has_no_more_is_told_too() -> None:
    api = FakeApi(decision("1"), decision("2", id_verifications=None))
    assert [row["code"] for row in final(run(api, Store(ended=["1"])))["output"]["not_stored"]] == ["media_missing"]


@pytest.mark.parametrize("code", [ErrorCode.MEDIA_UNAVAILABLE, ErrorCode.MEDIA_NOT_STORED])
def test_what_could_not_be_stored_now_costs_an_attempt_and_is_tried_again(code: ErrorCode) -> None:
    assert waits_for(run(FakeApi(decision()), Store(fault=FileError(code, "x", lasting=False)))) == (code, 1)


@pytest.mark.parametrize(
    ("answer", "code", "attempt"),
    [
        (json_reply(429, {"detail": "Request was throttled."}, retry_after="7"), ErrorCode.THROTTLED, 0),
        (json_reply(503, {}), "http_503", 1),
        (json_reply(404, {"detail": "Not found."}), ErrorCode.MEDIA_UNAVAILABLE, 1),
        (json_reply(401, {"detail": "x"}), ErrorCode.MEDIA_UNAVAILABLE, 1),
    ],
)
def test_a_second_read_that_fails_ends_nothing(answer: Reply, code: str, attempt: int) -> None:
    assert waits_for(run(FakeApi(decision(), answer), Store(ended=["1"]))) == (code, attempt)


def test_without_a_permit_for_the_second_read_it_waits() -> None:
    budget = OpenBudget(None, Parked(ErrorCode.SCOPE_PAUSED, 60.0))
    assert waits_for(run(FakeApi(decision()), Store(ended=["1"]), budget=budget)) == (ErrorCode.SCOPE_PAUSED, 0)


def test_without_a_folder_it_is_refused_with_what_to_do_before_any_call() -> None:
    api, budget = FakeApi(), OpenBudget()
    outputs = run(api, None, budget=budget)
    result = final(outputs)
    assert (result["status"], result["error"]["code"], result["error"]["field"]) == ("rejected", "media_disabled", "operation")
    assert "VP_FILES__MEDIA_FOLDER" in result["error"]["message"]
    assert ([o.kind for o in outputs], result["attempts"]) == ([OutputKind.RESULT, OutputKind.DEAD_LETTER], 0)
    assert (api.calls, budget.asks, budget.turned_away) == ([], [], [])


def test_without_a_folder_its_id_is_taken_by_what_it_asks_for() -> None:
    api, budget, rec = FakeApi(decision()), OpenBudget(), record(operation="session.media")
    run(api, None, rec, budget)
    run(api, Store(), rec, budget)
    identity = budget.asks[0].identity
    assert budget.claims == [identity], "an earlier attempt, or a later copy, is of the same content, and no conflict"


def test_without_a_folder_a_copy_of_one_that_is_done_is_a_copy() -> None:
    budget = OpenBudget()
    budget.prior = Duplicate()
    rec = record(operation="session.media")
    engine = Engine(load_settings(), FakeApi(), Shelf(), budget, clock_ms=lambda: NOW, draw=lambda: 0.5)
    assert isinstance(asyncio.run(engine.handle(rec, Work(rec))), NothingToPublish)


def test_the_deadline_of_the_request_bounds_the_fetch() -> None:
    late = record(operation="session.media", deadline="2025-11-24T16:00:30Z")  # NOW is 16:00:00
    store = Store()
    run(FakeApi(decision()), store, late)
    assert store.asked[0][3] == pytest.approx(30.0)


def test_a_session_that_is_too_new_to_be_shown_is_looked_at_again() -> None:
    assert waits_for(run(FakeApi(json_reply(404, {"detail": "Not found."})), Store())) == (ErrorCode.SESSION_MISSING, 0)
