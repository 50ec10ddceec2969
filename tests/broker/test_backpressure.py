"""What comes faster than it can go: a broker away, a topic that refuses, a hot symbol, a burst.

Each time: the worker lives, says what is wrong, stays small, goes on by itself, and its outputs are
those of the oracle. `OUTAGE_SECONDS=180` makes the broker stay away for minutes.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from app.admin import ensure_topics
from app.broker import EmbeddedBroker
from app.streaming.restore import RETRY_SECONDS
from app.topics import output_topic, ticks_topic
from tests.broker.backpressure import (
    MEGABYTE,
    Away,
    Watch,
    committed_at_last,
    delete_topic,
    limit_topic,
    own_broker,
    paused,
    repeated_lines,
    steady_feed,
    stopped,
)
from tests.broker.worker import SESSION_SECONDS, WorkerProcess, until, worker_settings
from tests.chaos.deployment import (
    FLUSH,
    HISTORICAL,
    SECOND,
    START,
    Value,
    assert_exact,
    committed,
    compare,
    ends,
    market,
    prepared,
    read_output,
    send,
    symbol_of,
    trade,
    wait_drained,
)

pytestmark = pytest.mark.broker

#: How long the broker is away; longer than session and transaction may last.
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", 2 * SESSION_SECONDS + 1))
#: Resident bytes that a worker may grow by while nothing can be published.
GROWTH = 96 * MEGABYTE
#: Of the filter of repeated warnings.
REPEAT_SECONDS = 10.0
REFUSES = "refuses records: MessageSizeTooLargeError"
#: Less than any bar, more than a marker of a transaction.
TINY = 200


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka of this module's own: it is paused and stopped."""
    with own_broker(tmp_path_factory.mktemp("backpressure")) as own:
        yield own


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Keep the test's own clients from telling at length that the broker is away."""
    caplog.set_level(logging.CRITICAL, "aiokafka")


@pytest.mark.parametrize("away", [paused, stopped])
async def test_a_broker_away_twice_is_waited_for_and_nothing_is_lost_or_doubled(
    broker: EmbeddedBroker,
    unique: str,
    tmp_path: Path,
    away: Away,
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        watch = Watch(worker)
        began = asyncio.get_running_loop().time()
        async with steady_feed(settings):
            await watch.commits()
            for _ in range(2):
                back = await away(broker)
                try:
                    await watch.says("no broker answers")
                    await watch.for_seconds(OUTAGE_SECONDS - SESSION_SECONDS)
                finally:
                    await back()
                await watch.commits()
                await worker.wait_ready()
            await committed_at_last(settings)
        await wait_drained(settings, worker)
        await worker.wait_ready()
        assert "a broker answers again after" in worker.log
        assert {seen.health for seen in watch.seen} == {200}
        assert watch.seen[-1].total("fenced_total") == 0
        assert watch.growth < GROWTH
        # For each partition at most once in the filter's time, and for each of the waits.
        waited = asyncio.get_running_loop().time() - began
        most = settings.topics.partitions * (waited / REPEAT_SECONDS + 2 * len(RETRY_SECONDS))
        for line, count in repeated_lines(worker.log).items():
            assert count <= most, f"{count} times: {line}"
        assert await worker.stop() == 0
    await assert_exact(settings)


async def test_a_worker_without_input_says_that_no_broker_answers(
    broker: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path))
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        watch = Watch(worker)
        back = await paused(broker)
        try:
            await watch.says("no broker answers")
        finally:
            await back()
        await worker.wait_ready()
        assert {seen.health for seen in watch.seen} == {200}
        assert await worker.stop() == 0


@pytest.mark.parametrize("fault", ["too large", "missing"])
async def test_an_output_topic_that_refuses_is_named_and_its_input_waits(
    broker: EmbeddedBroker, unique: str, tmp_path: Path, fault: str
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path))
    # Historical: else the worker writes a clock record while the test looks, and closes by it.
    parts = {
        number: [HISTORICAL, *market(number, 2, 6_000, step=SECOND // 4)] for number in range(2)
    }
    first, last = 1_000, [FLUSH]
    # A thousand records are before the first late one, so nothing is lost with the topic.
    topic = output_topic(settings, "bars" if fault == "too large" else "bars.late")
    text = f"topic {topic} {REFUSES}" if fault == "too large" else f"there is no topic {topic}"
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {number: values[:first] for number, values in parts.items()})
        await wait_drained(settings, worker)
        before = await committed(settings)
        watch = Watch(worker)
        if fault == "too large":
            await limit_topic(settings, topic, TINY)
        else:
            await delete_topic(settings, topic)
        # In few batches, so that the first checkpoint has records for the topic.
        rest = {number: [*values[first:], *last] for number, values in parts.items()}
        await send(settings, rest, batch_records=30_000)
        await watch.says(text)
        await watch.for_seconds(3)
        told = [reason for seen in watch.seen for reason in seen.reasons]
        assert all(text in reason for reason in told), set(told)
        assert text in worker.log
        assert "Traceback" not in worker.log
        # What was not published waits in Kafka; how far the sound part came is open.
        assert sum((await committed(settings)).values()) < sum(map(len, parts.values()))
        if fault == "too large":
            assert await committed(settings) == before
        assert watch.growth < GROWTH
        failures = watch.seen[-1].total("checkpoint_failures_total")
        print(f"{failures:.0f} attempts, {watch.growth / MEGABYTE:.0f} MB more")
        assert {seen.health for seen in watch.seen} == {200}
        if fault == "too large":
            await limit_topic(settings, topic, MEGABYTE)
        else:
            await ensure_topics(settings)
        await wait_drained(settings, worker)
        await worker.wait_ready()
        assert await worker.stop() == 0
    assert (await assert_exact(settings)).outcomes["late"]


async def test_forming_bars_go_on_after_their_topic_has_refused(
    broker: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    settings = await prepared(worker_settings(broker, unique, tmp_path))
    topic = output_topic(settings, "bars.forming")
    symbol = symbol_of(0, 2)
    sent = 0

    async def one_more() -> None:
        nonlocal sent
        value = trade(symbol, START + sent * SECOND // 100, 1.0 + sent, sequence=sent)
        await send(settings, {0: [value]})
        sent += 1

    async def formed(beyond: int) -> bool:
        await one_more()
        return (await ends(settings, topic))[TopicPartition(topic, 0)] > beyond

    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await until(lambda: formed(0), lambda: worker.tail)
        await limit_topic(settings, topic, 100)

        async def refused() -> bool:
            await one_more()
            return f"topic {topic}: a record beside the checkpoints was lost" in worker.log

        await until(refused, lambda: worker.tail)
        assert (await worker.get("/readyz"))[0] == 200, "no bar waits for a forming one"
        await limit_topic(settings, topic, MEGABYTE)
        (end,) = {tp: end for tp, end in (await ends(settings, topic)).items() if end}.values()
        await until(lambda: formed(end), lambda: worker.tail)
        await send(settings, {0: [FLUSH]})
        await wait_drained(settings, worker)
        assert await worker.stop() == 0
    await assert_exact(settings)


async def test_a_hot_symbol_with_nine_tenths_of_the_load_does_not_hold_up_the_others(
    broker: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    """Its partition is full and cannot publish, while all that the others have is published."""
    settings = await prepared(
        worker_settings(
            broker,
            unique,
            tmp_path,
            topics={"partitions": 4},
            broker={"fetch_max_bytes": 64 * 1024, "transaction_timeout": "5m"},
            checkpoint={"max_pending_bytes": 64 * 1024},
        )
    )
    hot, quiet = 13_500, 500
    parts = {number: [*_trades(number, quiet), FLUSH] for number in range(1, 4)}
    # Bad records, which the others have not: so their topic is missed by this partition alone.
    parts[0] = [b"{bad", *_trades(0, hot), b"{bad", FLUSH]
    dead = output_topic(settings, "bars.dead")
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        await send(settings, {0: parts[0][:1]})
        await wait_drained(settings, worker)
        await delete_topic(settings, dead)
        watch = Watch(worker)
        async with watch.going_on():
            # The second one comes with more outputs than may be pending.
            await send(settings, {0: [b"{bad", *parts[0][1:]]})

            async def full() -> bool:
                return watch.seen[-1].of("records_total", "dead") == 2

            await until(full, lambda: f"{watch.seen[-1].metrics}; {worker.tail}")
            await send(settings, {number: parts[number] for number in range(1, 4)})

            async def published() -> bool:
                done = await committed(settings)
                return all(done.get(each) == len(parts[each]) for each in range(1, 4))

            await until(published, lambda: f"{watch.seen[-1].metrics}; {worker.tail}")
            before = await committed(settings)
            assert before[0] == 1, "the hot partition could publish: the test shows nothing"
            assert watch.seen[-1].total("checkpoint_failures_total") == 0
            assert "bars 0: intake pauses: " in worker.log
            assert "bars 0: intake goes on" not in worker.log
            await ensure_topics(settings)
            await wait_drained(settings, worker)
            assert "bars 0: intake goes on after " in worker.log
        assert await worker.stop() == 0
    # But for the first bad record, which went with its topic.
    comparison = await compare(settings)
    faults = [
        line for topic in comparison.topics for kind in topic.faults.values() for line in kind
    ]
    [lost] = faults or ["nothing"]
    assert str((ticks_topic(settings).encode(), b"0", b"0")) in lost, comparison.report()
    assert len((await read_output(settings, "bars.dead"))[0]) == 2
    assert watch.growth < GROWTH


def _trades(partition: int, count: int) -> list[Value]:
    symbol = symbol_of(partition, 4)
    return [
        trade(symbol, START + number * SECOND // 4, 1.0 + number % 7, sequence=number)
        for number in range(count)
    ]


async def test_a_hundredfold_burst_is_a_backlog_in_kafka_and_not_in_memory(
    broker: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    pending = 64 * 1024
    settings = await prepared(
        worker_settings(
            broker,
            unique,
            tmp_path,
            broker={"fetch_max_bytes": 64 * 1024},
            checkpoint={"max_pending_bytes": pending},
        )
    )
    rate, steps = 10, 10
    parts = {number: market(number, 2, 101 * rate * steps) for number in range(2)}
    quiet = {number: values[: rate * steps] for number, values in parts.items()}
    burst = {number: [*values[rate * steps :], FLUSH] for number, values in parts.items()}
    async with WorkerProcess(settings) as worker:
        await worker.wait_ready()
        for begin in range(0, rate * steps, rate):
            await send(
                settings, {each: values[begin : begin + rate] for each, values in quiet.items()}
            )
        await wait_drained(settings, worker)
        watch = Watch(worker)
        before = await watch.look()
        async with watch.going_on():
            await send(settings, burst)
            await wait_drained(settings, worker)

        async def level() -> bool:
            return (await watch.look()).total("lag_records") == 0

        await until(level, lambda: worker.tail)
        after = watch.seen[-1]
        assert await worker.stop() == 0
    lags = [seen.total("lag_records") for seen in watch.seen]
    most = max(seen.total("pending_output_bytes") for seen in watch.seen)
    print(
        f"lag up to {max(lags):.0f}, pending up to {most:.0f} B, {watch.growth / MEGABYTE:.0f} MB"
    )
    # (Whether a look falls into the half second that the backlog takes is chance.)
    # Two partitions; above the limit at most what one more fetch gives.
    assert most < 2 * (pending + 4 * MEGABYTE)
    assert watch.growth < GROWTH
    # No heart-beat was lost: the group has not dealt out partitions again.
    assert before.total("rebalances_total") == after.total("rebalances_total") == 1
    assert after.total("checkpoint_failures_total") == 0
    assert {seen.health for seen in watch.seen} == {200}
    await assert_exact(settings)
