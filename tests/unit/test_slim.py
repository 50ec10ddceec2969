"""Slim record batches against aiokafka's own reader, on the same bytes."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka.consumer.fetcher as fetcher
import numpy as np
import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from app.streaming import slim

TOPIC = "slim.test"
NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
#: How the bytes of a fetch are read: by aiokafka's records, by the compiled module, and where
#: that one is missing.
WAYS = ("records", "compiled", "not compiled")
LOG_APPEND, CONTROL = 0x08, 0x20
ABORT, COMMIT = 0, 1
FIRST = 1_000
NO_PRODUCER = -1


@dataclass(frozen=True)
class Batch:
    """What a record batch is made of: `kept` of `count` offsets are left by compaction."""

    count: int
    kept: tuple[int, ...]
    codec: int = NONE
    producer: int = NO_PRODUCER
    marker: int | None = None

    @property
    def is_control(self) -> bool:
        return self.marker is not None


def encode(batch: Batch, base: int, timestamp: int) -> bytes:
    """The batch as the broker stores it: stamped on append, holes left open."""
    transactional = batch.producer != NO_PRODUCER
    epoch = 0 if transactional else -1
    builder = DefaultRecordBatchBuilder(
        2, batch.codec, int(transactional), batch.producer, epoch, -1, 1 << 20
    )
    for offset in batch.kept:
        if batch.marker is None:
            key = None if offset % 3 == 0 else b"key %d" % (base + offset)
            # Sizes of one, two and three varint bytes, and none at all.
            value = None if offset % 5 == 4 else b"value " * (0, 1, 50, 4_000)[offset % 4]
        else:
            key, value = struct.pack(">hh", 0, batch.marker), b"\0" * 6
        headers = [("h", b"v"), ("empty", None)] if offset % 2 else []
        assert builder.append(offset, timestamp - 5 + offset, key, value, headers) is not None
    data = bytearray(builder.build())
    attributes = struct.unpack_from(">h", data, 21)[0] | LOG_APPEND
    if batch.is_control:
        attributes |= CONTROL
    struct.pack_into(">q", data, 0, base)
    struct.pack_into(">hi", data, 21, attributes, batch.count - 1)
    struct.pack_into(">q", data, 35, timestamp)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))
    return bytes(data)


@dataclass(frozen=True)
class Log:
    """Encoded batches with their positions, and the aborted transactions in them."""

    batches: list[tuple[int, int, bytes]]
    aborted: list[tuple[int, int]]

    @property
    def end(self) -> int:
        return self.batches[-1][1]

    def fetch(self, offset: int) -> bytes:
        """As the broker answers: whole batches, from the one that holds the offset."""
        return b"".join(data for _, following, data in self.batches if following > offset)


def log_of(batches: list[Batch]) -> Log:
    encoded, aborted = [], []
    first_of: dict[int, int] = {}
    base = FIRST
    for number, batch in enumerate(batches):
        encoded.append((base, base + batch.count, encode(batch, base, 1_700_000_000_000 + number)))
        if batch.marker is not None:
            first = first_of.pop(batch.producer, None)
            if batch.marker == ABORT and first is not None:
                aborted.append((batch.producer, first))
        elif batch.producer != NO_PRODUCER:
            first_of.setdefault(batch.producer, base)
        base += batch.count
    return Log(encoded, aborted)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    producer = draw(st.sampled_from((NO_PRODUCER, NO_PRODUCER, 7, 8)))
    if producer != NO_PRODUCER and draw(st.booleans()):
        return Batch(1, (0,), producer=producer, marker=draw(st.sampled_from((ABORT, COMMIT))))
    count = draw(st.integers(1, 12))
    holes = draw(st.booleans())
    kept = draw(st.sets(st.integers(0, count - 1))) if holes else range(count)
    # An empty batch is a header alone, without compression.
    codec = draw(st.sampled_from((LZ4, LZ4, NONE, ZSTD, GZIP, SNAPPY))) if kept else NONE
    return Batch(count, tuple(sorted(kept)), codec, producer)


def reader(cls: Any, log: Log, offset: int, isolation: int, way: str = "records") -> Any:
    records = (MemoryRecords if way == "records" else slim.RawRecords)(log.fetch(offset))
    partition = TopicPartition(TOPIC, 0)
    return cls(partition, records, list(log.aborted), offset, None, None, True, isolation)


@contextmanager
def way_set(way: str) -> Iterator[None]:
    """Read so; the module may be compiled or not where that does not matter."""
    if way == "compiled" and slim.compiled is None:
        pytest.skip("the compiled module is not there")
    with pytest.MonkeyPatch.context() as patch:
        if way == "not compiled":
            patch.setattr(slim, "compiled", None)
        yield


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    slim.register(TOPIC, keyed=True)
    try:
        yield
    finally:
        del slim._topics[TOPIC]


def flat(found: list[slim.SlimBatch]) -> list[tuple[Any, ...]]:
    """Slim batches as (offset, timestamp in ms, key, value)."""
    return [
        (int(offset), batch.append_time // 1_000_000, key, value)
        for batch in found
        for offset, key, value in zip(
            batch.offsets,
            [None] * len(batch.values) if batch.keys is None else batch.keys,
            batch.values,
            strict=True,
        )
    ]


def stock_records(stock: Any) -> list[tuple[Any, ...]]:
    return [(each.offset, each.timestamp, each.key, each.value) for each in stock]


@settings(max_examples=200, deadline=None)
@given(
    made=st.lists(batches(), min_size=1, max_size=12),
    place=st.floats(0, 1, exclude_max=True),
    isolation=st.sampled_from((fetcher.READ_COMMITTED, fetcher.READ_UNCOMMITTED)),
    keyed=st.booleans(),
)
@pytest.mark.parametrize("way", WAYS)
def test_slim_batches_hold_what_the_stock_reader_gives(
    way: str, made: list[Batch], place: float, isolation: int, keyed: bool
) -> None:
    """Also from the middle of a batch, over holes, markers and aborted transactions."""
    log = log_of(made)
    offset = FIRST + int(place * (log.end - FIRST))
    slim.register(TOPIC, keyed=keyed)
    stock = reader(slim.StockRecords, log, offset, isolation)
    ours = reader(slim.SlimRecords, log, offset, isolation, way)
    with way_set(way):
        expected, found = stock_records(stock), list(ours)
    assert flat(found) == [each if keyed else (*each[:2], None, each[3]) for each in expected]
    assert all((batch.keys is None) != keyed for batch in found)
    assert all(batch.offsets.dtype == np.int64 for batch in found)
    assert ours.next_fetch_offset == stock.next_fetch_offset == log.end
    # Positions follow one another without a gap, so holes cannot be taken for losses.
    assert [batch.base for batch in found] == [offset, *(batch.next for batch in found[:-1])]
    assert found[-1].next == log.end


@settings(max_examples=100)
@given(
    made=st.lists(batches(), min_size=1, max_size=12),
    place=st.floats(0, 1, exclude_max=True),
    chosen=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
)
def test_packed_values_are_the_same_values_made_when_they_are_asked_for(
    made: list[Batch], place: float, chosen: tuple[int, int]
) -> None:
    log = log_of(made)
    offset = FIRST + int(place * (log.end - FIRST))
    with way_set("compiled"):
        slim.register(TOPIC)
        listed = list(reader(slim.SlimRecords, log, offset, fetcher.READ_COMMITTED, "compiled"))
        slim.register(TOPIC, packed=True)
        packed = list(reader(slim.SlimRecords, log, offset, fetcher.READ_COMMITTED, "compiled"))
    # What they lie in is kept by them alone.
    del log
    assert flat(packed) == flat(listed)
    values = slim.join_values([batch.values for batch in packed])
    expected = [value for batch in listed for value in batch.values]
    assert list(values) == expected
    assert (None in values) == (None in expected)
    part = slice(*chosen)
    assert list(values[part]) == expected[part]
    for index, value in enumerate(expected):
        assert values[index] == values[index - len(expected)] == value


def test_each_step_moves_the_fetch_offset_as_far_as_it_gave() -> None:
    """aiokafka goes on from there when it drops what it has not handed over."""
    log = log_of([Batch(3, (0, 1, 2)), Batch(1, (0,), producer=7, marker=COMMIT), Batch(2, (0,))])
    ours = reader(slim.SlimRecords, log, FIRST + 1, fetcher.READ_COMMITTED)
    assert ours.next_fetch_offset == FIRST + 1
    for batch in ours:
        assert ours.next_fetch_offset == batch.next


@pytest.mark.parametrize("codec", [NONE, LZ4])
@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_checksum_ends_both_after_the_batches_before_it(way: str, codec: int) -> None:
    whole = Batch(4, (0, 1, 2, 3), codec)
    log = log_of([whole, whole, whole])
    base, following, data = log.batches[1]
    log.batches[1] = (base, following, data[:-1] + bytes([data[-1] ^ 1]))
    given_before = []
    for cls in (slim.StockRecords, slim.SlimRecords):
        ours = cls is slim.SlimRecords
        read = reader(cls, log, FIRST, fetcher.READ_COMMITTED, way if ours else "records")
        part: list[Any] = []
        with way_set(way), pytest.raises(CorruptRecordException):
            part.extend(iter(read.__next__, None))
        given_before.append((read.next_fetch_offset, part))
    assert given_before[0][0] == given_before[1][0] == FIRST + 4


@given(data=st.binary(max_size=60), count=st.integers(0, 5), keyed=st.booleans())
def test_the_compiled_module_refuses_bytes_that_are_no_records(
    data: bytes, count: int, keyed: bool
) -> None:
    """It never reads beyond them: what it gives is of those bytes, or an error."""
    if slim.compiled is None:
        pytest.skip("the compiled module is not there")
    deltas = np.zeros(count, dtype=np.int64)
    try:
        values, keys = slim.compiled.unpack(data, count, keyed, deltas)
    except ValueError:
        return
    assert len(values) == count
    packed = slim.compiled.unpack_packed(data, count, np.zeros(count, dtype=np.int64))
    assert packed.tolist() == values
    assert (keys is not None) == keyed
    assert all(value is None or value in data for value in [*values, *(keys or ())])


@pytest.mark.parametrize("end", range(1, 40))
def test_a_batch_that_is_cut_off_is_an_error(end: int) -> None:
    if slim.compiled is None:
        pytest.skip("the compiled module is not there")
    records = encode(Batch(2, (0, 1)), FIRST, 5_000)[61:]
    with pytest.raises(ValueError, match=r"record|value|key"):
        slim.compiled.unpack(records[:-end], 2, True, np.zeros(2, dtype=np.int64))


def test_other_topics_are_read_as_ever() -> None:
    log = log_of([Batch(2, (0, 1))])
    records = slim.RawRecords(log.fetch(FIRST))
    ours = slim.SlimRecords(
        TopicPartition("other", 0), records, [], FIRST, None, None, True, fetcher.READ_COMMITTED
    )
    assert [record.offset for record in ours] == [FIRST, FIRST + 1]


def test_keys_are_left_out_unless_wanted() -> None:
    slim.register(TOPIC)
    log = log_of([Batch(2, (0, 1)), Batch(1, (0,), producer=7, marker=ABORT)])
    found = list(reader(slim.SlimRecords, log, FIRST, fetcher.READ_COMMITTED))
    assert [batch.keys for batch in found] == [None, None]


def test_it_is_put_in_place_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", slim.StockRecords)
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    assert slim.install()
    assert slim.install()
    assert fetcher.PartitionRecords is slim.SlimRecords
    assert slim.is_installed()


@pytest.mark.parametrize("change", ["an attribute is gone", "other records come out"])
def test_it_is_loudly_left_out_where_aiokafka_has_changed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    monkeypatch.setattr(fetcher, "PartitionRecords", slim.StockRecords)
    monkeypatch.setattr(fetcher, "MemoryRecords", MemoryRecords)
    if change == "an attribute is gone":
        monkeypatch.setattr(slim, "_slim", lambda batch, *_: batch.gone)
    else:
        wrong = slim.SlimBatch(FIRST, FIRST, [], slim._EMPTY, 0, [])
        monkeypatch.setattr(slim, "_slim", lambda *_: wrong)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert not slim.install()
    assert fetcher.PartitionRecords is slim.StockRecords
    assert fetcher.MemoryRecords is MemoryRecords
    assert not slim.is_installed()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "reading falls back to one object a record" in record.getMessage()
