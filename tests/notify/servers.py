"""Real servers on this machine, on free ports: one that speaks HTTP, one that speaks SMTP."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

Answer = tuple[int, Mapping[str, str], str]
OK: Answer = (200, {}, "ok")


@dataclass
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class HttpServer:
    """Answers with what it is told, one after the other; the last one from then on."""

    answers: list[Answer] = field(default_factory=lambda: [OK])
    requests: list[Request] = field(default_factory=list)
    #: The same, to be waited for.
    arrived: asyncio.Queue[Request] = field(default_factory=asyncio.Queue)
    #: A request waits for it.
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    #: Called at each request; its answer, if there is one, is given.
    judge: Callable[[Request], Answer | None] = lambda request: None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook/secret-part"

    async def handle(self, request: web.Request) -> web.Response:
        raw_path = request.raw_path
        taken = Request(raw_path, dict(request.headers), await request.read())
        self.requests.append(taken)
        self.arrived.put_nowait(taken)
        await self.gate.wait()
        judged = self.judge(taken)
        if judged is None:
            judged = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status, headers, text = judged
        return web.Response(status=status, headers=headers, text=text)

    async def start(self) -> Callable[[], Awaitable[None]]:
        """Listen; returns what stops it."""
        self.gate.set()
        app = web.Application()
        app.router.add_post("/{path:.*}", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner.cleanup


def closed_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Mailbox:
    """What a mail server has taken; it refuses what it is told to."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.users: list[tuple[str, str]] = []
        self.encrypted: list[bool] = []
        self.answers: list[str] = []
        self.refused: dict[str, str] = {}
        self.port = 0

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        self.encrypted.append(session.ssl is not None)
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        self.users.append((data.login.decode(), data.password.decode()))
        # Not handled: the server answers by itself.
        return AuthResult(success=data.password == b"right", handled=False)

    @asynccontextmanager
    async def serve(self, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[None]:
        """Listen on a free port; `tls`: from the first byte on."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(self, hostname="localhost", loop=loop, **options), "127.0.0.1", 0, ssl=tls
        )
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()
