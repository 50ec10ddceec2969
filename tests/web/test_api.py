"""The JSON API of one worker: shapes, bounds, errors, and text of users as data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.durations import format_duration
from app.feeds.partitioning import partition_of
from app.observe.health import Phase
from app.streaming.runner import RunnerKey
from app.streaming.store import StoreDamagedError
from app.web.bind import free_port
from app.web.cluster import FORWARDED
from tests.web.api_page import (
    PARTITIONS,
    START,
    SYMBOLS,
    Page,
    running_page,
)


@pytest.fixture
async def page(tmp_path: Path) -> AsyncIterator[Page]:
    async with running_page(tmp_path) as found:
        yield found


# --- shapes ------------------------------------------------------------------------------------


async def test_candles(page: Page) -> None:
    status, found = await page.get("/candles/BTC%2FUSD?interval=1m&limit=2")
    assert status == 200
    assert list(found) == [
        *("symbol", "kind", "interval", "bars", "forming", "behind", "partition", "owner"),
    ]
    assert found["symbol"] == "BTC/USD"
    assert (found["kind"], found["interval"], found["behind"]) == ("trades", "1m", 3)
    assert [each["start"] for each in found["bars"]] == [
        "2013-10-07T13:59:00Z",
        "2013-10-07T14:00:00Z",
    ]
    assert found["bars"][1] == {
        "start": "2013-10-07T14:00:00Z",
        "start_ms": START // 1_000_000,
        "start_ns": str(START),
        **{"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5},
        **{"volume": 3.0, "vwap": 1.25, "trades": 4},
        **{"revision": 2, "is_final": True, "filled": False, "sources": ["<b>feed</b>"]},
    }
    assert found["forming"]["is_final"] is False
    assert found["forming"]["start_ms"] == START // 1_000_000 + 60_000
    assert found["owner"] == page.api.cluster.own
    # A slash may come as it is, too.
    assert (await page.get("/candles/BTC/USD?interval=1m&limit=2"))[1] == found


async def test_candles_since_a_time_and_of_another_interval(page: Page) -> None:
    since = START // 1_000_000 - 60_000
    _, found = await page.get(f"/candles/IBM?since_ms={since}")
    assert [each["start_ms"] for each in found["bars"]] == [since, since + 60_000]
    _, found = await page.get("/candles/IBM?interval=5m")
    assert (found["bars"], found["forming"]) == ([], None)
    page.views.enabled = False
    _, found = await page.get("/candles/IBM")
    assert (found["bars"], found["behind"]) == ([], None)
    assert found["forming"]["revision"] == 0


async def test_latest_values_of_the_view(page: Page) -> None:
    status, found = await page.get("/latest/BTC%2FUSD")
    assert status == 200
    assert [(each["kind"], each["from"]) for each in found["latest"]] == [("bars", "view")]
    assert found["latest"][0]["record"]["revision"] == 2
    assert found["missing"] == [{"kind": "ticks", "reason": "there is no cache"}]
    assert (await page.get("/latest/MSFT"))[0] == 404


async def test_tables(page: Page) -> None:
    status, found = await page.get("/tables")
    assert status == 200
    assert found == {
        "tables": [
            {
                **{"name": "bars", "agent": "bars", "kind": "state", "help": "Open windows"},
                **{"partitions": 2, "rows": len(SYMBOLS)},
            },
            {
                **{"name": "bars.closed", "agent": "bars", "kind": "view"},
                "help": "Closed bars of each symbol, newest revisions",
                **{"partitions": 2, "rows": 5 * len(SYMBOLS)},
            },
        ],
        "missing": [],
    }


async def test_rows_come_in_pages(page: Page) -> None:
    for table in ("bars", "bars.closed"):
        names: list[str] = []
        after: str | None = ""
        while after is not None:
            query = {"limit": "2", **({"after": after} if after else {})}
            async with page.client.get(f"/api/v1/tables/{table}/rows", params=query) as answer:
                found = await answer.json()
            names += [row["key"] for row in found["rows"]]
            after = found["next"]
        assert names == list(SYMBOLS)
        _, found = await page.get(f"/tables/{table}/rows?prefix=B")
        assert [row["key"] for row in found["rows"]] == ["BTC/USD"]


async def test_a_row_of_the_state_and_one_of_the_view(page: Page) -> None:
    _, found = await page.get("/tables/bars/rows/BTC%2FUSD")
    assert found["value"]["open"] == [
        {
            "interval": "1m",
            "start": "2013-10-07T14:00:00Z",
            "start_ms": START // 1_000_000,
            "start_ns": str(START),
        }
    ]
    _, found = await page.get("/tables/bars.closed/rows/IBM?limit=3")
    assert (found["key"], found["behind"]) == ("IBM", 3)
    assert [each["revision"] for each in found["value"]["bars"]] == [0, 0, 2]
    assert {each["interval"] for each in found["value"]["bars"]} == {"1m"}


async def test_symbols(page: Page) -> None:
    _, found = await page.get("/symbols?limit=2&prefix=")
    intervals = [format_duration(length) for length in page.engine.settings.bars.intervals]
    assert found == {
        "symbols": [
            {"symbol": name, "intervals": intervals, "kinds": ["trades"]} for name in SYMBOLS[:2]
        ],
        "next": SYMBOLS[1],
        "missing": [],
    }
    _, found = await page.get(f"/symbols?after={SYMBOLS[1].replace('/', '%2F')}")
    assert [each["symbol"] for each in found["symbols"]] == list(SYMBOLS[2:])


async def test_partitions(page: Page) -> None:
    page.health.partition("bars", 1, Phase.RESTORING, "<script>")
    page.engine.runners[RunnerKey("ticks", 1, "bars")].ready = False
    _, found = await page.get("/partitions")
    first, second = found["partitions"]
    assert (first["agent"], first["partition"], first["phase"]) == ("bars", 0, "ready")
    assert (first["position"], first["lag"], first["view_behind"]) == (10, 5, 3)
    assert first["watermark_iso"] == "2013-10-07T14:00:00Z"
    assert first["event_time_iso"] == "2013-10-07T14:00:00.000000001Z"
    assert first["event_time_ns"] == str(START + 1)
    assert first["counts"] == {"applied": 7, "dead": 1}
    assert first["checkpoint_age_seconds"] > 0
    assert (second["phase"], second["reason"], second["lag"]) == ("restoring", "<script>", None)
    assert second["watermark_ms"] is None
    assert found["missing"] == []


# --- what is not there -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/tables/trades/rows", 404, "unknown table 'trades'"),
        ("/tables/bars/rows/MSFT", 404, "unknown key 'MSFT'"),
        ("/tables/bars.closed/rows/MSFT", 404, "unknown key 'MSFT'"),
        ("/candles/MSFT", 404, "unknown symbol 'MSFT'"),
        ("/candles/A%00B", 404, "unknown symbol 'A\\x00B'"),
        ("/candles/%3Cscript%3E", 404, "unknown symbol '<script>'"),
        ("/candles/IBM?kind=quotes", 404, "no agent of this stage makes bars of quotes"),
        ("/candles/IBM?kind=news", 400, "kind='news': expected one of trades, quotes"),
        ("/candles/IBM?interval=2m", 400, "interval='2m': expected one of 1s, 10s, 1m, 5m, 15m"),
        ("/candles/IBM?interval=soon", 400, None),
        ("/candles/IBM?limit=0", 400, "limit='0': expected a whole number from 1 to 5000"),
        ("/candles/IBM?limit=5001", 400, None),
        ("/candles/IBM?limit=1e3", 400, None),
        ("/candles/IBM?limit=5&limit=6", 400, "a parameter is given twice"),
        ("/candles/IBM?since_ms=-1", 400, None),
        ("/candles/IBM?since_ms=99999999999999999999", 400, None),
        ("/candles/IBM?sql=1", 400, None),
        (f"/symbols?prefix={'A' * 300}", 400, "parameter 'prefix' is longer than 256 characters"),
        ("/dead/news", 404, "unknown agent 'news'"),
        ("/dead/quality", 404, "agent 'quality' has no dead letters; see /api/v1/dead"),
        ("/dead/bars?limit=1000", 400, None),
        ("/dead?limit=10", 400, None),
    ],
)
async def test_faults_are_told_in_one_line(
    page: Page, path: str, status: int, error: str | None
) -> None:
    found_status, found = await page.get(path)
    assert found_status == status
    assert "\n" not in found["error"]
    if error is not None:
        assert found["error"] == error


async def test_a_restoring_partition_is_unavailable_and_missing(page: Page) -> None:
    page.engine.runners[RunnerKey("ticks", 0, "bars")].ready = False
    mine = [each for each in SYMBOLS if partition_of(each, PARTITIONS) == 0]
    for path in (f"/candles/{mine[0]}", f"/tables/bars/rows/{mine[0]}"):
        status, found = await page.get(path)
        assert status == 503
        assert found["reason"] == "it is being restored"
        assert (found["agent"], found["partition"]) == ("bars", 0)
    for path in ("/symbols", "/tables", "/tables/bars/rows", "/tables/bars.closed/rows"):
        status, found = await page.get(path)
        assert status == 200
        missing = {"agent": "bars", "partition": 0, "owner": page.api.cluster.own}
        assert found["missing"] == [missing]
    page.engine.runners.clear()
    status, found = await page.get(f"/candles/{mine[0]}")
    assert (status, found["reason"]) == (503, "it is being taken over")


async def test_a_view_that_is_still_being_read_is_unavailable_and_missing(page: Page) -> None:
    """A new owner gives no part of the history for the whole."""
    page.views.followed[0].whole = False
    mine = [each for each in SYMBOLS if partition_of(each, PARTITIONS) == 0]
    for path in (f"/candles/{mine[0]}", f"/tables/bars.closed/rows/{mine[0]}"):
        status, found = await page.get(path)
        assert (status, found["reason"]) == (503, "its view is being read, 3 records to go")
    missing = {"agent": "bars", "partition": 0, "owner": page.api.cluster.own}
    for path in ("/symbols", "/tables/bars.closed/rows"):
        assert (await page.get(path))[1]["missing"] == [missing]
    assert (await page.get(f"/tables/bars/rows/{mine[0]}"))[0] == 200


async def test_a_dead_owner_and_an_unknown_one(page: Page) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    page.owners.clear()
    page.owners[dead] = [0]
    by_partition = {partition_of(each, PARTITIONS): each for each in SYMBOLS}
    status, found = await page.get(f"/candles/{by_partition[0]}")
    assert (status, found["owner"]) == (503, dead)
    status, found = await page.get(f"/candles/{by_partition[1]}")
    assert (status, found["owner"]) == (503, None)
    _, found = await page.get("/partitions")
    assert [(each["answered"], each["owner"]) for each in found["partitions"]] == [
        (False, dead),
        (False, None),
    ]
    assert [each["owner"] for each in found["missing"]] == [dead, None]
    answered = await page.get("/partitions?local=1")
    assert set(found["partitions"][0]) == set(answered[1]["partitions"][0])


async def test_a_forwarded_question_is_not_forwarded_again(page: Page) -> None:
    page.owners.clear()
    page.owners[f"http://127.0.0.1:{free_port()}"] = [0, 1]
    for path, headers in (("/candles/IBM", {FORWARDED: "1"}), ("/candles/IBM?local=1", {})):
        status, found = await page.get(path, **headers)
        assert (status, found["reason"]) == (503, "this worker does not own it")


async def test_a_damaged_view_is_unavailable_and_made_anew(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*arguments: Any) -> Iterator[Any]:
        raise StoreDamagedError("a block")

    for followed in page.views.followed.values():
        monkeypatch.setattr(followed.view.store, "backward", damaged)
    status, found = await page.get("/candles/IBM")
    assert (status, found["reason"]) == (503, "its store is damaged and is being rebuilt")
    assert page.views.followed[partition_of("IBM", PARTITIONS)].damaged
    _, found = await page.get("/tables/bars.closed/rows")
    assert len(found["missing"]) == PARTITIONS


async def test_a_fault_of_ours_is_told_without_its_text(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("secret")

    monkeypatch.setattr(page.api.local, "list_tables", broken)
    status, found = await page.get("/tables")
    assert status == 500
    assert "secret" not in str(found)


async def test_other_methods_are_refused(page: Page) -> None:
    async with page.client.post("/api/v1/tables") as answer:
        assert answer.status == 405


# --- dead letters ------------------------------------------------------------------------------
