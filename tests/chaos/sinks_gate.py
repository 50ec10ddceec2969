"""An HTTP proxy before InfluxDB: passes requests on, or is the trouble that a run is about.

It can answer 503 and 429 with Retry-After, cut connections before and after a request has done
its work, and spoil lines in a body that is passed on: InfluxDB itself then refuses them, the whole
batch with 400 (a line that cannot be read) or the line alone with 422 (a field of another type).
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from types import TracebackType

import aiohttp
from aiohttp import web
from yarl import URL

from tests.chaos.sinks_culprits import MEASUREMENTS, Culprits

_WRITE = "/api/v2/write"
_HEADS = tuple(f"{name},".encode() for name in MEASUREMENTS.values())
_SAID = {503: ("unavailable", "out on purpose"), 429: ("too many requests", "slower, on purpose")}
#: Of a request and of an answer, what is passed on.
_ASKED, _ANSWERED = ("Authorization", "Content-Type"), ("Content-Type", "X-Influxdb-Version")


class Gate:
    """The proxy; an async context manager.

    Attributes:
        culprits: the points whose lines are spoiled.
        requests, passed, answered, cuts, spoiled: requests in all; passed on; answered with an
            error; cut off; lines spoiled, counted again whenever they come again.
        impatient: requests that came before a Retry-After was over; but for one each time, which
            may have been on its way together with the one that was answered.
    """

    def __init__(self, target: str, seed: int) -> None:
        self.culprits = Culprits()
        self.requests = self.passed = self.answered = self.cuts = self.spoiled = 0
        self.impatient = 0
        self.port = 0
        self._target = target
        self._dice = random.Random(f"{seed} gate")
        self._status, self._retry_after = 0, 0
        self._cutting = False
        self._until, self._early = 0.0, 0
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Gate:
        # A server that hangs is waited for: who asked has a time-out.
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0)
        )
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    def answer(self, status: int, retry_after: int) -> None:
        """Answer every request so; `retry_after` in seconds."""
        self._status, self._retry_after = status, retry_after

    def cut(self) -> None:
        """Cut off two requests of three: one before, one after InfluxDB has seen it."""
        self._cutting = True

    def let_pass(self) -> None:
        """No more of this, but for the culprits."""
        self._status, self._cutting = 0, False
        self.forget()

    def forget(self) -> None:
        """Who asks from now on was told nothing."""
        self._until, self._early = 0.0, 0

    async def _take(self, request: web.Request) -> web.StreamResponse:
        came = time.monotonic()
        self.requests += 1
        self._early = self._early + 1 if came < self._until else 0
        self.impatient += self._early > 1
        body = await request.read()
        if self._status:
            return self._say()
        how = self._dice.choice(("before", "after", "not")) if self._cutting else "not"
        if how == "before":
            return self._cut(request)
        try:
            answer = await self._pass_on(request, body)
        except (aiohttp.ClientError, OSError):
            # InfluxDB is away: so is what stands for it.
            return self._cut(request)
        return self._cut(request) if how == "after" else answer

    def _say(self) -> web.Response:
        self.answered += 1
        self._until = time.monotonic() + self._retry_after
        code, message = _SAID[self._status]
        return web.Response(
            status=self._status,
            headers={"Retry-After": str(self._retry_after)},
            text=json.dumps({"code": code, "message": message}),
            content_type="application/json",
        )

    def _cut(self, request: web.Request) -> web.Response:
        self.cuts += 1
        if request.transport is not None:
            request.transport.abort()
        # Goes nowhere any more.
        return web.Response()

    async def _pass_on(self, request: web.Request, body: bytes) -> web.Response:
        if request.path == _WRITE and self.culprits.stretches:
            body, count = spoil(body, self.culprits)
            self.spoiled += count
        self.passed += 1
        assert self._client is not None
        async with self._client.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            data=body or None,
            headers={name: request.headers[name] for name in _ASKED if name in request.headers},
            allow_redirects=False,
        ) as answer:
            headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
            return web.Response(status=answer.status, headers=headers, body=await answer.read())


def spoil(body: bytes, culprits: Culprits) -> tuple[bytes, int]:
    """Make the lines of culprits ones that InfluxDB never takes; the body, and how many there are.

    Names and tags must need no escaping.
    """
    lines = body.split(b"\n")
    count = 0
    for row, line in enumerate(lines):
        if not line.startswith(_HEADS):
            continue
        head, _, rest = line.partition(b" ")
        fields, _, stamp = rest.rpartition(b" ")
        name = f"{head.decode()} {stamp.decode()}"
        if culprits.has(name, int(stamp)):
            count += 1
            lines[row] = b" ".join((head, _spoiled(name, fields), stamp))
    return b"\n".join(lines), count


def _spoiled(name: str, fields: bytes) -> bytes:
    """Fields that cannot be read, or the first of them with a text for its number."""
    if hashlib.md5(name.encode(), usedforsecurity=False).digest()[-1] % 2:
        return b"spoiled=," + fields
    first, comma, others = fields.partition(b",")
    return first.partition(b"=")[0] + b'="spoiled"' + comma + others
