"""What all views share: the parts of the page, a visit, and templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from multidict import MultiMapping

from processor.console.actions import Actions
from processor.console.answer_cache import AnswerCache
from processor.console.auth import Access, PageUser
from processor.console.chart import bar
from processor.console.filters import hopeless, outcome_tone, reason, within
from processor.console.ports import Operations
from processor.console.runbooks import Links
from processor.contract.amounts import count, number
from processor.contract.pauses import paused_name
from processor.contract.times import duration, iso, relative, time_of_day, utc
from processor.monitoring.formatting import done_within, percent, silence, size
from processor.repair.delayed import FOLLOWING

SECTIONS = (
    ("/", "Overview"),
    ("/results", "Results"),
    ("/waiting", "Waiting"),
    ("/dead-letters", "Dead letters"),
    ("/request", "Request"),
    ("/pauses", "Pauses"),
)


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request to the page."""

    http: web.Request
    user: PageUser | None  # None before signing in
    fields: MultiMapping[str]  # of the query, or of the form
    now_ms: int


@dataclass(frozen=True, slots=True)
class PageView:
    """What a view has found: a template and what it says."""

    template: str
    context: Mapping[str, Any]
    status: int = 200


class PageSite:
    """What the pages of all applications share: who may see them, the time, and templates.

    Args:
        access: who may.
        now: epoch seconds.
        names: of the applications where there are several, in the order of the chooser; none where there is one.
        group: name of the set-up, for the title.
        links: what the page leads to outside of itself.
    """

    def __init__(self, access: Access, now: Callable[[], float], names: Sequence[str], group: str, links: Links) -> None:
        self.access, self.now = access, now
        self._templates = _templates(names, group, links)

    def render(self, shown: PageView, page_request: PageRequest, application: str = "") -> web.Response:
        """The answer: a whole page, or for a refresh by the script its inner part.

        Args:
            shown: what is said.
            page_request: to whom.
            application: whose page it is, where there are several; empty for what is of all.
        """
        root = root_of(application) if application else ""
        text = self._templates.get_template(shown.template).render(
            shown.context,
            whole="part.html" if page_request.http.headers.get("X-Part") == "1" else "page.html",
            user=page_request.user,
            application=application,
            root=root,
            section=_section(page_request.http.path.removeprefix(root)),
            now_ms=page_request.now_ms,
        )
        return web.Response(text=text, status=shown.status, content_type="text/html", charset="utf-8")


class PageContext:
    """The pages of one application: what they ask, what was asked lately, what is under way."""

    def __init__(self, site: PageSite, operations: Operations) -> None:
        self.site, self.operations, self.actions = site, operations, Actions()
        self.overview_cache = AnswerCache("overview", operations.overview)
        self.results_cache = AnswerCache("results", operations.recent_results, essential=False)

    async def close(self, _app: web.Application) -> None:
        """End what is under way."""
        await self.overview_cache.close()
        await self.results_cache.close()
        await self.actions.close()


def root_of(application: str) -> str:
    """Below which path the pages of an application are, where there are several. Its name needs no quoting."""
    return f"/app/{application}"


def _section(path: str) -> str:
    """The page of the navigation that a path belongs to; the overview for any other."""
    first = "/" + path.removeprefix("/").split("/")[0]
    return first if first in dict(SECTIONS) else "/"


def message(status: int, title: str, text: str) -> PageView:
    """A page that says one thing."""
    return PageView("message.html", {"title": title, "text": text}, status)


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after a dot or before a bracket."""
    return escape(name).replace(".", Markup(".<wbr>")).replace("[", Markup("<wbr>["))


def with_code(text: str) -> Markup:
    """A sentence whose commands, between backticks, are set as code."""
    parts = str(escape(text)).split("`")
    return Markup("".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)))  # noqa: S704 - escaped


def waiting_reason(reason: str) -> str:
    """Why a record waits, in words where nothing went wrong."""
    return "follows a session" if reason in {"", FOLLOWING} else reason


_FILTERS: tuple[Callable[..., str], ...] = (
    number,
    count,
    percent,
    size,
    silence,
    done_within,
    duration,
    relative,
    utc,
    time_of_day,
    iso,
    reason,
    hopeless,
    within,
    outcome_tone,
    breakable,
    with_code,
    waiting_reason,
    paused_name,
    root_of,
)


def _templates(names: Sequence[str], group: str, links: Links) -> Environment:
    found = Environment(
        loader=PackageLoader("processor.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {shown.__name__: shown for shown in _FILTERS}
    found.globals |= {"bar": bar, "group": group, "links": links, "applications": tuple(names), "sections": SECTIONS}
    return found
