"""The page of several applications: an index of all, and each one's pages, links and acts apart from the others'."""

from __future__ import annotations

import re
from dataclasses import replace

import aiohttp
import pytest
from operating import NOW_MS, TOKEN, Memory, full, operating, paused, quiet
from structlog.testing import capture_logs
from test_console import PATHS, PageUser, fields_of, open_visitor

from processor.console import views
from processor.console.ports import UnavailableError
from processor.monitoring.application_lines import line_of
from processor.monitoring.model import DrainView, Overview
from processor.observe.application import current_application
from processor.repair.model import DeadLetterCounts


def row_of(page: str, name: str) -> str:
    rows = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if f'<a href="/app/{name}/">{name}</a>' in row]
    assert len(rows) == 1
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", rows[0]))


async def test_the_index_tells_of_each_application_its_verdict_drain_time_and_dead_letters() -> None:
    async with operating({"default": Memory(quiet()), "shop": full()}) as url, open_visitor() as session:
        status, page = await PageUser(url, session).get("/")
    assert status == 200
    assert "All is well" in row_of(page, "default")
    assert "nothing is owed" in row_of(page, "default")
    shop = row_of(page, "shop")
    assert "Needs somebody" in shop or "Worth a look" in shop
    assert re.search(r"4.350 ", shop), "calls owed"
    assert "in 12 min at about" in shop
    assert "312" in shop


async def test_one_application_has_no_chooser_and_no_prefix() -> None:
    async with operating(full()) as url, open_visitor() as session:
        for path in PATHS[:-2]:
            _, page = await PageUser(url, session).get(path)
            assert "/app/" not in page
            assert 'aria-label="Applications"' not in page


@pytest.mark.parametrize("path", [*PATHS[:-2], "/waiting/release", "/results?page=1", "/request?id=Null"])
async def test_links_and_forms_of_an_application_stay_in_it(path: str) -> None:
    async with operating({"default": full(), "shop": full()}) as url, open_visitor() as session:
        _, page = await PageUser(url, session).get("/app/shop" + path)
    chooser = page.split('aria-label="Applications"')[1].split("</nav>")[0]
    rest = page.replace(chooser, "")
    led = set(re.findall(r'(?:href|action|formaction)="(/[^"]*)"', rest))
    assert len(led) >= 8
    assert {to for to in led if not to.startswith("/app/shop/")} == {"/", "/page/page.css"}
    section = "/" + path.split("?", maxsplit=1)[0].split("/")[1]
    assert f'href="/app/default{section}"' in chooser, "the same page of the other one"
    assert '<a href="/app/shop' + section + '" aria-current="true">' in chooser


async def test_each_application_shows_its_own_and_acts_on_its_own() -> None:
    shop, bank = full(8), Memory(quiet())
    async with operating({"shop": shop, "bank": bank}) as url, open_visitor() as session:
        user = PageUser(url, session)
        assert "No dead letters" in (await user.get("/app/bank/dead-letters"))[1]
        _, page = await user.get("/app/shop/dead-letters/redrive")
        fields = [*fields_of(page, "/app/shop/dead-letters/redrive"), ("by", "ann")]
        assert (await user.post("/app/shop/dead-letters/redrive", [field for field in fields if field[0] != "csrf"]))[0] == 403
        status, done = await user.post("/app/shop/dead-letters/redrive", fields)
        assert (status, len(shop.actions)) == (200, 1)
        assert 'href="/app/shop/dead-letters"' in done
        _, page = await user.get("/app/bank/pauses/change?kind=paused&operation=aml")
        await user.post("/app/bank/pauses/change", [*fields_of(page, "/app/bank/pauses/change"), ("by", "bo"), ("note", "a test")])
    assert [len(shop.actions), len(bank.actions)] == [1, 1]
    assert [act.name for act in bank.seen.pauses] == ["aml"]
    assert "aml" not in [act.name for act in shop.seen.pauses]


class Telling(Memory):
    """Notes for which application it is asked."""

    async def overview(self) -> Overview:
        self.actions.append((current_application(),))
        if self.mood == "breaks":
            raise UnavailableError("The topic verification.bank.budget does not exist.")
        return await super().overview()


async def test_what_is_asked_for_an_application_works_for_it() -> None:
    shop, bank = Telling(quiet()), Telling(quiet())
    async with operating({"shop": shop, "bank": bank}) as url, open_visitor() as session:
        await PageUser(url, session).get("/app/shop/pauses")
        await PageUser(url, session).get("/app/bank/")
    assert [*shop.actions, *bank.actions] == [("shop",), ("bank",)]


async def test_an_application_that_cannot_be_asked_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "_INDEX_S", 0.05)
    hangs, breaks = Memory(mood="hangs"), Telling(quiet(), mood="breaks")
    async with operating({"well": Memory(quiet()), "slow": hangs, "bank": breaks}) as url, open_visitor() as session:
        status, page = await PageUser(url, session).get("/")
        hangs.go.set()
    assert status == 200
    assert "All is well" in row_of(page, "well")
    assert "Nothing is known yet" in row_of(page, "slow")
    assert "verification.bank.budget does not exist" in row_of(page, "bank")


async def test_a_path_of_no_application_leads_to_the_choice_and_one_of_none_does_not_exist() -> None:
    async with operating({"shop": full(), "bank": full()}) as url, open_visitor() as session:
        for path, to in (("/dead-letters", "/"), ("/app/shop", "/app/shop/")):
            async with session.get(url + path, allow_redirects=False) as answer:
                assert (answer.status, answer.headers["Location"]) == (303, to)
        assert (await PageUser(url, session).get("/app/nobody/"))[0] == 404


async def test_one_sign_in_is_for_all_and_leads_back_to_the_page_that_asked() -> None:
    async with operating({"shop": full(), "bank": full()}, token=TOKEN) as url, open_visitor() as session:
        user = PageUser(url, session)
        for path in ("/", "/app/shop/waiting"):
            status, page = await user.get(path)
            assert status == 401
            assert "bank" not in page, "a stranger does not learn the names"
        async with session.post(url + "/sign-in", data={"token": TOKEN, "back": "/app/shop/waiting"}, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "/app/shop/waiting")
        assert {(await user.get(path))[0] for path in ("/", "/app/shop/waiting", "/app/bank/")} == {200}


async def test_a_wrong_input_is_told_on_a_page_of_the_application() -> None:
    with capture_logs():
        async with operating({"shop": full(), "bank": full()}) as url, aiohttp.ClientSession() as session:
            status, page = await PageUser(url, session).get("/app/shop/results?person=x")
    assert status == 400
    assert 'href="/app/shop/"' in page


# --- the lines themselves


def test_a_line_says_how_long_the_slowest_scope_takes_and_when_it_is_done() -> None:
    drains = (DrainView("generic-get", 10, 5.0), DrainView("session-create", 200, 3_700.0), DrainView("generic-write", 0, 0.0))
    line = line_of("shop", replace(quiet(), drains=drains, dead_letters=DeadLetterCounts(7, {"exhausted": 7})))
    assert (line.owed, line.drain_s, line.done_in, line.dead_letters) == (210, 3_700.0, "1 h 1 min", 7)
    assert re.fullmatch(r"\d\d:\d\d UTC", line.done_at)


def test_a_line_does_not_say_when_nobody_knows() -> None:
    held = line_of("a", paused())
    assert (held.done_in, held.done_at) == ("unknown until resumed", "")
    unknown = line_of("a", None, "No answer.")
    assert (unknown.headline, unknown.title, unknown.at_ms) == ("Nothing is known yet", "No answer.", None)
    assert line_of("a", quiet(), "No answer.").at_ms == NOW_MS


async def test_many_applications_are_folded_behind_the_one_that_is_seen() -> None:
    async with operating({f"customer-{n}": Memory(quiet()) for n in range(30)}) as url, open_visitor() as session:
        user = PageUser(url, session)
        _, page = await user.get("/app/customer-7/waiting")
        assert len(row_of((await user.get("/"))[1], "customer-29")) > 0
    chooser = page.split('aria-label="Applications"')[1].split("</nav>")[0]
    seen, folded = chooser.split("<details>")
    assert re.findall(r"/app/[a-z0-9-]+/waiting", seen) == ["/app/customer-7/waiting"]
    assert len(re.findall(r"/app/[a-z0-9-]+/waiting", folded)) == 29
    assert "29 others" in folded
