"""Writes the tables of docs/contract.md that come from the enums of codes: `make docs`. A test holds the page to the code.

The rest of the page is written by hand. A table stands between ``<!-- codes: NAME -->`` and ``<!-- end of codes -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from processor.contract.codes import FAMILIES, CodeKind, ErrorCode, ErrorType

PAGE = Path(__file__).parent.parent.parent / "docs" / "contract.md"
_TABLE = re.compile(r"(<!-- codes: ([a-z]+) -->\n).*?(<!-- end of codes -->)", re.DOTALL)
_TYPES, _FAMILIES = "types", "families"
_NAMES = re.compile(r"(?<!`)\b(VP_[A-Z_]+[A-Z]|max\.message\.bytes|request_id)\b(?!`)")  # plain in messages, code on a page
TABLES = frozenset({_TYPES, _FAMILIES, *(kind.name.lower() for kind in CodeKind)})


def contract_page(page: str) -> str:
    """The page with its tables as the code has them now.

    Raises:
        ValueError: if a table is not there, there twice, or unknown.
    """
    named = [name for _, name, _ in _TABLE.findall(page)]
    if sorted(named) != sorted(TABLES):
        raise ValueError(f"docs/contract.md has the tables {sorted(named)}, not {sorted(TABLES)}")
    return _TABLE.sub(lambda found: f"{found[1]}{_table(found[2])}\n{found[3]}", page)


def _table(name: str) -> str:
    if name == _TYPES:
        return _rows("`error.type`", ((f"`{kind}`", kind.meaning, kind.remedy) for kind in ErrorType))
    if name == _FAMILIES:
        return _rows("code", FAMILIES)
    kind = CodeKind[name.upper()]
    codes = [code for code in ErrorCode if code.kind is kind]
    if all(code.types == kind.types for code in codes):
        of_all = f" `error.type`: {_types(kind.types)}." if kind.types else ""
        return f"{kind.about}{of_all}\n\n" + _rows("code", ((f"`{code}`", code.meaning, code.remedy) for code in codes))
    rows = ((f"`{code}`", code.meaning, code.remedy, _types(code.types)) for code in codes)
    return f"{kind.about}\n\n" + _rows("code", rows, "`error.type`")


def _types(types: Iterable[ErrorType]) -> str:
    return ", ".join(f"`{kind}`" for kind in types) or "-"


def _rows(title: str, rows: Iterable[tuple[str, ...]], *more: str) -> str:
    titles = (title, "meaning", "what to do", *more)
    return "\n".join([_line(titles), "|" + "---|" * len(titles), *(_line(map(_quoted, row)) for row in rows)])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _quoted(text: str) -> str:
    return _NAMES.sub(r"`\1`", text) or "nothing"


if __name__ == "__main__":
    PAGE.write_text(contract_page(PAGE.read_text()))
