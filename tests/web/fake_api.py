"""The JSON API's shapes with data of a test's choosing, beside the real pages, without a broker."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import faust
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.settings import load_settings
from app.web.bind import web_settings
from app.web.html import register_html

#: 2026-11-20 15:00 UTC, in ms.
START = 1_795_186_800_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def iso(milliseconds: int) -> str:
    """A time as the API writes it."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat().replace("+00:00", "Z")


def bar(number: int, close: float, **changes: Any) -> dict[str, Any]:
    """The number-th one-second bar."""
    start = START + number * 1000
    return {
        "start": iso(start),
        "start_ms": start,
        "open": close - 0.5,
        "high": close + 0.25,
        "low": close - 1.0,
        "close": close,
        "volume": 100.0 + number,
        "vwap": close - 0.25,
        "trades": 3,
        "revision": 0,
        "is_final": True,
        **changes,
    }


class FakeApi:
    """What the API answers; a test changes the attributes while a page is open."""

    def __init__(self) -> None:
        self.symbols = ["AAA", "BBB"]
        self.kinds = ["trades"]
        self.bars = [bar(number, 100.0 + number % 5) for number in range(60)]
        self.forming: dict[str, Any] | None = bar(60, 103.5, is_final=False)
        self.tables = [
            {
                "name": "bars",
                "agent": "bars",
                "kind": "state",
                "help": "Closed bars",
                "partitions": 4,
                "rows": 120,
            }
        ]
        self.rows = [self.row(f"S{number:03}", number) for number in range(120)]
        self.partitions = [self.partition(number) for number in range(3)]
        self.missing: list[dict[str, Any]] = []
        self.dead = [self.letter(0, "malformed", b"{broken \x00\xff")]
        #: Of every answer, where it is set.
        self.fault: tuple[int, str] | None = None
        self.questions: list[str] = []

    @staticmethod
    def partition(number: int, **changes: Any) -> dict[str, Any]:
        """One partition's entry."""
        return {
            "agent": "bars",
            "partition": number,
            "owner": "http://127.0.0.1:6066",
            "answered": True,
            "phase": "ready",
            "reason": None,
            "position": 1000 + number,
            "lag": 0,
            "watermark_ms": START,
            "watermark_iso": iso(START),
            "checkpoint_age_seconds": 0.4,
            "counts": {"applied": 990, "dead": 10},
            "view_behind": 0,
            **changes,
        }

    @staticmethod
    def row(key: str, number: int) -> dict[str, Any]:
        """A symbol's row of a view: two intervals, a bar each."""
        bars = [bar(number, 100.0 + number, symbol=key, interval=each) for each in ("1s", "1m")]
        value = {"symbol": key, "bars": bars}
        return {"key": key, "partition": 0, "owner": "http://127.0.0.1:6066", "value": value}

    @staticmethod
    def letter(offset: int, reason: str, value: bytes) -> dict[str, Any]:
        """One dead letter, as `app/dead` writes it."""
        return {
            "topic": "default.bars.dead",
            "partition": 0,
            "offset": offset,
            "reason": reason,
            "source_topic": "ticks",
            "source_partition": 0,
            "source_offset": 10 * offset,
            "append_time": iso(START),
            "append_time_ms": START,
            "bytes": len(value),
            "cut": False,
            "text": value.decode("utf-8", "replace"),
            "base64": base64.b64encode(value).decode(),
        }

    def _answer(self, value: dict[str, Any]) -> web.StreamResponse:
        if self.fault is not None:
            status, text = self.fault
            return web.json_response({"error": text}, status=status, headers={"Retry-After": "1"})
        return web.json_response(value)

    async def _candles(self, request: web.Request) -> web.StreamResponse:
        self.questions.append(request.path_qs)
        since = int(request.query.get("since_ms", 0))
        return self._answer(
            {
                "symbol": request.match_info["symbol"],
                "kind": request.query.get("kind", "trades"),
                "interval": request.query.get("interval", "1s"),
                "bars": [each for each in self.bars if each["start_ms"] >= since],
                "forming": self.forming,
            }
        )

    async def _symbols(self, request: web.Request) -> web.StreamResponse:
        prefix = request.query.get("prefix", "")
        found = [
            {"symbol": symbol, "intervals": ["1s", "1m"], "kinds": self.kinds}
            for symbol in self.symbols
            if symbol.startswith(prefix)
        ]
        return self._answer({"symbols": found[: int(request.query["limit"])]})

    async def _tables(self, request: web.Request) -> web.StreamResponse:
        return self._answer({"tables": self.tables, "missing": self.missing})

    async def _rows(self, request: web.Request) -> web.StreamResponse:
        prefix, after = request.query.get("prefix", ""), request.query.get("after", "")
        limit = int(request.query.get("limit", 50))
        found = sorted(
            (row for row in self.rows if row["key"].startswith(prefix) and row["key"] > after),
            key=lambda row: row["key"],
        )
        following = found[limit - 1]["key"] if len(found) > limit else None
        return self._answer({"rows": found[:limit], "next": following, "missing": self.missing})

    async def _row(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        found = next((row for row in self.rows if row["key"] == key), None)
        if found is None:
            return web.json_response({"error": f"unknown key {key!r}"}, status=404)
        return self._answer(found | {"behind": 0})

    async def _partitions(self, request: web.Request) -> web.StreamResponse:
        return self._answer({"partitions": self.partitions, "missing": self.missing})

    async def _dead_topics(self, request: web.Request) -> web.StreamResponse:
        topics = [{"agent": each, "topic": f"default.{each}.dead"} for each in ("bars", "sinks")]
        return self._answer({"topics": topics})

    async def _dead(self, request: web.Request) -> web.StreamResponse:
        return self._answer({"dead": self.dead, "missing": self.missing})

    def routes(self) -> dict[str, Handler]:
        """Handlers by path."""
        return {
            "/symbols": self._symbols,
            "/candles/{symbol:.+}": self._candles,
            "/tables": self._tables,
            "/tables/{table}/rows": self._rows,
            "/tables/{table}/rows/{key:.+}": self._row,
            "/partitions": self._partitions,
            "/dead": self._dead_topics,
            "/dead/{agent}": self._dead,
        }


@asynccontextmanager
async def serve(api: FakeApi) -> AsyncIterator[str]:
    """The real pages with this API behind them; the server's address."""
    application = faust.App("html", broker="kafka://127.0.0.1:1", **web_settings(load_settings()))
    register_html(application)
    pages = await application.web.wsgi()
    for path, handler in api.routes().items():
        pages.router.add_get(f"/api/v1{path}", handler)
    async with TestServer(pages) as server:
        yield str(server.make_url("/")).rstrip("/")
