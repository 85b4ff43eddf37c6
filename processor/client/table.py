"""Requests in a table, and their results beside them: CSV as spreadsheets write it and read it.

A column is a member of the request: ``request_id``, ``operation``, ``priority`` ..., ``input.full_name``. Its text is taken as text, unless
the name ends in ``:json``.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from processor.contract.schemas import input_schema, operations, request_members
from processor.contract.strict_json import JsonError, dumps, loads

_JSON_COLUMN, _INPUT_COLUMN = ":json", "input."
_DELIMITERS = ",;\t"
_CHUNK_BYTES = 65_536
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # Excel's own first line
_SHORTENED = re.compile(r"[0-9][.,][0-9]+E\+[0-9]+")
_SHOWN_DATE = re.compile(r"[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{2,4}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
RESULT_COLUMNS = ("status", "decision", "reasons", "link", "error")


class TableError(Exception):
    """A line that stands for no request; the text says why."""


def open_table(path: Path) -> TextIO:
    """A file as text: UTF-8, UTF-16 with its mark, or else Windows-1252, as Excel writes "CSV" on Windows.

    Raises:
        OSError: if it cannot be read.
    """
    return path.open(encoding=_encoding_of(path), errors="replace", newline="")


def _encoding_of(path: Path) -> str:
    decoder = getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        file.seek(0)
        try:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"


def table_rows(text: TextIO, operation: str | None) -> Iterator[tuple[int, dict[str, Any] | TableError]]:
    """Line and request of each row; or what is wrong with it. Of a wrong header the fault is all that comes.

    Args:
        text: of the file, with line breaks as they are.
        operation: of every row, if no column says it.
    """
    head, skipped = text.readline(), 0
    if separator := _SEPARATOR_LINE.fullmatch(head.strip()):
        head, delimiter, skipped = "", separator[1], 1
    else:
        delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.reader(itertools.chain([head] if head else [], text), delimiter=delimiter, strict=True)
    try:
        columns = [column.strip() for column in next(rows, [])]
        if fault := _header_fault(columns, operation):
            yield skipped + 1, TableError(fault)
            return
        began = rows.line_num
        for row in rows:
            if any(row):  # a spreadsheet writes rows of nothing behind the last one
                yield skipped + began + 1, _request(columns, row)
            began = rows.line_num
    except csv.Error as exc:
        yield skipped + rows.line_num, TableError(f"is no CSV: {exc}")


def table_row(request: Mapping[str, Any]) -> dict[str, str]:
    """A request as a row: text by column. What is no text stands as JSON, in a column whose name says so."""
    values = {name: value for name, value in request.items() if name != "input"}
    values |= {f"{_INPUT_COLUMN}{name}": value for name, value in request["input"].items()}
    return {
        name if isinstance(value, str) else f"{name}{_JSON_COLUMN}": value if isinstance(value, str) else dumps(value).decode()
        for name, value in values.items()
    }


def result_row(result: Mapping[str, Any]) -> dict[str, str]:
    """What a final result says, by ``RESULT_COLUMNS``."""
    output, error = result.get("output") or {}, result.get("error") or {}
    parts = [output, *(part for part in output.values() if isinstance(part, dict))] if isinstance(output, dict) else []
    statuses = (part["status"] for part in parts if isinstance(part.get("status"), str))
    links = (part[name] for part in parts for name in ("url", "session_url") if isinstance(part.get(name), str))
    found = {
        "status": str(result.get("status", "")),
        "decision": next(statuses, ""),
        "reasons": ", ".join(sorted(set(_risks(output, 4)))),
        "link": next(links, ""),
        "error": f"{error.get('code', '')}: {error.get('message', '')}" if error else "",
    }
    # a spreadsheet must not take what Didit says for a formula (OWASP, "CSV Injection")
    return {name: f"'{text}" if text.startswith(("=", "@", "+", "-", "\t")) else text for name, text in found.items()}


def write_table(file: BinaryIO, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    """Rows as CSV in UTF-8 with its mark: Excel takes UTF-8 without one for another code. A cell that a row does not have is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    _write_rows(text, rows, columns)
    text.detach()


def written_table(rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> str:
    """The same as a text."""
    text = io.StringIO(newline="")
    _write_rows(text, rows, columns)
    return text.getvalue()


def _write_rows(text: TextIO, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)


def _risks(value: Any, depth: int) -> Iterator[str]:
    """Every ``risk`` of the ``warnings`` in an output."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and isinstance(value.get("risk"), str):
        yield value["risk"]
    for child in children if depth else ():
        yield from _risks(child, depth - 1)


def _header_fault(columns: list[str], operation: str | None) -> str | None:
    names = [column.removesuffix(_JSON_COLUMN) for column in columns if column]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        return f"has the column {twice[0]} twice"
    fields = {field for name in ([operation] if operation in operations() else operations()) for field in input_schema(name)["properties"]}
    known = {*request_members(), *(f"{_INPUT_COLUMN}{field}" for field in fields)} - {"input"}
    for name in names:
        if name in known:
            continue
        near = [f"{_INPUT_COLUMN}{name}"] if name in fields else get_close_matches(name, sorted(known), n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it; columns are e.g. request_id and input.full_name"
        return f"has the column {name!a}, which is no member of a request; {advice}"
    return None if names else "has no columns; `processor example NAME --csv` shows a file"


def _request(columns: list[str], row: list[str]) -> dict[str, Any] | TableError:
    if len(row) != len(columns):
        hint = "is a quotation mark or a delimiter missing?"
        return TableError(f"has {len(row)} cells, and the header {len(columns)}; {hint}")
    request: dict[str, Any] = {"input": {}}
    for column, text in zip(columns, row, strict=True):
        if text == "":
            continue  # an empty cell is an absent member
        if not column:
            return TableError("has a cell in a column without a name")
        if fault := _mangled(column, text):
            return TableError(fault)
        name, value = column.removesuffix(_JSON_COLUMN), _value(column, text)
        if name.startswith(_INPUT_COLUMN):
            request["input"][name.removeprefix(_INPUT_COLUMN)] = value
        else:
            request[name] = value
    return request


def _value(column: str, text: str) -> Any:
    if not column.endswith(_JSON_COLUMN):
        return text
    try:
        return loads(text.encode())
    except JsonError:
        return text  # its type is refused with the path


def _mangled(column: str, text: str) -> str | None:
    """What a spreadsheet has made of a number or a date. The text itself is not shown: it may be personal."""
    if _SHORTENED.fullmatch(text):
        return f"{column} is a long number that a spreadsheet has shortened (like 1.2E+11); format the column as text and enter it again"
    if "date" in column and _SHOWN_DATE.fullmatch(text) and not _DATE.fullmatch(text):
        return f"{column} is a date as a spreadsheet shows it; write it as 1990-05-15"
    return None
