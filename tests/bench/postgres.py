"""`python -m tests.bench.postgres`: bars into PostgreSQL's tables.

Bars as a topic carries them (JSON bytes), in fetches, through the driver: decoded, to CSV, COPY
into the staging table, put where they belong, committed; by a server in a folder of its own, with
`fsync` on. Once into empty tables, once more the same (nothing changes), once a revision of each.
Wall clock, client and server on one machine; and the processor time of both, which other processes
of the machine do not lengthen. Medians of the repetitions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import secrets
import time
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import NamedTuple

from app.contracts.batch import RecordBatch
from app.durations import NANOSECONDS
from app.settings import Settings
from app.sinks.postgres import PostgresDriver
from app.sinks.postgres_admin import migrate
from tests.bench.archive import fetches
from tests.postgres_server import PostgresServer, postgres_server
from tests.unit.postgres_feeding import Kafka


class Taken(NamedTuple):
    """Seconds that writing takes, by the clock and of the processor, and the rows written."""

    seconds: float
    own: float
    server: float
    rows: int


def used_by(server: PostgresServer) -> float:
    """Return the seconds of processor time of the server's processes."""
    processes = (server.process, *server.process.children())
    return float(sum(sum(each.cpu_times()[:2]) for each in processes))


async def write(
    server: PostgresServer, settings: Settings, batches: Sequence[RecordBatch]
) -> Taken:
    """Write batches as the loop of a sink does."""
    driver = PostgresDriver(settings, logs=Kafka())
    await driver.open()
    before = used_by(server)
    started, used, rows = time.perf_counter(), time.process_time(), 0
    for number, each in enumerate(batches):
        driver.add("bars", each)
        if driver.due(float(number)):
            rows += (await driver.flush(0)).rows
    while driver.held_bytes:
        rows += (await driver.flush(0)).rows
    taken = Taken(
        time.perf_counter() - started,
        time.process_time() - used,
        used_by(server) - before,
        rows,
    )
    await driver.close()
    return taken


def revised(batches: Sequence[RecordBatch], base: int) -> list[RecordBatch]:
    """Return the same bars at a higher revision, behind them in the log."""
    return [
        RecordBatch(
            each.topic,
            each.partition,
            each.base + base,
            each.next + base,
            [value and value.replace(b'"revision":0', b'"revision":1') for value in each.values],
            each.offsets + base,
            each.append_times,
        )
        for each in batches
    ]


def measure(server: PostgresServer, rows: int, repeat: int) -> dict[str, object]:
    """Return the rates of each kind of batch."""
    batches = fetches(rows)
    kinds = {"new": batches, "again": batches, "revised": revised(batches, rows)}
    written = {"new": rows, "again": 0, "revised": rows}
    taken: dict[str, list[Taken]] = {kind: [] for kind in kinds}
    for _ in range(repeat):
        settings = server.settings(table_schema=f"bench_{secrets.token_hex(4)}")
        # Of a machine that is at its limit, not of a test.
        sinks = settings.sinks.model_copy(update={"timeout": NANOSECONDS["m"]})
        settings = settings.model_copy(update={"sinks": sinks})
        migrate(settings)
        for kind, chosen in kinds.items():
            taken[kind].append(asyncio.run(write(server, settings, chosen)))
            assert taken[kind][-1].rows == written[kind], (kind, taken[kind][-1])
        schema = settings.postgres.table_schema
        [(count, size)] = server.sql(
            f'SELECT count(*), pg_total_relation_size(\'"{schema}".bars\') FROM "{schema}".bars'
        )
        assert count == rows
        server.sql(f'DROP SCHEMA "{schema}" CASCADE')
    return {
        "rows_per_second": {
            kind: round(rows / median(each.seconds for each in found))
            for kind, found in taken.items()
        },
        "own_processor_microseconds_per_row": {
            kind: round(median(each.own for each in found) / rows * 1e6, 2)
            for kind, found in taken.items()
        },
        "server_processor_microseconds_per_row": {
            kind: round(median(each.server for each in found) / rows * 1e6, 2)
            for kind, found in taken.items()
        },
        "bytes_per_row_after_all": round(size / rows, 1),
    }


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    ordinary = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "256MB"}
    with postgres_server(**ordinary, max_wal_size="2GB") as server:
        [(name,)] = server.sql("SHOW server_version")
        found = measure(server, options.rows, options.repeat)
    print(
        json.dumps(
            {
                "rows": options.rows,
                **found,
                "postgresql": name,
                "psycopg": version("psycopg"),
                "python": platform.python_version(),
                "processor": platform.processor() or platform.machine(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
