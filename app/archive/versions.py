"""All versions of archived bars, in the order of the log: what a reader of the topic has seen."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from app.archive.manifest import ArchiveError
from app.archive.querying import query
from app.contracts.wire import BarRecord
from app.durations import parse_duration


@dataclass(frozen=True)
class Versions:
    """Bars of one partition, in log order."""

    partition: int
    bars: list[BarRecord]


def bar_versions(location: str, interval: str) -> list[Versions]:
    """Return the bars of an interval (`1m`) and all their revisions, by partition.

    Raises:
        ArchiveError: the archive cannot be read, or has no such bars.
        ValueError, ImportError: see `app.archive.querying.query`; or `interval` is none.
    """
    # Not the user's text: it becomes part of the SQL.
    parse_duration(interval)
    names = BarRecord.__struct_fields__
    columns = ", ".join(f'"{name}"' for name in names)
    found = query(
        location,
        f"SELECT log_partition, {columns} FROM bars_versions "
        f"WHERE \"interval\" = '{interval}' ORDER BY log_partition, log_offset",
    )
    if not len(found):
        raise ArchiveError(f"{location}: there are no bars of {interval} in this archive")
    by_partition: dict[int, list[BarRecord]] = {}
    for batch in found.to_batches():
        for row in batch.to_pylist():
            partition = row.pop("log_partition")
            by_partition.setdefault(partition, []).append(msgspec.convert(row, BarRecord))
    return [Versions(partition, bars) for partition, bars in by_partition.items()]
