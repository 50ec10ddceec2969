"""A process that writes a known log of bars into PostgreSQL: killed, and started again, by a test.

`python -m tests.unit.postgres_writer SCHEMA COUNT`, the address in CANDLEWICK_POSTGRES__URL. Prints
`writing` when it begins, and `done` when all is written.
"""

from __future__ import annotations

import asyncio
import sys

from app.settings import load_settings
from app.sinks.driver import Place, SinkUnavailableError
from app.sinks.postgres import PostgresDriver
from tests.unit.archive_feeding import FRIDAY, batch
from tests.unit.postgres_feeding import Kafka, log_of

PARTITIONS = 3
FETCH = 50


async def write(schema: str, count: int) -> None:
    """Write what is left of the log of each partition."""
    settings = load_settings(
        deployment="mine",
        sinks={"timeout": "5s"},
        postgres={"table_schema": schema, "rows": 200},
    )
    values = log_of(count)
    driver = PostgresDriver(settings, logs=Kafka())
    places = [Place("bars", partition) for partition in range(PARTITIONS)]
    positions = dict.fromkeys(places, 0)
    positions |= await again(lambda: driver.assign(places))
    print("writing", flush=True)
    while any(positions[place] < count for place in places):
        for place in places:
            begin = positions[place]
            driver.add("bars", batch(place.partition, begin, values[begin : begin + FETCH]))
            positions[place] = min(begin + FETCH, count)
        await again(lambda: driver.flush(FRIDAY))
    while driver.held_bytes:
        await again(lambda: driver.flush(FRIDAY))
    await driver.close()
    print("done", flush=True)


async def again(call):  # type: ignore[no-untyped-def]
    """Try until the server is there, as the loop of a sink does."""
    while True:
        try:
            return await call()
        except SinkUnavailableError:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
