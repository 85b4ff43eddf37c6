"""The commands' listing, which is made without them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.main import get_command
from typer.testing import CliRunner

from processor.budget.log import Entry
from processor.budget.log_records import Alive, encode
from processor.cli import check
from processor.cli.app import LazyCommand, app
from processor.cli.budget import print_log
from processor.cli.options import ActReport
from processor.cli.pause import say_who_obeys
from processor.cli.results import ResultFilter
from processor.contract.pauses import PauseAct, PauseKind
from processor.contract.records import Status
from processor.didit.account_checks import CheckState, SetupCheck

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
LISTED = """
import sys
from processor.cli.app import app
try:
    app(["--help"])
except SystemExit:
    print(*sorted(m for m in sys.modules if m.startswith("processor")))
    print(*sorted(sys.modules.keys() & {"aiohttp", "aiokafka", "orjson", "pydantic"}))
"""


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listing_says_what_the_command_says_of_itself(name: str) -> None:
    command = COMMANDS[name]
    assert isinstance(command, LazyCommand)
    found = command.load()
    assert (command.help or "").endswith("."), "a whole sentence"
    assert found.help.startswith(command.help)
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: root {name} " in shown.output, "it is called by its own name"


def test_the_listing_imports_no_command() -> None:
    done = subprocess.run([sys.executable, "-c", LISTED], capture_output=True, text=True, check=True)
    *_, ours, heavy = done.stdout.splitlines()
    assert ours.split() == ["processor", "processor.cli", "processor.cli.app", "processor.cli.standard_streams"]
    assert heavy == ""


@pytest.mark.parametrize("code", ["iso-8859-1", "ascii"])
def test_a_terminal_of_another_code_ends_no_command(code: str) -> None:
    """Counts have a narrow blank, ids any character."""
    shown = CliRunner(charset=code).invoke(app, ["operations", "database_validation"])
    assert (shown.exit_code, shown.exception) == (0, None)
    assert "\\u2026" in shown.stdout


def test_a_command_that_is_mistyped_is_suggested() -> None:
    done = CliRunner().invoke(app, ["stats"])
    assert done.exit_code == 2
    assert "Did you mean 'status'" in done.output


ROWS = {
    CheckState.OK: SetupCheck("key", CheckState.OK, "Didit takes it"),
    CheckState.FAILED: SetupCheck("workflow w", CheckState.FAILED, '"\x1b[31mlabel" is a draft', "publish it"),
    CheckState.UNKNOWN: SetupCheck("credits", CheckState.UNKNOWN, "no answer came in time", "try again"),
    CheckState.SKIPPED: SetupCheck("workflows", CheckState.SKIPPED, "none is configured"),
}


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ((CheckState.OK, CheckState.SKIPPED), 0),
        ((CheckState.OK, CheckState.UNKNOWN), 1),
        ((CheckState.UNKNOWN, CheckState.FAILED), 2),
    ],
)
def test_a_check_ends_as_its_worst_row(states: tuple[CheckState, ...], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def found(*_: object, **__: object) -> list[SetupCheck]:
        return [ROWS[state] for state in states]

    monkeypatch.setattr(check, "check_setup", found)
    monkeypatch.setattr(check, "_quiet", lambda _settings: None)  # logs of other tests stay as they are
    shown = CliRunner().invoke(app, ["check"])
    assert shown.exit_code == status
    assert "settings" in shown.output
    assert "\x1b" not in shown.output
    told = CliRunner().invoke(app, ["check", "--json"])
    document = json.loads(told.output)
    assert (told.exit_code, document["ok"]) == (status, status == 0)
    assert [row["state"] for row in document["checks"]] == ["ok", *states]
    assert set(document["checks"][0]) == {"name", "state", "found", "remedy"}


def test_a_check_names_the_settings_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_DIDIT__WORKFLOWS", '["not-a-uuid"]')
    told = CliRunner().invoke(app, ["check", "--json"])
    (row,) = json.loads(told.output)["checks"]
    assert (told.exit_code, row["name"], row["state"]) == (2, "settings", "failed")
    assert "VP_DIDIT__WORKFLOWS" in row["found"]
    assert "not-a-uuid" not in row["found"]
    monkeypatch.delenv("VP_DIDIT__WORKFLOWS")
    wrong = CliRunner().invoke(app, ["check", "--workflow", "x"])
    assert (wrong.exit_code, "--workflow must be the UUID" in wrong.output) == (2, True)


# commands without --json, and why
SPEAKS_OTHERWISE = {
    "run": "logs JSON until it is stopped",
    "webhooks": "logs JSON until it is stopped",
    "simulate": "runs until it is stopped",
    "top": "a live screen; `status --json` is the same once",
    "results": "prints JSON and nothing else",
    "example": "prints JSON, or CSV",
    "register": "asks on the terminal, and prints the key alone",
}


def leaves(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    if not inner or getattr(command, "invoke_without_command", False):
        yield name, command
    for sub_name, sub_command in inner.items():
        yield from leaves(f"{name} {sub_name}", sub_command)


ALL = dict(leaf for name, listed in COMMANDS.items() for leaf in leaves(name, listed.load()))


@pytest.mark.parametrize("name", ALL)
def test_every_command_that_prints_has_json(name: str) -> None:
    has = any("--json" in parameter.opts for parameter in ALL[name].params)
    assert has is not (name in SPEAKS_OTHERWISE), name


def test_with_json_an_act_says_its_sentences_on_stderr_and_one_object_on_stdout(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for as_json in (True, False):
        report = ActReport(as_json=as_json)
        report.say("a sentence")
        report.say(Text("[drawn]"))
        report.end({"done": 1})
        sys.stdout.flush()
    out, err = capfdbinary.readouterr()
    assert (out, err) == (b'{"done":1}\na sentence\n[drawn]\n', b"a sentence\n[drawn]\n")


ASKS = """
import sys, typer
from processor.cli.options import ask_or_fail
try:
    ask_or_fail("Go?", "nothing was done")
except typer.Exit as ended:
    sys.exit(ended.exit_code)
"""


@pytest.mark.parametrize(("interrupted", "status", "said"), [(True, 130, b"interrupted; nothing was done"), (False, 2, b"nobody answered")])
def test_a_question_that_is_not_answered(interrupted: bool, status: int, said: bytes) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ASKS], stdin=pipe, stdout=pipe, stderr=pipe) as asking:
        assert asking.stdout is not None
        assert asking.stdout.read(3) == b"Go?"
        if interrupted:
            asking.send_signal(signal.SIGINT)
            asking.wait(30)
        _, told = asking.communicate(timeout=30)
    assert (asking.returncode, said in told) == (status, True), told


@pytest.mark.parametrize("command", ["publish", "batch"])
def test_a_dry_run_needs_no_kafka(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VP_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("VP_DIDIT__PRICES", '{"aml": "0.20"}')
    path = tmp_path / "people.jsonl"
    path.write_text("".join(f'{{"request_id":"{n}","operation":"{o}","input":{i}}}\n' for n, (o, i) in enumerate(ASKED)))
    told = CliRunner().invoke(app, [command, str(path), "--dry-run", "--json"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["requests"], document["billed"], document["cost"], document["unpriced"]) == (4, 3, "0.40", ["email.send"])
    assert document["time_s"] == pytest.approx(0.6)
    said = CliRunner().invoke(app, [command, str(path), "--dry-run"]).output
    assert "billed, at most: 3" in said
    assert "cost, at most: 0.40, without email.send: give VP_DIDIT__PRICES their price" in said


ASKED = [
    *[("aml", '{"full_name":"Ann Example"}')] * 2,
    ("email.send", '{"email":"a@example.com"}'),
    ("user.get", '{"vendor_data":"user-1"}'),
]


def test_a_batch_without_a_target_says_so(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    path.write_text('{"full_name":"Ann Example"}\n')
    told = CliRunner().invoke(app, ["batch", str(path), "--operation", "aml"])
    assert told.exit_code == 2
    assert "people.done.csv" in told.output


def test_a_secret_in_the_configuration_file_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "processor.toml").write_text('[didit]\napi_key = "key-in-clear"\n')
    monkeypatch.setenv("VP_CONFIG_FILE", str(tmp_path / "processor.toml"))
    told = CliRunner().invoke(app, ["settings", "--changed", "--json"])
    assert told.exit_code == 0
    assert [(each["variable"], each["source"]) for each in json.loads(told.stdout)] == [("VP_DIDIT__API_KEY", "file")]
    assert "holds didit.api_key in clear" in told.stderr
    assert "key-in-clear" not in told.output


@pytest.mark.parametrize("as_json", [False, True])
def test_a_record_of_the_budget_log_moves_no_terminal(capsysbinary: pytest.CaptureFixture[bytes], as_json: bool) -> None:
    """Somebody else may have written to the topic."""
    alive = Alive("0123456789", "node\x1b[2J\u202e\u2028forged", {"a": 1})
    print_log([Entry(7, 0, encode(alive))], as_json=as_json)
    shown = capsysbinary.readouterr().out.decode()
    assert shown.endswith("\n")
    assert shown[:-1].isprintable()
    assert "node\\u001b[2J\\u202e\\u2028forged" in shown


def test_a_replica_that_does_not_obey_moves_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Any member of the group may have any name."""
    act = PauseAct(PauseKind.PAUSED, "aml", "me@here", "why", 0, "0123456789")
    with pytest.raises(typer.Exit) as ended:
        say_who_obeys(ActReport(as_json=False), act, 1, ["replica-1", "node\x1b[2J\u202e\u2028forged"])
    shown = capsys.readouterr().err
    assert (ended.value.exit_code, shown[:-1].isprintable()) == (1, True)
    assert "not obeyed yet by replica-1, node\\u001b[2J\\u202e\\u2028forged:" in shown


@pytest.mark.parametrize("value", [None, b"{", b"[]", b'{"operation":["aml"],"status":"failed"}', b'{"operation":"aml","status":{}}'])
def test_what_is_no_result_is_left_out_where_something_is_asked_for(value: bytes | None) -> None:
    wanted = ResultFilter(frozenset({"aml"}), frozenset({Status.FAILED}))
    assert not wanted.takes(value)
    assert wanted.takes(b'{"operation":"aml","status":"failed"}')
