"""Child: an ordinary Faust worker with one table on RocksDB, with marks around its recovery.

Begins when the partitions are assigned and ends when Faust calls the table recovered; both are
Faust's own hooks. After that every row is read once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faust

from tests.bench.marks import arguments, mark

TOLD = arguments()

app = faust.App(
    TOLD["app"],
    broker=f"kafka://{TOLD['servers']}",
    store="rocksdb://?driver=rocksdict",
    datadir=Path(TOLD["folder"]),
    topic_partitions=1,
    topic_disable_leader=True,
    table_standby_replicas=0,
)
source = app.topic(TOLD["topic"], key_type=bytes, value_type=bytes, value_serializer="raw")
#: Bytes are left as they are: no serializer, the cheapest table that Faust has.
table = app.Table(TOLD["table"], key_type=bytes, value_type=bytes, partitions=1)


@app.agent(source)
async def rows(stream: Any) -> None:
    """What writes the table; nothing comes in."""
    async for key, value in stream.items():
        table[key] = value


@app.on_partitions_assigned.connect
async def assigned(*arguments: Any, **options: Any) -> None:
    """Recovery begins with this."""
    mark("begin")


@table.on_recover
async def recovered() -> None:
    """Recovery is over."""
    mark("restored")
    found = sum(1 for _ in table.items())
    if found != TOLD["rows"]:
        raise RuntimeError(f"{found} rows recovered instead of {TOLD['rows']}")
    mark("read")


if __name__ == "__main__":
    app.main()
