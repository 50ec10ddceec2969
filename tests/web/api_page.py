"""The JSON API of a worker that is made of fakes, but for its stores and views."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import faust
from aiohttp.test_utils import TestClient, TestServer
from faust.types import TP

from app.contracts.wire import BarRecord, encoder
from app.feeds.partitioning import partition_of
from app.observe.health import HealthState, Phase
from app.settings import Settings, load_settings
from app.streaming.protocols import Progress
from app.streaming.runner import RunnerKey
from app.streaming.store import PartitionStore
from app.streaming.tables import StateTable
from app.views.partition import ViewPartition
from app.views.store import ViewStore
from app.web.api import Api
from app.web.api_routes import register_api
from app.web.bind import web_settings

SECOND = 1_000_000_000
START = 1_381_154_400 * SECOND
PARTITIONS = 2
SYMBOLS = ("AAPL", "BTC/USD", "EUR+USD", "IBM", "X^Y=Z", "Z")


def bar(symbol: str, start: int, revision: int = 0, *, final: bool = True) -> bytes:
    prices = (1.0, 2.0, 0.5, 1.5)
    return encoder.encode(
        BarRecord(
            symbol, "1m", start, *prices, 3.0, 1.25, 4, revision, final, False, ("<b>feed</b>",)
        )
    )


@dataclass
class FakeState:
    """A partition's state: one forming bar of each symbol."""

    symbols: list[str]

    @property
    def progress(self) -> Progress:
        counts = {"applied": 7, "dead": 1}
        return Progress(START + 1, START, counts, {"malformed": 1}, len(self.symbols))

    def forming_of(self, symbol: str) -> list[bytes]:
        return [bar(symbol, START + 60 * SECOND, final=False)] if symbol in self.symbols else []


@dataclass
class FakeStage:
    """What the API wants to know of a stage."""

    agent: str
    changelog: str
    source: str = "ticks"


@dataclass
class FakeRunner:
    """What the API wants to know of a runner."""

    stage: FakeStage
    partition: int
    state: FakeState
    store: PartitionStore
    ready: bool = True
    position: int = 10
    checkpointed_at: float | None = 0.0


@dataclass
class FakeEngine:
    """What the API wants to know of the engine."""

    settings: Settings
    stages: dict[str, FakeStage]
    runners: dict[RunnerKey, FakeRunner] = field(default_factory=dict)

    def end_offsets(self) -> dict[TP, int]:
        return {key.tp: runner.position + 5 for key, runner in self.runners.items()}


@dataclass
class FakeFollowed:
    """An open view."""

    view: ViewPartition
    behind: int = 3
    damaged: bool = False
    whole: bool = True


@dataclass
class FakeViews:
    """The views of a worker."""

    followed: dict[int, FakeFollowed]
    enabled: bool = True

    def get(self, agent: str, partition: int) -> FakeFollowed | None:
        return self.followed.get(partition)


@dataclass
class Page:
    """A worker's web server, and what it is made of."""

    client: TestClient[Any, Any]
    engine: FakeEngine
    views: FakeViews
    health: HealthState
    api: Api
    #: Addresses of the owners by partition; the cluster sees changes.
    owners: dict[str, list[int]]

    async def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        async with self.client.get(f"/api/v1{path}", headers=headers) as answer:
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers.get("Retry-After") == ("1" if answer.status == 503 else None)
            return answer.status, await answer.json()


def row_view(key: bytes, value: bytes) -> tuple[bytes, Any]:
    return key[1:], {"symbol": key[1:].decode(), "open": [{"interval": "1m", "start": START}]}


@asynccontextmanager
async def running_page(tmp_path: Path) -> AsyncIterator[Page]:
    """A worker's API over made partitions, with a store and a view each."""
    settings = load_settings(topics={"partitions": PARTITIONS}, agents=("bars",))
    application = faust.App(
        "api", broker="kafka://127.0.0.1:1", datadir=tmp_path / "f", **web_settings(load_settings())
    )
    stage = FakeStage("bars", "d.bars.changelog")
    engine = FakeEngine(settings, {"bars": stage})
    views, health, owners = FakeViews({}), HealthState(), {}
    stores: list[PartitionStore] = []
    for number in range(PARTITIONS):
        symbols = [each for each in SYMBOLS if partition_of(each, PARTITIONS) == number]
        store, kept = PartitionStore(tmp_path / f"s{number}"), ViewStore(tmp_path / f"v{number}")
        stores += [store, kept]
        store.write([(b"s" + symbol.encode(), b"") for symbol in symbols], 1, "id")
        view = ViewPartition(kept, 100)
        for symbol in symbols:
            bars = [bar(symbol, START - number * 60 * SECOND) for number in range(5)]
            kept.write(view.take([*bars, bar(symbol, START, 2)]).rows, 1, "id")
        views.followed[number] = FakeFollowed(view)
        runner = FakeRunner(stage, number, FakeState(symbols), store)
        engine.runners[RunnerKey("ticks", number, "bars")] = runner
        health.partition("bars", number, Phase.READY)
    cast(Any, application.tables).add(
        StateTable(
            application,
            engine=cast(Any, engine),
            agent="bars",
            source="ticks",
            changelog=stage.changelog,
            prefix=b"s",
            row_view=row_view,
            name="bars",
            help="Open windows",
            partitions=PARTITIONS,
        )
    )
    api = register_api(application, cast(Any, engine), cast(Any, views), health)
    owners[api.cluster.own] = [0, 1]
    api.cluster._distribution = lambda: {u: {stage.source: p} for u, p in owners.items()}
    web: Any = application.web
    async with TestClient(TestServer(await web.wsgi())) as client:
        yield Page(client, engine, views, health, api, owners)
    for store in stores:
        store.close()
