"""Workers that write to a real InfluxDB: what the topics hold is there, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from app.broker import EmbeddedBroker
from app.sinks.progress import wait_until_written
from app.topics import ticks_topic
from tests.broker.worker import WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    bars_of,
    market,
    prepared,
    read_topic,
    send,
    wait_drained,
)
from tests.influx.conftest import program as program
from tests.influx.real import Account
from tests.influx_server import InfluxServer

pytestmark = [pytest.mark.broker, pytest.mark.chaos]

NUMBERS = ("open", "high", "low", "close", "volume", "vwap", "trades", "revision")
Bar = tuple[float | None, ...]


def ns(text: str) -> int:
    """RFC 3339 with up to nine digits of a second."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(rest.ljust(9, "0") or 0)


def newest(bars: list[dict[str, Any]]) -> dict[tuple[str, str, int], Bar]:
    """The numbers of each bar at its highest revision."""
    found: dict[tuple[str, str, int], Bar] = {}
    for each in bars:
        key = (each["symbol"], each["interval"], each["start"])
        found[key] = tuple(each[name] for name in NUMBERS)
    return found


def stored(account: Account) -> dict[tuple[str, str, int], Bar]:
    """The same of InfluxDB; what `nulls` names is absent."""
    found = {}
    for row in account.rows("bars", "_history"):
        nulls = row.get("nulls", "").split(",")
        # A first version has no field of it.
        row["revision"] = row.get("revision") or "0"
        found[row["symbol"], row["interval"], ns(row["_time"])] = tuple(
            None if name in nulls or row[name] == "" else float(row[name]) for name in NUMBERS
        )
    return found


async def test_bars_and_trades_are_all_there_once_after_deaths_of_worker_and_influxdb(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path, program: Path
) -> None:
    with InfluxServer(program, tmp_path / "influx") as server:
        account = Account.make(server, None, "candlewick")
        settings = await prepared(
            worker_settings(
                kafka,
                unique,
                tmp_path,
                influx={"url": server.url, "token": account.tokens["writer"], "batch": 200},
                sinks={"drivers": "influx", "timeout": "2s", "rest": "1s"},
            )
        )
        values = {
            partition: [HISTORICAL, *market(partition, 2, 6_000), FLUSH] for partition in range(2)
        }
        said: list[str] = []

        async def some_are_written() -> bool:
            found = await asyncio.to_thread(account.totals, "bars", "open", "_history")
            return found[0] > 0

        async with WorkerProcess(settings) as worker:
            await worker.wait_ready()
            await send(settings, {each: part[:3_000] for each, part in values.items()})
            await until(some_are_written, lambda: worker.tail)
            await worker.kill9()
            await worker.start()
            await asyncio.to_thread(server.kill9)
            await send(settings, {each: part[3_000:] for each, part in values.items()})
            # The engine does not wait for the sink.
            await wait_drained(settings, worker)
            await worker.wait_for_log("sink influx: InfluxDB at")
            await asyncio.to_thread(server.start)
            await wait_until_written(settings, said.append)
            assert await worker.stop() == 0
            assert "older than their bucket keeps them, are in candlewick_history" in worker.log
        bars = newest(await bars_of(settings))
        assert len(bars) > 1_000
        assert stored(account) == bars
        for number, field in enumerate(NUMBERS):
            sums = [value for each in bars.values() if (value := each[number]) is not None]
            count, total = account.totals("bars", field, "_history")
            if field == "revision":
                sums = [value for value in sums if value]
            assert count == len(sums)
            assert total == pytest.approx(sum(sums), rel=1e-12)
        ticks = [
            text
            for records in (await read_topic(settings, ticks_topic(settings))).values()
            for each in records
            if (text := trade_of(each.value)) is not None
        ]
        count, total = account.totals("trades", "price", "_history")
        assert count == len(ticks)
        assert total == pytest.approx(sum(each["price"] for each in ticks), rel=1e-12)


def trade_of(value: bytes | None) -> dict[str, Any] | None:
    """A trade of `market`; None for control records and broken ones."""
    try:
        found: dict[str, Any] = json.loads(value or b"")
    except ValueError:
        return None
    return found if "price" in found else None
