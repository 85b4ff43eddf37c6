"""Tables as spreadsheets write them, and results as a table."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from processor.client.batch_source import read_batch
from processor.client.csv_file import written_csv
from processor.client.table import RESULT_COLUMNS, result_row, table_row
from processor.client.topics import RequestsFileError


def read(folder: Path, content: str | bytes, operation: str | None = "aml") -> list[dict[str, Any]]:
    path = folder / "people.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [json.loads(item.value) for item in read_batch(path, operation)]


HEADER = "request_id{0}input.full_name{0}input.vendor_data\n"
ROW = "a{0}Jos\u00e9 Mu\u00f1oz{0}u-1\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_table_is_read_whatever_spreadsheet_wrote_it(tmp_path: Path, delimiter: str, encoding: str, ending: str) -> None:
    text = (HEADER + ROW + "{0}{0}\n").format(delimiter).replace("\n", ending)
    (found,) = read(tmp_path, text.encode(encoding))
    assert found["input"] == {"full_name": "Jos\u00e9 Mu\u00f1oz", "vendor_data": "u-1"}


def test_the_line_that_excel_writes_about_its_delimiter_is_no_row(tmp_path: Path) -> None:
    (found,) = read(tmp_path, "sep=|\n" + (HEADER + ROW).format("|"))
    assert found["input"]["vendor_data"] == "u-1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "full_name,vendor_data\nAnn,u\n",
            "line 1: has the column 'full_name', which is no member of a request; did you mean input.full_name",
        ),
        ("input.fullname\nAnn\n", "did you mean input.full_name?"),
        ("requestid,input.full_name\na,Ann\n", "did you mean request_id?"),
        ("input.zzzzzzzz\nAnn\n", "remove it"),
        ("input.full_name,input.full_name\nAnn,Ann\n", "line 1: has the column input.full_name twice"),
        ("", "line 1: has no columns"),
        ("input.full_name,input.vendor_data\nAnn\n", "line 2: has 1 cell, and the header 2"),
        ("input.full_name\nAnn\nBob,u,x\n", "line 3: has 3 cells, and the header 1"),
        ("input.full_name,\nAnn,x\n", "line 2: has a cell in a column without a name"),
        ('input.full_name\n"Ann\nBob\n', "is no CSV"),
        (
            'input.full_name,input.nationality\n"Ann\nExample",GB\nBob,gb\n',
            "line 4: input.nationality is no country code; write 2 capital letters like ES",
        ),
        (
            "input.full_name,input.vendor_data\nAnn,1.23457E+11\n",
            "line 2: input.vendor_data is a long number that a spreadsheet",
        ),
        ('input.full_name,input.vendor_data\nAnn,"1,23457E+11"\n', "shortened"),
        ("input.full_name,input.date_of_birth\nAnn,15.05.1990\n", "line 2: input.date_of_birth is a date as a spreadsheet shows it"),
        ("input.full_name,input.date_of_birth\nAnn,5/15/90\n", "write it as 1990-05-15"),
        ("input.full_name,input.date_of_birth\nAnn,2005-02-29\n", "line 2: wrong_form at input.date_of_birth"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_what_to_do(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(RequestsFileError) as caught:
        read(tmp_path, content)
    assert said in str(caught.value)
    assert "1990" not in str(caught.value).replace("1990-05-15", ""), "no cell is shown"


@pytest.mark.parametrize("date", ["1990-05-15", "2004-02-29"])
def test_a_real_date_is_taken(tmp_path: Path, date: str) -> None:
    (found,) = read(tmp_path, f"input.full_name,input.date_of_birth\nAnn,{date}\n")
    assert found["input"]["date_of_birth"] == date


def test_a_result_becomes_a_row() -> None:
    check = {"status": "succeeded", "output": {"aml": {"status": "In Review", "warnings": [{"risk": "POSSIBLE_MATCH"}, {"risk": "A"}]}}}
    assert result_row(check) == {"status": "succeeded", "decision": "In Review", "reasons": "A, POSSIBLE_MATCH", "link": "", "error": ""}
    created = result_row({"status": "succeeded", "output": {"url": "https://verify.example/s", "status": "Not Started"}})
    assert (created["link"], created["decision"]) == ("https://verify.example/s", "Not Started")
    failed = result_row({"status": "failed", "error": {"code": "http_400", "message": "no"}})
    assert (failed["status"], failed["error"]) == ("failed", "http_400: no")
    for begin in ("=", "@", "+", "-", "\t", "\r", "\n"):
        assert result_row({"status": "succeeded", "output": {"status": f"{begin}1+1"}})["decision"] == f"'{begin}1+1"
    assert result_row({"status": "rejected", "output": None})["status"] == "rejected"
    assert tuple(failed) == RESULT_COLUMNS


def test_a_table_that_is_written_is_read_as_the_same_requests(tmp_path: Path) -> None:
    request = {"request_id": "a", "operation": "aml", "input": {"full_name": 'No, "Nan"', "metadata": {"n": [1, "x"]}}}
    row = table_row(request)
    text = written_csv([row], row)
    assert read(tmp_path, text, None) == [request]
    assert next(csv.reader(io.StringIO(text))) == ["request_id", "operation", "input.full_name", "input.metadata:json"]
