"""The pages in Chromium against the API's shapes: what they show, withstand and recover from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from app.web import html_static
from app.web.charts import ChartLibrary
from tests.web.browser import Watched, needs_chromium, open_browser, open_page
from tests.web.fake_api import FakeApi, bar, serve

# One browser, and so one event loop, for the module.
pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module")]

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
CURRENT = "() => window.candlewick.current"
#: The newest bar has this close, in the table and in the chart.
SHOWS = """
(close) => {
  const current = window.candlewick.current;
  return current && current.last.close === close && window.candlewick.drawn().at(-1).close === close
    && current;
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


@asynccontextmanager
async def pages(browser: Browser, api: FakeApi, **options: Any) -> AsyncIterator[Watched]:
    async with serve(api) as origin, open_page(browser, origin, **options) as watched:
        yield watched


async def test_the_chart_has_the_bars_and_follows_them(browser: Browser) -> None:
    api = FakeApi()
    async with pages(browser, api) as watched:
        await watched.open("/")
        current = await watched.until(SHOWS, 103.5)
        assert (current["symbol"], current["interval"], current["kind"]) == ("AAA", "1s", "trades")
        assert current["count"] == 61
        assert watched.page.url.endswith("/candles?symbol=AAA&kind=trades&interval=1s")

        # The forming candle moves, is closed, and the next one forms.
        api.forming = bar(60, 104.75, is_final=False)
        await watched.until(SHOWS, 104.75)
        await expect(watched.page.locator("#legend")).to_contain_text("forming")
        api.bars.append(bar(60, 105.25))
        api.forming = bar(61, 106.25, is_final=False)
        current = await watched.until(SHOWS, 106.25)
        assert current["final"]["close"] == 105.25

        # What the chart has is what the table has.
        drawn = await watched.page.evaluate("window.candlewick.drawn()")
        expected = [*api.bars, api.forming]
        names = ("open", "high", "low", "close")
        assert [each["time"] * 1000 for each in drawn] == [each["start_ms"] for each in expected]
        assert [[each[n] for n in names] for each in drawn] == [
            [each[n] for n in names] for each in expected
        ]

        # The page asks for what is new, not for everything each time.
        since = [question for question in api.questions if "since_ms=" in question]
        assert len(since) > len(api.questions) / 2
        watched.check()


async def test_a_revised_bar_replaces_its_candle_wherever_it_is(browser: Browser) -> None:
    api = FakeApi()
    async with pages(browser, api) as watched:
        await watched.open("/candles?symbol=AAA&interval=1s")
        await watched.until(SHOWS, 103.5)
        for place in (58, 5):
            api.bars[place] = bar(place, 200.0 + place, revision=1)
            changed = await watched.until(
                """
                ([place, close]) => {
                  const [drawn, own] = [window.candlewick.drawn(), window.candlewick.bars()];
                  return drawn[place].close === close && [own[place].revision, drawn.length];
                }
                """,
                [place, 200.0 + place],
            )
            assert changed == [1, 61]
        # A bar where there was none.
        api.bars.insert(0, bar(-10, 50.0))
        await watched.until("() => window.candlewick.drawn()[0].close === 50")
        watched.check()


async def test_another_interval_and_symbol_are_chosen_by_keyboard_and_kept_in_the_address(
    browser: Browser,
) -> None:
    api = FakeApi()
    async with pages(browser, api) as watched:
        page = watched.page
        await watched.open("/candles?symbol=BBB&kind=trades&interval=1m")
        await watched.until("() => window.candlewick.current?.symbol === 'BBB'")
        await expect(page.get_by_role("radio", name="1m")).to_be_checked()
        await page.get_by_role("radio", name="1m").focus()
        await page.keyboard.press("ArrowLeft")
        await watched.until("() => window.candlewick.current?.interval === '1s'")
        assert "interval=1s" in page.url

        await page.get_by_label("Symbol", exact=True).focus()
        await page.keyboard.type("AA")
        await expect(page.locator("#symbols li")).to_have_text(["AAA"])
        await page.keyboard.press("Enter")
        await watched.until("() => window.candlewick.current?.symbol === 'AAA'")
        assert "symbol=AAA" in page.url

        await page.go_back()
        await watched.until("() => window.candlewick.current?.symbol === 'BBB'")
        await page.locator("#chart").focus()
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("End")
        watched.check()


async def test_quotes_are_candles_of_the_mid_with_bid_and_ask(browser: Browser) -> None:
    api = FakeApi()
    api.kinds = ["trades", "quotes"]
    quoted = {"volume": None, "vwap": None, "trades": None, "bid_close": 99.5, "ask_close": 100.75}
    async with pages(browser, api) as watched:
        await watched.open("/candles?symbol=AAA&interval=1s")
        await watched.until(SHOWS, 103.5)
        api.bars = [bar(number, 100.0, spread=1.25, quotes=7, **quoted) for number in range(9)]
        api.forming = None
        # The radio button lies under its text.
        await watched.page.get_by_role("radio", name="Quotes").check(force=True)
        await watched.until(SHOWS, 100.0)
        legend = watched.page.locator("#legend")
        for text in ("Bid99.50", "Ask100.75", "Spread1.25", "Quotes7"):
            await expect(legend).to_contain_text(text)
        assert "kind=quotes" in watched.page.url
        watched.check()


async def test_an_owner_that_does_not_answer_is_told_and_recovered_from(browser: Browser) -> None:
    api = FakeApi()
    fault = "bars partition 3, owned by http://127.0.0.1:6067, is not available"
    async with pages(browser, api) as watched:
        banner = watched.page.locator("#banner")
        await watched.open("/candles?symbol=AAA&interval=1s")
        await watched.until(SHOWS, 103.5)
        await expect(banner).to_be_hidden()
        api.fault = (503, fault)
        await expect(banner).to_contain_text(fault)
        await expect(banner).to_contain_text("trying again in")
        await expect(watched.page.locator("#status")).to_have_text("Not live")
        # What was there stays.
        assert (await watched.page.evaluate(f"({CURRENT})()"))["last"]["close"] == 103.5
        api.forming = bar(60, 107.5, is_final=False)
        api.fault = None
        await watched.until(SHOWS, 107.5)
        await expect(banner).to_be_hidden()
        await expect(watched.page.locator("#status")).to_have_text("Live")
        watched.check(failed=frozenset({503}))


async def test_hostile_text_is_only_ever_text(browser: Browser) -> None:
    api = FakeApi()
    api.symbols = [HOSTILE]
    api.tables[0] |= {"name": HOSTILE, "help": HOSTILE}
    api.rows = [api.row(HOSTILE, 1)]
    api.partitions = [api.partition(0, phase=HOSTILE, reason=HOSTILE, counts={HOSTILE: 1})]
    api.missing = [{"agent": HOSTILE, "partition": 1, "owner": HOSTILE}]
    api.dead = [api.letter(0, HOSTILE, HOSTILE.encode())]
    async with pages(browser, api) as watched:
        for path in ("/candles", "/tables", "/tables/bars", "/partitions", "/dead"):
            await watched.open(path)
            main = watched.page.locator("main")
            await expect(main).to_contain_text(HOSTILE)
            assert await main.locator("img").count() == 0
            assert await watched.page.title() != "owned"
        api.fault = (503, HOSTILE)
        await expect(watched.page.locator("#banner")).to_contain_text(HOSTILE)
        watched.check(failed=frozenset({503}))


async def test_rows_are_found_by_prefix_paged_and_opened(browser: Browser) -> None:
    api = FakeApi()
    async with pages(browser, api) as watched:
        page = watched.page
        await watched.open("/tables")
        await expect(page.locator("#rows")).to_contain_text("120")
        await page.get_by_role("link", name="bars", exact=True).click()
        keys = page.locator("#rows button")
        # Two intervals each.
        await expect(keys).to_have_count(100)
        await expect(page.locator("#count")).to_have_text("50 rows, and more")
        await page.get_by_role("button", name="Next page").click()
        await expect(keys.first).to_have_text("S050")
        await page.get_by_role("button", name="First page").click()
        await expect(keys.first).to_have_text("S000")
        await page.get_by_label("Key begins with").fill("S11")
        await page.keyboard.press("Enter")
        await expect(page.locator("#count")).to_have_text("10 rows")
        assert page.url.endswith("?prefix=S11")

        await keys.first.click()
        await expect(page.locator("#history-rows tr")).to_have_count(2)
        await expect(page.locator("#history-title")).to_be_focused()
        start = page.locator("#history-rows time").first
        assert await start.get_attribute("datetime") == "2026-11-20T15:01:50.000Z"
        assert "your time" in (await start.get_attribute("title") or "")
        await page.get_by_role("button", name="Close").click()
        await expect(keys.first).to_be_focused()
        watched.check()


async def test_partitions_that_do_not_answer_are_said(browser: Browser) -> None:
    api = FakeApi()
    lost = {"agent": "bars", "partition": 3, "owner": "http://127.0.0.1:6067"}
    async with pages(browser, api) as watched:
        await watched.open("/partitions")
        await expect(watched.page.locator("#tiles")).to_contain_text("3 of 3")
        api.missing = [lost]
        api.partitions.append(api.partition(3, **lost, answered=False, phase=None, counts={}))
        await expect(watched.page.locator("#tiles")).to_contain_text("3 of 4")
        row = watched.page.locator("tr.silent")
        await expect(row).to_have_count(1)
        await expect(row).to_contain_text("does not answer")
        await expect(watched.page.locator("#banner")).to_contain_text("bars partition 3")
        api.missing = []
        del api.partitions[3]
        await expect(row).to_have_count(0)
        await expect(watched.page.locator("#banner")).to_be_hidden()
        watched.check()


async def test_the_bytes_of_a_dead_letter_stay_open(browser: Browser) -> None:
    api = FakeApi()
    async with pages(browser, api) as watched:
        await watched.open("/dead")
        await watched.page.get_by_text("10 bytes").click()
        dump = watched.page.locator("pre:visible")
        await expect(dump).to_have_text(
            "0000  7b 62 72 6f 6b 65 6e 20 00 ff" + " " * 20 + "{broken .."
        )
        api.dead.insert(0, api.letter(1, "null", b""))
        await expect(watched.page.locator("#rows tr")).to_have_count(2)
        await expect(dump).to_have_count(1)
        watched.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_theme_is_the_systems_until_one_is_chosen_and_then_remembered(
    browser: Browser,
    scheme: str,
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    async with pages(browser, FakeApi(), color_scheme=scheme) as watched:
        page = watched.page
        await watched.open("/candles")
        of_system = await page.evaluate(colour)
        button = page.locator("#theme")
        chosen = {}
        for name in ("light", "dark"):
            await button.click()
            await expect(button).to_have_text(f"Theme: {name}")
            chosen[name] = await page.evaluate(colour)
        assert chosen["light"] != chosen["dark"]
        assert chosen[scheme] == of_system
        await watched.open("/tables")
        assert await page.evaluate(colour) == chosen["dark"]
        watched.check()


#: Text whose contrast against its background is below WCAG's AA (4.5).
FAINT = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (channels) => {
    const [r, g, b] = channels.slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
    if (!own || !node.checkVisibility() || node.closest("#chart, noscript, :disabled")) continue;
    const pair = [light(rgb(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < 4.5) found.push(`${node.tagName} ${node.textContent.slice(0, 30)} ${ratio}`);
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_is_readable_and_nothing_is_wider_than_a_phone(
    browser: Browser, scheme: str
) -> None:
    api = FakeApi()
    api.missing = [{"agent": "bars", "partition": 3, "owner": "http://127.0.0.1:6067"}]
    phone = {"width": 360, "height": 740}
    async with pages(browser, api, color_scheme=scheme, viewport=phone) as watched:
        for path in ("/candles", "/tables", "/tables/bars", "/partitions", "/dead"):
            await watched.open(path)
            await watched.until(
                "() => document.getElementById('status').dataset.state !== 'waiting'"
            )
            assert await watched.page.evaluate(FAINT) == [], path
            width = await watched.page.evaluate("document.documentElement.scrollWidth")
            assert width <= phone["width"], path
        watched.check()


async def test_without_the_library_the_bars_are_there_as_a_table(
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault = "The chart library is not installed."
    monkeypatch.setattr(html_static, "find_library", lambda: ChartLibrary(None, fault))
    async with pages(browser, FakeApi()) as watched:
        await watched.open("/candles")
        await expect(watched.page.locator("#no-library")).to_contain_text("pip install --no-deps")
        await watched.page.get_by_text("Newest bars as a table").click()
        await expect(watched.page.locator("#recent-rows tr").first).to_contain_text("103.50")
        watched.check()


async def test_no_symbols_yet_is_said(browser: Browser) -> None:
    api = FakeApi()
    api.symbols = []
    async with pages(browser, api) as watched:
        await watched.open("/candles")
        await expect(watched.page.locator("#symbols-note")).to_contain_text("No symbols yet")
        assert json.loads(await watched.page.evaluate("JSON.stringify(window.candlewick)")) == {
            "current": None
        }
        watched.check()


async def test_a_tab_that_is_not_seen_asks_nothing(browser: Browser) -> None:
    api = FakeApi()
    hide = """
        (hidden) => {
          Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
          document.dispatchEvent(new Event("visibilitychange"));
        }
    """
    async with pages(browser, api) as watched:
        await watched.page.clock.install()
        await watched.open("/candles?symbol=AAA&interval=1s")
        await watched.until(SHOWS, 103.5)
        await watched.page.evaluate(hide, True)
        # The question that is on its way, if there is one.
        await watched.page.clock.run_for(1_000)
        await watched.page.wait_for_load_state("networkidle")
        before = len(api.questions)
        api.forming = bar(60, 108.5, is_final=False)
        await watched.page.clock.run_for(60_000)
        assert len(api.questions) == before
        await watched.page.evaluate(hide, False)
        await watched.until(SHOWS, 108.5)
        watched.check()


async def test_a_symbol_that_the_list_does_not_show_has_its_intervals(browser: Browser) -> None:
    api = FakeApi()
    api.symbols = [f"S{number:03}" for number in range(300)]
    async with pages(browser, api) as watched:
        await watched.open("/candles?symbol=S299")
        await watched.until(SHOWS, 103.5)
        await expect(watched.page.get_by_role("radio", name="1s")).to_be_checked()
        await expect(watched.page.locator("#symbols-note")).to_contain_text("type to find")
        watched.check()
