"""Records of a checkpoint for other partitions than the source's: where they go, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from hypothesis import given
from hypothesis import strategies as st

from app.contracts.outputs import OutputRecord, RoutedRecord
from app.streaming.transaction import (
    Row,
    TopicRefusesError,
    TransactionalProducer,
    _by_partition,
)

#: Records that a batch of the producer below takes.
BATCH_RECORDS = 3
OWN = 2
CHANGELOG: list[Row] = [(b"m", b"marker", [])]


class Batch:
    """A batch as aiokafka's `create_batch` gives it."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.closed = False

    def append(self, *, timestamp: None, key: Any, value: Any, headers: Any) -> object | None:
        """None where it is full."""
        assert not self.closed
        if len(self.rows) == BATCH_RECORDS:
            return None
        self.rows.append((key, value, headers))
        return self

    def close(self) -> None:
        self.closed = True

    def size(self) -> int:
        return sum(len(key or b"") + len(value or b"") for key, value, *_ in self.rows)


class Producer:
    """Keeps what is sent; each partition is a log of its own."""

    def __init__(self, refuses: str | None = None) -> None:
        self.logs: dict[tuple[str, int], list[Row]] = {}
        self.steps: list[str] = []
        self._refuses = refuses

    async def begin_transaction(self) -> None:
        self.steps.append("begin")

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        assert batch.closed
        assert batch.rows
        self.steps.append("send")
        log = self.logs.setdefault((topic, partition), [])
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if topic == self._refuses:
            answer.set_exception(MessageSizeTooLargeError())
        else:
            answer.set_result(SimpleNamespace(offset=100 + len(log)))
        log.extend(batch.rows)
        return answer

    async def send_offsets_to_transaction(self, offsets: dict[Any, int], group: str) -> None:
        self.steps.append(f"offsets {offsets} {group}")

    async def commit_transaction(self) -> None:
        self.steps.append("commit")


def publish(producer: Producer, records: dict[str, Sequence[Row | RoutedRecord]]) -> int:
    """Publish as a checkpoint of partition `OWN`; the next changelog offset."""
    publisher = object.__new__(TransactionalProducer)
    publisher._producer = cast("AIOKafkaProducer", producer)
    publisher._limits = {}
    publisher._batch_bytes, publisher._compression = 1 << 18, None
    publisher._transaction_seconds = 10.0
    source = TopicPartition("source", OWN)
    return asyncio.run(publisher.publish(OWN, records, "changelog", source, 7, "group"))


def routed(*targets: int) -> list[RoutedRecord]:
    """One record for each target; its value is its place."""
    return [
        RoutedRecord(b"key", b"%d" % place, [("place", b"%d" % place)], target)
        for place, target in enumerate(targets)
    ]


@given(targets=st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_each_record_goes_once_to_its_partition_in_the_order_of_the_source(
    targets: list[int],
) -> None:
    records = routed(*targets)
    found = list(_by_partition({"legs": records}, OWN))
    assert [(topic, number) for topic, number, _ in found] == [
        ("legs", number) for number in sorted(set(targets))
    ]
    for _, number, rows in found:
        assert list(rows) == [tuple(each)[:3] for each in records if each.partition == number]


def test_what_names_no_partition_goes_to_that_of_the_source() -> None:
    rows: list[Row] = [(b"a", None, []), (None, b"b", [])]
    outputs: list[Row] = [OutputRecord(b"c", b"d", [("reason", b"null")])]
    records: dict[str, Sequence[Row | RoutedRecord]] = {"changelog": rows, "dead": outputs}
    found = list(_by_partition(records, OWN))
    assert found == [("changelog", OWN, rows), ("dead", OWN, outputs)]


def test_a_checkpoint_with_routed_records_is_one_transaction() -> None:
    producer = Producer()
    legs = routed(*([0, 1, 1, 3, 0] * 3))
    dead: list[Row] = [OutputRecord(None, b"bad", [])]
    following = publish(producer, {"legs": legs, "dead": dead, "changelog": CHANGELOG})
    assert producer.logs == {
        **{
            ("legs", number): [each[:3] for each in legs if each.partition == number]
            for number in (0, 1, 3)
        },
        ("dead", OWN): [(None, b"bad", [])],
        ("changelog", OWN): CHANGELOG,
    }
    # Six of each of 0 and 1 in two batches, three of 3 in one; whole batches leave no empty one.
    sends = ["send"] * (2 + 2 + 1 + 1 + 1)
    offsets = f"offsets { ({TopicPartition('source', OWN): 7}) } group"
    assert producer.steps == ["begin", *sends, offsets, "commit"]
    assert following == 101


def test_a_routed_topic_of_the_changelogs_partition_does_not_count_for_its_offset() -> None:
    producer = Producer()
    rows: list[Row] = [(b"%d" % number, b"row", []) for number in range(BATCH_RECORDS * 2 + 1)]
    assert publish(producer, {"changelog": rows, "legs": routed(OWN, OWN)}) == 100 + len(rows)


def test_a_partition_that_refuses_stops_the_transaction_and_is_named() -> None:
    producer = Producer(refuses="legs")
    with pytest.raises(TopicRefusesError, match="topic legs refuses records: MessageSizeTooLarge"):
        publish(producer, {"legs": routed(0, 1), "changelog": CHANGELOG})
    assert "commit" not in producer.steps


@pytest.mark.parametrize("first", [0, 1])
def test_an_output_with_records_of_both_kinds_is_not_sent(first: int) -> None:
    producer = Producer()
    both: list[Row | RoutedRecord] = [OutputRecord(b"a", b"b", []), *routed(1)]
    with pytest.raises((ValueError, AttributeError)):
        publish(producer, {"legs": both[first:] + both[:first], "changelog": CHANGELOG})
    assert "commit" not in producer.steps
