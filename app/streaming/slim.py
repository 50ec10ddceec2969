"""Values straight from record batches: aiokafka without an object a record.

aiokafka 0.14 builds a `ConsumerRecord` a record (1.2 us, three quarters of reading). This subclass
of its `PartitionRecords` yields one `SlimBatch` a record batch: 0.4 us a record by aiokafka's own
record objects, 0.1 us by the compiled module. It is private API (no upstream issue; `fetcher.py`
names the classes directly), so `install` first compares it with the stock class on batches it
makes, and falls back, loudly, where they differ.

Needed: `tests/unit/test_slim.py` and the row "bare aiokafka" of `make bench`. To delete when
aiokafka offers batches of raw values.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiokafka.consumer.fetcher as fetcher
import cramjam
import numpy as np
import numpy.typing as npt
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from google_crc32c import value as crc32c

compiled: Any = None
try:
    from app.streaming import _unpack as compiled
except ImportError as error:
    logging.getLogger(__name__).debug("no compiled unpacking: %s", error)

logger = logging.getLogger(__name__)

StockRecords = fetcher.PartitionRecords


class Wanted(NamedTuple):
    """What of a topic's records is wanted besides their values.

    With `packed` the values stay where they are until somebody asks for them (`PackedValues`).
    """

    keys: bool = False
    packed: bool = False


#: Topics whose fetches are slim.
_topics: dict[str, Wanted] = {}
_MILLISECOND = 1_000_000


@dataclass(slots=True)
class SlimBatch:
    """The records of one record batch from position `base` up to `next`; it may be empty.

    `append_time` is the broker's LogAppendTime in ns, one for the whole batch. `keys` is None
    unless asked for.
    """

    base: int
    next: int
    values: Sequence[bytes | None]
    offsets: npt.NDArray[np.int64]
    append_time: int
    keys: list[bytes | None] | None


class SlimRecords(StockRecords):  # type: ignore[misc, valid-type]
    """`PartitionRecords` that yields `SlimBatch`es for the topics of `register`."""

    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        wanted = _topics.get(self._tp.topic)
        if wanted is None:
            return super()._unpack_records()  # type: ignore[no-any-return]
        return self._unpack_batches(wanted)

    def _unpack_batches(self, wanted: Wanted) -> Iterator[SlimBatch]:
        committed_only = self._isolation_level == fetcher.READ_COMMITTED
        while self._records.has_next():
            batch = self._records.next_batch()
            raw = self._records.last_batch if isinstance(self._records, RawRecords) else None
            if self._check_crcs and not _is_sound(batch, raw):
                raise CorruptRecordException(f"wrong checksum in a batch of {self._tp}")
            base = self.next_fetch_offset
            skipped = batch.is_control_batch
            if committed_only and batch.producer_id is not None:
                skipped = self._is_aborted(batch) or skipped
            slim = (
                SlimBatch(base, batch.next_offset, [], _EMPTY, 0, [] if wanted.keys else None)
                if skipped
                else _slim(batch, raw, base, wanted)
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


def _is_sound(batch: Any, raw: memoryview | None) -> bool:
    """Whether a batch has its checksum; aiokafka's own code takes seven times as long for it."""
    if raw is None or raw[_MAGIC] != 2:
        return bool(batch.validate_crc())
    (expected,) = _CHECKSUM.unpack_from(raw, _MAGIC + 1)
    return bool(crc32c(bytes(raw[_MAGIC + 1 + _CHECKSUM.size :])) == expected)


def _slim(batch: Any, raw: memoryview | None, base: int, wanted: Wanted) -> SlimBatch:
    first, following = batch.base_offset, batch.next_offset
    offsets, values, keys = _unpack(raw, wanted) or _iterate(batch, wanted.keys)
    # A fetch may begin in the middle of a batch; a compacted one has holes before it.
    skip = int(np.searchsorted(offsets, base)) if first < base else 0
    return SlimBatch(
        base,
        following,
        values[skip:] if skip else values,
        offsets[skip:],
        batch.max_timestamp * _MILLISECOND,
        keys[skip:] if keys is not None and skip else keys,
    )


_Unpacked = tuple[npt.NDArray[np.int64], Sequence[bytes | None], list[bytes | None] | None]


def _iterate(batch: Any, keyed: bool) -> _Unpacked:
    """By aiokafka's record objects."""
    records = list(batch)
    return (
        np.array([record.offset for record in records], dtype=np.int64),
        [record.value for record in records],
        [record.key for record in records] if keyed else None,
    )


def _unpack(raw: memoryview | None, wanted: Wanted) -> _Unpacked | None:
    """By the compiled module; None where the batch's form is not one that it knows."""
    if compiled is None or raw is None or raw[_MAGIC] != 2:
        return None
    header = _HEADER.unpack_from(raw)
    decompress = _CODECS.get(header[1] & _CODEC_MASK)
    if decompress is None:
        return None
    deltas = np.empty(header[2], dtype=np.int64)
    records, count = decompress(raw[_HEADER.size :]), header[2]
    if wanted.packed and not wanted.keys:
        packed = compiled.unpack_packed(records, count, deltas)
        return deltas + header[0], packed, None
    values, keys = compiled.unpack(records, count, wanted.keys, deltas)
    return deltas + header[0], values, keys


#: Base offset, attributes and record count of a record batch (format 2).
_HEADER = struct.Struct(">q13xh34xi")
_MAGIC = 16
#: CRC-32C of all that is behind it.
_CHECKSUM = struct.Struct(">I")
_CODEC_MASK = 0x07
_CODECS: dict[int, Callable[[memoryview], Any]] = {
    0: lambda data: data,
    # What aiokafka calls, without its two copies.
    3: cramjam.lz4.decompress,
    4: cramjam.zstd.decompress,
}


class RawRecords:
    """aiokafka's `MemoryRecords`, which also remembers the bytes of the batch it gave last."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)
        self._data = memoryview(data)
        self._next = 0
        self.last_batch: memoryview | None = None

    def size_in_bytes(self) -> int:
        """Bytes of the fetch."""
        size: int = self._records.size_in_bytes()
        return size

    def has_next(self) -> bool:
        """Whether there is a whole batch left."""
        more: bool = self._records.has_next()
        return more

    def next_batch(self) -> Any:
        """The next batch."""
        batch = self._records.next_batch()
        begin = self._next
        self._next = begin + 12 + int.from_bytes(self._data[begin + 8 : begin + 12], "big")
        self.last_batch = self._data[begin : self._next]
        return batch


def register(topic: str, *, keyed: bool = False, packed: bool = False) -> None:
    """Have the fetches of a topic as slim batches, in every consumer of this process."""
    _topics[topic] = Wanted(keyed, packed or _topics.get(topic, Wanted()).packed)


def join_values(parts: Sequence[Sequence[bytes | None]]) -> Sequence[bytes | None]:
    """Values one behind the other; packed where all are, or empty."""
    full = [part for part in parts if len(part)]
    if len(full) < 2:
        return full[0] if full else []
    if compiled is not None and all(isinstance(part, compiled.PackedValues) for part in full):
        joined: Sequence[bytes | None] = compiled.PackedValues.join(full)
        return joined
    return [value for part in full for value in part]


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
    fetcher.MemoryRecords = RawRecords
    if compiled is None:
        logger.warning(
            "the compiled unpacking of record batches is missing: reading costs twice as much; "
            "install a C compiler and run `make setup` again"
        )
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
        RawRecords(data) if cls is SlimRecords else MemoryRecords(data),
        [],
        fetch_offset,
        None,
        None,
        True,
        fetcher.READ_COMMITTED,
    )
