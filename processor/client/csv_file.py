"""CSV as spreadsheets write it and read it: whatever delimiter and code."""

from __future__ import annotations

import csv
import io
import itertools
import re
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from processor.client.table import NumberedRow, TableError

_DELIMITERS = ",;\t"
_CHUNK_BYTES = 65_536
_SEPARATOR_LINE = re.compile(r"sep=(.)", re.IGNORECASE)  # Excel's own first line
_OTHERS = {
    b"PK\x03\x04": "is a workbook and no CSV, whatever its name says; name it .xlsx, or save it as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is a workbook of an old Excel, or one with a password, and no CSV; save it as CSV UTF-8",
    b"%PDF": "is a PDF and no CSV; save the sheet as CSV UTF-8",
}
_UNMARKED = "is UTF-16 without its mark, or holds no text; save it as CSV UTF-8"


@contextmanager
def csv_rows(path: Path) -> Iterator[Iterator[NumberedRow]]:
    """Rows of a file, each with the number of its first line: UTF-8, UTF-16 with its mark, or else Windows-1252, as Excel writes "CSV".

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_CHUNK_BYTES)
    other = next((said for begin, said in _OTHERS.items() if head.startswith(begin)), None)
    encoding = _encoding_of(path)
    if other or (encoding != "utf-16" and b"\0" in head):
        yield iter([(1, TableError(other or _UNMARKED))])
        return
    with path.open(encoding=encoding, errors="replace", newline="") as text:
        yield _rows(text)


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


def _rows(text: TextIO) -> Iterator[NumberedRow]:
    head, skipped = text.readline(), 0
    if separator := _SEPARATOR_LINE.fullmatch(head.strip()):
        head, delimiter, skipped = "", separator[1], 1
    else:
        delimiter = max(_DELIMITERS, key=head.count)
    rows = csv.reader(itertools.chain([head] if head else [], text), delimiter=delimiter, strict=True)
    began = 0
    try:
        for row in rows:
            yield skipped + began + 1, list(row)
            began = rows.line_num
    except csv.Error as exc:
        unclosed = "unexpected end of data" in str(exc)
        said = (
            "a quotation mark that begins a cell here has no second one"
            if unclosed
            else f"{exc}; a quotation mark in a cell is written twice"
        )
        yield skipped + began + 1, TableError(f"is no CSV: {said}")


def write_csv(file: BinaryIO, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    """Rows as CSV in UTF-8 with its mark: Excel takes UTF-8 without one for another code. A cell that a row does not have is empty."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    _write_rows(text, rows, columns)
    text.detach()


def written_csv(rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> str:
    """The same as a text."""
    text = io.StringIO(newline="")
    _write_rows(text, rows, columns)
    return text.getvalue()


def _write_rows(text: TextIO, rows: Iterable[Mapping[str, str]], columns: Iterable[str]) -> None:
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
