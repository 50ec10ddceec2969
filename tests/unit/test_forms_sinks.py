"""What the sinks and the archive make of MessagePack: what they make of the same as JSON."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from app.archive.columns import decode
from app.contracts.batch import RecordBatch
from app.contracts.forms import is_packed, pack
from app.sinks.newest import NewestReader
from app.sinks.points import Inputs, PointEncoder
from app.sinks.postgres_rows import Held, prepare
from app.topics import INPUTS
from tests.unit import good_records
from tests.unit.good_records import SECOND, START

Values = list[bytes | None]
LOG = {"ticks": good_records.trades, "quotes": good_records.quotes}
#: Of both inputs: of other fields, of another partition, too early, no record at all.
BAD: tuple[bytes | None, ...] = (
    None, b"", b"{", b"[1]", b"\x81", b"\x91\x01",
    pack(b'{"symbol":"A","price":1,"size":1,"event_time":1,"conditions":["nope"]}'),
    pack(b'{"symbol":"A","bid":1,"ask":1,"event_time":1,"more":1}'),
    pack(b'{"symbol":"?","price":1,"size":1,"event_time":%d}' % START),
    pack(b'{"symbol":"A","price":1,"size":1,"event_time":5}'),
    pack(b'{"type":"alias"}'),
)  # fmt: skip
topics = pytest.mark.parametrize("topic", sorted(LOG))


def log_of(topic: str) -> tuple[Values, Values]:
    """A partition's records, good and bad; as JSON, and half of them as MessagePack."""
    rng = random.Random(topic)
    plain: Values = list(LOG[topic](0))
    mixed: Values = [each if rng.random() < 0.5 else pack(each or b"") for each in plain]
    for each in BAD:
        place = rng.randrange(len(plain))
        plain.insert(place, each)
        mixed.insert(place, each)
    assert {is_packed(each) for each in mixed} == {False, True}
    return plain, mixed


def batch(values: Sequence[bytes | None]) -> RecordBatch:
    offsets = np.arange(len(values), dtype=np.int64)
    times = np.full(len(values), START + 10**6 * SECOND, dtype=np.int64)
    return RecordBatch("any", 0, 0, len(values), list(values), offsets, times)


def inputs() -> Inputs:
    return Inputs(0, 1, START - SECOND, 10**7 * SECOND)


def test_every_input_that_may_be_messagepack_is_tested() -> None:
    # Transactions are JSON alone.
    assert LOG.keys() == INPUTS.keys() - {"transactions"}


@topics
@pytest.mark.parametrize("use_compiled", [True, False])
def test_lines_are_the_same(topic: str, use_compiled: bool) -> None:
    plain, mixed = log_of(topic)
    expected, found = (
        PointEncoder(topic, inputs(), use_compiled=use_compiled).take(batch(each))
        for each in (plain, mixed)
    )
    assert expected.counts["written"] > 20
    assert expected.counts["control"] >= 3
    assert found.lines.body == expected.lines.body
    assert found.lines.times.tolist() == expected.lines.times.tolist()
    assert (found.offsets, found.next, found.counts) == (
        expected.offsets,
        expected.next,
        expected.counts,
    )


@topics
def test_archived_rows_are_the_same_and_what_has_none_keeps_its_bytes(topic: str) -> None:
    plain, mixed = log_of(topic)
    expected, found = (
        decode(topic, 3, each, batch(each).offsets, batch(each).append_times)
        for each in (plain, mixed)
    )
    assert found.rows.equals(expected.rows)
    assert found.rows.num_rows > 20
    offsets = expected.raw.column("log_offset")
    assert found.raw.column("log_offset").equals(offsets)
    assert found.raw.column("value").to_pylist() == [mixed[place] for place in offsets.to_pylist()]


@topics
def test_rows_of_tables_are_the_same(topic: str) -> None:
    plain, mixed = log_of(topic)
    expected, found = (prepare([Held(topic, batch(each))]) for each in (plain, mixed))
    assert [part.whole for part in found.parts] == [part.whole for part in expected.parts]
    assert found.passed == expected.passed
    assert found.passed["control"] >= 3


@topics
def test_latest_values_are_the_same_and_json(topic: str) -> None:
    plain, mixed = log_of(topic)
    whole = [
        NewestReader(topic, "p:d", inputs()).take(each)
        for values in (plain, mixed)
        # Of a single record, so that values of both forms are kept.
        for each in (batch(values), *batch(values).pieces(1))
    ]
    half = len(whole) // 2
    kept = 0
    for expected, found in zip(whole[:half], whole[half:], strict=True):
        assert found.passed == expected.passed
        assert found.entries.keys() == expected.entries.keys()
        for key, (order, value) in expected.entries.items():
            other_order, other = found.entries[key]
            assert other_order == order
            assert present(other) == present(value)
            kept += other != value
    assert kept > 10


def present(value: bytes) -> Any:
    """The fields of JSON that say something."""
    fields = msgspec.json.decode(value)
    return {name: each for name, each in fields.items() if each not in (None, [])}


@topics
def test_a_batch_is_left_as_it_is(topic: str) -> None:
    """What a sink never takes goes to the dead letters with the bytes that it had."""
    _, mixed = log_of(topic)
    one = batch(mixed)
    PointEncoder(topic, inputs()).take(one)
    prepare([Held(topic, one)])
    NewestReader(topic, "p:d", inputs()).take(one)
    assert one.values == mixed
