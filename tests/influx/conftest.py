from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.influx.setup import set_up
from app.settings import Settings
from tests.influx.fake import FakeInflux
from tests.influx.real import Account
from tests.influx_server import BUILD, InfluxServer, find_influxd


@pytest.fixture
async def fake() -> AsyncIterator[FakeInflux]:
    """A running server that takes all lines."""
    server = FakeInflux()
    stop = await server.start()
    try:
        yield server
    finally:
        server.gate.set()
        await stop()


@pytest.fixture(scope="session")
def program() -> Path:
    """The real server's program; skips where it is not built."""
    found = find_influxd()
    if found is None:
        pytest.skip(f"no InfluxDB here: build it with `{BUILD}`")
    return found


@pytest.fixture(scope="session")
def shared_server(
    program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[InfluxServer, str]]:
    """A running InfluxDB for all tests of this process, and its operator's token."""
    with InfluxServer(program, tmp_path_factory.mktemp("influx")) as server:
        kept: dict[str, str] = {}
        settings = Settings(influx={"url": server.url, "bucket": "first"})  # type: ignore[arg-type]
        set_up(settings, None, kept.__setitem__)
        yield server, kept["operator"]


@pytest.fixture
def account(shared_server: tuple[InfluxServer, str], unique: str) -> Account:
    """Buckets, tokens and tasks of this test alone, in the shared InfluxDB."""
    server, operator = shared_server
    return Account.make(server, operator, unique)
