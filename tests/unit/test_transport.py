"""From slim batches of a fetch to events: joined, cut, and contiguous."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app.sinks import reading
from app.streaming import transport
from app.streaming.slim import SlimBatch

MILLISECOND = 1_000_000


def slim_batches(sizes: list[int], holes: list[int]) -> list[SlimBatch]:
    """Batches of the given sizes, each followed by a hole (control or aborted records)."""
    batches: list[SlimBatch] = []
    position = 100
    for index, (size, hole) in enumerate(zip(sizes, holes, strict=True)):
        offsets = np.arange(position, position + size, dtype=np.int64)
        values: list[bytes | None] = [b"%d" % offset for offset in offsets]
        following = position + size + hole
        batches.append(SlimBatch(position, following, values, offsets, index * MILLISECOND, None))
        position = following
    return batches


def record_objects(*offsets: int) -> list[SimpleNamespace]:
    """What aiokafka's own reading makes of records: value and time tell the offset."""
    return [SimpleNamespace(offset=each, value=b"%d" % each, timestamp=each) for each in offsets]


@given(shape=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 3)), min_size=1, max_size=5))
def test_events_follow_each_other_and_hold_every_record_once(
    shape: list[tuple[int, int]],
) -> None:
    batches = slim_batches([size for size, _ in shape], [hole for _, hole in shape])
    events = list(transport.merge_batches("ticks", 3, batches))
    assert events[0].base == 100
    assert events[-1].next == batches[-1].next
    for before, after in pairwise(events):
        assert before.next == after.base
    assert [value for event in events for value in event.values] == [
        value for batch in batches for value in batch.values
    ]
    times = [time for batch in batches for time in [batch.append_time] * len(batch.values)]
    assert [time for event in events for time in event.append_times.tolist()] == times
    for event in events:
        assert len(event) <= transport.MAX_RECORDS
        assert len(event.values) == len(event.offsets) == len(event.append_times)


def test_a_fetch_of_control_batches_alone_still_moves_on() -> None:
    batches = slim_batches([0, 0], [2, 1])
    (event,) = transport.merge_batches("ticks", 0, batches)
    assert (event.base, event.next, len(event)) == (100, 103, 0)


def test_record_objects_are_cut_into_events_that_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "MAX_RECORDS", 3)
    records = record_objects(5, 6, 9, 10, 12)
    events = list(transport.cut_records("ticks", 2, records, 4))
    assert [(event.topic, event.partition) for event in events] == [("ticks", 2)] * 2
    assert [(event.base, event.next) for event in events] == [(4, 10), (10, 13)]
    assert [event.offsets.tolist() for event in events] == [[5, 6, 9], [10, 12]]
    assert [event.values for event in events] == [[b"5", b"6", b"9"], [b"10", b"12"]]
    assert events[1].append_times.tolist() == [10 * MILLISECOND, 12 * MILLISECOND]


@pytest.mark.parametrize(("expected", "base"), [(None, 5), (4, 4), (7, 5)])
def test_a_sink_takes_record_objects_from_where_the_last_batch_ended(
    expected: int | None, base: int
) -> None:
    (batch,) = reading.batches(TopicPartition("ticks", 2), record_objects(5, 6), expected)
    assert (batch.topic, batch.partition, batch.base, batch.next) == ("ticks", 2, base, 7)
