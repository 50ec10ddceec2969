from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.notify.servers import HttpServer


@pytest.fixture
async def http() -> AsyncIterator[HttpServer]:
    """A running HTTP server that says 200."""
    server = HttpServer()
    stop = await server.start()
    try:
        yield server
    finally:
        server.gate.set()
        await stop()
