"""What real spreadsheets leave in a CSV, each with what its owner gets: the requests, or the exact words."""

# ruff: noqa: E501 - one habit a line, with its words whole
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.client.batch_source import read_batch
from processor.client.topics import RequestsFileError

NAME, BORN, FROM = "input.full_name", "input.date_of_birth", "input.nationality"
LONG = "format the column as text and enter it again"
INVISIBLE = "delete it"
CELLS = "is a quotation mark or a delimiter missing, or does a cell with one stand without quotation marks?"


def outcome(folder: Path, content: str | bytes, operation: str | None, name: str = "people.csv") -> list[dict[str, Any]] | str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        return [json.loads(item.value) for item in read_batch(path, operation)]
    except RequestsFileError as exc:
        return str(exc)


READ: dict[str, tuple[str, str | bytes, list[dict[str, Any]]]] = {
    "Excel's line about its delimiter": ("aml", f"sep=;\r\n{NAME};{BORN}\r\nAnn;1990-05-15\r\n", [{"full_name": "Ann", "date_of_birth": "1990-05-15"}]),
    "no-break blanks around and within a name": ("aml", f"{NAME}\n\u00a0Ann\u00a0Example\u00a0\n", [{"full_name": "Ann Example"}]),
    "a zero-width blank behind a code": ("aml", f"{NAME},{FROM}\nAnn,ES\u200b\n", [{"full_name": "Ann", "nationality": "ES"}]),
    "zero-width joiners that a name is written with": ("aml", f"{NAME}\n\u0645\u06cc\u200c\u0631\u0632\u0627\n", [{"full_name": "\u0645\u06cc\u200c\u0631\u0632\u0627"}]),
    "a curly apostrophe": ("aml", f"{NAME}\nSe\u00e1n O\u2019Brien\n", [{"full_name": "Se\u00e1n O\u2019Brien"}]),
    "an apostrophe that a name begins with": ("aml", f"{NAME}\n't Hooft\n", [{"full_name": "'t Hooft"}]),
    "quotation marks within quotation marks": ("aml", f'{NAME}\n"Ann ""Annie"" Example"\n', [{"full_name": 'Ann "Annie" Example'}]),
    "a line break within a cell": ("aml", f'{NAME},{FROM}\r\n"Ann\r\nExample",ES\r\n', [{"full_name": "Ann\r\nExample", "nationality": "ES"}]),
    "Unicode text of Excel": ("aml", f"{NAME}\t{FROM}\r\nJos\u00e9\tES\r\n".encode("utf-16"), [{"full_name": "Jos\u00e9", "nationality": "ES"}]),
    "line ends of an old Mac": ("aml", f"{NAME},{FROM}\rAnn,ES\rBob,FR\r", [{"full_name": "Ann", "nationality": "ES"}, {"full_name": "Bob", "nationality": "FR"}]),
    "tabs in a .csv": ("aml", f"{NAME}\t{FROM}\nDoe, Ann\tES\n", [{"full_name": "Doe, Ann", "nationality": "ES"}]),
    "commas behind the last cell": ("aml", f"{NAME},{FROM},,\nAnn,ES,,\nBob,FR\n", [{"full_name": "Ann", "nationality": "ES"}, {"full_name": "Bob", "nationality": "FR"}]),
    "more commas than the header has": ("aml", f"{NAME}\nAnn,,,\n", [{"full_name": "Ann"}]),
    "empty rows in the middle and at the end": ("aml", f"{NAME},{FROM}\nAnn,ES\n,\n \u00a0,\nBob,FR\n,\n,\n", [{"full_name": "Ann", "nationality": "ES"}, {"full_name": "Bob", "nationality": "FR"}]),
    "blanks around the names of columns": ("aml", f" {NAME} ,\ufeff{FROM}\nAnn,ES\n", [{"full_name": "Ann", "nationality": "ES"}]),
    "booleans in capitals": ("aml", f"{NAME},input.include_adverse_media\nAnn,TRUE\n", [{"full_name": "Ann", "include_adverse_media": True}]),
    "booleans in a column of JSON": ("aml", f"{NAME},input.include_adverse_media:json\nAnn,FALSE\n", [{"full_name": "Ann", "include_adverse_media": False}]),
    "numbers": ("aml", f"{NAME},input.aml_match_score_threshold\nAnn,80.5\n", [{"full_name": "Ann", "aml_match_score_threshold": 80.5}]),
    "a company that is called Total": ("aml", f"{NAME},{FROM}\nTotal,FR\n", [{"full_name": "Total", "nationality": "FR"}]),
    "Windows-1252": ("aml", f"{NAME};{FROM}\nZo\u00eb \u0160koda;CZ\n".encode("cp1252"), [{"full_name": "Zo\u00eb \u0160koda", "nationality": "CZ"}]),
}  # fmt: skip

SAID: dict[str, tuple[str, str | bytes, str]] = {
    "scientific notation": ("aml", f"{NAME},input.vendor_data\nAnn,1.23457E+11\n", f"line 2: input.vendor_data is a long number that a spreadsheet has shortened (like 1.2E+11); {LONG}"),
    "scientific notation without a point": ("aml", f"{NAME},input.vendor_data\nAnn,4e+11\n", f"line 2: input.vendor_data is a long number that a spreadsheet has shortened (like 1.2E+11); {LONG}"),
    "digits that became zeros": ("aml", f"{NAME},input.vendor_data\nAnn,123456789012345000\n", f"line 2: input.vendor_data is a long number of which a spreadsheet kept 15 digits and made the others 0; {LONG}"),
    "an error of a formula": ("aml", f"{NAME},{FROM}\nAnn,#N/A\nBob,#REF!\n", "\n".join(f"line {n}: {FROM} is an error of a formula (like #N/A) or of a column that is too narrow (###), and no value; repair the cell" for n in (2, 3))),
    "a German error and a narrow column": ("aml", f"{NAME},{FROM}\nAnn,#BEZUG!\nBob,########\n", "\n".join(f"line {n}: {FROM} is an error of a formula (like #N/A) or of a column that is too narrow (###), and no value; repair the cell" for n in (2, 3))),
    "a formula": ("aml", f"{NAME}\n=A1&B1\n", f"line 2: {NAME} is a formula and no value; copy the column and paste it as values"),
    "the apostrophe that marks text": ("aml", f"{NAME},input.vendor_data\nAnn,'007\n", "line 2: input.vendor_data begins with the apostrophe by which a spreadsheet marks text; remove the apostrophe"),
    "a zero-width blank within a name": ("aml", f"{NAME}\nAnn\u200bExample\n", f"line 2: {NAME} has a character that nobody sees (U+200B) at place 4; {INVISIBLE}"),
    "UTF-8 that was opened as Windows-1252": ("aml", f"{NAME}\nJos\u00c3\u00a9\n", f"line 2: {NAME} was saved as UTF-8 and opened as another code (like \u00c3\u00a9 for \u00e9); import the file as UTF-8 and save it again"),
    "a character that was lost": ("aml", f"{NAME}\nJos\ufffd\n", f"line 2: {NAME} has a character that was lost when the file was saved (shown as \ufffd); save it as CSV UTF-8 and enter it again"),
    "names of columns for people": ("aml", "Full Name,Date of birth\nAnn,1990-05-15\n", f"line 1: has the column 'Full Name', which is no member of a request; did you mean {NAME}?"),
    "names of columns in another case": ("aml", "Input.Full_Name\nAnn\n", f"line 1: has the column 'Input.Full_Name', which is no member of a request; did you mean {NAME}?"),
    "a name of a column twice": ("aml", f"{NAME},{NAME}\nAnn,Bob\n", f"line 1: has the column {NAME} twice"),
    "a title above the header": ("aml", f"People to check,\n,\n{NAME},{FROM}\nAnn,ES\n", "line 1: is no header; the names of the columns stand in line 3: delete the lines above it"),
    "a second header for people": ("aml", f"{NAME},{FROM}\nFull name,Nationality\nAnn,ES\n", "line 2: repeats the header, and is no row; delete it"),
    "two files one behind the other": ("aml", f"{NAME},{FROM}\nAnn,ES\n{NAME},{FROM}\nBob,FR\n", "line 3: repeats the header, and is no row; delete it"),
    "a line of totals": ("aml", f"{NAME},{FROM},input.vendor_data\nAnn,ES,u\nTotal:,,1\n", "line 3: looks like a line of totals; delete it"),
    "a date as America shows it": ("aml", f"{NAME},{BORN}\nAnn,03/04/2005\n", f"line 2: {BORN} is a date as a spreadsheet shows it; write it as 1990-05-15"),
    "a date with the name of its month": ("aml", f"{NAME},{BORN}\nAnn,15-May-90\nBob,15. Mai 1990\n", "\n".join(f"line {n}: {BORN} is a date as a spreadsheet shows it; write it as 1990-05-15" for n in (2, 3))),
    "a date with a time": ("aml", f"{NAME},{BORN}\nAnn,1990-05-15 00:00:00\n", f"line 2: {BORN} is a date with a time of day; write it as 1990-05-15"),
    "a date as a number": ("aml", f"{NAME},{BORN}\nAnn,38446\n", f"line 2: {BORN} is a date as the number of days that a spreadsheet counts (like 38446); format the column as a date like 1990-05-15"),
    "a day that does not exist": ("aml", f"{NAME},{BORN}\nAnn,2005-02-29\n", f'line 2: wrong_form at {BORN}: the value is not a "date"'),
    "a telephone number without its plus": ("phone.send", "input.phone_number\n34600000000\n", "line 2: input.phone_number is no telephone number in international form; write it like +34600000000, and format the column as text to keep the +"),
    "the name of a country": ("aml", f"{NAME},{FROM}\nAnn,Spain\n", f"line 2: {FROM} is no country code; write 2 capital letters like ES (ISO 3166-1 alpha-2)"),
    "a decimal comma": ("aml", f"{NAME};input.aml_match_score_threshold\nAnn;80,5\n", "line 2: input.aml_match_score_threshold has a decimal comma; write a point, like 12.5"),
    "yes for true": ("aml", f"{NAME},input.include_adverse_media\nAnn,yes\n", "line 2: input.include_adverse_media is neither true nor false; write one of them"),
    "curly quotation marks in JSON": ("aml", f"{NAME},input.metadata:json\nAnn,{{\u201ca\u201d:1}}\n", "line 2: input.metadata:json is no JSON; its quotation marks are curly, write straight ones"),
    "a quotation mark that is not closed": ("aml", f'{NAME},{FROM}\nAnn,ES\n"Bob,FR\nEve,DE\n', "line 3: is no CSV: a quotation mark that begins a cell here has no second one"),
    "a quotation mark within a cell": ("aml", f'{NAME},{FROM}\n"Ann "Annie" Example",ES\n', "line 2: is no CSV: ',' expected after '\"'; a quotation mark in a cell is written twice"),
    "a comma within a name": ("aml", f"{NAME},{FROM}\nDoe, Ann,ES\n", f"line 2: has 3 cells, and the header 2; {CELLS}"),
    "a cell under no name": ("aml", f"{NAME},\nAnn,note\n", "line 2: has a cell in a column without a name"),
    "results that are read again": ("aml", f"{NAME},Status\nAnn,succeeded\n", "line 1: has the column 'Status', which is no member of a request; a batch wrote it beside the results: remove it"),
    "a workbook that is called .csv": ("aml", b"PK\x03\x04\x14\x00\x06\x00", "line 1: is a workbook and no CSV, whatever its name says; name it .xlsx, or save it as CSV UTF-8"),
    "UTF-16 without its mark": ("aml", f"{NAME}\nAnn\n".encode("utf-16-le"), "line 1: is UTF-16 without its mark, or holds no text; save it as CSV UTF-8"),
    "nothing": ("aml", "", "line 1: has no columns; `processor example NAME --csv` shows a file"),
}  # fmt: skip


@pytest.mark.parametrize("habit", READ)
def test_what_a_spreadsheet_writes_is_read(tmp_path: Path, habit: str) -> None:
    operation, content, expected = READ[habit]
    found = outcome(tmp_path, content, operation)
    assert not isinstance(found, str), found
    assert [request["input"] for request in found] == expected


@pytest.mark.parametrize("habit", SAID)
def test_what_a_spreadsheet_spoiled_is_said(tmp_path: Path, habit: str) -> None:
    operation, content, expected = SAID[habit]
    assert outcome(tmp_path, content, operation) == expected


@pytest.mark.parametrize("ending", ["xls", "ods", "numbers", "tsv"])
def test_a_table_of_another_kind_is_named(tmp_path: Path, ending: str) -> None:
    expected = f".{ending} is not read; save the sheet as CSV UTF-8 (.csv) or as .xlsx"
    assert outcome(tmp_path, b"any", "aml", f"people.{ending}") == expected
