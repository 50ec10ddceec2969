"""The log of an agent's records as the archive has it, and behind it what Kafka has.

Trades and quotes of the contract have columns, all other records of the topic their bytes (`raw`).
Those of the columns are written as JSON anew: what they say is the same, so whoever decodes them
judges them alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition

from app.archive.columns import POSITION, schema_of
from app.archive.layout import RAW, view_name
from app.archive.manifest import Position, State
from app.archive.querying import stream
from app.contracts.wire import encoder
from app.reconcile.archived import held_state, in_thread, narrowed, open_archive, told
from app.reconcile.logs import KafkaLog, Ranges
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.archive_logs import topic_logs
from app.topics import AGENT_TOPICS

#: Records that are Python's objects at once.
ROWS: Final = 20_000
_MILLISECOND: Final = 1_000_000


class Row(NamedTuple):
    """A record as Kafka's client gives it, as far as anybody asks."""

    offset: int
    timestamp: int
    value: bytes | None


class ArchivedLog:
    """What an archive holds of an agent's source, and Kafka's records behind it.

    Args:
        location: a folder or address of fsspec's; None: the deployment's.

    Raises:
        RunError: an address that fsspec does not know, or whose package is missing.
    """

    def __init__(self, settings: Settings, agent: str, location: str | None = None) -> None:
        self._settings, self._kafka = settings, KafkaLog(settings, agent)
        self._topic = AGENT_TOPICS[agent].source
        self._store = open_archive(settings, location)
        self._where = self._store.where("").rstrip("/")
        self._state = State()
        self._held: dict[int, Position] = {}

    async def ranges(self) -> Ranges:
        """Return the first offset that the archive or Kafka has, and Kafka's end."""
        limits = await self._kafka.ranges()
        state = held_state(self._store)
        self._state = narrowed(state, [self._topic, RAW])
        self._held = {}
        for place, log in (await topic_logs(self._settings, [self._topic])).items():
            held = state.positions.get(place)
            if held is None:
                continue
            if not held.goes_on(log.id):
                raise RunError(
                    f"{self._where} holds another log of {self._topic}: the topic was removed and "
                    "made anew; reconcile with --log kafka"
                )
            self._held[place.partition] = held
        firsts = await asyncio.to_thread(self._firsts)
        found = {}
        for place, (first, end) in limits.items():
            held = self._held.get(place.partition)
            if held is not None and first > held.next:
                raise RunError(
                    f"{self._topic} partition {place.partition}: {self._where} holds it up to "
                    f"offset {held.next}, Kafka from {first} on: what is between them is gone"
                )
            found[place] = (min(first, firsts.get(place.partition, first)), end)
        return found

    async def read(self, ranges: Ranges) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        """Yield the archive's records of each partition, then Kafka's of all."""
        rest = {}
        for place, (first, end) in ranges.items():
            held = self._held.get(place.partition)
            border = first if held is None else max(first, min(held.next, end))
            async for rows in in_thread(self._rows(place.partition, first, border)):
                yield place, rows
            rest[place] = (border, end)
        async for place, records in self._kafka.read(rest):
            yield place, records

    def notes(self) -> list[str]:
        """Say what was never archived."""
        return [
            f"{self._topic} partition {partition}: {held.lost:,} offsets were gone from Kafka "
            "before they were archived; bars of them differ"
            for partition, held in sorted(self._held.items())
            if held.lost
        ]

    def _firsts(self) -> dict[int, int]:
        """Return the first offset of each partition of which the archive has rows."""
        sql = (
            "SELECT log_partition, min(log_offset) FROM (SELECT log_partition, log_offset FROM "
            f"{view_name(self._topic)} UNION ALL SELECT log_partition, log_offset FROM {RAW} "
            f"WHERE source_topic = '{self._topic}') GROUP BY log_partition"
        )
        found: dict[int, int] = {}
        with told():
            for rows in stream(self._store, self._state, [sql], ROWS):
                partitions, offsets = (column.to_pylist() for column in rows.columns)
                found.update(zip(partitions, offsets, strict=True))
        return {partition: first for partition, first in found.items() if partition in self._held}

    def _rows(self, partition: int, first: int, end: int) -> Iterator[list[Row]]:
        """Yield a partition's records in log order."""
        if first >= end:
            return
        names = [each.name for each in schema_of(self._topic)][: -len(POSITION)]
        fields = ", ".join(f'"{name}"' for name in names)
        nulls = ", ".join(f'NULL AS "{name}"' for name in names)
        place = f"log_partition = {partition} AND log_offset >= {first} AND log_offset < {end}"
        sql = (
            f"SELECT log_offset, append_time, true AS decoded, NULL::BLOB AS value, {fields} "
            f"FROM {view_name(self._topic)} WHERE {place} UNION ALL "
            f"SELECT log_offset, append_time, false, value, {nulls} FROM {RAW} "
            f"WHERE source_topic = '{self._topic}' AND {place} ORDER BY log_offset"
        )
        last = -1
        with told():
            for batch in stream(self._store, self._state, [sql], ROWS):
                rows = [_row(each) for each in batch.to_pylist()]
                for each in rows:
                    if each.offset <= last:
                        raise RunError(
                            f"{self._where} has {self._topic} partition {partition} offset "
                            f"{each.offset} more than once: of two logs of that name, or damaged "
                            "(`candlewick archive check`); reconcile with --log kafka"
                        )
                    last = each.offset
                yield rows


def _row(row: dict[str, Any]) -> Row:
    offset, time = row.pop("log_offset"), row.pop("append_time")
    decoded, value = row.pop("decoded"), row.pop("value")
    if decoded:
        value = encoder.encode({name: each for name, each in row.items() if each is not None})
    return Row(offset, time // _MILLISECOND, value)
