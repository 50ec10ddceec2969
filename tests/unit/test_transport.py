"""From fetches to events, joined, cut and contiguous; and from events to the agents."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from app.sinks import reading
from app.streaming import merging, transport
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
    events = list(merging.merge_batches("ticks", 3, batches))
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
        assert len(event) <= merging.MAX_RECORDS
        assert len(event.values) == len(event.offsets) == len(event.append_times)


@given(
    fetches=st.lists(
        st.tuples(st.integers(0, 20), st.lists(st.integers(0, 3), min_size=1, max_size=3)),
        min_size=1,
        max_size=6,
    )
)
def test_fetches_on_both_sides_of_a_seek_are_not_joined(
    fetches: list[tuple[int, list[int]]],
) -> None:
    """Joined, a second fetch of the same records would be taken as more of them."""
    batches, log = [], {offset: b"%d" % offset for offset in range(40)}
    for position, sizes in fetches:
        for size in sizes:
            offsets = np.arange(position, position + size, dtype=np.int64)
            values: list[bytes | None] = [log[offset] for offset in offsets.tolist()]
            batches.append(SlimBatch(position, position + size, values, offsets, 0, None))
            position += size
    events = list(merging.merge_batches("ticks", 3, batches))
    for event in events:
        # Whoever compares where it begins and ends with what it has, knows what is in it.
        assert event.offsets.tolist() == list(range(event.base, event.next))
        assert list(event.values) == [log[offset] for offset in range(event.base, event.next)]
    assert sum(len(event) for event in events) == sum(len(batch.values) for batch in batches)


def test_a_fetch_of_control_batches_alone_still_moves_on() -> None:
    batches = slim_batches([0, 0], [2, 1])
    (event,) = merging.merge_batches("ticks", 0, batches)
    assert (event.base, event.next, len(event)) == (100, 103, 0)


def test_record_objects_are_cut_into_events_that_follow_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "MAX_RECORDS", 3)
    records = record_objects(5, 6, 9, 10, 12)
    events = list(merging.cut_records("ticks", 2, records, 4))
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


def consumer_of(
    active: set[TP], *, queued: int = 0, places: int = 8, flows: bool = True
) -> transport.Consumer:
    """A consumer that reads `ticks`, with one stream, in whose queue something may wait."""
    queue: asyncio.Queue[int] = asyncio.Queue(places)
    for number in range(queued):
        queue.put_nowait(number)
    engine = SimpleNamespace(
        is_source=lambda topic: topic == "ticks", sources=("ticks",), changelogs={"rows"}
    )
    app = SimpleNamespace(
        engine=engine,
        flow_control=SimpleNamespace(is_active=lambda: flows),
        topics=SimpleNamespace(_tp_index={TP("ticks", 0): [SimpleNamespace(queue=queue)]}),
    )
    consumer = object.__new__(transport.Consumer)
    consumer.app = cast(Any, app)
    consumer.flow_active = flows
    consumer._active_partitions = active
    return consumer


@pytest.mark.parametrize(
    ("topics", "flows", "fed"),
    [
        (("ticks",), True, True),
        (("ticks", "rows"), True, True),
        (("ticks", "of_faust"), True, False),
        (("ticks",), False, False),
        ((), True, False),
    ],
)
def test_only_our_own_partitions_are_read_unasked(
    monkeypatch: pytest.MonkeyPatch, topics: tuple[str, ...], flows: bool, fed: bool
) -> None:
    consumer = consumer_of({TP(topic, 0) for topic in topics}, flows=flows)
    monkeypatch.setattr(transport, "is_installed", lambda: True)
    assert consumer.is_fed() is fed
    # aiokafka's own records do not say where a fetch begins.
    monkeypatch.setattr(transport, "is_installed", lambda: False)
    assert consumer.is_fed() is False


def test_what_is_read_again_is_not_left_out() -> None:
    """Faust compares each with the last one that it gave, which may be of before a seek."""
    consumer = consumer_of({TP("ticks", 0)})
    consumer._read_offset = {}
    fetched = [*slim_batches([3], [0]), *slim_batches([2], [0])]
    seen = []
    for tp, batch in consumer.iterate({TP("ticks", 0): fetched}):
        seen.append((batch.base, consumer._read_offset[tp]))
        consumer._read_offset[tp] = batch.next - 1
    assert seen == [(100, None), (100, None)]


@pytest.mark.parametrize(
    ("queued", "flows", "waits"),
    [(0, True, False), (7, True, False), (8, True, True), (0, False, True)],
)
async def test_a_delivery_waits_as_with_faust_only_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch, queued: int, flows: bool, waits: bool
) -> None:
    ways: list[str] = []
    message = cast(Any, SimpleNamespace(tp=TP("ticks", 0)))
    consumer = consumer_of({TP("ticks", 0)}, queued=queued, flows=flows)

    async def conduct(given: Any) -> None:
        assert given is message
        ways.append("at once")

    async def waited(self: Any, *each: Any, **options: Any) -> None:
        ways.append("as Faust")
        for one in each:
            one.close()

    consumer._conduct = conduct
    monkeypatch.setattr(driver.Consumer, "wait_first", waited)
    await consumer.wait_first(transport.Delivery(message), asyncio.Event().wait())
    assert ways == (["as Faust"] if waits else ["at once"])


async def test_the_agent_has_its_turn_before_there_is_more() -> None:
    """Else six batches wait before it has taken one, and Faust stops the fetches."""
    consumer = consumer_of({TP("ticks", 0)})
    (queue,) = consumer._queues(TP("ticks", 0))
    taken: list[int] = []

    async def agent() -> None:
        while True:
            taken.append(await queue.get())
            # A batch is applied in pieces, between which others have their turn.
            for _ in range(4):
                await asyncio.sleep(0)

    async def conduct(given: Any) -> None:
        queue.put_nowait(given.number)

    consumer._conduct = conduct
    task = asyncio.create_task(agent())
    for number in range(20):
        message = cast(Any, SimpleNamespace(tp=TP("ticks", 0), number=number))
        await consumer.wait_first(transport.Delivery(message), asyncio.Event().wait())
        assert queue.qsize() == 0
    assert taken == list(range(20))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
