"""How a person is named to `processor person`: so that no shell history has to keep it, and no refusal repeats it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from processor.cli.person import app, person_summary, records_table
from processor.repair.person import PersonRecord
from processor.repair.person_search import PersonFindings

NAMED = "Zoë Tracer"


@pytest.mark.parametrize("command", ["find", "erase"])
def test_a_person_is_named_once_and_can_be_one(command: str, tmp_path: Path) -> None:
    (named := tmp_path / "named").write_text(NAMED)
    (broken := tmp_path / "broken").write_bytes(b"\xff" + NAMED.encode())
    (several := tmp_path / "several").write_text(f"{NAMED}\r\n\r\n")
    wrong: list[tuple[list[str], str | None, str]] = [
        ([], None, "one of them"),
        (["--vendor-data", NAMED, "--vendor-data-file", str(named)], None, "one of them"),
        (["--vendor-data-file", str(tmp_path / "absent")], None, "cannot be read (FileNotFoundError)"),
        (["--vendor-data-file", str(broken)], None, "cannot be read (UnicodeDecodeError)"),
        (["--vendor-data", "-"], "\n", "cannot be a vendor_data"),
        (["--vendor-data", "-"], f"{NAMED}\n{NAMED} 2\n", "one person at a time"),
        (["--vendor-data-file", str(several)], None, "one person at a time"),
        (["--vendor-data", "-"], NAMED * 60, "cannot be a vendor_data"),
        (["--vendor-data", ""], None, "cannot be a vendor_data"),
    ]
    for words, typed, said in wrong:
        told = CliRunner().invoke(app, [command, *words], input=typed)
        assert (told.exit_code, said in told.output) == (2, True), told.output
        assert NAMED not in told.output


def test_a_name_is_read_whole_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    """Nobody answers at this address: what follows is told, and not who was asked for."""
    (named := tmp_path / "named").write_text(f"{NAMED}\n")
    nowhere = {"VP_KAFKA__BOOTSTRAP": "nowhere.invalid:1"}
    for words, typed in ((["--vendor-data-file", str(named)], None), (["--vendor-data", "-"], f"{NAMED}\r\n")):
        told = CliRunner(env=nowhere).invoke(app, ["find", *words], input=typed)
        assert told.exit_code == 1, told.output
        assert NAMED not in told.output


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_name_is_the_same_whatever_editor_and_locale(mark: bytes, tmp_path: Path) -> None:
    """A mark before it, or its letters as another code, made somebody else of the person: nothing was found, and nothing erased."""
    (named := tmp_path / "named").write_bytes(mark + NAMED.encode() + b"\r\n")
    program = "import sys; from pathlib import Path; from processor.cli.person import _person; "
    for call, typed in ((f"_person(None, Path({str(named)!r}))", b""), ('_person("-", None)', named.read_bytes())):
        told = subprocess.run(
            [sys.executable, "-c", f"{program}print(ascii({call}))"],
            env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"},
            input=typed,
            capture_output=True,
            check=True,
        )
        assert told.stdout.decode().strip() == ascii(NAMED)


def test_what_callers_wrote_is_shown_as_it_is() -> None:
    """A request id may look like markup of the library that draws, or move a terminal."""
    ids = ("[/x]", "[bold]y[/bold]", "z\x9b2J")
    records = [PersonRecord("v.requests", 0, n, 0, "key", each, "op\x1b[2J") for n, each in enumerate(ids)]
    none: frozenset[str] = frozenset()
    console = Console(file=io.StringIO(), width=200)
    console.print(records_table(PersonFindings(records, none, none, none, {}, frozenset(), {})))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(each in shown for each in ("[/x]", "[bold]y[/bold]", "z\\u009b2J", "op\\u001b[2J"))
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_a_delay_topic_that_nobody_names_is_said_not_to_be_looked_through() -> None:
    none: frozenset[str] = frozenset()
    record = PersonRecord("v.requests", 0, 0, 0, "key", "r")
    for records in ([], [record]):
        found = PersonFindings(records, none, none, none, {}, frozenset(), {"v.requests": 1.0}, unread=("v.retry.1h",))
        assert person_summary(found).endswith("; not looked through: v.retry.1h, which VP_RETRY__DELAYS_S does not name")
        assert "not looked through" not in person_summary(replace(found, unread=()))
