"""The page in a real browser: it reads, filters and redrives without an error, with and without scripts, on small screens and large.

``PAGE_URL`` points the reading part at a real replica instead of the set-up in memory; ``PAGE_TOKEN`` is its operators' token.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from operating import TOKEN, Memory, full, operating, paused, quiet
from operator_page import OperatorPage
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect
from rig import create_request, running
from test_integration_observe import until_ready

from processor.devkit.kafka_cluster import LocalKafka

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATHS = (
    *("/", "/results", "/waiting", "/waiting/release", "/waiting/end?reason=-"),
    *("/dead-letters", "/dead-letters/redrive", "/dead-letters/discard", "/request", "/request?id=Null"),
    *("/pauses", "/pauses/change?kind=paused&operation=aml"),
)
WIDE, SMALL = ViewportSize(width=1280, height=800), ViewportSize(width=380, height=800)
# every text must have a contrast of 4.5 with what is behind it (WCAG AA)
CONTRAST = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    const rgb = text.startsWith("color(") ? found.slice(0, 3).map((v) => v * 255) : found.slice(0, 3);
    return [...rgb, found[3] ?? 1];
  };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => rgb.map((v) => linear(v / 255)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const all = [];
    for (let e = element; e; e = e.parentElement) all.unshift(parse(getComputedStyle(e).backgroundColor));
    return all.reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const bad = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest("svg, option, .unseen, .skip")) continue;
    const back = behind(e);
    const [a, b] = [light(over(parse(getComputedStyle(e).color), back)), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}": ${ratio.toFixed(2)}`);
  }
  return bad;
}"""

MISSING = "Chromium is not here (apt-get install chromium, or CHROMIUM=path)"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason=MISSING)]


class Watched:
    """A page whose console, errors and refused contents are kept."""

    def __init__(self, page: Page) -> None:
        self.page, self.said = page, list[str]()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))

    async def open(self, url: str) -> Page:
        answer = await self.page.goto(url)
        assert answer is not None
        assert answer.ok, f"{url}: {answer.status}"
        return self.page


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None, "CI needs Chromium: install it, or set CHROMIUM to its path"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def tab(browser: Browser, **options: Any) -> AsyncIterator[Watched]:
    """A tab of its own context; it must have had nothing to complain about."""
    context = await browser.new_context(**options)
    context.set_default_timeout(60_000)  # ms; a machine that runs everything else meanwhile is slow
    try:
        watched = Watched(await context.new_page())
        yield watched
        assert watched.said == []
    finally:
        await context.close()


async def shoot(page: Page, name: str) -> None:
    """A screenshot in the folder PAGE_SHOTS, if somebody wants to see them: half of the time of these tests."""
    if "PAGE_SHOTS" in os.environ:
        await page.screenshot(path=Path(os.environ["PAGE_SHOTS"]) / f"{name}.png", full_page=True)


async def read(watched: Watched, base: str, name: str, paths: Sequence[str] = PATHS) -> None:
    """Every page reads, fits, and has contrast."""
    for number, path in enumerate(paths):
        page = await watched.open(base + path)
        await expect(page.locator("h1")).to_be_visible()
        room = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert room <= 0, f"{path} is {room} px too wide"
        assert await page.evaluate(CONTRAST) == [], path
        await shoot(page, f"{name}-{number}")


async def test_it_reads_well_on_every_screen() -> None:
    async with browsing() as browser, operating(full(40)) as memory_url:
        base = os.environ.get("PAGE_URL", memory_url).rstrip("/")
        headers = {"Authorization": f"Bearer {os.environ['PAGE_TOKEN']}"} if "PAGE_TOKEN" in os.environ else {}
        for scheme in ("light", "dark"):
            for name, viewport in (("wide", WIDE), ("small", SMALL)):
                async with tab(browser, viewport=viewport, color_scheme=scheme, extra_http_headers=headers) as watched:
                    await read(watched, base, f"{name}-{scheme}")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
async def test_dead_letters_are_filtered_and_redriven_after_a_dry_run(script: bool) -> None:
    memory = full(40)
    async with browsing() as browser, operating(memory) as url, tab(browser, viewport=WIDE, java_script_enabled=script) as watched:
        page = await watched.open(url)
        await page.get_by_role("navigation").get_by_role("link", name="Dead letters").click()
        await page.get_by_label("Reason").select_option("exhausted")
        await page.get_by_role("button", name="Filter").click()
        await expect(page.locator(".bar-of-acts")).to_contain_text("match the filter")
        await page.get_by_role("button", name="Redrive all matching: dry run").click()
        await expect(page.get_by_text("nothing has changed yet")).to_be_visible()
        assert memory.actions == []
        await page.get_by_label("Your name").fill("Zoë")
        await shoot(page, "dry-run")
        await page.get_by_role("button", name="now").click()
        await expect(page.locator("h1")).to_contain_text("redriven.")
        await shoot(page, "done")
        assert [(act, by) for act, _, by in memory.actions] == [("redrive", "Zoë")]


async def test_several_applications_read_well_and_are_chosen_without_a_script() -> None:
    many = {f"customer-{n:02}": Memory(quiet()) for n in range(30)}
    few = {"default": Memory(quiet()), "shop": full(40), "onboarding-of-the-bank": Memory(paused()), "away": Memory(mood="away")}
    async with browsing() as browser, operating(few) as url, operating(many) as url_of_many:
        for scheme, viewport in (("light", WIDE), ("dark", SMALL)):
            async with tab(browser, viewport=viewport, color_scheme=scheme, java_script_enabled=scheme == "light") as watched:
                await read(watched, url, f"applications-{scheme}", ("/", "/app/shop/", "/app/shop/dead-letters", "/app/shop/pauses"))
                await read(watched, url_of_many, f"many-{scheme}", ("/", "/app/customer-07/"))
        async with tab(browser, viewport=SMALL, java_script_enabled=False) as watched:
            page = await watched.open(url)
            await page.get_by_role("table").get_by_role("link", name="312").first.click()
            await expect(page).to_have_url(url + "/app/shop/dead-letters")
            await page.get_by_role("navigation", name="Applications").get_by_role("link", name="default").click()
            await expect(page).to_have_url(url + "/app/default/dead-letters")
            await expect(page.get_by_text("No dead letters. Nothing to do.")).to_be_visible()


async def test_ticked_ones_are_discarded_with_a_note() -> None:
    memory = full(40)
    async with browsing() as browser, operating(memory) as url, tab(browser, viewport=SMALL) as watched:
        page = await watched.open(url + "/dead-letters")
        await page.get_by_label("choose 0:3", exact=True).check()
        await page.get_by_label("choose 1:4", exact=True).check()
        await page.get_by_role("button", name="Discard the ticked").click()
        await page.get_by_label("Why").fill("settled by phone")
        await page.get_by_label("Your name").fill("Zoë")
        await page.get_by_role("button", name="Discard 2").click()
        await expect(page.locator("h1")).to_contain_text("2 dead letters discarded.")
    assert memory.actions[0][1].positions == {(0, 3), (1, 4)}


async def test_it_refreshes_itself_and_says_when_it_cannot() -> None:
    memory = Memory()
    async with browsing() as browser:
        context = await browser.new_context(viewport=WIDE)
        page = await context.new_page()
        async with operating(memory) as url:
            await page.goto(url)
            await expect(page.locator(".verdict")).to_contain_text("All is well")
            memory.seen = full().seen
            await expect(page.locator(".verdict")).to_contain_text("Didit fails on aml", timeout=15_000)
            await page.locator("#more-partitions summary").click()
            await page.locator("#more-partitions summary").focus()
            memory.now_ms += 60_000
            await expect(page.locator(".verdict")).to_contain_text("12:04:05", timeout=15_000)
            assert await page.evaluate("document.getElementById('more-partitions').open"), "what was opened stays open"
            assert await page.evaluate("document.activeElement.tagName") == "SUMMARY", "the focus stays"
        await expect(page.locator("#stale")).to_contain_text("Stale since", timeout=15_000)
        await expect(page.locator(".verdict")).to_contain_text("12:04:05")
        await context.close()


async def test_signing_in() -> None:
    async with browsing() as browser, operating(full(40), token=TOKEN) as url:
        context = await browser.new_context(viewport=SMALL)
        page = await context.new_page()
        await page.goto(url + "/dead-letters?reason=exhausted")
        await shoot(page, "sign-in")
        await page.get_by_label("token").fill(TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page).to_have_url(url + "/dead-letters?reason=exhausted")
        await page.get_by_role("button", name="Redrive all matching: dry run").click()
        await page.get_by_label("Your name").fill("Zoë")
        await page.get_by_role("button", name="now").click()
        await expect(page.locator("h1")).to_contain_text("redriven.")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("token")).to_be_visible()
        await context.close()


@pytest.mark.broker
async def test_it_works_on_a_real_replica(kafka: LocalKafka, tmp_path: Path) -> None:
    refusal = {"status": 400, "body": '{"workflow_id":"Invalid workflow_id."}'}
    async with running(kafka, tmp_path) as rig, browsing() as browser:
        (one,) = await rig.start("one")
        await until_ready(rig, one)
        rig.simulator.post("/_sim/script", {"route": "session.create", "answers": [refusal] * 3})
        await rig.publish([create_request(n) for n in range(3)])
        await rig.wait_finals(3)
        base = OperatorPage(one).base
        async with tab(browser, viewport=SMALL, color_scheme="dark") as watched:
            await read(watched, base, "real-small")
        async with tab(browser, viewport=WIDE) as watched:
            await read(watched, base, "real-wide")
            page = await watched.open(f"{base}/results?status=failed")
            await expect(page.locator("table", has_text="Attempts")).to_contain_text("r-000001")
            await page.goto(f"{base}/dead-letters")
            await expect(page.locator("table", has_text="Attempts")).to_contain_text("r-000001")
            await page.goto(f"{base}/dead-letters/redrive?request_id=r-000001")
            await page.get_by_label("Your name or initials").fill("on call")
            await page.get_by_role("button", name="Redrive 1 now").click()
            await expect(page.locator("main")).to_contain_text("redriven")
        await rig.until(lambda: any(f.get("replay") == 1 for f in rig.finals), "a new result")
        assert [f["status"] for f in rig.finals if f.get("replay")] == ["succeeded"]
