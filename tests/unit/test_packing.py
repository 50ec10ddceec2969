"""Batches packed by the compiled module are those of aiokafka's builder, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.outputs import OutputRecord
from app.streaming import packing
from app.streaming.packing import PackedBatch, Row, install, pack_batches, verify

pytestmark = pytest.mark.skipif(packing.compiled_pack is None, reason="needs a C compiler")


@pytest.fixture(autouse=True, scope="module")
def _as_before() -> Iterator[None]:
    """What this process packs with is what it was, afterwards."""
    usable = packing._usable
    yield
    packing._usable = usable


TEXTS = st.one_of(st.none(), st.binary(max_size=300))
HEADERS = st.lists(st.tuples(st.text(max_size=20), TEXTS), max_size=3)
ROWS = st.lists(
    st.tuples(TEXTS, TEXTS, HEADERS) | st.builds(OutputRecord, TEXTS, TEXTS, HEADERS), max_size=200
)
LIMIT = 1 << 20


def stock(rows: list[Row], milliseconds: int) -> bytes:
    """What aiokafka makes of rows."""
    batch = BatchBuilder(LIMIT, 0, is_transactional=1)
    for key, value, headers in rows:
        assert batch.append(timestamp=milliseconds, key=key, value=value, headers=headers)
    batch._set_producer_state(1, 2, 3)
    return bytes(batch._build())


def read(batch: PackedBatch) -> list[Row]:
    """What a reader has of a batch, by aiokafka."""
    records = MemoryRecords(bytes(batch._build()))
    found: list[Row] = []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += [(each.key, each.value, list(each.headers)) for each in one]
    return found


@given(ROWS)
def test_a_batch_has_the_bytes_of_the_stock_builder(rows: list[Row]) -> None:
    if not rows:
        return
    records, count = packing.compiled_pack(rows, 0, LIMIT)
    assert count == len(rows)
    batch = PackedBatch(records, count, None)
    size = batch.size()
    batch._set_producer_state(1, 2, 3)
    assert bytes(batch._build()) == stock(rows, batch._milliseconds)
    assert batch.size() == size
    assert (batch.record_count(), batch.closed()) == (len(rows), True)
    assert batch.append(timestamp=None, key=b"k", value=b"v") is None


@given(ROWS, st.integers(100, 3_000), st.sampled_from([None, "gzip", "snappy", "lz4", "zstd"]))
def test_rows_come_back_in_order_from_batches_within_the_limit(
    rows: list[Row], limit: int, compression: str | None
) -> None:
    assert install()
    batches = pack_batches(rows, limit, compression)
    assert batches is not None
    found: list[Row] = []
    for batch, count in batches:
        assert isinstance(batch, PackedBatch)
        assert count == 1 or batch.size() <= limit
        own = read(batch)
        assert len(own) == count == batch.record_count()
        found += own
    assert found == [(key, value, list(headers)) for key, value, headers in rows]


def test_a_batch_compressed_before_is_the_one_that_the_sender_would_compress() -> None:
    rows: list[Row] = [(b"k%d" % n, b"v" * n, []) for n in range(100)]
    records, count = packing.compiled_pack(rows, 0, LIMIT)
    early, late = (PackedBatch(records, count, "lz4") for _ in range(2))
    late._milliseconds = early._milliseconds
    size = early.size()
    packing.compress_all([early])
    packing.compress_all([early])
    assert early.size() == size
    assert bytes(early._build()) == bytes(late._build())
    assert early.size() == late.size() < size
    assert read(early) == rows


def test_what_compression_does_not_make_smaller_travels_as_it_is() -> None:
    records, count = packing.compiled_pack([(b"k", b"v", [])], 0, LIMIT)
    assert bytes(PackedBatch(records, count, "lz4")._build()).endswith(records)


@pytest.mark.parametrize(
    "row", [("k", b"v", []), (b"k", "v", []), (b"k", b"v", [("name", "x")]), [b"k", b"v", []]]
)
def test_what_is_not_bytes_is_refused(row: object) -> None:
    with pytest.raises(TypeError):
        packing.compiled_pack([row], 0, LIMIT)


def test_the_comparison_at_the_start_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    verify()
    real = packing.compiled_pack
    monkeypatch.setattr(
        packing,
        "compiled_pack",
        lambda rows, first, limit: real([(b"x", *row[1:]) for row in rows], first, limit),
    )
    with pytest.raises(RuntimeError, match="other bytes"):
        verify()
