"""The requests of a file, for `processor batch`: JSON Lines, CSV, or a workbook, by its ending."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processor.client.batch_rows import BatchRows, Item
from processor.client.csv_file import csv_rows
from processor.client.table import Table, TableError
from processor.client.topics import LineFaults, RequestsFileError, fault_text, record_key
from processor.client.workbook import WorkbookError, workbook_rows
from processor.contract.decode import Accepted, decode
from processor.contract.digests import content_digest
from processor.contract.records import ID_NAMESPACE, Record, Source
from processor.contract.strict_json import JsonError, dumps, loads

CSV, WORKBOOK = ".csv", ".xlsx"
TABLES = (CSV, WORKBOOK)
_OTHER_TABLES = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".tsv", ".txt")

Place = Callable[[int, str | int | None], str]  # number of the row, and the path of a field or the number of a column -> where that is
NumberedRequest = tuple[int, bytes | TableError]


def read_batch(path: Path, operation: str | None, sheet: str | None = None) -> BatchRows:
    """The requests of a JSON Lines, CSV or .xlsx file (by its ending), all valid.

    A line of JSON is a request, or, with ``operation``, only its input. For tables see ``client.table``. Without a
    ``request_id`` the same line always gets the same one, so that a batch that is run again makes no second call.

    Args:
        path: of the file.
        operation: of each request that names none.
        sheet: of a workbook; its first one, if None.

    Raises:
        RequestsFileError: with the first faults by line, and how many there are.
        OSError: if it cannot be read.
    """
    faults, rows = LineFaults(), BatchRows()
    with _opened(path, operation, sheet) as (numbered, place):
        for number, value in numbered:
            if isinstance(value, TableError):
                faults.add(number, str(value), place(number, value.column))
                continue
            found = decode(Record(Source(path.name, 0, number), None, value))
            if not isinstance(found, Accepted):
                faults.add(number, fault_text(found.error), place(number, found.error.field))
                continue
            request = found.request
            rows.append(Item(request.request_id, content_digest(request), request.operation, record_key(request), value), number)
        for number, earlier in rows.seal():
            said = f"has the request_id of {place(earlier, None)}; one request_id stands for one request"
            faults.add(number, said, place(number, "request_id"))
    faults.raise_if_any()
    return rows


@contextmanager
def _opened(path: Path, operation: str | None, sheet: str | None) -> Iterator[tuple[Iterator[NumberedRequest], Place]]:
    ending = path.suffix.lower()
    if ending in _OTHER_TABLES:
        raise RequestsFileError(f"{path.suffix} is not read; save the sheet as CSV UTF-8 (.csv) or as .xlsx")
    if sheet is not None and ending != WORKBOOK:
        raise RequestsFileError("only a workbook (.xlsx) has sheets; leave --sheet out")
    if ending == CSV:
        with csv_rows(path) as rows:
            yield _table_requests(Table(rows, operation), operation), _line
    elif ending == WORKBOOK:
        try:
            with workbook_rows(path, sheet) as rows:
                table = Table(rows, operation)
                yield _table_requests(table, operation), _excel_place(table)
        except WorkbookError as exc:
            raise RequestsFileError(str(exc)) from None
    else:
        with path.open("rb") as file:
            yield ((number, _line_request(line.strip(), operation)) for number, line in enumerate(file, 1) if line.strip()), _line


def _table_requests(table: Table, operation: str | None) -> Iterator[NumberedRequest]:
    for number, found in table.requests():
        yield number, found if isinstance(found, TableError) else _completed(found, operation)


def _line(number: int, _: str | int | None) -> str:
    return f"line {number}"


def _excel_place(table: Table) -> Place:
    """As Excel names it: ``B7``, or ``row 7``."""

    def place(number: int, at: str | int | None) -> str:
        column = at if isinstance(at, int) else table.column_of(at)
        return f"row {number}" if column is None else f"{column_letters(column)}{number}"

    return place


def column_letters(column: int) -> str:
    """0 -> ``A``, 26 -> ``AA``."""
    letters, rest = "", column + 1
    while rest:
        rest, digit = divmod(rest - 1, 26)
        letters = chr(ord("A") + digit) + letters
    return letters


def _line_request(line: bytes, operation: str | None) -> bytes:
    if operation is None:
        return line
    try:
        found = loads(line)
    except JsonError:
        return line  # the decoder says what is wrong with it
    return _completed({"input": found}, operation)


def _completed(request: dict[str, Any], operation: str | None) -> bytes:
    if operation is not None:
        request.setdefault("operation", operation)
    if "request_id" not in request:
        content = dumps(request, ordered=True)
        request = {"request_id": str(uuid.uuid5(ID_NAMESPACE, "batch\n" + hashlib.sha256(content).hexdigest())), **request}
    return dumps(request)
