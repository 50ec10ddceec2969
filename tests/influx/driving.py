"""A driver of its own for a test, and what it has written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.settings import Settings
from app.sinks.influx import InfluxDriver
from tests.influx.fake import TOKEN


def settings(url: str, sinks: dict[str, Any] | None = None, **influx: Any) -> Settings:
    return Settings(
        influx={"url": url, "token": TOKEN, **influx},  # type: ignore[arg-type]
        sinks={"timeout": "5s", **(sinks or {})},  # type: ignore[arg-type]
        # Of one partition, each symbol is where it belongs.
        topics={"partitions": 1},  # type: ignore[arg-type]
    )


@asynccontextmanager
async def opened(chosen: Settings) -> AsyncIterator[InfluxDriver]:
    driver = InfluxDriver(chosen)
    try:
        await driver.open()
        yield driver
    finally:
        await driver.close()


def starts(lines: list[str]) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in lines]
