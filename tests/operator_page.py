"""The operators' page over plain HTTP, as a script or a browser without JavaScript would use it."""

from __future__ import annotations

import html
import re
import urllib.parse
import urllib.request
from collections.abc import Sequence
from http.client import HTTPResponse

from processor.devkit.processes import ProcessorProcess

_TICK = re.compile(r'name="position" value="([0-9:]+)"')
_FIELD = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


class OperatorPage:
    """One replica's page."""

    def __init__(self, replica: ProcessorProcess) -> None:
        (event,) = list(replica.events("observe_listening"))[-1:]
        self.base = f"http://127.0.0.1:{event['port']}"

    def get(self, path: str) -> str:
        """A page's text, without its tags."""
        return plain(self.html(path))

    def html(self, path: str) -> str:
        with urllib.request.urlopen(self.base + path, timeout=30) as response:  # noqa: S310 - loopback
            return _text(response)

    def positions(self, count: int) -> list[str]:
        """The first open dead letters, as ticked one by one over several pages of the list."""
        found: list[str] = []
        number = 1
        while len(found) < count:
            more = _TICK.findall(self.html(f"/dead-letters?page={number}"))
            assert more, f"{len(found)} dead letters are listed"
            found += more
            number += 1
        return found[:count]

    def redrive(self, *positions: str) -> str:
        """Dry run of what is ticked, then confirm; the text of the last page."""
        return self.act("/dead-letters/redrive", *positions)

    def act(self, path: str, *positions: str) -> str:
        """The same of any act that is shown before it is done."""
        return self.confirm(path, [("ticked", "1"), *(("position", position) for position in positions)])

    def confirm(self, path: str, query: Sequence[tuple[str, str]], **typed: str) -> str:
        """The act that a query names, with what is typed where it asks."""
        dry = self.html(f"{path}?" + urllib.parse.urlencode(query))
        form = dry[dry.index(f'action="{path}"') :]
        fields = [(name, html.unescape(value)) for name, value in _FIELD.findall(form[: form.index("</form>")])]
        body = urllib.parse.urlencode([*fields, ("by", "the test"), *typed.items()]).encode()
        request = urllib.request.Request(self.base + path, body, {"Sec-Fetch-Site": "same-origin"})  # noqa: S310 - loopback
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - loopback
            shown = plain(_text(response))
            where = response.url
        for _ in range(30):  # a long act shows how far it is
            if "at work" not in shown.lower():
                break
            shown = self.get(where.removeprefix(self.base))
        return shown


def plain(text: str) -> str:
    """What a reader sees of a page."""
    body = re.sub(r"<(svg|style|script)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)))


def _text(response: HTTPResponse) -> str:
    return response.read().decode()
