"""What the tests of the PostgreSQL sink share: a schema of one's own, drivers, records, tables."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from app.contracts.portfolio import (
    LimitRecord,
    PortfolioRecord,
    PositionRecord,
    TransactionRecord,
)
from app.settings import Settings
from app.sinks.archive_logs import Log
from app.sinks.driver import Flushed, Place, SinkUnavailableError
from app.sinks.postgres import PostgresDriver
from app.sinks.postgres_admin import migrate
from tests.postgres_server import PostgresServer
from tests.unit.archive_feeding import FRIDAY, bar
from tests.unit.test_sinks_measurements import RECORDS as MEASURED
from tests.unit.test_sinks_measurements import TIME

BARS = Place("bars", 0)
#: A record of each kind that has a table.
RECORDS: Mapping[str, list[msgspec.Struct]] = {
    **MEASURED,
    "transactions": [
        TransactionRecord("fund", "SPY", "buy", 10.0, 1.5, TIME, "t-1", 0.25, "USD", None, 3)
    ],
    "portfolio.positions": [
        PositionRecord(
            *("fund", "SPY", TIME, "trade", "t-1", 10.0, 1.5, 15.0, 0.0, 0.25, 0.0),
            *(1.75, TIME, 5, 17.5, 2.5, None),
        )
    ],
    "portfolio.values": [
        PortfolioRecord(
            *("fund", TIME, "price", None, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
            *(11.0, 12.0, None, 1, 0, TIME),
        )
    ],
    "portfolio.limits": [
        LimitRecord("fund", "exposure", None, TIME, "price", None, "broken", 2.0, 1.0)
    ],
}


class Kafka:
    """The logs of a Kafka that is not there; of topics that are not named it knows nothing."""

    def __init__(self, **ids: str) -> None:
        self.ids = ids
        self.first = 0

    async def __call__(self, topics: Collection[str]) -> Mapping[Place, Log]:
        return {
            Place(topic, 0): Log(self.ids[topic], self.first, 10**9)
            for topic in topics
            if topic in self.ids
        }


def fresh(server: PostgresServer, **postgres: Any) -> Settings:
    """Return settings with a schema of their own, migrated."""
    settings = server.settings(table_schema=f"t_{secrets.token_hex(6)}", **postgres)
    migrate(settings)
    return settings


async def flush_all(driver: PostgresDriver) -> list[Flushed]:
    """Flush until nothing is held."""
    found = []
    while driver.held_bytes or driver._held:
        found.append(await driver.flush(FRIDAY))
    return found


async def retried(driver: PostgresDriver) -> Flushed:
    """Flush until the server takes it, as the loop of a sink does."""
    while True:
        try:
            return await driver.flush(FRIDAY)
        except SinkUnavailableError:
            await asyncio.sleep(0.05)


def rows_of(server: PostgresServer, settings: Settings, query: str) -> list[Any]:
    """Run a query with the settings' schema as the path."""
    schema = settings.postgres.table_schema
    return server.sql(f'SET search_path TO "{schema}"', query)


def log_of(count: int, symbols: int = 7, revisions: int = 3) -> list[bytes]:
    """Return bars of a few symbols, each in several revisions, mixed as a log has them."""
    minute = 60_000_000_000
    return [
        bar(
            f"S{number % symbols}",
            FRIDAY + number // (symbols * revisions) * minute,
            close=1 + number / 1_000,
            revision=number // symbols % revisions,
        )
        for number in range(count)
    ]


def newest(values: list[bytes]) -> dict[tuple[str, int], tuple[int, float]]:
    """Return revision and close of each bar, by another way than the sink's."""
    found: dict[tuple[str, int], tuple[int, float]] = {}
    for value in values:
        record = msgspec.json.decode(value)
        key = (record["symbol"], record["start"])
        if key not in found or record["revision"] > found[key][0]:
            found[key] = (record["revision"], record["close"])
    return found


def bars_in(server: PostgresServer, settings: Settings) -> dict[tuple[str, int], tuple[int, float]]:
    """Return the same of the table; a bar that is there twice is an error."""
    found = rows_of(server, settings, "SELECT symbol, start, revision, close FROM bars")
    by_key = {(symbol, start): (revision, close) for symbol, start, revision, close in found}
    assert len(by_key) == len(found)
    return by_key
