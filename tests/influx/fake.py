"""A server that answers like InfluxDB's write API, or as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = tuple[int, Mapping[str, str], str]
TOKEN = "write-token"
BUCKETS = ("candlewick", "candlewick_ticks", "candlewick_history")


def error(status: int, code: str, message: str, **headers: str) -> Answer:
    """An error in InfluxDB's form."""
    return status, headers, json.dumps({"code": code, "message": message})


@dataclass
class Write:
    """One request."""

    bucket: str
    lines: list[str]


@dataclass
class FakeInflux:
    """Keeps the lines of each request that is not refused.

    Attributes:
        judge: called with each request that has lines; its answer is given, None: it is taken.
        requests: all of them with lines, also those refused.
        under_way, most: requests with lines that are waiting now, and at most.
        gate: a request with lines waits for it.
    """

    judge: Callable[[Write], Answer | None] = lambda write: None
    requests: list[Write] = field(default_factory=list)
    taken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    arrived: asyncio.Queue[Write] = field(default_factory=asyncio.Queue)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    under_way: int = 0
    most: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> Callable[[], Any]:
        """Listen; returns what stops it."""
        self.gate.set()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/api/v2/write", self._write)
        app.router.add_get("/ping", self._ping)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner.cleanup

    async def _ping(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"X-Influxdb-Version": "v2.7.12"})

    async def _write(self, request: web.Request) -> web.Response:
        body = (await request.read()).decode()
        status, headers, text = await self._answer(request, body)
        return web.Response(status=status, headers=headers, text=text or None)

    async def _answer(self, request: web.Request, body: str) -> Answer:
        assert request.query["precision"] == "ns"
        assert "Content-Encoding" not in request.headers
        bucket = request.query["bucket"]
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return error(401, "unauthorized", "unauthorized access")
        if request.query["org"] != "candlewick" or bucket not in BUCKETS:
            return error(404, "not found", f'bucket "{bucket}" not found')
        if not body:
            return error(400, "invalid", "writing requires points")
        assert body.endswith("\n")
        write = Write(bucket, body.splitlines())
        self.requests.append(write)
        self.arrived.put_nowait(write)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        judged = self.judge(write)
        if judged is not None:
            return judged
        self.taken[bucket] += write.lines
        return 204, {}, ""
