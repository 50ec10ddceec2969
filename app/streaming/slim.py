"""Values straight from record batches: aiokafka without an object a record.

aiokafka 0.14 builds a `ConsumerRecord` a record (1.2 us, three quarters of reading). This subclass
of its `PartitionRecords` yields one `SlimBatch` a record batch (0.4 us a record). It is private API
(no upstream issue; `fetcher.py` names the class directly), so `install` first compares it with the
stock class on batches it makes, and falls back, loudly, where they differ.

Needed: `tests/unit/test_slim.py` and the row "bare aiokafka" of `make bench`. To delete when
aiokafka offers batches of raw values.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import numpy as np
import numpy.typing as npt
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

logger = logging.getLogger(__name__)

StockRecords = fetcher.PartitionRecords
#: Topics whose fetches are slim; true where keys are wanted too (changelogs).
_topics: dict[str, bool] = {}
_MILLISECOND = 1_000_000


@dataclass(slots=True)
class SlimBatch:
    """The records of one record batch from position `base` up to `next`; it may be empty.

    `append_time` is the broker's LogAppendTime in ns, one for the whole batch. `keys` is None
    unless asked for.
    """

    base: int
    next: int
    values: list[bytes | None]
    offsets: npt.NDArray[np.int64]
    append_time: int
    keys: list[bytes | None] | None


class SlimRecords(StockRecords):  # type: ignore[misc, valid-type]
    """`PartitionRecords` that yields `SlimBatch`es for the topics of `register`."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        keyed = _topics.get(self._tp.topic)
        if keyed is None:
            return super()._unpack_records()  # type: ignore[no-any-return]
        return self._unpack_batches(keyed)

    def _unpack_batches(self, keyed: bool) -> Iterator[SlimBatch]:
        committed_only = self._isolation_level == fetcher.READ_COMMITTED
        while self._records.has_next():
            batch = self._records.next_batch()
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"wrong checksum in a batch of {self._tp}")
            base = self.next_fetch_offset
            skipped = batch.is_control_batch
            if committed_only and batch.producer_id is not None:
                skipped = self._is_aborted(batch) or skipped
            slim = (
                SlimBatch(base, batch.next_offset, [], _EMPTY, 0, [] if keyed else None)
                if skipped
                else _slim(batch, base, keyed)
            )
            self.next_fetch_offset = batch.next_offset
            yield slim

    def _is_aborted(self, batch: Any) -> bool:
        """Follow the list of aborted transactions; whether this batch belongs to one."""
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch:
            if self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            return True
        return bool(batch.is_transactional and batch.producer_id in self._aborted_producers)


_EMPTY = np.zeros(0, dtype=np.int64)


def _slim(batch: Any, base: int, keyed: bool) -> SlimBatch:
    records = list(batch)
    first, following = batch.base_offset, batch.next_offset
    # A compacted batch has holes: then offsets come from the records.
    dense = len(records) == following - first
    if dense and first < base:
        records = records[base - first :]
        first = base
    elif not dense:
        records = [record for record in records if record.offset >= base]
    offsets = (
        np.arange(first, following, dtype=np.int64)
        if dense
        else np.array([record.offset for record in records], dtype=np.int64)
    )
    return SlimBatch(
        base,
        following,
        [record.value for record in records],
        offsets,
        batch.max_timestamp * _MILLISECOND,
        [record.key for record in records] if keyed else None,
    )


def register(topic: str, *, keyed: bool = False) -> None:
    """Have the fetches of a topic as slim batches, in every consumer of this process."""
    _topics[topic] = keyed


def install() -> bool:
    """Put the slim class in aiokafka's place, if it works; whether it does.

    May be called again.
    """
    if fetcher.PartitionRecords is SlimRecords:
        return True
    try:
        verify()
    except Exception as error:  # noqa: BLE001
        # Whatever private API has changed into may raise anything: the slow way still works.
        logger.warning(
            "values cannot be taken straight from record batches with this aiokafka (%r): "
            "reading falls back to one object a record, at a third of the speed",
            error,
        )
        return False
    fetcher.PartitionRecords = SlimRecords
    return True


def is_installed() -> bool:
    """Whether fetches of registered topics are slim."""
    return fetcher.PartitionRecords is SlimRecords


def verify() -> None:
    """Compare with the stock class on batches made here.

    Raises:
        RuntimeError: they differ.
        AttributeError, TypeError: the private API is another one.
    """
    topic = "candlewick.slim.verify"
    register(topic, keyed=True)
    try:
        for fetch_offset in (100, 103):
            stock = list(_records(StockRecords, topic, fetch_offset))
            slim = list(_records(SlimRecords, topic, fetch_offset))
            expected = [(record.offset, record.key, record.value) for record in stock]
            found = [
                (int(offset), key, value)
                for batch in slim
                for offset, key, value in zip(batch.offsets, batch.keys, batch.values, strict=True)
            ]
            if expected != found or slim[0].base != fetch_offset or slim[-1].next != 110:
                raise RuntimeError(f"expected {expected}, found {found}")
    finally:
        del _topics[topic]


def _records(cls: Any, topic: str, fetch_offset: int) -> Any:
    data = b""
    for base in (100, 105):
        builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 4096)
        for index in range(5):
            builder.append(index, 1_000 + index, b"k%d" % index, b"v%d" % index, [])
        built = bytearray(builder.build())
        # The base offset is not part of the checksum.
        built[:8] = base.to_bytes(8, "big")
        data += bytes(built)
    return cls(
        TopicPartition(topic, 0),
        MemoryRecords(data),
        [],
        fetch_offset,
        None,
        None,
        True,
        fetcher.READ_COMMITTED,
    )
