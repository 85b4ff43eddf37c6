"""`processor verify --html`: a page that cannot be written costs neither the audit nor its report."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from test_verify_report import report_of
from typer.testing import CliRunner
from verify_world import World, clean_world

from processor.cli.app import app
from processor.cli.verify import check_writable, tell

NOWHERE = {"VP_KAFKA__BOOTSTRAP": "127.0.0.1:1", "VP_DIDIT__API_KEY": "k"}


@pytest.mark.parametrize("named", ["missing/page.html", "."], ids=["no folder", "a folder"])
def test_a_page_that_cannot_be_written_is_told_before_anything_is_read(tmp_path: Path, named: str) -> None:
    page = tmp_path / named
    ended = CliRunner(env=NOWHERE).invoke(app, ["verify", "--html", str(page)])
    assert ended.exit_code == 2
    assert ended.output.startswith(f"--html {page}: ")
    assert ended.output.endswith("; nothing was judged\n")


def test_an_audit_that_does_not_end_leaves_the_page_of_an_earlier_one(tmp_path: Path) -> None:
    new, old = tmp_path / "new.html", tmp_path / "old.html"
    old.write_text("earlier")
    for page in (new, old):
        check_writable(page)
    assert not new.exists()
    assert old.read_text() == "earlier"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_disk_that_is_full_at_the_end_costs_the_page_alone(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    broken, full = World(), Path("/dev/full")
    broken.finish(broken.request("lost"))
    check_writable(full)
    for world, status in ((clean_world(), 2), (broken, 1)):
        report = report_of(world)
        assert report.clean is (world is not broken)
        with pytest.raises(typer.Exit) as ended:
            tell(report, full, as_json=as_json)
        assert ended.value.exit_code == status
        told = capsys.readouterr()
        assert report.group in told.out
        assert told.err == "--html /dev/full: No space left on device; the audit is done, but the page is not written\n"
