"""Logs: JSON lines, masked by name, cut in length."""

from __future__ import annotations

import logging

import orjson
import pytest
import structlog

from processor.observe.application import working_for
from processor.observe.last_error import LastError
from processor.observe.logs import configure_logs, redact
from processor.settings import LogSettings


def test_fields_that_could_hold_personal_data_are_masked() -> None:
    event = {
        "event": "x",
        "api_key": "k",
        "first_name": "Ada",
        "session_url": "u",
        "email": "e",
        "code": "http_404",
        "attempt": 2,
        "source": "t[0]@1",
    }
    assert redact(None, "info", dict(event)) == {**event, "api_key": "***", "first_name": "***", "session_url": "***", "email": "***"}


def test_long_texts_are_cut() -> None:
    assert len(str(redact(None, "info", {"event": "e", "detail": "x" * 10_000})["detail"])) < 600


def test_every_line_is_one_json_object_whoever_logs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(level="info", format="json"))
    try:
        structlog.get_logger("a").info("retry", code="http_503", unserialisable=object())
        structlog.get_logger("a").debug("unseen")
        logging.getLogger("some.library").error("broker %s\nis away", 1)
        lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
    assert [line["event"] for line in lines] == ["retry", "broker 1\nis away"]
    assert lines[0]["code"] == "http_503"
    assert lines[1]["level"] == "error"
    assert all("timestamp" in line for line in lines)


def test_a_line_of_a_named_application_names_it_and_no_other_does(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(level="info", format="json"))
    try:
        log = structlog.get_logger("a")
        log.info("before")
        with working_for("shop"):
            log.info("within")
            logging.getLogger("some.library").error("broker away")
        with working_for("bank"):
            logging.getLogger("some.library").error("broker away")
        lines = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers = []
    assert [(line["event"], line.get("application")) for line in lines] == [
        ("before", None),
        ("within", "shop"),
        ("broker away", "shop"),
        ("broker away", "bank"),
    ], "a repetition of one application is none of the other"


def test_the_last_error_is_that_of_the_application_or_of_the_whole_process() -> None:
    last = LastError()
    with working_for("shop"):
        last(None, "error", {"event": "of_shop"})
        assert last.event == "of_shop"
    with working_for("bank"):
        assert (last.event, last.at_ms) == ("", 0)
    last(None, "critical", {"event": "of_all"})
    with working_for("bank"):
        assert last.event == "of_all"
