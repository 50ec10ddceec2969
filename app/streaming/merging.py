"""From what was fetched of a partition to the batches that are applied: joined, and cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from app.contracts.batch import RecordBatch
from app.streaming.slim import SlimBatch, join_values

#: A batch is cut here, so that one event keeps the event loop for less than 100 ms
#: and sums stay within 63 bits (tables/sums.py).
MAX_RECORDS = 20_000
_MILLISECOND: Final = 1_000_000


def merge_batches(
    topic: str, partition: int, batches: Iterable[SlimBatch]
) -> Iterator[RecordBatch]:
    """Join the record batches of fetches into events of at most `MAX_RECORDS` records.

    Between two fetches the partition may have been sought: what does not follow is never joined,
    since its records would be taken twice, or be missing, within what looks like one stretch.
    """
    held: list[SlimBatch] = []
    count = 0
    for batch in batches:
        full = count + len(batch.values) > MAX_RECORDS
        if held and (full or batch.base != held[-1].next):
            yield from _cut(_join(topic, partition, held))
            held, count = [], 0
        held.append(batch)
        count += len(batch.values)
    if held:
        yield from _cut(_join(topic, partition, held))


def _join(topic: str, partition: int, batches: list[SlimBatch]) -> RecordBatch:
    values = join_values([batch.values for batch in batches])
    times = np.repeat(
        np.array([batch.append_time for batch in batches], dtype=np.int64),
        [len(batch.values) for batch in batches],
    )
    offsets = np.concatenate([batch.offsets for batch in batches])
    return RecordBatch(topic, partition, batches[0].base, batches[-1].next, values, offsets, times)


def _cut(batch: RecordBatch) -> Iterator[RecordBatch]:
    count = len(batch)
    base = batch.base
    for begin in range(0, max(count, 1), MAX_RECORDS):
        end = min(count, begin + MAX_RECORDS)
        following = batch.next if end == count else int(batch.offsets[end])
        yield RecordBatch(
            batch.topic,
            batch.partition,
            base,
            following,
            batch.values[begin:end] if count > MAX_RECORDS else batch.values,
            batch.offsets[begin:end],
            batch.append_times[begin:end],
        )
        base = following


def cut_records(
    topic: str, partition: int, records: Sequence[Any], base: int
) -> Iterator[RecordBatch]:
    """Cut a fetch of aiokafka's own record objects into events; the slow way.

    Args:
        base: where the first is taken to begin: the objects do not say where holes are.
    """
    for begin in range(0, len(records), MAX_RECORDS):
        part = records[begin : begin + MAX_RECORDS]
        following = part[-1].offset + 1
        times = np.array([record.timestamp for record in part], dtype=np.int64)
        yield RecordBatch(
            topic,
            partition,
            base,
            following,
            [record.value for record in part],
            np.array([record.offset for record in part], dtype=np.int64),
            times * _MILLISECOND,
        )
        base = following
