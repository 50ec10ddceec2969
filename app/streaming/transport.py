"""Whole fetches as events: a Faust transport whose consumer hands over `RecordBatch`es.

Faust spends 40-70 us on each event (four tasks a message in `transport/consumer.py:1220`), so a
record an event tops out at some 10,000 a second. Here a partition's fetch is one event. The hooks
are those of a subclass: `scheduler`, `_to_message`, `perform_seek`, `_create_worker_consumer`,
`_wait_next_records`, `wait_first`.

Also set here, because Faust hard-codes or lacks it: `fetch_max_wait_ms` (1500), the isolation
level, and a real pause of changelog partitions, which aiokafka otherwise prefetches and keeps.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import faust
from aiokafka import TopicPartition
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage, Message
from faust.types.auth import AuthProtocol, CredentialsT

from app.contracts.batch import RecordBatch
from app.streaming.assignor import use_even_assignment
from app.streaming.feeding import Feed
from app.streaming.merging import cut_records, merge_batches
from app.streaming.slim import SlimBatch, is_installed
from app.streaming.tuning import close_fetchers_whole

if TYPE_CHECKING:
    from app.streaming.engine import Engine
    from app.streaming.watchdog import Watchdog

logger = logging.getLogger(__name__)

SCHEME = "candlewick"
#: To tell the group that a worker leaves.
LEAVE_SECONDS = 2.0
#: To close aiokafka's consumer; it would wait for a request under way, 90 s.
CLOSE_SECONDS = 5.0
#: Of the event loop, in which agents may take what they were given before there is more. Where six
#: of their eight places are taken, Faust leaves the partition out of the next fetch, and aiokafka
#: asks its node for nothing during 100 ms.
TURNS = 16
#: Seconds after which a wait for records begins anew; nothing depends on it.
PATIENCE = 1.0
_MILLISECOND = 1_000_000


def register_transport() -> None:
    """Make `broker="candlewick://..."` known to Faust; may be called again."""
    TRANSPORTS.aliases[SCHEME] = "app.streaming.transport:Transport"


def faust_credentials(security: Mapping[str, Any]) -> CredentialsT | None:
    """Return aiokafka's options (`app.security.client_security`) in Faust's own terms.

    Faust gives them to its consumer and to its producer, and would give those PLAINTEXT otherwise.
    """
    protocol, context = security["security_protocol"], security.get("ssl_context")
    if protocol == AuthProtocol.PLAINTEXT.value:
        return None
    if protocol == AuthProtocol.SSL.value:
        return SSLCredentials(context)
    return SASLCredentials(
        username=security["sasl_plain_username"],
        password=security["sasl_plain_password"],
        mechanism=security["sasl_mechanism"],
        ssl_context=context,
    )


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that aiokafka's consumer lives in, with its options set."""

    @faust.Service.task
    async def _feed(self) -> None:
        """Take what is fetched as soon as it has arrived."""
        owner = cast("Consumer", self.consumer)
        await owner.feed.run(self._fetched, owner.is_fed, PATIENCE)

    async def _fetched(self) -> Mapping[TP, list[Any]]:
        consumer = self._ensure_consumer()
        return await self._fetch_records(
            consumer,
            # Not a copy: partitions that are resumed meanwhile are taken at once.
            self.consumer._active_partitions,
            timeout=PATIENCE,
            max_records=consumer._max_poll_records,
        )

    def _create_worker_consumer(self, transport: Any) -> Any:
        use_even_assignment()
        close_fetchers_whole()
        consumer = super()._create_worker_consumer(transport)
        engine: Engine = cast(Any, self.app).engine
        settings = engine.settings.broker
        consumer._fetch_max_wait_ms = settings.fetch_max_wait // _MILLISECOND
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_bytes = max(
            settings.fetch_max_bytes, engine.settings.topics.max_message_bytes
        )
        return consumer

    def _stopped_set(self) -> None:
        # A thread that has crashed has closed its loop (mode 0.7.1, threads.py:228, raises).
        if not self.thread_loop.is_closed():
            super()._stopped_set()

    async def on_thread_stop(self) -> None:
        """Close aiokafka's consumer; where that fails or takes too long, go on without.

        What is raised in here keeps mode from telling the main thread that this one has ended
        (0.7.1, threads.py, `_shutdown_thread`), and the worker waits for that forever. Needed:
        `tests/broker/test_stop_away.py`.
        """
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().on_thread_stop()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            logger.warning("the consumer was not closed cleanly: %r", error)

    async def seek_assigned(self, positions: Mapping[TP, int]) -> None:
        """Seek those partitions that are assigned at this moment, in aiokafka's own thread."""

        async def seek() -> None:
            consumer = self._ensure_consumer()
            assigned = consumer.assignment()
            for tp, position in positions.items():
                key = TopicPartition(tp.topic, tp.partition)
                if key in assigned:
                    consumer.seek(key, position)

        await self.call_thread(seek)

    async def leave_group(self) -> None:
        """Leave the group for good; aiokafka's own stop finds it done."""

        async def leave() -> None:
            coordinator = self._ensure_consumer()._coordinator
            if coordinator is not None:
                # Here, too: a call that is given up there goes on in this thread.
                async with asyncio.timeout(LEAVE_SECONDS):
                    await coordinator.close()

        await self.call_thread(leave)

    @property
    def group_error(self) -> str | None:
        """What keeps the consumer from ever taking part in its group again; from any thread.

        aiokafka hands such an error to whoever asks for records by its own `getmany`, and does
        nothing more until then (group_coordinator.py, `_push_error_to_user`); Faust never asks.
        """
        coordinator: Any = None if self._consumer is None else self._consumer._coordinator
        task = getattr(coordinator, "_coordination_task", None)
        if task is None or coordinator._closing.done():
            return None
        error = coordinator._pending_exception
        if task.done():
            error = "cancelled" if task.cancelled() else task.exception()
        elif error is None:
            return None
        return f"the consumer cannot take part in its group {coordinator.group_id}: {error!r}"

    def verify_event_path(self, now: float, tp: TP) -> None:
        """As Faust, but for changelogs: they are paused for good, which it calls an error.

        It would say so of each partition, twice a minute, for ever (drivers/aiokafka.py:913).
        """
        engine: Engine = cast(Any, self.app).engine
        if tp.topic not in engine.changelogs:
            super().verify_event_path(now, tp)

    async def pause_partitions(self, partitions: Iterable[TP]) -> None:
        """Stop aiokafka from fetching assigned partitions, in its own thread."""

        async def pause() -> None:
            consumer = self._ensure_consumer()
            assigned = consumer.assignment()
            wanted = [TopicPartition(tp.topic, tp.partition) for tp in partitions]
            consumer.pause(*[tp for tp in wanted if tp in assigned])

        await self.call_thread(pause)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that is to be given to its streams."""

    message: Message


class Consumer(driver.Consumer):
    """Faust's consumer with a fetch of a partition as one message."""

    _thread: ConsumerThread

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scheduler: Any = self
        self._positions: dict[TP, int] = {}
        #: Set when partitions are resumed.
        self._woken = asyncio.Event()
        self.feed = Feed(self.loop, self._thread.thread_loop)
        self._conduct: Callable[[Message], Awaitable[None]] = self.callback
        self.callback: Any = Delivery

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def _engine(self) -> Engine:
        engine: Engine = cast(Any, self.app).engine
        return engine

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Faust's scheduler: one batch for each of our partitions, single records otherwise.

        Of ours Faust forgets each time how far it has read. It would leave out without a word what
        lies before that, also where that was fetched before a seek: the engine judges.
        """
        for tp, fetched in records.items():
            if not self._engine.is_source(tp.topic):
                for record in fetched:
                    yield tp, record
            elif isinstance(fetched[0], SlimBatch):
                for batch in merge_batches(tp.topic, tp.partition, fetched):
                    self._read_offset[tp] = None
                    yield tp, batch
            else:
                yield from self._from_records(tp, fetched)

    def _from_records(self, tp: TP, records: list[Any]) -> Iterator[tuple[TP, Any]]:
        """Batches of aiokafka's own record objects; each begins where the last one ended."""
        base = self._positions.get(tp, records[0].offset)
        for batch in cut_records(tp.topic, tp.partition, records, base):
            yield tp, batch
            base = batch.next
        self._positions[tp] = base

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        if not isinstance(record, RecordBatch):
            return super()._to_message(tp, record)
        return ConsumerMessage(
            record.topic,
            record.partition,
            # Of the last record: how far is read, for Faust.
            record.next - 1,
            0.0,
            1,
            [],
            None,
            cast(Any, record),
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    async def perform_seek(self) -> None:
        """Seek our partitions that flow to where their states end; the others as Faust does.

        What is restored later is sought then. Also called by `getmany` during a rebalance
        (transport/consumer.py:772) when no state is loaded: then they stay where they are.
        """
        ours = {tp for tp in self.assignment() if self._engine.is_source(tp.topic)}
        if ours != self.assignment():
            await super().perform_seek()
        flowing = [tp for tp in ours if self._engine.rebalances.flows(tp)]
        await self.seek_sources(self._engine.positions(flowing))

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Resume partitions; of ours those alone that flow: the others are being restored."""
        engine = self._engine
        super().resume_partitions(
            {tp for tp in tps if not engine.is_source(tp.topic) or engine.rebalances.flows(tp)}
        )
        self._woken.set()
        self.feed.wake()

    def resume_flow(self) -> None:
        """As Faust, and tell the thread."""
        super().resume_flow()
        self.feed.wake()

    def on_buffer_drop(self, tp: TP) -> None:
        """As Faust, and tell the thread of a partition that is wanted again."""
        buffered = tp in self._buffered_partitions
        super().on_buffer_drop(tp)
        if buffered:
            self.feed.wake()

    def is_fed(self) -> bool:
        """Whether the thread hands over records without being asked; from any thread.

        They may be taken after a seek, though they were fetched before it. So all that is fetched
        has to be ours, and to know where it begins: then it is judged by that.
        """
        # A copy in one step: the event loop may change the set meanwhile.
        topics = {tp.topic for tp in tuple(self._active_partitions)}
        return (
            self.flow_active
            and is_installed()
            and bool(topics)
            and topics <= {*self._engine.sources, *self._engine.changelogs}
        )

    async def _wait_next_records(self, timeout: float) -> Any:  # noqa: ASYNC109
        """As Faust, which sleeps for a second where no partition is active (consumer.py:808).

        That is so at the end of every rebalance, and made a second of each. Needed:
        `tests/bench/rebalances.py`.
        """
        if not self.flow_active:
            await self.wait(cast(Any, self.can_resume_flow))
        if not self._get_active_partitions():
            self._woken.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._woken.wait()
            return None, None
        if self.is_fed():
            # Not None: what has been revoked meanwhile has no end that `getmany` could ask for.
            return await self.feed.take(PATIENCE), self._active_partitions
        return await super()._wait_next_records(timeout)

    async def wait_first(self, *waited: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109
        """As Faust, but for a delivery that need not wait (consumer.py:1220).

        It makes four tasks of each message, so that one that waits for room can be given up. Where
        there is room, nothing waits; then the agent has its turn.
        """
        if not isinstance(waited[0], Delivery):
            return await super().wait_first(*waited, timeout=timeout)
        message = waited[0].message
        if not self._has_room(message.tp):
            return await super().wait_first(self._conduct(message), *waited[1:], timeout=timeout)
        for each in waited[1:]:
            each.close()
        await self._conduct(message)
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if not any(queue.qsize() for queue in self._queues(message.tp)):
                break
        return None

    def _has_room(self, tp: TP) -> bool:
        """Whether all streams of a partition take a message at once."""
        flows = self.flow_active and self.app.flow_control.is_active()
        return flows and not any(queue.full() for queue in self._queues(tp))

    def _queues(self, tp: TP) -> list[Any]:
        topics: Any = self.app.topics
        # An index of sets that are made when they are asked for.
        return [channel.queue for channel in topics._tp_index.get(tp, ())]

    async def leave_group(self) -> None:
        """Tell the group at once that this worker's partitions are free.

        Faust closes its consumer last of all. Where the group does not answer, it finds out after
        the session time-out.
        """
        try:
            await asyncio.wait_for(self._thread.leave_group(), LEAVE_SECONDS)
        except Exception as error:  # noqa: BLE001
            # The worker ends all the same; so also where it never had a consumer.
            logger.debug("leaving the group: %r", error)

    async def seek_sources(self, positions: Mapping[TP, int]) -> None:
        """Seek our partitions and forget Faust's own idea of what was read."""
        if positions:
            await self._thread.seek_assigned(positions)
            for tp, position in positions.items():
                self._read_offset[tp] = None
                self._positions[tp] = position

    def watch(self, watchdog: Watchdog) -> None:
        """Have the thread's loop watched."""
        thread: Any = self._thread._thread
        watchdog.watch("the consumer's loop", self._thread.thread_loop, thread.ident)

    @property
    def group_error(self) -> str | None:
        """See `ConsumerThread.group_error`."""
        return self._thread.group_error

    def known_ends(self, partitions: Iterable[TP]) -> dict[TP, int]:
        """Log ends as of the last fetches; partitions that were just revoked are left out.

        aiokafka's own `highwater()` raises for those (consumer.py:713).
        """
        consumer = self._thread._consumer
        subscription = None if consumer is None else consumer._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None:
            return {}
        found = {}
        for tp in partitions:
            key = TopicPartition(tp.topic, tp.partition)
            state = assignment.state_value(key) if key in assignment.tps else None
            if state is not None and state.highwater is not None:
                found[tp] = state.highwater
        return found

    def highwater(self, tp: TP) -> int:
        """As Faust, but 0 where aiokafka raises: what was fetched may be of a partition of before.

        Faust asks for each message (consumer.py, `getmany`), and would end the worker.
        """
        return self.known_ends([tp]).get(tp, 0)

    async def pause_changelogs(self, topics: set[str]) -> None:
        """Really pause the changelogs' partitions: the restore has a consumer of its own."""
        await self._thread.pause_partitions([tp for tp in self.assignment() if tp.topic in topics])


class BatchSchema(faust.Schema):  # type: ignore[type-arg]
    """The value of an event is the `RecordBatch` that the transport made."""

    def loads_key(self, app: Any, message: Message, **options: Any) -> Any:
        """Keys are not read."""
        return None

    def loads_value(self, app: Any, message: Message, **options: Any) -> Any:
        """The batch."""
        return message.value


class Transport(driver.Transport):
    """Faust's aiokafka transport with the batch consumer."""

    Consumer: ClassVar[Any] = Consumer
