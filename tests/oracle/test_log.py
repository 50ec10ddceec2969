"""Reading a real Kafka, and a whole deployment compared, its outputs written by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.oracle.compare import compare_deployment, main
from tests.oracle.log import UnreadableTopicError, partitions_of, read_partition
from tests.oracle.reference import Reference, Settings
from tests.oracle.rules import SECOND

if TYPE_CHECKING:
    # The fixture's type only: the oracle runs nothing of ours.
    from typing import Protocol

    class Broker(Protocol):
        @property
        def url(self) -> str: ...


Headers = list[tuple[str, str | bytes | None]]

pytestmark = pytest.mark.broker


def create(url: str, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": url.removeprefix("kafka://")})
    config = {"message.timestamp.type": "LogAppendTime"}
    wanted = [NewTopic(topic, num_partitions=1, config=config) for topic in topics]
    for done in admin.create_topics(wanted).values():
        done.result()


def producer(url: str, transaction: str | None = None) -> Producer:
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": url.removeprefix("kafka://")
    }
    if transaction is not None:
        config["transactional.id"] = transaction
    return Producer(config)


def test_reads_what_is_committed_with_null_apart_from_empty(kafka: Broker, unique: str) -> None:
    create(kafka.url, unique)
    writer = producer(kafka.url, unique)
    writer.init_transactions()
    for commit in (True, False, True):
        writer.begin_transaction()
        for value in (None, b"", b"x"):
            writer.produce(unique, value, key=b"k", headers=[("h", str(commit).encode())])
        writer.flush()
        if commit:
            writer.commit_transaction()
        else:
            writer.abort_transaction()
    assert partitions_of(kafka.url, unique) == 1
    records = list(read_partition(kafka.url, unique, 0))
    assert [record.value for record in records] == [None, b"", b"x"] * 2
    assert [record.offset for record in records] == [0, 1, 2, 8, 9, 10]
    assert {record.key for record in records} == {b"k"}
    assert {record.headers["h"] for record in records} == {b"True"}
    assert records[0].append_time > 1_600_000_000_000


def test_a_missing_topic_is_told(kafka: Broker, unique: str) -> None:
    with pytest.raises(UnreadableTopicError, match="is not on"):
        partitions_of(kafka.url, unique)


def test_a_deployment_is_equal_until_a_bar_is_doubled(
    kafka: Broker, unique: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix, outputs = f"{unique}.", f"{unique}.d.bars"
    ticks = f"{prefix}ticks"
    create(kafka.url, ticks, outputs, f"{outputs}.late", f"{outputs}.dead")
    writer = producer(kafka.url)
    base = 1_381_240_800 * SECOND
    for seconds in (0, 1, 5000, 2, 6000):
        trade = {"symbol": "A", "price": 1, "size": 2, "event_time": base + seconds * SECOND}
        writer.produce(ticks, json.dumps(trade).encode())
    writer.produce(ticks, b"{")
    writer.flush()

    settings = Settings(intervals=(SECOND,))
    reference = Reference(0, 1, settings)
    for record in read_partition(kafka.url, ticks, 0):
        reference.feed(record.offset, record.append_time, record.value)
    bars = [json.dumps(asdict(bar)).encode() for bar in reference.bars]
    for bar in bars:
        writer.produce(outputs, bar, key=b"A")
    position: Headers = [("topic", ticks.encode()), ("partition", b"0")]
    for late in reference.late:
        source: Headers = [*position, ("offset", str(late.offset).encode())]
        writer.produce(f"{outputs}.late", late.value, key=b"A", headers=source)
    headers: Headers = [("reason", b"malformed"), *position, ("offset", b"5")]
    writer.produce(f"{outputs}.dead", b"{", headers=headers)
    writer.flush()

    comparison = compare_deployment(kafka.url, prefix, "d", settings)
    assert comparison.passes, comparison.report()
    assert comparison.outcomes == {"applied": 4, "late": 1, "dead": 1}

    writer.produce(outputs, bars[0], key=b"A")
    writer.flush()
    arguments = ["--broker", kafka.url, "--prefix", prefix, "--deployment", "d"]
    assert main([*arguments, "--intervals", "1s"]) == 1
    assert "doubled 1," in capsys.readouterr().out
