"""What `processor batch` holds in memory for a spreadsheet: reading it, and writing the table of results. No Kafka."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import openpyxl

from processor.client.batch import write_answers
from processor.client.batch_source import read_batch
from processor.contract.encode import result_output
from processor.contract.records import Result, Source, Status

SHARED_TEXTS = (
    b'<Override PartName="/xl/sharedStrings.xml" '
    b'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
)
OUTPUT = {"request_id": "0" * 36, "aml": {"status": "Approved", "total_hits": 0, "hits": [], "warnings": []}}


def peak_mb() -> float:
    """Of this process, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_people(path: Path, rows: int) -> None:
    """A sheet of people, as a spreadsheet writes it."""
    if path.suffix == ".xlsx":
        write_shared(path, rows)
        return
    with path.open("w", encoding="utf-8-sig") as file:
        file.write("input.full_name;input.date_of_birth;input.nationality;input.vendor_data\n")
        file.writelines(f"Ann Example Number{n};1990-05-{1 + n % 28:02};ES;user-{n}\n" for n in range(rows))


def write_shared(path: Path, rows: int) -> None:
    """A workbook with its texts in the table of shared strings, as Excel writes it and openpyxl, when it writes row by row, does not."""
    head = ["input.full_name", "input.date_of_birth", "input.nationality", "input.vendor_data"]
    book = openpyxl.Workbook(write_only=True)
    book.create_sheet("people").append(["x"])
    book.save(path)
    with zipfile.ZipFile(path) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    main_ns = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        for name, value in content.items():
            if name not in {"xl/sharedStrings.xml", "xl/worksheets/sheet1.xml"}:
                parts.writestr(name, value.replace(b"</Types>", SHARED_TEXTS) if name == "[Content_Types].xml" else value)
        with parts.open("xl/sharedStrings.xml", "w", force_zip64=True) as file:
            file.write(f'<sst xmlns="{main_ns}">'.encode())
            for row in range(-1, rows):
                for text in head if row < 0 else (f"Ann Example Number{row}", f"1990-05-{1 + row % 28:02}", "ES", f"user-{row}"):
                    file.write(f"<si><t>{text}</t></si>".encode())
            file.write(b"</sst>")
        with parts.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as file:
            file.write(f'<worksheet xmlns="{main_ns}"><sheetData>'.encode())
            for row in range(1, rows + 2):
                cells = "".join(f'<c r="{letter}{row}" t="s"><v>{(row - 1) * 4 + at}</v></c>' for at, letter in enumerate("ABCD"))
                file.write(f'<row r="{row}">{cells}</row>'.encode())
            file.write(b"</sheetData></worksheet>")


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--kind", choices=("csv", "xlsx"), default="csv")
    options = parser.parse_args()
    rows, kind = options.rows, options.kind
    before_mb, began = peak_mb(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        source, results, table = (Path(name) / each for each in (f"people.{kind}", "results.jsonl", f"people.done.{kind}"))
        write_people(source, rows)
        began = time.process_time()
        read = read_batch(source, "aml")
        read_mb, read_s = peak_mb(), time.process_time() - began
        with results.open("wb") as file:
            for item in read:
                result = Result(item.request_id, "aml", Status.SUCCEEDED, Source("v.requests", 0, 1), 1, 0, 0, output=OUTPUT)
                file.write((result_output(result).value or b"") + b"\n")
        write_answers(read, results, table)
        size_mb = table.stat().st_size / 1e6
    written_s = time.process_time() - began
    sys.stdout.write(
        f'{{"rows": {rows}, "kind": "{kind}", "imports_mb": {before_mb:.0f}, "read_mb": {read_mb:.0f}, "written_mb": {peak_mb():.0f}, '
        f'"read_cpu_s": {read_s:.1f}, "all_cpu_s": {written_s:.1f}, "table_mb": {size_mb:.1f}}}\n'
    )


if __name__ == "__main__":
    main()
