"""Dead letters in the terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from dead_letters import letter
from rich.console import Console

from processor.cli.render_dead_letters import dead_letters_table, plain


def test_dead_letters_table_shows_names_that_look_like_nulls_or_markup_unchanged() -> None:
    names = ["Null", "No", "~", "null", "[red]x[/red]", ":warning:", "  two  "]
    console = Console(width=240, file=io.StringIO(), markup=False, emoji=False)
    console.print(dead_letters_table([replace(letter(n), request_id=name) for n, name in enumerate(names)], of=99, complete=False))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(name in text for name in names)
    assert "7 of 99 shown" in text
    assert plain("a\x1b[2J\x9bé").plain == "a\\u001b[2J\\u009bé"
