"""The loop of one sink: read, hand over, flush when due, then let go of what is durable.

One task does everything but the rebalances, which aiokafka announces in a task of its own: before
partitions go, a flush under way comes to its end, what is held is written once more if the sink
works, and the rest is dropped, so a partition never has two writers. New partitions stay paused
until the driver has begun them.

While a sink fails, the loop stays in the group, reads nothing more and holds what it had. What a
driver must not raise makes it leave the group and begin anew; nothing ends it but `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from app.observe.tracing import trace_flush
from app.settings import Settings
from app.sinks.calls import Answer, DriverFaultError, ask_driver, call_driver
from app.sinks.driver import (
    Driver,
    Flushed,
    Place,
    SinkConflictError,
    SinkError,
    SinkRefusesError,
    SinkUnavailableError,
)
from app.sinks.drivers import sink_topics
from app.sinks.lag import LagMeter
from app.sinks.ledger import Ledger
from app.sinks.letters import Bury, Letter
from app.sinks.patience import Patience
from app.sinks.reading import Reader, batches, first_position, group_reader
from app.sinks.status import SinkStatus, kind_of
from app.streaming import slim
from app.streaming.restore import retry_delay

if TYPE_CHECKING:
    from app.observe.spans import Tracing

logger = logging.getLogger(__name__)

#: Of `sinks.timeout`, for one call of a driver, which may be several requests.
LONGEST_CALL: Final = 6
#: Seconds to wait for records: while some wait for their flush, and while none do.
BUSY_SECONDS, IDLE_SECONDS = 0.02, 0.2
#: Seconds after which a driver is asked about records of which it holds nothing: it passed them.
PASSED_SECONDS: Final = 1.0
#: Seconds for a driver to close.
CLOSE_SECONDS: Final = 5.0
_SECOND: Final = 1e9


class SinkLoop:
    """Writes a deployment's topics into one outside system.

    Args:
        bury: takes what the system never will; offsets are kept until it returns.
        connect: opens a consumer in the sink's group.
        tracing: told of each flush; None: nothing is traced.
        monotonic: a clock in seconds; `now`: one in ns since the epoch.
        sleep: waits so many seconds, or less.
    """

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        bury: Bury,
        *,
        connect: Callable[[], AbstractAsyncContextManager[Reader]] | None = None,
        tracing: Tracing | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.sink, self.driver, self.status = driver.NAME, driver, SinkStatus()
        #: The broker's names of the topics, and the short ones.
        self.topics = sink_topics(settings, driver)
        self.patience = Patience(settings.sinks, monotonic, chance or random.Random())
        self._full = settings.sinks.max_held_bytes
        self._longest = LONGEST_CALL * settings.sinks.timeout / _SECOND
        self._connect = connect or (lambda: group_reader(settings, self.sink, self._longest))
        self._bury, self._monotonic, self._now = bury, monotonic, now
        self._sleep, self._tracing = sleep or self._wait, tracing
        self._full_names = {short: full for full, short in self.topics.items()}
        self._ledger = Ledger()
        self._stopping = asyncio.Event()
        #: Held by whoever has the driver write: this task, or the one of a rebalance.
        self._busy = asyncio.Lock()
        self._assigned: set[TopicPartition] = set()
        #: Of these, those that the driver has not begun.
        self._new: set[TopicPartition] = set()
        #: Counts changes of the assignment: what was fetched before one is not ours to write.
        self._epoch = 0
        self._opened = self._joined = False
        #: The last write has failed: that it can be opened says little.
        self._suspect = False
        self._attempt = 0
        self._lag = LagMeter(self.sink, self.topics, monotonic)
        #: When the driver was asked to write last.
        self._asked = float("-inf")

    @property
    def held(self) -> int:
        """About how many bytes wait for a flush."""
        return self.driver.held_bytes

    @property
    def last_write_age(self) -> float | None:
        """Seconds since something was written; None before the first time."""
        last = self.status.last_write
        return None if last is None else max(0.0, self._monotonic() - last)

    def stop(self) -> None:
        """Let `run` end after the round under way and a last flush."""
        self._stopping.set()

    async def run(self) -> None:
        """Write until `stop`; a broker or a sink that is away is waited for."""
        if not self.topics:
            logger.warning("sink %s: the deployment has none of its topics", self.sink)
            return
        slim.install()
        for topic in self.topics:
            slim.register(topic)
        try:
            while not self._stopping.is_set():
                await self._sleep(await self._take_part())
        finally:
            await self._close_driver()

    async def _wait(self, seconds: float) -> None:
        """Wait, or until `stop`."""
        waiter = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([waiter], timeout=seconds)
        waiter.cancel()

    async def _take_part(self) -> float:
        """Be a member of the group until `stop`, or until something ends that.

        Returns:
            Seconds to wait before joining again.
        """
        try:
            async with self._connect() as reader:
                try:
                    reader.subscribe(topics=sorted(self.topics), listener=_Listener(self, reader))
                    while not self._stopping.is_set():
                        await self._round(reader)
                        self._attempt = 0
                    async with self._busy:
                        await self._finish(reader)
                finally:
                    self._drop()
        except (SinkConflictError, DriverFaultError) as error:
            await self._close_driver()
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - of whatever kind
            self.status.errors["broker"] += 1
            delay = retry_delay(self._attempt)
            self._attempt += 1
            say = logger.warning if isinstance(error, KafkaError) else logger.exception
            say("sink %s: %s; again in %.1f s", self.sink, repr(error), delay)
            return delay
        return 0.0

    # --- a round -------------------------------------------------------------------------------

    async def _round(self, reader: Reader) -> None:
        if not self.patience.remaining:
            async with self._busy:
                await self._work(reader)
        self._steer(reader)
        fetched = await reader.getmany(timeout_ms=self._wait_milliseconds())
        await self._hand_over(reader, fetched)
        await self._measure(reader)

    def _wait_milliseconds(self) -> int:
        if self.patience.troubled:
            seconds = min(IDLE_SECONDS, self.patience.remaining or IDLE_SECONDS)
        else:
            seconds = BUSY_SECONDS if self._ledger.waiting else IDLE_SECONDS
        return max(1, round(seconds * 1_000))

    async def _work(self, reader: Reader) -> None:
        """Open, begin new partitions, flush: whatever is due; then let go of offsets."""
        if self._opened and not self._joined:
            # What comes tells whether it works again.
            return
        self.status.retries += self.patience.troubled
        try:
            if not self._opened:
                await self._ask(self.driver.open())
                self._opened = True
            if self._new:
                await self._begin(reader)
            if self._is_due():
                await self._flush(reader)
        except SinkConflictError:
            raise
        except SinkError as error:
            if not (isinstance(error, SinkUnavailableError) and error.limited):
                self._opened = False
            self._failed(error)
        else:
            if self._joined:
                self._works()
        await self._commit(reader)

    def _works(self) -> None:
        if self._suspect:
            # Nothing is held any more that would tell: what is read next does.
            self.patience.answered()
            return
        if self.patience.failures:
            logger.info("sink %s: works again", self.sink)
        self.patience.succeeded()
        self.status.last_error = ""

    async def _begin(self, reader: Reader) -> None:
        """Have the driver begin the new partitions, and read on where its system says."""
        places = {self._place(tp): tp for tp in sorted(self._new)}
        kept = await self._ask(self.driver.assign(list(places)))
        ends = await reader.end_offsets([places[place] for place in kept]) if kept else {}
        for place, position in kept.items():
            if position > ends[places[place]]:
                raise SinkRefusesError(
                    f"{self.sink} holds {place.topic} partition {place.partition} up to offset "
                    f"{position}, and the topic ends at {ends[places[place]]}: it is of another "
                    "log, such as that of a deployment that was removed; move it away, or name "
                    "another deployment"
                )
        for place, position in kept.items():
            reader.seek(places[place], position)
            self._ledger.keep(place, position)
        self._new.clear()

    def _is_due(self) -> bool:
        held, now = self.held, self._monotonic()
        if not held and not self._ledger.waiting:
            return False
        if self.patience.troubled or held >= self._full:
            # After a failure it is the trial that says whether the sink works again.
            return True
        return self._call(self.driver.due, now) or (
            not held and now >= self._asked + PASSED_SECONDS
        )

    async def _flush(self, reader: Reader | None = None) -> None:
        """Have the driver write, and bury culprits; meanwhile read on from `reader`, if it may."""
        self._suspect = True
        began = self._asked = self._monotonic()
        names, tracing = self._full_names, self._tracing
        try:
            flushed = await self._write(reader)
        except (SinkError, DriverFaultError) as error:
            trace_flush(tracing, self.sink, self._monotonic() - began, names, None, error)
            raise
        self._suspect = False
        now = self._monotonic()
        self.status.flushed(flushed, now - began, now)
        trace_flush(tracing, self.sink, now - began, names, flushed)
        if flushed.culprits:
            # Before their offsets go; where that fails, they are read again.
            await self._bury(
                [
                    Letter(self.sink, self._full_names[each.place.topic], each)
                    for each in flushed.culprits
                ]
            )
            self.status.dead += len(flushed.culprits)
            first = flushed.culprits[0]
            logger.error(
                "sink %s: %d records will never be taken; the first, %s partition %d offset %d: %s",
                *(self.sink, len(flushed.culprits), first.place.topic, first.place.partition),
                *(first.offset, first.reason),
            )
        self._ledger.tell(flushed.positions)

    async def _write(self, reader: Reader | None) -> Flushed:
        writing = asyncio.ensure_future(self._ask(self.driver.flush(self._now())))
        epoch, takes = self._epoch, self.driver.TAKES_MEANWHILE
        try:
            while takes and reader is not None and not writing.done():
                if self.held >= self._full or self._epoch != epoch or self._stopping.is_set():
                    break
                fetched = await reader.getmany(timeout_ms=round(BUSY_SECONDS * 1_000))
                await self._hand_over(reader, fetched)
        except asyncio.CancelledError:
            writing.cancel()
            raise
        except Exception:
            # Nobody else writes before it has ended; what it wrote is read again.
            [ended] = await asyncio.gather(writing, return_exceptions=True)
            if isinstance(ended, BaseException):
                logger.warning("sink %s: %r", self.sink, ended)
            raise
        return await writing

    async def _commit(self, reader: Reader) -> None:
        owed = self._ledger.owed()
        if not owed:
            return
        try:
            await reader.commit({self._partition(place): next_ for place, next_ in owed.items()})
        except (CommitFailedError, IllegalStateError) as error:
            # Somebody else has partitions now and writes the same again, which changes nothing.
            logger.warning("sink %s: %r", self.sink, error)
            return
        self._ledger.paid(owed)

    def _steer(self, reader: Reader) -> None:
        """Read on, or not: no more than is allowed to be held, nothing while the sink fails."""
        wanted = self._assigned - self._new
        if not self._opened or self.patience.troubled or self.held >= self._full:
            wanted = set()
        paused = reader.paused()
        reader.pause(*sorted(self._assigned - wanted - paused))
        reader.resume(*sorted(wanted & paused))

    async def _hand_over(
        self, reader: Reader, fetched: Mapping[TopicPartition, Sequence[Any]]
    ) -> None:
        epoch = self._epoch
        for tp, records in fetched.items():
            if tp in self._new:
                # Fetched before it was paused; where to begin is not known yet.
                reader.seek(tp, first_position(records))
                continue
            place = self._place(tp)
            self._ledger.meet(place, first_position(records))
            for batch in batches(tp, records, self._ledger.expected(place)):
                self._call(self.driver.add, place.topic, batch.listed())
                self._ledger.hand(place, batch)
                # The engine's turn; meanwhile partitions may go.
                await asyncio.sleep(0)
                if self._epoch != epoch:
                    return

    async def _measure(self, reader: Reader) -> None:
        """See how far behind the ends the durable positions are, now and then."""

        def positions() -> dict[TopicPartition, int | None]:
            known = self._ledger.positions()
            return {tp: known.get(self._place(tp)) for tp in self._assigned}

        lag = await self._lag.look(reader, positions, reads=not self.patience.troubled)
        if lag is not None:
            self.status.lag = lag

    # --- rebalances, and the end ---------------------------------------------------------------

    async def revoked(self, reader: Reader) -> None:
        """All partitions go: write what is held, if that works, and drop the rest."""
        self._epoch += 1
        async with self._busy:
            await self._finish(reader)
            self._drop()

    def assigned(self, reader: Reader, partitions: Iterable[TopicPartition]) -> None:
        """These partitions are ours now; they are not read until the driver has begun them."""
        self._epoch += 1
        self._assigned, self._new, self._joined = set(partitions), set(partitions), True
        reader.pause(*sorted(self._assigned))

    async def _finish(self, reader: Reader) -> None:
        """Write what is held, once, and let go of what is durable; never raises."""
        try:
            if self._ledger.waiting and self._opened and not self.patience.troubled:
                await self._flush()
            await self._commit(reader)
        except (SinkError, DriverFaultError) as error:
            self._failed(error)
            await self._close_driver()
        except KafkaError as error:
            logger.warning("sink %s: %r", self.sink, error)

    def _drop(self) -> None:
        """Forget all partitions; what is held of them is read again by whoever has them next."""
        places = sorted({*self._ledger.places, *map(self._place, self._assigned)})
        self._ledger.drop(places)
        self._assigned, self._new, self._joined = set(), set(), False
        self.status.lag = {}
        if places:
            try:
                self.driver.revoke(places)
            except Exception:
                logger.exception("sink %s: partitions are not let go as they should", self.sink)

    async def _close_driver(self) -> None:
        self._opened = False
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.driver.close()
        except Exception as error:  # noqa: BLE001 - nothing is left to be done with it
            logger.warning("sink %s: not closed as it should: %s", self.sink, repr(error))

    # --- the driver ----------------------------------------------------------------------------

    async def _ask(self, call: Awaitable[Answer]) -> Answer:
        return await ask_driver(call, self._longest)

    def _call(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        try:
            return call_driver(function, *arguments)
        except DriverFaultError:
            self._suspect = True
            raise

    def _failed(self, error: SinkError | DriverFaultError) -> float:
        """Count a failure and say it; return the seconds until the next attempt."""
        self.status.errors[kind_of(error)] += 1
        self.status.last_error = str(error)
        wait = self.patience.failed(error)
        # With its traceback, where it is nobody's but ours to mend.
        cause = error.__cause__ if isinstance(error, DriverFaultError) else None
        # As text: an operator's error itself would be taken for the line that ends the worker.
        logger.warning("sink %s: %s; again in %.1f s", self.sink, str(error), wait, exc_info=cause)
        return wait

    def _place(self, tp: TopicPartition) -> Place:
        return Place(self.topics[tp.topic], tp.partition)

    def _partition(self, place: Place) -> TopicPartition:
        return TopicPartition(self._full_names[place.topic], place.partition)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells the loop of rebalances; called in aiokafka's task, which waits for the answer."""

    def __init__(self, loop: SinkLoop, reader: Reader) -> None:
        self._loop, self._reader = loop, reader

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._loop.revoked(self._reader)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._loop.assigned(self._reader, assigned)
