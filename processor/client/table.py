"""Requests in a table, and their results beside them; where the table comes from and goes to, ``csv_file`` and ``workbook`` know.

A column is a member of the request: ``request_id``, ``operation``, ``priority`` ..., ``input.full_name``. Its text is taken as text, unless
the name ends in ``:json`` or the field is a number or a boolean.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

from processor.client.cells import DATE_IN_TEXT, INPUT_COLUMN, JSON_COLUMN, cell_fault, cell_value, cleaned, takes_date
from processor.contract.amounts import count
from processor.contract.schemas import input_schema, operations, request_members
from processor.contract.strict_json import dumps

RESULT_COLUMNS = ("status", "decision", "reasons", "link", "error")
_TITLES_MAX = 5
_BLANKS = re.compile(r"[\s-]+")
_TOTALS = re.compile(r"(?:grand |sub-?)?totals?:?|sum:?|count:?|summe:?|gesamt:?", re.IGNORECASE)
_COUNT = re.compile(r"[0-9][0-9.,]*")


class TableError(Exception):
    """A row that stands for no request; the text says why. ``column``: of the cell at fault, from 0."""

    def __init__(self, text: str, column: int | None = None) -> None:
        super().__init__(text)
        self.column = column


class DateCell(str):
    """The text of a cell that the spreadsheet holds as a date or a time, which it makes of what looks like one (``3-4``, ``8:30``)."""

    __slots__ = ()


Cell = str | TableError
NumberedRow = tuple[int, list[Cell] | TableError]


class Table:
    """The requests of a table.

    Args:
        rows: number and cells of each, the header first. A row or a cell may be an error by itself.
        operation: of every row, if no column says it.
    """

    def __init__(self, rows: Iterator[NumberedRow], operation: str | None) -> None:
        self._rows, self._operation = rows, operation
        self._columns: list[str] = []
        self._named = 0  # columns up to the last one with a name
        self._plain: list[str] = []  # names for comparing: a header that comes again is no row

    def column_of(self, path: str | None) -> int | None:
        """The column, from 0, of a path like ``input.hits[0].name``; None if no column has it."""
        found = (at for at, name in enumerate(self._columns) if path and name.removesuffix(JSON_COLUMN) == _column_name(path))
        return next(found, None)

    def requests(self) -> Iterator[tuple[int, dict[str, Any] | TableError]]:
        """Number and request of each row, or what is wrong with it. Of a wrong header the fault is all that comes."""
        number, head = next(self._rows, (1, []))
        if isinstance(head, TableError):
            yield number, head
            return
        self._columns = [cleaned(str(name)) for name in head]
        self._named = max((at for at, name in enumerate(self._columns, 1) if name), default=0)
        if fault := _header_fault(self._columns, self._operation):
            yield number, self._title() or fault
            return
        self._plain = [_plain_name(name) for name in self._columns]
        for number, row in self._rows:
            if isinstance(row, TableError):
                yield number, row
            elif cells := self._cells(row):
                yield number, self._request(cells)

    def _title(self) -> TableError | None:
        """A header that stands under a title."""
        for number, row in islice(self._rows, _TITLES_MAX):
            if (
                not isinstance(row, TableError)
                and any(row)
                and _header_fault([cleaned(str(name)) for name in row], self._operation) is None
            ):
                return TableError(f"is no header; the names of the columns stand in line {number}: delete the lines above it")
        return None

    def _cells(self, row: list[Cell]) -> list[Cell]:
        """Cleaned, without empty ones behind the last column; a spreadsheet writes rows of nothing behind the last one."""
        cells = [cell if isinstance(cell, TableError | DateCell) else cleaned(cell) for cell in row]
        while len(cells) > len(self._columns) and not cells[-1]:
            cells.pop()
        if self._named <= len(cells):
            cells += [""] * (len(self._columns) - len(cells))
        return cells if any(cells) else []

    def _request(self, cells: list[Cell]) -> dict[str, Any] | TableError:
        if len(cells) != len(self._columns):
            counts = f"has {count(len(cells), 'cell')}, and the header {len(self._columns)}"
            return TableError(
                f"{counts}; is a quotation mark or a delimiter missing, or does a cell with one stand without quotation marks?"
            )
        if fault := self._no_request(cells):
            return fault
        request: dict[str, Any] = {"input": {}}
        specs = self._specs(cells)
        for at, (column, text) in enumerate(zip(self._columns, cells, strict=True)):
            if isinstance(text, TableError):
                return TableError(f"{column} {text}", at)
            if text == "":
                continue  # an empty cell is an absent member
            if not column:
                return TableError("has a cell in a column without a name", at)
            name = column.removesuffix(JSON_COLUMN)
            spec = specs.get(name.removeprefix(INPUT_COLUMN), {}) if name.startswith(INPUT_COLUMN) else {}
            misfit = f"{column} {DATE_IN_TEXT}" if isinstance(text, DateCell) and not takes_date(column, spec) else None
            if said := misfit or cell_fault(column, text, spec):
                return TableError(said, at)
            owner = request["input"] if name.startswith(INPUT_COLUMN) else request
            owner[name.removeprefix(INPUT_COLUMN)] = cell_value(column, text, spec)
        return request

    def _specs(self, cells: list[Cell]) -> Mapping[str, Any]:
        """The fields of the row's operation; none if it has none that exists."""
        named = str(cells[self._columns.index("operation")]) if "operation" in self._columns else ""
        operation = named or self._operation
        return input_schema(operation)["properties"] if operation in operations() else {}

    def _no_request(self, cells: list[Cell]) -> TableError | None:
        texts = [(at, cell) for at, cell in enumerate(cells) if isinstance(cell, str) and cell]
        if len(texts) == sum(map(bool, cells)) and all(_repeats(self._plain[at], text) for at, text in texts):
            return TableError("repeats the header, and is no row; delete it")
        rest = [text for _, text in texts[1:]]
        if rest and _TOTALS.fullmatch(texts[0][1]) and all(_COUNT.fullmatch(text) for text in rest):
            return TableError("looks like a line of totals; delete it")
        return None


def table_row(request: Mapping[str, Any]) -> dict[str, str]:
    """A request as a row: text by column. What is no text stands as JSON, in a column whose name says so."""
    values = {name: value for name, value in request.items() if name != "input"}
    values |= {f"{INPUT_COLUMN}{name}": value for name, value in request["input"].items()}
    return {
        name if isinstance(value, str) else f"{name}{JSON_COLUMN}": value if isinstance(value, str) else dumps(value).decode()
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
    return {name: f"'{text}" if text.startswith(("=", "@", "+", "-", "\t", "\r", "\n")) else text for name, text in found.items()}


def _risks(value: Any, depth: int) -> Iterator[str]:
    """Every ``risk`` of the ``warnings`` in an output."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and isinstance(value.get("risk"), str):
        yield value["risk"]
    for child in children if depth else ():
        yield from _risks(child, depth - 1)


def _header_fault(columns: list[str], operation: str | None) -> TableError | None:
    names = [(at, column.removesuffix(JSON_COLUMN)) for at, column in enumerate(columns) if column]
    counts = Counter(name for _, name in names)
    for at, name in names:
        if counts[name] > 1:
            return TableError(f"has the column {name} twice", at)
    fields = {field for name in ([operation] if operation in operations() else operations()) for field in input_schema(name)["properties"]}
    known = {*request_members(), *(f"{INPUT_COLUMN}{field}" for field in fields)} - {"input"}
    for at, name in names:
        if name not in known:
            return TableError(f"has the column {name!a}, which is no member of a request; {_advice(name, known)}", at)
    return None if names else TableError("has no columns; `processor example NAME --csv` shows a file")


def _advice(name: str, known: set[str]) -> str:
    plain = _plain_name(name)
    if plain in RESULT_COLUMNS:
        return "a batch wrote it beside the results: remove it"
    near = [each for each in (plain, f"{INPUT_COLUMN}{plain}") if each in known] or get_close_matches(plain, sorted(known), n=1)
    return f"did you mean {near[0]}?" if near else "remove it; columns are e.g. request_id and input.full_name"


def _plain_name(name: str) -> str:
    """``Full Name`` -> ``full_name``."""
    return _BLANKS.sub("_", name.removesuffix(JSON_COLUMN).lower())


def _repeats(column: str, text: str) -> bool:
    plain = _plain_name(text)
    return column in {plain, f"{INPUT_COLUMN}{plain}"}


def _column_name(path: str) -> str:
    """``input.hits[0].name`` -> ``input.hits``."""
    return ".".join(re.split(r"\[", path, maxsplit=1)[0].split(".")[:2])
