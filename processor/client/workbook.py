"""Excel's workbooks (.xlsx), by the extra ``[xlsx]``: openpyxl, with defusedxml against entities that unfold without end.

A workbook is a zip of XML: what it unpacks to is bounded before any of it is read.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

from processor.client.table import Cell, DateCell, NumberedRow, TableError

UNPACKED_MAX_BYTES = 1_000_000_000
TEXTS_MAX_BYTES = 200_000_000
ROWS_MAX = 1_048_576  # of a sheet (Excel specifications and limits)
_CELL_MAX_CHARS = 32_767
_DIGITS_MAX = 1e15  # a number has 15 digits in Excel
_ZEROS = re.compile(r"0{2,}")
_FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell\b[^>]*?\bref="([A-Z]+([0-9]+):[A-Z]+([0-9]+))"')
_ROW = re.compile(rb"<(?:\w+:)?row\b([^>]*)>")
_NUMBER = re.compile(rb'\br="([0-9]+)"')
_HIDDEN = re.compile(rb'\bhidden="(?:1|true)"')
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # in XML 1.0
_CHUNK_BYTES, _TAG_BYTES_MAX = 1 << 20, 512
_NEEDS_EXTRA = "a workbook needs the extra [xlsx]: pip install 'verification-processor[xlsx]'; or save the sheet as CSV UTF-8"


class WorkbookError(Exception):
    """A workbook cannot be read or written here; the text says why and what to do."""


def openpyxl_or_fail() -> Any:
    """The library.

    Raises:
        WorkbookError: if the extra is not installed.
    """
    try:
        import defusedxml  # noqa: F401, PLC0415 - an extra; openpyxl uses it if it is there
        import openpyxl  # noqa: PLC0415 - an extra
    except ImportError:
        raise WorkbookError(_NEEDS_EXTRA) from None
    warnings.filterwarnings("ignore", module="openpyxl")  # of what it does not keep: colours, menus
    return openpyxl


@contextmanager
def workbook_rows(path: Path, sheet: str | None) -> Iterator[Iterator[NumberedRow]]:
    """Rows of a sheet, each with its number in Excel: the first sheet, or the one with a name.

    Raises:
        WorkbookError: if there is no such sheet, or the file is none that can be read.
        OSError: if the file cannot be read.
    """
    openpyxl = openpyxl_or_fail()
    _refuse_unreadable(path)
    try:
        values = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except Exception as exc:  # noqa: BLE001 - openpyxl has no error of its own for XML that is none
        raise WorkbookError(f"cannot be read ({type(exc).__name__}); open it in a spreadsheet and save it again as .xlsx") from None
    try:
        found = _sheet(values, sheet)
        scan = _scanned(path, found)
        if not scan.has_formulas:
            yield _numbered(found, repeat(()), scan)
            return
        formulas = openpyxl.load_workbook(path, read_only=True, data_only=False, keep_links=False)
        try:
            yield _numbered(found, chain(_sheet(formulas, found.title).iter_rows(), repeat(())), scan)
        finally:
            formulas.close()
    finally:
        values.close()


def _refuse_unreadable(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as parts:
            sizes = {part.filename: part.file_size for part in parts.infolist()}
    except zipfile.BadZipFile:
        raise WorkbookError("is no .xlsx: an older Excel wrote it, or it has a password; save it as .xlsx without one") from None
    texts = max((size for name, size in sizes.items() if not name.startswith("xl/worksheets/")), default=0)
    if sum(sizes.values()) > UNPACKED_MAX_BYTES or texts > TEXTS_MAX_BYTES:
        limits = f"{UNPACKED_MAX_BYTES // 1_000_000} MB, and of any part but the sheets {TEXTS_MAX_BYTES // 1_000_000} MB"
        raise WorkbookError(f"unpacks to more than is read ({limits}); save the sheet as CSV UTF-8")


def _sheet(book: Any, name: str | None) -> Any:
    """A sheet of a workbook, whatever size it says it has."""
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    if not sheets or (name is not None and name not in sheets):
        raise WorkbookError(f"has no sheet {name!a}; it has {', '.join(map(ascii, sheets))}" if sheets else "has no sheet")
    found = next(iter(sheets.values())) if name is None else sheets[name]
    if not hasattr(found, "reset_dimensions"):
        raise WorkbookError("has a chart where the sheet should be; say --sheet NAME")
    found.reset_dimensions()
    return found


@dataclass(slots=True)
class _Scan:
    """What openpyxl does not tell of a sheet that it only reads."""

    has_formulas: bool = False  # they are read a second time, for those without a value
    merged: dict[int, str] = field(default_factory=dict)  # cells, by their first row
    hidden: set[int] = field(default_factory=set)  # rows


def _scanned(path: Path, sheet: Any) -> _Scan:
    """Look through the XML of a sheet. A tag cut by two chunks shows in the overlap."""
    found = _Scan()
    with zipfile.ZipFile(path) as parts, parts.open(sheet._worksheet_path) as xml:  # noqa: SLF001 - openpyxl keeps the part's name there
        tail = b""
        while chunk := xml.read(_CHUNK_BYTES):
            text = tail + chunk
            found.has_formulas = found.has_formulas or _FORMULA.search(text) is not None
            if b"mergeCell" in text:
                found.merged |= {int(first): cells.decode() for cells, first, last in _MERGED.findall(text) if int(last) > 1}
            if b"hidden=" in text:
                rows = (attributes for attributes in _ROW.findall(text) if _HIDDEN.search(attributes))
                found.hidden |= {int(number[1]) for row in rows if (number := _NUMBER.search(row))}
            tail = text[-_TAG_BYTES_MAX:]
    return found


def _numbered(sheet: Any, formulas: Iterator[Any], scan: _Scan) -> Iterator[NumberedRow]:
    number = width = 0
    try:
        for number, (row, written) in enumerate(zip(sheet.iter_rows(), formulas, strict=False), 1):
            if number > ROWS_MAX:
                yield number, TableError("is more than a sheet has")
                return
            cells = [_cell(cell, has) for cell, has in zip(row, chain(written, repeat(None)), strict=False)]
            if any(cells) and (fault := _row_fault(number, scan)):
                yield number, fault
                continue
            width = width or len(cells)
            yield number, cells + [""] * (width - len(cells))  # a row ends with its last cell that has anything
    except Exception as exc:  # noqa: BLE001 - openpyxl has no error of its own for XML that is none
        yield number + 1, TableError(f"cannot be read ({type(exc).__name__}); open the file in a spreadsheet and save it again as .xlsx")


def _row_fault(number: int, scan: _Scan) -> TableError | None:
    """Of a row that has anything."""
    if number in scan.merged:  # the others are empty, and would be absent members of their rows
        return TableError(f"has merged cells ({scan.merged[number]}), of which one holds the value; unmerge them, and fill each")
    if number in scan.hidden:  # nobody who looks at the sheet sees that this person is checked
        return TableError("is hidden, by a filter or by hand; show all rows, or copy those that are meant into a sheet of their own")
    return None


def _cell(cell: Any, written: Any) -> Cell:
    """The text of a cell, as a person who reads the sheet would write it."""
    value = cell.value
    if value is None:
        if written is not None and written.value is not None:
            return TableError("is a formula that nobody has calculated; open the file in a spreadsheet and save it")
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return DateCell(value.date().isoformat() if value.time() == dt.time() else value.isoformat(" "))
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return DateCell(value)
    return _number(value, cell.number_format) if isinstance(value, int | float) else str(value)


def _number(value: float, form: str) -> Cell:
    if abs(value) >= _DIGITS_MAX:
        return TableError("is a long number of which Excel keeps 15 digits; format the column as text and enter it again")
    text = str(int(value)) if value == int(value) else repr(value)
    return text.zfill(len(form)) if _ZEROS.fullmatch(form) else text  # 0007 is shown, and 7 is stored


def write_workbook(file: BinaryIO, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    """Rows as a workbook of one sheet, all cells texts. A cell that a row does not have is empty; what is too long for one is cut.

    Raises:
        WorkbookError: if the extra is not installed.
    """
    openpyxl = openpyxl_or_fail()
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415 - an extra

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("results")
    sheet.freeze_panes = "A2"

    def text_cell(text: str) -> Any:
        cell = WriteOnlyCell(sheet, _FORBIDDEN.sub("\ufffd", text)[:_CELL_MAX_CHARS])
        cell.data_type = "s"  # whatever it begins with: no formula
        return cell

    names = list(columns)
    sheet.append([text_cell(name) for name in names])
    for row in rows:
        sheet.append([text_cell(row[name]) if row.get(name) else None for name in names])
    book.save(file)
    book.close()
