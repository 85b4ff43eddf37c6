"""Excel's workbooks in and out, as a spreadsheet writes and reads them."""

from __future__ import annotations

import builtins
import datetime as dt
import json
import re
import zipfile
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from processor.client import workbook
from processor.client.batch import Batch, BatchError, write_answers
from processor.client.batch_source import column_letters, read_batch
from processor.client.topics import RequestsFileError
from processor.contract.records import Status
from processor.settings import load_settings

HEADER = ["request_id", "input.full_name", "input.date_of_birth", "input.nationality", "input.vendor_data"]


def saved(folder: Path, *rows: list[Any], edit: Callable[[Any], None] = lambda _: None) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    edit(book)
    path = folder / "people.xlsx"
    book.save(path)
    return path


def said(path: Path, sheet: str | None = None) -> str:
    with pytest.raises(RequestsFileError) as caught:
        read_batch(path, "aml", sheet)
    return str(caught.value)


def inputs(path: Path, sheet: str | None = None) -> list[dict[str, Any]]:
    return [json.loads(item.value)["input"] for item in read_batch(path, "aml", sheet)]


def with_sheet_xml(path: Path, old: str, new: str) -> Path:
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    sheet = content["xl/worksheets/sheet1.xml"].decode()
    assert old in sheet
    content["xl/worksheets/sheet1.xml"] = sheet.replace(old, new).encode()
    with zipfile.ZipFile(path, "w") as parts:
        for name, value in content.items():
            parts.writestr(name, value)
    return path


def test_cells_are_read_as_a_person_sees_them(tmp_path: Path) -> None:
    def padded(book: Any) -> None:
        book.active["E2"].number_format = "0000"

    born = dt.datetime(1990, 5, 15)  # noqa: DTZ001 - a cell has no time zone
    rows: list[list[Any]] = [
        HEADER,
        ["a", " Jos\u00e9\u00a0Mu\u00f1oz", born, "ES", 7],
        [None] * 5,
        ["b", "Null", "2004-02-29", None, 600000001],
        [None, ""],
    ]
    path = saved(tmp_path, *rows, edit=padded)
    assert inputs(path) == [
        {"full_name": "Jos\u00e9 Mu\u00f1oz", "date_of_birth": "1990-05-15", "nationality": "ES", "vendor_data": "0007"},
        {"full_name": "Null", "date_of_birth": "2004-02-29", "vendor_data": "600000001"},
    ]


def test_numbers_and_booleans_go_where_the_field_wants_them(tmp_path: Path) -> None:
    head = ["input.full_name", "input.aml_match_score_threshold", "input.include_adverse_media"]
    assert inputs(saved(tmp_path, head, ["Ann", 80.5, True])) == [
        {"full_name": "Ann", "aml_match_score_threshold": 80.5, "include_adverse_media": True}
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["a", "Ann", None, "Spain"], "D2: input.nationality is no country code; write 2 capital letters like ES"),
        (["a", "Ann", 38446], "C2: input.date_of_birth is a date as the number of days"),
        (["a", "Ann", dt.datetime(1990, 5, 15, 8, 30)], "C2: input.date_of_birth is a date with a time"),  # noqa: DTZ001 - a cell has none
        (["a", "Ann", None, None, 12345678901234567], "E2: input.vendor_data is a long number of which Excel keeps 15 digits"),
        (["a", "Ann", "2005-02-29"], "C2: wrong_form at input.date_of_birth"),
        (["a", "Ann", None, "#N/A"], "D2: input.nationality is an error of a formula"),
        (["a", "Ann", None, None, None, "note"], "row 2: has 6 cells, and the header 5"),
        (["a", "=B1"], "B2: input.full_name is a formula that nobody has calculated"),
        (["a"], "B2: missing_field at input.full_name"),
    ],
)
def test_what_is_wrong_is_said_with_its_cell(tmp_path: Path, row: list[Any], words: str) -> None:
    assert said(saved(tmp_path, HEADER, row)).startswith(words)


@pytest.mark.parametrize(
    "value",
    [*map(dt.datetime.fromisoformat, ("1990-05-15", "1990-05-15 08:30")), dt.date(1990, 5, 15), dt.time(8, 30), dt.timedelta(hours=30)],
)
@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_a_date_that_a_spreadsheet_has_made_of_a_text_is_refused(tmp_path: Path, value: Any, at: int) -> None:
    """A document number 3-4, or a name, went out as the date that Excel takes it for, and the check was billed."""
    row: list[Any] = ["a", "Ann Example", dt.date(1990, 5, 15), "ES", "user-1"]
    row[at] = value
    assert f"{'ABCDE'[at]}2: {HEADER[at]} is a date or a time" in said(saved(tmp_path, HEADER, row))


def test_rows_that_nobody_sees_are_refused(tmp_path: Path) -> None:
    """A sheet that was filtered was sent whole: people were checked whom its sender had filtered out."""

    def hide(book: Any) -> None:
        for number in (3, 5, 6):
            book.active.row_dimensions[number].hidden = True
        book.active.row_dimensions[4].height = 30
        book.active.column_dimensions["C"].hidden = True

    people = [[str(number), f"Ann Example {number}"] for number in range(4)]
    path = saved(tmp_path, HEADER[:2], *people, edit=hide)
    told = said(path)
    assert [line.split(":")[0] for line in told.splitlines()] == ["row 3", "row 5"], "an empty row is none"
    assert told.count("is hidden, by a filter or by hand") == 2
    with_sheet_xml(path, 'hidden="1"', 'hidden="0"')
    assert len(inputs(path)) == 4


def test_a_hidden_row_is_seen_wherever_a_chunk_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hide(book: Any) -> None:
        book.active.row_dimensions[3].hidden = True

    path = saved(tmp_path, HEADER[:2], ["a", "Ann Example"], ["b", "Ben Example"], edit=hide)
    for size in (7, 64, 100, 301):
        monkeypatch.setattr(workbook, "_CHUNK_BYTES", size)
        assert "row 3: is hidden" in said(path)


def test_one_id_twice_is_said_with_both_rows(tmp_path: Path) -> None:
    assert said(saved(tmp_path, HEADER, ["a", "Ann"], ["a", "Bob"])).startswith("A3: has the request_id of row 2")
    assert said(saved(tmp_path, ["input.full_name", "input.fullname"], ["Ann", "x"])).startswith("B1: has the column 'input.fullname'")


@pytest.mark.parametrize("formula", [None, "=1"])
def test_merged_cells_are_refused(tmp_path: Path, formula: str | None) -> None:
    """One of them holds the value: the persons of the other rows were screened without it."""
    rows = [["a", "Ann", None, "ES", "u-1"], ["b", "Bob", None, "ES", "u-2"], ["c", "Cy", None, "FR", formula]]

    def merged(book: Any) -> None:
        book.active.merge_cells("D2:D3")

    found = said(saved(tmp_path, HEADER, *rows, edit=merged))
    assert found.startswith("row 2: has merged cells (D2:D3), of which one holds the value; unmerge them"), found
    titled = saved(tmp_path, ["People of May"], HEADER, *rows[:2], edit=lambda book: book.active.merge_cells("A1:E1"))
    assert said(titled) == "row 1: is no header; the names of the columns stand in line 2: delete the lines above it"


def test_a_formula_gives_the_value_that_was_calculated(tmp_path: Path) -> None:
    path = saved(tmp_path, HEADER, ["a", "=B1", None, "ES"])
    with_sheet_xml(path, '<c r="B2"><f>B1</f><v /></c>', '<c r="B2" t="str"><f>B1</f><v>Ann</v></c>')
    assert inputs(path) == [{"full_name": "Ann", "nationality": "ES"}]


def test_texts_that_cells_share_are_read_as_excel_writes_them(tmp_path: Path) -> None:
    """openpyxl writes each text in its cell; Excel keeps them in a part of their own, with runs of letters in other colours."""
    path = saved(tmp_path, HEADER, ["a", 0])
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    texts = "<si><t>no</t></si><si><r><t>An</t></r><r><t>n</t></r></si>"
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name).decode() for name in parts.namelist()}
    sheet, types = "xl/worksheets/sheet1.xml", "[Content_Types].xml"
    content[sheet] = re.sub(r'<c r="B2"[^>]*>.*?</c>', '<c r="B2" t="s"><v>1</v></c>', content[sheet])
    content["xl/sharedStrings.xml"] = f'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">{texts}</sst>'
    if kind not in content[types]:
        added = f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}"/></Types>'
        content[types] = content[types].replace("</Types>", added)
    with zipfile.ZipFile(path, "w") as parts:
        for name, value in content.items():
            parts.writestr(name, value)
    assert inputs(path) == [{"full_name": "Ann"}]


def test_the_first_sheet_is_read_or_the_named_one(tmp_path: Path) -> None:
    def second(book: Any) -> None:
        book.active.merge_cells("A4:B4")
        other = book.create_sheet("More people")
        other.append(HEADER[:2])
        other.append(["b", "Bob"])

    path = saved(tmp_path, HEADER, ["a", "Ann"], edit=second)
    assert inputs(path) == [{"full_name": "Ann"}]
    assert inputs(path, "More people") == [{"full_name": "Bob"}]
    assert said(path, "more") == "has no sheet 'more'; it has 'Sheet', 'More people'"
    (tmp_path / "a.csv").write_text("input.full_name\nAnn\n")
    assert said(tmp_path / "a.csv", "more").startswith("only a workbook")


def test_a_size_that_the_sheet_says_is_not_believed(tmp_path: Path) -> None:
    path = saved(tmp_path, HEADER, ["a", "Ann"], ["b", "Bob"])
    assert len(inputs(with_sheet_xml(path, '<dimension ref="A1:E3" />', '<dimension ref="A1" />'))) == 2


def test_rows_far_away_end_the_reading(tmp_path: Path) -> None:
    path = with_sheet_xml(saved(tmp_path, HEADER, ["a", "Ann"]), '<row r="2">', '<row r="999999999999">')
    assert said(path).startswith(f"row {workbook.ROWS_MAX + 1}: is more than a sheet has")


def test_what_unpacks_to_more_than_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, HEADER, ["a", "Ann"])
    monkeypatch.setattr(workbook, "UNPACKED_MAX_BYTES", 1000)
    assert said(path).startswith("unpacks to more than is read")
    monkeypatch.setattr(workbook, "UNPACKED_MAX_BYTES", 1_000_000)
    monkeypatch.setattr(workbook, "TEXTS_MAX_BYTES", 1000)
    assert said(path).startswith("unpacks to more than is read")


def test_entities_that_unfold_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, HEADER, ["a", "Ann"])
    with_sheet_xml(path, "<worksheet", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><worksheet')
    assert said(path).startswith("cannot be read (ValueError)"), "defusedxml's EntitiesForbidden, as openpyxl passes it on"


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xd0\xcf\x11\xe0", "is no .xlsx"), (b"", "is no .xlsx"), (b"input.full_name\nAnn\n", "is no .xlsx")]
)
def test_what_is_no_workbook_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "people.xlsx"
    path.write_bytes(content)
    assert said(path).startswith(words)


def test_a_workbook_without_its_parts_is_said(tmp_path: Path) -> None:
    path = tmp_path / "people.xlsx"
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("a.txt", "a")
    assert said(path).startswith("cannot be read (KeyError)")
    saved(tmp_path, HEADER, ["a", "Ann"], ["b", "Bob"])
    assert said(with_sheet_xml(path, '<row r="3">', "<row")).startswith("row 3: cannot be read (ParseError)")


def test_results_are_written_as_texts_and_no_formulas(tmp_path: Path) -> None:
    rows = read_batch(saved(tmp_path, HEADER, ["a", "Ann", None, "ES", "007"], ["b", "B\tb", None, None, "+34"]), "aml")
    results, target = tmp_path / "r.jsonl", tmp_path / "done.xlsx"
    lines = [
        {"request_id": "b", "status": Status.FAILED, "error": {"code": "http_400", "message": "=1+1\x00" + "x" * 40_000}},
        {"request_id": "a", "status": Status.SUCCEEDED, "output": {"aml": {"status": "=1+1"}}},
    ]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_answers(rows, results, target)
    sheet = openpyxl.load_workbook(target).active
    first, second = ({str(head.value): cell for head, cell in zip(sheet[1], row, strict=True)} for row in sheet.iter_rows(min_row=2))
    assert (first["input.vendor_data"].value, first["input.nationality"].value, first["decision"].value) == ("007", "ES", "'=1+1")
    assert (second["input.vendor_data"].value, second["input.vendor_data"].data_type) == ("+34", "s")
    assert second["error"].value.startswith("http_400: =1+1\ufffdxxx")
    assert len(second["error"].value) == 32_767
    assert target.stat().st_mode & 0o777 == 0o600
    again = said(target)
    assert again.startswith("F1: has the column 'status'"), again


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, HEADER, ["a", "Ann"])
    rows = read_batch(path, "aml")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openpyxl":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'verification-processor[xlsx]'; or save the sheet as CSV UTF-8" in said(path)
    with pytest.raises(BatchError, match=r"needs the extra \[xlsx\]"):
        Batch(load_settings(didit={"api_key": "k"}), tmp_path / "done.xlsx", rows)


def test_more_rows_than_a_sheet_holds_are_refused_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, HEADER, ["a", "Ann"])
    rows = read_batch(path, "aml")
    monkeypatch.setattr(rows, "_places", array("Q", bytes(8 * workbook.ROWS_MAX)))
    with pytest.raises(BatchError, match=r"write the results to a \.csv"):
        Batch(load_settings(didit={"api_key": "k"}), tmp_path / "done.xlsx", rows)


def test_columns_have_excels_letters() -> None:
    assert [column_letters(at) for at in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]
