"""The page over HTTP: who gets in, what every answer carries, and what a form may do."""

from __future__ import annotations

import asyncio
import html
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from operating import NOW_MS, TOKEN, Memory, dead_letter, full, operating, waits
from structlog.testing import capture_logs

from processor.console import server, sign_in_tries
from processor.console.ports import UnavailableError
from processor.console.runbooks import Links
from processor.contract.records import Source
from processor.monitoring.latency import CallLatency
from processor.repair.model import DeadLetterStatus, HistoryEntry, RequestHistory
from processor.repair.recent_result import person_digest

PATHS = (
    "/",
    "/results",
    "/waiting",
    "/dead-letters",
    "/dead-letters/redrive",
    "/dead-letters/discard",
    "/pauses",
    "/pauses/change?kind=paused&operation=aml",
    "/request",
    "/page/page.css",
    "/page/page.js",
)
ODD = ("Null", "No", "<script>alert(1)</script>", "  two  spaces ", "'\"&<b>")


class PageUser:
    """A browser without a script."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.session.get(self.url + path, headers=headers, allow_redirects=False) as answer:
            check_headers(answer)
            return answer.status, await answer.text()

    async def post(self, path: str, fields: Any, **headers: str) -> tuple[int, str]:
        async with self.session.post(self.url + path, data=fields, headers=headers, allow_redirects=False) as answer:
            check_headers(answer)
            return answer.status, await answer.text()


def check_headers(answer: aiohttp.ClientResponse) -> None:
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"


def open_visitor() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


def fields_of(page: str, action: str) -> list[tuple[str, str]]:
    """The hidden fields of the form that posts to ``action``."""
    form = re.findall(rf'<form[^>]*method="post" action="{action}".*?</form>', page, re.DOTALL)[0]
    return [(html.unescape(n), html.unescape(v)) for n, v in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)]


async def test_on_loopback_everybody_of_this_machine_gets_in_and_no_other_name_does() -> None:
    async with operating(full()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        port = url.rpartition(":")[2]
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost", f"[::1]:{port}"):
            assert (await visitor.get("/", Host=host))[0] == 200
        for host in (f"evil.example:{port}", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example"):
            status, text = await visitor.get("/", Host=host)
            assert status == 403
            assert "http://localhost" in text
            assert "generic-write" not in text


async def test_elsewhere_nobody_gets_in_without_a_token() -> None:
    async with operating(full(), host="0.0.0.0") as url, open_visitor() as session:  # noqa: S104 - what is tested
        visitor = PageUser(url, session)
        for path in PATHS[:7]:
            status, text = await visitor.get(path)
            assert status == 403
            assert "VP_OBSERVE__TOKEN" in text
        assert (await visitor.post("/sign-in", {"token": "x"}))[0] == 404


async def test_a_page_that_is_off_has_no_routes() -> None:
    async with operating(Memory(), page=False) as url, aiohttp.ClientSession() as session:
        for path in PATHS:
            async with session.get(url + path) as answer:
                assert answer.status == 404


async def test_signing_in_and_out() -> None:
    async with operating(full(), token=TOKEN) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        status, text = await visitor.get("/dead-letters?reason=exhausted")
        assert status == 401
        assert 'name="back" value="/dead-letters?reason=exhausted"' in text
        assert "onboarding" not in text
        async with session.post(url + "/sign-in", data={"token": TOKEN, "back": "/waiting"}, allow_redirects=False) as answer:
            check_headers(answer)
            assert (answer.status, answer.headers["Location"]) == (303, "/waiting")
            cookie = answer.headers["Set-Cookie"]
            assert {"HttpOnly", "SameSite=Strict", "Max-Age=28800", "Path=/"} <= set(cookie.split("; "))
            assert "Secure" not in cookie
            assert TOKEN not in cookie
        status, text = await visitor.get("/")
        assert status == 200
        assert (await visitor.post("/sign-out", fields_of(text, "/sign-out")))[0] == 303
        assert (await visitor.get("/"))[0] == 401


async def test_the_cookie_is_secure_behind_https_and_leads_back_to_us_only() -> None:
    async with operating(full(), token=TOKEN) as url, open_visitor() as session:
        for back in ("//evil.example", "/\\evil.example", "https://evil.example", "", "/x\r\nSet-Cookie: a=b"):
            form = {"token": TOKEN, "back": back}
            async with session.post(url + "/sign-in", data=form, headers={"X-Forwarded-Proto": "https"}, allow_redirects=False) as answer:
                assert answer.headers["Location"] == "/"
                assert "Secure" in answer.headers["Set-Cookie"]


async def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    async with operating(full(), token_file=file) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        assert (await visitor.post("/sign-in", {"token": TOKEN}))[0] == 303
        assert (await visitor.get("/"))[0] == 200
        file.write_text("another-token-of-enough-length")
        assert (await visitor.get("/"))[0] == 401
        for useless in ("", "short"):
            file.write_text(useless)
            status, text = await visitor.get("/")
            assert status == 503
            assert "VP_OBSERVE__TOKEN_FILE" in text


async def test_wrong_tokens_wait_longer_and_longer_and_their_text_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_tries, "FIRST_WAIT_S", 0.2)
    async with operating(full(), token=TOKEN) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        with capture_logs() as logs:
            found = [(await visitor.post("/sign-in", {"token": f"guess-number-{n}-of-many"})) for n in range(8)]
        assert [status for status, _ in found] == [401] * 8
        assert "guess" not in str(found) + str(logs)
        assert [entry["event"] for entry in logs] == ["page_refused"] * 8
        begin = time.monotonic()
        assert (await visitor.post("/sign-in", {"token": TOKEN}))[0] == 303
        assert time.monotonic() - begin > 0.2, "the right one waits, and gets in"


@pytest.mark.slow  # the waits are real
async def test_wrong_tokens_of_a_stranger_behind_one_ingress_keep_no_operator_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in_tries, "FIRST_WAIT_S", 1000.0)
    monkeypatch.setattr(sign_in_tries, "WAIT_S_MAX", 1000.0)
    async with operating(full(), token=TOKEN) as url, open_visitor() as stranger, open_visitor() as session, open_visitor() as third:
        for n in range(6):  # the first one of its address, five of its browser
            assert (await PageUser(url, stranger).post("/sign-in", {"token": f"guess-number-{n}-of-many"}))[0] == 401
        guesses = [asyncio.create_task(PageUser(url, stranger).post("/sign-in", {"token": "one-more-guess-of-many"})) for _ in range(8)]
        await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        operator = PageUser(url, session)
        assert (await operator.get("/"))[0] == 401, "the form, and a cookie that tells this browser from the others"
        assert (await operator.post("/sign-in", {"token": TOKEN}))[0] == 303
        assert (await operator.get("/"))[0] == 200
        assert (await PageUser(url, third).get("/", Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert {task.result()[0] for task in guesses if task.done()} == {429}
        for task in guesses:
            task.cancel()


async def test_a_wrong_header_is_one_try() -> None:
    async with operating(full(), token=TOKEN) as url, aiohttp.ClientSession() as session:
        with capture_logs() as logs:
            found = [(await PageUser(url, session).get("/", Authorization="Bearer wrong-but-long-enough"))[0] for _ in range(6)]
        assert found == [401] * 6
        assert [entry["event"] for entry in logs] == ["page_refused"] * 6


async def test_scripts_use_a_header() -> None:
    async with operating(full(), token=TOKEN) as url, aiohttp.ClientSession() as session:
        visitor = PageUser(url, session)
        assert (await visitor.get("/dead-letters", Authorization=f"Bearer {TOKEN}"))[0] == 200
        assert (await visitor.get("/dead-letters", Authorization="Bearer wrong-but-long-enough"))[0] == 401
        assert (await visitor.get("/dead-letters", Authorization=f"Basic {TOKEN}"))[0] == 401


async def test_every_answer_carries_the_headers() -> None:
    async with operating(full()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        for path in PATHS:
            assert (await visitor.get(path))[0] == 200
        assert (await visitor.get("/dead-letters?since=soon"))[0] == 400
        assert (await visitor.get("/nowhere"))[0] == 404
        assert (await visitor.post("/waiting", {}))[0] == 405
        assert (await visitor.post("/dead-letters/redrive", {}))[0] == 403


async def test_no_page_has_inline_script_or_style() -> None:
    async with operating(full()) as url, open_visitor() as session:
        for path in (*PATHS[:7], "/request?id=x", "/dead-letters?since=x"):
            _, text = await PageUser(url, session).get(path)
            assert not re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
            assert re.findall(r"<script[^>]*>", text) == ['<script src="/page/page.js" defer>']


async def test_request_ids_are_printed_verbatim_and_harmless() -> None:
    memory = full()
    memory.letters = [dead_letter(n, odd) for n, odd in enumerate(ODD)]
    memory.journeys = {odd: RequestHistory(odd, (HistoryEntry(NOW_MS, "requested", "t[0]@1", "Came in.", {"code": odd}),)) for odd in ODD}
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters")
        assert [html.unescape(found) for found in re.findall(r'<a class="id"[^>]*><bdi>(.*?)</bdi>', text)] == list(ODD)
        assert "<script>alert" not in text
        for odd, link in zip(ODD, re.findall(r'<a class="id" href="([^"]*)"', text), strict=True):
            status, text = await visitor.get(html.unescape(link))
            assert status == 200
            assert f"<bdi>{html.escape(odd).replace('&#x27;', '&#39;').replace('&quot;', '&#34;')}</bdi>" in text
            assert "Requested" in text
            assert "<script>alert" not in text


async def test_filters_narrow_the_list_and_are_kept() -> None:
    async with operating(full()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters?reason=in_doubt&operation=id_verification&since=1h")
        assert "9 open dead letters</strong> match the filter" in text
        assert '<option value="in_doubt" selected>' in text
        assert '<option value="1h" selected>' in text
        assert "exhausted</span>" not in text
        _, text = await visitor.get("/dead-letters?request_id=Null")
        assert "1 open dead letter</strong> matches" in text
        _, text = await visitor.get("/dead-letters?request_id=null")
        assert "No open dead letter matches." in text
        _, text = await visitor.get("/dead-letters?page=99")
        assert "page 3 of 3" in text
        _, text = await visitor.get("/waiting?reason=-")
        assert "http_503</bdi>" not in text
        assert "none; follows a session" in text


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/dead-letters?since=yesterday", "length of time"),
        ("/dead-letters?page=two", "page is a whole number"),
        ("/dead-letters?reason=%3Cb%3E", "reason is a name"),
        ("/dead-letters/redrive?position=abc", "position is partition:offset"),
        ("/dead-letters/redrive?ticked=1", "No dead letter is ticked"),
        ("/dead-letters/discard?ticked=1", "No dead letter is ticked"),
        ("/waiting?reason=a%20b", "reason is a name"),
        ("/request?id=a%00b", "A request id has"),
    ],
)
async def test_wrong_input_is_answered_with_what_is_wrong(path: str, says: str) -> None:
    async with operating(full()) as url, open_visitor() as session:
        status, text = await PageUser(url, session).get(path)
        assert status == 400
        assert says in html.unescape(text)


async def test_a_redrive_does_what_its_dry_run_has_shown_and_only_once() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters/redrive?reason=exhausted&reason=in_doubt")
        assert memory.actions == []
        many = int(re.findall(r"Redrive (\d+) now", text)[0])
        assert "a billed call may have taken place" in text
        assert "redriven too often in vain" in text
        form = [*fields_of(text, "/dead-letters/redrive"), ("by", "Zoë")]
        memory.letters.append(replace(dead_letter(500), failed_ms=NOW_MS + 60_000))  # it fails after the dry run
        memory.now_ms += 120_000
        with capture_logs() as logs:
            status, text = await visitor.post("/dead-letters/redrive", form)
        assert status == 200
        assert f"{many} dead letters redriven" in text
        ((_, selection, by),) = memory.actions
        assert (by, selection.count_max) == ("Zoë", many)
        assert memory.letters[-1].status == "open", "only what was shown"
        assert [{k: e[k] for k in ("event", "action", "count")} for e in logs] == [
            {"event": "page_acted", "action": "redrive", "count": many}
        ]
        assert "Zoë" not in str(logs)
        again = await visitor.post("/dead-letters/redrive", form)
        assert again == (200, text)
        assert len(memory.actions) == 1


async def test_a_ticked_one_is_taken_also_if_the_clock_of_its_replica_is_ahead() -> None:
    memory = full()
    memory.letters = [replace(dead_letter(n), failed_ms=at_ms) for n, at_ms in enumerate((NOW_MS + 3_600_000, 2**53, NOW_MS - 5))]
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        for act in ("redrive", "discard"):
            _, text = await visitor.get(f"/dead-letters/{act}?ticked=1&position=0:0&position=1:1")
            form = [*fields_of(text, f"/dead-letters/{act}"), ("by", "Zoë"), ("note", "seen")]
            assert (await visitor.post(f"/dead-letters/{act}", form))[0] == 200
            assert memory.actions[-1][1].count_max == 2, act
            memory.letters = [replace(one, status=DeadLetterStatus.OPEN) for one in memory.letters]
        _, text = await visitor.get("/dead-letters/redrive")
        assert ("count_max", "1") in fields_of(text, "/dead-letters/redrive"), "all that match: none that fails from now on"


async def test_those_in_doubt_are_redriven_only_by_those_who_insist() -> None:
    async with operating(full()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters/redrive?reason=in_doubt")
        assert "All that match are left out." in text
        link = html.unescape(re.findall(r'href="(/dead-letters/redrive\?[^"]*in_doubt=1[^"]*)"', text)[0])
        _, text = await visitor.get(link)
        assert "Those in doubt are included." in text
        assert ("in_doubt", "1") in fields_of(text, "/dead-letters/redrive")


async def test_a_discard_needs_a_note_and_a_name() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters/discard?ticked=1&position=0:3&position=1:4")
        assert "Discard 2 dead letters?" in text
        form = fields_of(text, "/dead-letters/discard")
        for missing in ({"by": "Zoë"}, {"note": "seen"}, {"by": "Zoë", "note": "  "}):
            assert (await visitor.post("/dead-letters/discard", [*form, *missing.items()]))[0] == 400
        assert memory.actions == []
        status, text = await visitor.post("/dead-letters/discard", [*form, ("by", "Zoë"), ("note", "seen with\nthe caller")])
        assert status == 200
        assert "2 dead letters discarded" in text
        ((_, selection, by, note),) = memory.actions
        assert (selection.positions, by, note) == ({(0, 3), (1, 4)}, "Zoë", "seen with the caller")


async def test_forms_of_others_are_refused() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        _, text = await visitor.get("/dead-letters/redrive")
        form = [*fields_of(text, "/dead-letters/redrive"), ("by", "Zoë")]
        foreign: list[dict[str, str]] = [
            {"Origin": "https://evil.example"},
            {"Origin": url.replace("127.0.0.1", "localhost")},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": url},
            {"Sec-Fetch-Site": "none"},
        ]
        for headers in foreign:
            status, text = await visitor.post("/dead-letters/redrive", form, **headers)
            assert status == 403
            assert "another web site" in text
        for csrf in ("", "0" * 64, "é"):
            assert (await visitor.post("/dead-letters/redrive", [(n, csrf if n == "csrf" else v) for n, v in form]))[0] == 403
        assert (await visitor.post("/dead-letters/redrive", b"{}", **{"Content-Type": "application/json"}))[0] == 400
        assert (await visitor.post("/dead-letters/redrive", [(n, v) for n, v in form if n not in {"until_ms", "count_max"}]))[0] == 400
        assert (await visitor.post("/dead-letters/redrive", [*form, ("x", "y" * 2_000_000)]))[0] == 400
        assert memory.actions == []
        for headers in ({"Origin": url}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin", "Origin": "null"}):
            assert (await visitor.post("/dead-letters/redrive", form, **headers))[0] == 200


async def test_a_form_that_anybody_may_send_is_read_in_no_time_whatever_it_says_of_itself() -> None:
    bodies = {
        "punycode": b"token=" + b"a" * 400_000 + b"-" + b"b" * 400_000,  # decoding it takes minutes
        "idna": b"token=" + b"xn--" + b"a" * 50_000,
        "utf-8": b"token&" * 150_000,
        "utf-16": b"token=x",
    }
    async with operating(full(), token=TOKEN) as url, open_visitor() as session:
        for charset, body in bodies.items():
            began = time.process_time()
            kind = {"Content-Type": f"application/x-www-form-urlencoded; charset={charset}"}
            assert (await PageUser(url, session).post("/sign-in", body, **kind))[0] in {400, 401}
            assert time.process_time() - began < 2.0, charset
        assert (await PageUser(url, session).post("/sign-in", {"token": TOKEN}))[0] == 303


async def test_a_form_of_another_session_is_refused() -> None:
    memory = full()
    async with operating(memory, token=TOKEN) as url, open_visitor() as mine, open_visitor() as other:
        pages = []
        for session in (mine, other):
            assert (await PageUser(url, session).post("/sign-in", {"token": TOKEN}))[0] == 303
            pages.append((await PageUser(url, session).get("/dead-letters/redrive"))[1])
        form = [*fields_of(pages[1], "/dead-letters/redrive"), ("by", "Zoë")]
        assert (await PageUser(url, mine).post("/dead-letters/redrive", form))[0] == 403
        script = [(n, v) for n, v in form if n != "csrf"]
        assert (await PageUser(url, mine).post("/dead-letters/redrive", script, Authorization=f"Bearer {TOKEN}"))[0] == 200


async def test_the_overview_stays_while_kafka_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.console.answer_cache.FRESH_S", 0.0)
    memory = full()
    async with operating(memory, now_ms=NOW_MS + 125_000) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        memory.mood = "away"
        status, text = await visitor.get("/")
        assert (status, "Nothing is known yet" in text) == (503, True)
        memory.mood = "ok"
        assert (await visitor.get("/"))[0] == 200
        memory.mood = "away"
        status, text = await visitor.get("/")
        assert status == 200
        assert "This is the state of 12:03:05 UTC, 2 min 5 s ago. The brokers cannot be reached." in text
        assert "generic-write" in text
        for path in ("/waiting", "/dead-letters", "/dead-letters/redrive", "/request?id=x"):
            status, text = await visitor.get(path)
            assert status == 503
            assert "Kafka cannot be asked now" in text


async def test_slow_operations_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "ANSWER_S", 0.1)
    memory = full()
    memory.mood = "hangs"
    async with operating(memory) as url, open_visitor() as session:
        found = await asyncio.gather(*(PageUser(url, session).get("/waiting") for _ in range(20)))
        assert {status for status, _ in found} == {503}
        assert "No answer in time" in found[0][1]


async def test_a_fault_of_ours_quotes_nothing() -> None:
    memory = full()
    memory.mood = "breaks"
    async with operating(memory) as url, open_visitor() as session:
        with capture_logs() as logs:
            status, text = await PageUser(url, session).get("/waiting")
        assert status == 500
        assert [(e["event"], e["view"], e["error"]) for e in logs] == [("page_failed", "/waiting", "RuntimeError")]
        assert "Zoë" not in text + str(logs)


async def test_a_refresh_gets_the_inner_part_only() -> None:
    async with operating(full()) as url, open_visitor() as session:
        status, text = await PageUser(url, session).get("/", **{"X-Part": "1"})
        assert status == 200
        assert "<html" not in text
        assert 'class="verdict bad"' in text


async def test_empty_pages_say_what_that_means() -> None:
    async with operating(Memory()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        assert "No dead letters. Nothing to do." in (await visitor.get("/"))[1]
        assert "No dead letters. Nothing to do." in (await visitor.get("/dead-letters"))[1]
        assert "Nothing waits." in (await visitor.get("/waiting"))[1]
        assert "No open dead letter matches any more." in (await visitor.get("/dead-letters/redrive"))[1]
        assert "Nothing is known of this request id." in (await visitor.get("/request?id=x"))[1]
        assert "begins or ends with a space" in (await visitor.get("/request?id=%20x"))[1]


async def test_a_journey_of_ever_so_many_steps_is_shown_in_part() -> None:
    memory = full()
    steps = [HistoryEntry(NOW_MS + n, "dead-letter", f"t[0]@{n}", "conflict", {"code": "x"}) for n in range(30_000)]
    memory.journeys = {"r": RequestHistory("r", tuple(steps))}
    async with operating(memory) as url, open_visitor() as session:
        _, text = await PageUser(url, session).get("/request?id=r")
        assert len(text) < 1_000_000
        assert "t[0]@29999" in text
        assert "of 30\u202f000 steps" in text


async def test_a_journey_shows_no_more_than_it_is_given() -> None:
    memory = full()
    step = HistoryEntry(NOW_MS, "dead-letter", str(Source("t", 0, 1)), "Every attempt failed.", {"code": None, "status": "failed"})
    memory.journeys = {"r": RequestHistory("r", (step,), {"input": {"name": "***", "at": object()}})}
    async with operating(memory) as url, open_visitor() as session:
        _, text = await PageUser(url, session).get("/request?id=r")
        assert "/dead-letters/redrive?request_id=r" in text
        assert "&#34;at&#34;: &#34;***&#34;" in text, "what is no JSON is masked too"
        assert "None" not in text


async def test_results_are_searched_by_outcome_operation_time_and_digest() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        for query, shown, absent in [
            ("", "onboarding-9000", "No result that is known"),
            ("?status=failed", "onboarding-9000", "onboarding-8999<"),
            ("?operation=session.create", "onboarding-8999", "onboarding-9000<"),
            (f"?person={person_digest('user-3')[:8]}", "onboarding-8997", "onboarding-9000<"),
            ("?since=15m&status=in_doubt", "onboarding-8973", "onboarding-9000<"),
            ("?page=2", "onboarding-8950", "onboarding-9000<"),
            ("?operation=nothing", "No result that is known here", "<table"),
        ]:
            status, page = await visitor.get(f"/results{query}")
            assert status == 200, query
            assert shown in page, query
            assert absent not in page, query
        assert (await visitor.get("/results?person=user-17"))[0] == 400, "what is personal is refused, not looked up"
        assert (await visitor.get("/results?status=%3Cb%3E"))[0] == 400


async def test_the_overview_tells_how_requests_ended_also_while_results_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        page = (await visitor.get("/"))[1]
        assert "Final results of the last 30 minutes: 349, of which 29 failed" in page
        assert "Open dead letters in the last hour: now 311, at most 311." in page

    async def broken() -> None:
        raise UnavailableError("The results topic has no leader.")

    monkeypatch.setattr(memory, "recent_results", broken)
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        status, page = await visitor.get("/")
        assert status == 200
        assert "The results topic has no leader." in page
        assert "Didit fails on aml" in page, "the rest is shown all the same"
        assert (await visitor.get("/results"))[0] == 503


async def test_what_is_found_leads_to_its_runbook_and_the_dashboard_where_their_address_is_known() -> None:
    async with operating(full()) as url, open_visitor() as session:
        page = (await PageUser(url, session).get("/"))[1]
        assert "Runbook: VerificationBreakerOpen" in page
        assert "Dashboard" not in page
    links = Links("https://wiki.example.com/runbooks", "https://grafana.example.com/d/1?orgId=1&a=b")
    async with operating(full(), links=links) as url, open_visitor() as session:
        page = (await PageUser(url, session).get("/"))[1]
        assert 'Runbook: <a href="https://wiki.example.com/runbooks/VerificationBreakerOpen.md" rel="noreferrer">' in page
        assert '<a href="https://grafana.example.com/d/1?orgId=1&amp;a=b" rel="noreferrer">Dashboard</a>' in page


async def test_what_waits_is_listed_in_pages_that_keep_the_filter() -> None:
    async with operating(full()) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        first, last = (await visitor.get("/waiting?reason=-"))[1], (await visitor.get("/waiting?reason=-&page=99"))[1]
        assert "wait-0<" in first
        assert '<a href="/waiting?reason=-&amp;page=2">Later</a>' in first
        assert "Sooner" not in first
        assert "wait-258<" in last, "the last page where a later one was asked for"
        assert "page 2 of 2" in last
        assert (await visitor.get("/waiting?page=x"))[0] == 400


async def test_dead_letters_and_results_lead_to_their_recorded_trace_where_its_address_is_known() -> None:
    memory = full()
    recorded, left_out = f"00-{'ab' * 16}-{'cd' * 8}-01", f"00-{'ef' * 16}-{'cd' * 8}-00"
    memory.letters[:2] = [
        replace(one, hop=replace(one.hop, traceparent=t)) for one, t in zip(memory.letters, (recorded, left_out), strict=False)
    ]
    memory.results[0] = replace(memory.results[0], trace_id="ab" * 16)
    links = Links(traces="https://tempo.example.com/trace?id={trace_id}&a=b")
    for given, expected in ((links, [f"https://tempo.example.com/trace?id={'ab' * 16}&amp;a=b"]), (Links(), [])):
        async with operating(memory, links=given) as url, open_visitor() as session:
            for path in ("/dead-letters", "/results"):
                page = (await PageUser(url, session).get(path))[1]
                assert re.findall(r'<a class="nowrap" href="([^"]*)" rel="noreferrer">Trace</a>', page) == expected, path


async def test_what_waits_is_released_or_ended_as_it_was_shown_and_once() -> None:
    for act, said, done in (
        ("release", "Release 2 waiting requests?", "2 requests released."),
        ("end", "End 2 waiting", "2 requests told to end."),
    ):
        memory = full()
        async with operating(memory) as url, open_visitor() as session:
            visitor = PageUser(url, session)
            positions = ["verification.retry.1m:1:4", "verification.retry.1m:1:7"]
            _, text = await visitor.get(f"/waiting/{act}?ticked=1&" + "&".join(f"position={each}" for each in positions))
            assert said in text
            assert memory.actions == []
            form = fields_of(text, f"/waiting/{act}")
            assert [value for name, value in form if name == "position"] == positions
            assert (await visitor.post(f"/waiting/{act}", form))[0] == 400, "without a name"
            with capture_logs() as logs:
                status, text = await visitor.post(f"/waiting/{act}", [*form, ("by", "Zoë")])
            assert (status, done in text) == (200, True)
            assert await visitor.post(f"/waiting/{act}", [*form, ("by", "Zoë")]) == (200, text)
            ((acted, wanted, by),) = memory.actions
            assert (acted, by, wanted.positions) == (act, "Zoë", {("verification.retry.1m", 1, 4), ("verification.retry.1m", 1, 7)})
            assert [(e["event"], e["action"], e["count"]) for e in logs] == [("page_acted", act, 2)]
            _, text = await visitor.get(f"/waiting/{act}?ticked=1&position={positions[0]}")
            assert f"Nothing to {act}" in text


async def test_all_that_wait_for_a_reason_are_shown_before_they_are_released() -> None:
    memory = full()
    memory.records = [waits(n, n, reason="timeout" if n % 2 else None) for n in range(8)] + [waits(9, 9, reason="waits_for_account")]
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        assert 'name="reason" value="-"' in (await visitor.get("/waiting?reason=-"))[1], "the filter goes with the button"
        assert "cannot be released" in (await visitor.get("/waiting/release?reason=waits_for_account"))[1]
        for query, many in (("reason=-", 4), ("reason=timeout", 4), ("", 8)):
            form = fields_of((await visitor.get(f"/waiting/release?{query}"))[1], "/waiting/release")
            assert sum(name == "position" for name, _ in form) == many, query
        form = fields_of((await visitor.get("/waiting/end?reason=waits_for_account"))[1], "/waiting/end")
        assert ("position", "verification.retry.1m:1:9") in form, "it can be ended, not released"
        memory.records.append(waits(10, 0))  # it comes after the look
        await visitor.post("/waiting/end", [*form, ("by", "Zoë")])
        assert [r.offset for r in memory.records][-1] == 10, "only what was shown"


@pytest.mark.parametrize(
    "path", ["/waiting/release?ticked=1", "/waiting/end?position=x", "/waiting/end?position=a/b:1:2", "/waiting/release?reason=a%20b"]
)
async def test_a_choice_of_what_waits_that_is_none_is_refused(path: str) -> None:
    async with operating(full()) as url, open_visitor() as session:
        assert (await PageUser(url, session).get(path))[0] == 400


async def test_results_say_how_long_calls_took_by_operation() -> None:
    memory = full()
    async with operating(memory) as url, open_visitor() as session:
        visitor = PageUser(url, session)
        assert 'id="calls"' not in (await visitor.get("/results"))[1], "nothing was called yet"
        memory.latencies = {"aml": CallLatency("aml", 3, 0.25, 2.0), "poa": CallLatency("poa", 120, 1.5, 30.0)}
        table = (await visitor.get("/results"))[1].split('id="calls"')[1].split("</details>")[0]
        rows = re.findall(r"<tr><td data-label=\"Operation\"><bdi>(\w+)</bdi>.*?</tr>", table, re.DOTALL)
        assert rows == ["poa", "aml"], "the most called first"
        assert re.findall(r"within\">([^<]+)<", table) == ["1.50 s", "30.00 s", "0.25 s", "2.00 s"]
