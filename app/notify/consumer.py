"""The loop of one channel: read notifications, deliver them in order, then let go of the offsets.

One notification is on its way at a time, so that messages about a key never overtake each other,
and its offset is committed before the next one is sent: a crash repeats one message at most.
While the channel rests (breaker open, Retry-After), the partitions are paused and read no further.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from app.notify.deliverer import Deliverer, Outcome
from app.notify.groups import notify_group
from app.settings import Settings
from app.streaming.beside import group_consumer
from app.streaming.restore import retry_delay
from app.topics import output_topic
from tables.alerts.records import notification_decoder

logger = logging.getLogger(__name__)

#: Notifications that are held at once, at most.
ROUND_RECORDS = 64
#: Seconds after which a round ends before all of it is delivered, so that the group hears of us.
ROUND_SECONDS = 60.0
WAIT_MILLISECONDS = 200
FETCH_BYTES = 256 * 1024
_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class DeadNotification:
    """What a channel never takes: the record, where it lies, and why."""

    channel: str
    reason: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


DeadSink = Callable[[DeadNotification], Awaitable[None]]


@dataclass(slots=True)
class NotifierStatus:
    """What a channel has done since the start, for metrics and pages.

    Attributes:
        attempts: requests, of which those that were not taken are `failures`.
        last_reason: of the last failure or dead letter.
        held: notifications in memory now.
    """

    delivered: int = 0
    skipped: int = 0
    dead: int = 0
    attempts: int = 0
    failures: int = 0
    last_reason: str = ""
    held: int = 0


def notifications_topic(settings: Settings) -> str:
    """Name of the topic that the notifications lie in."""
    return output_topic(settings, "notifications")


class Notifier:
    """Delivers a deployment's notifications to one channel.

    Args:
        dead: takes what the channel refuses; the offset is kept until it returns.
        give_up_after: ns after which a notification that is never taken is dead as well.
        monotonic: a clock in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        deliverer: Deliverer,
        dead: DeadSink,
        give_up_after: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings, self.deliverer, self.dead = settings, deliverer, dead
        self.channel = deliverer.channel.name
        self.status = NotifierStatus()
        self._give_up_after, self._monotonic = give_up_after / _SECOND, monotonic
        self._stopping = asyncio.Event()
        self._rest_until = 0.0
        #: The notification that the channel does not take, and since when.
        self._failing: tuple[TopicPartition, int, float] | None = None

    @property
    def resting(self) -> float:
        """Seconds until the channel is tried again; 0: it is not resting."""
        return max(0.0, self._rest_until - self._monotonic())

    def stop(self) -> None:
        """Let `run` end after the delivery on its way."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until `stop`; a broker that is away is waited for.

        Whatever else goes wrong is said and tried again: a channel never ends by itself.
        """
        attempt = 0
        while not self._stopping.is_set():
            try:
                async with self._reader() as consumer:
                    while not self._stopping.is_set():
                        await self._round(consumer)
                        attempt = 0
            except Exception as error:  # noqa: BLE001 - of whatever kind
                delay = retry_delay(attempt)
                attempt += 1
                say = logger.warning if isinstance(error, KafkaError) else logger.exception
                say("notify %s: %r; again in %.1f s", self.channel, error, delay)
                await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        """Wait, or until `stop`."""
        waiter = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([waiter], timeout=seconds)
        waiter.cancel()

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        resting = self.resting
        if resting:
            # Also what a rebalance has brought since; reading on keeps us in the group.
            consumer.pause(*consumer.assignment())
        elif consumer.paused():
            consumer.resume(*consumer.paused())
        fetched = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS, max_records=ROUND_RECORDS)
        if resting:
            for tp, records in fetched.items():
                self._go_back(consumer, tp, records[0].offset)
            await self._pause(min(resting, WAIT_MILLISECONDS / 1_000))
            return
        self.status.held = sum(map(len, fetched.values()))
        try:
            await self._deliver(consumer, fetched)
        finally:
            self.status.held = 0

    async def _deliver(
        self, consumer: AIOKafkaConsumer, fetched: Mapping[TopicPartition, Sequence[Any]]
    ) -> None:
        deadline = self._monotonic() + ROUND_SECONDS
        for tp in sorted(fetched):
            skipped = None
            for record in fetched[tp]:
                late = self._monotonic() > deadline or self.resting or self._stopping.is_set()
                taken = "again" if late else await self._take(tp, record)
                if taken == "again":
                    self._go_back(consumer, tp, record.offset)
                    break
                skipped = record.offset + 1 if taken == "skipped" else None
                if taken == "done":
                    await self._commit(consumer, tp, record.offset + 1)
            if skipped is not None:
                await self._commit(consumer, tp, skipped)

    async def _take(self, tp: TopicPartition, record: Any) -> Literal["done", "skipped", "again"]:
        """Deliver a record, and say whether it is done with."""
        try:
            notification = notification_decoder.decode(record.value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            await self._bury(tp, record, f"malformed: {error}")
            return "done"
        try:
            outcome = await self.deliverer.deliver(notification)
        except Exception as error:
            # A fault of ours must not stop the channel for good; what it was about is kept.
            logger.exception("notify %s: a notification cannot be sent", self.channel)
            outcome = Outcome("dead", f"fault: {type(error).__name__}")
        self._count(outcome)
        if outcome.result == "unavailable" and not self._hopeless(tp, record.offset):
            self._rest_until = self._monotonic() + outcome.retry_in
            logger.warning(
                "notify %s: %s; again in %.1f s", self.channel, outcome.reason, outcome.retry_in
            )
            return "again"
        self._failing = None
        if outcome.result in ("dead", "unavailable"):
            await self._bury(tp, record, outcome.reason)
        return "skipped" if outcome.result == "skipped" else "done"

    def _count(self, outcome: Outcome) -> None:
        status = self.status
        delivered = outcome.result == "delivered"
        status.attempts += outcome.attempts
        status.failures += outcome.attempts - delivered
        status.delivered += delivered
        status.skipped += outcome.result == "skipped"
        status.last_reason = outcome.reason or status.last_reason

    def _hopeless(self, tp: TopicPartition, offset: int) -> bool:
        """Whether a notification has not been taken for too long."""
        now = self._monotonic()
        if self._failing is None or self._failing[:2] != (tp, offset):
            self._failing = (tp, offset, now)
        return now - self._failing[2] >= self._give_up_after

    async def _bury(self, tp: TopicPartition, record: Any, reason: str) -> None:
        self.status.dead += 1
        self.status.last_reason = reason
        logger.error(
            "notify %s: %s[%s] %s: never to be delivered: %s",
            *(self.channel, tp.topic, tp.partition, record.offset, reason),
        )
        letter = DeadNotification(
            *(self.channel, reason, tp.topic, tp.partition, record.offset),
            key=record.key,
            value=record.value,
        )
        await self.dead(letter)

    def _go_back(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> None:
        """Read on from an offset, if the partition is still ours."""
        if tp in consumer.assignment():
            consumer.seek(tp, offset)

    async def _commit(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> None:
        try:
            await consumer.commit({tp: offset})
        except (CommitFailedError, IllegalStateError) as error:
            # Somebody else has the partition now and sends it again, with the same key.
            logger.warning("notify %s: %r", self.channel, error)

    def _reader(self) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
        """Open a consumer in the channel's group; what was to be told before it was there, too."""
        return group_consumer(
            self.settings,
            notify_group(self.settings, self.channel),
            notifications_topic(self.settings),
            client_id=f"candlewick-notify-{self.channel}",
            max_poll_interval_ms=round((2 * ROUND_SECONDS + self.deliverer.longest) * 1_000),
            max_partition_fetch_bytes=FETCH_BYTES,
            fetch_max_wait_ms=WAIT_MILLISECONDS,
        )
