"""A simulated Kafka: logs, transactions and their coordinator, and a network that fails.

What the broker promises, and no more: a new producer with a transactional id fences the last one
and aborts its open transaction; of a transaction all or nothing is committed, but each partition,
and the group's offset, learns of it at a moment of its own; a transaction that stays open too long
is aborted and its producer fenced; `read_committed` readers see committed records below the first
open transaction. Requests and answers may be late or lost, and the broker away for a while.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, ProducerFenced
from faust.types import TP

from tests.simulation.loop import PROCESS, Freezable
from tests.simulation.plan import Weights

Headers = list[tuple[str, bytes]]
Answer = TypeVar("Answer")
#: Virtual seconds until a client gives up on a request.
REQUEST_SECONDS = 2.5
#: Between two tries while a transaction is ending, and at most so many of them.
BUSY_SECONDS = 0.02
MOST_TRIES = 200


class BusyError(Exception):
    """A transaction is still ending; clients ask again, as for CONCURRENT_TRANSACTIONS."""


@dataclass(slots=True, eq=False)
class Entry:
    """A record, or what takes an offset without being one (`data` is false).

    `visible` is None while its transaction is open; `timestamp` is in ms.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    data: bool
    timestamp: int
    visible: bool | None = True


@dataclass(slots=True, eq=False)
class Transaction:
    """Of one producer: what it has written where, and offsets for the group."""

    producer: str
    epoch: int
    entries: dict[TP, list[Entry]] = field(default_factory=dict)
    offsets: dict[TP, int] = field(default_factory=dict)
    ending: bool = False
    #: Partitions, and the group, that have not learnt of its end.
    unaware: int = 0


class Log:
    """One partition of a topic."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        #: First offsets of transactions that are not decided here.
        self.open: dict[Transaction, int] = {}
        self._last: tuple[int, float] = (0, 0.0)

    @property
    def stable(self) -> int:
        """The last stable offset: nothing before it is open."""
        return min(self.open.values()) if self.open else len(self.entries)

    @property
    def last(self) -> int:
        """The append time of the last entry, in ms."""
        return self._last[0]

    def add(self, entry: Entry, now: float, not_before: int = 0) -> None:
        """Append at a virtual time; the append time never goes back."""
        last, at = self._last
        entry.timestamp = max(not_before, last + int((now - at) * 1000))
        self._last = (entry.timestamp, now)
        self.entries.append(entry)

    def read(self, begin: int, end: int) -> list[tuple[int, Entry]]:
        """What a `read_committed` reader gets of these offsets; `end` is at most `stable`."""
        return [
            (begin + place, entry)
            for place, entry in enumerate(self.entries[begin:end])
            if entry.data and entry.visible
        ]

    def committed(self) -> list[tuple[int, Entry]]:
        """All that a `read_committed` reader gets."""
        return self.read(0, self.stable)


class World:
    """The broker, its network, and the machines' disks."""

    def __init__(self, dice: random.Random, weights: Weights, planted: frozenset[str]) -> None:
        self.dice = dice
        self.weights = weights
        #: Faults that a mutation test has planted here ("no fencing").
        self.planted = planted
        self.logs: dict[TP, Log] = {}
        self.epochs: dict[str, int] = {}
        self.transactions: dict[str, Transaction] = {}
        #: Committed offsets of the one group.
        self.offsets: dict[TP, int] = {}
        #: By machine and folder: each write as its rows, in order.
        self.disks: dict[str, dict[str, list[dict[bytes, Any]]]] = {}
        self.away_until = 0.0
        self.events: list[str] = []
        self.counts: Counter[str] = Counter()
        self.tracing = False
        #: At the end: everything may run out, nothing is asked any more.
        self.over = False
        #: Callbacks of the broker's own belong to no process.
        self.context = Context()

    # --- report ----------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Virtual seconds."""
        return asyncio.get_running_loop().time()

    def tell(self, text: str) -> None:
        """An event of the history, for its report."""
        process = PROCESS.get()
        who = "" if process is None else f"{process.name}: "
        self.events.append(f"{self.now:9.3f}  {who}{text}")

    def trace(self, text: str) -> None:
        """What happens all the time, told only where it is asked for."""
        if self.tracing:
            self.tell(text)

    def happens(self, fault: str) -> bool:
        """Draw whether a fault of the weights happens now, and count it."""
        weight: float = getattr(self.weights, fault)
        if not weight or self.dice.random() >= weight:
            return False
        self.counts[fault.replace("_", " ")] += 1
        return True

    # --- network ---------------------------------------------------------------------------

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """The broker does something after a while, whatever becomes of who asked for it."""
        asyncio.get_running_loop().call_later(seconds, action, context=self.context)

    def _way(self) -> float:
        way = self.dice.expovariate(1 / self.weights.delay)
        if self.weights.slow and self.happens("slow"):
            way = min(REQUEST_SECONDS, way * self.dice.randint(10, 100))
        return way

    async def request(self, name: str, action: Callable[[], Answer]) -> Answer:
        """Have the broker do something; what is on its way arrives even where the asker dies.

        Raises:
            aiokafka.errors.KafkaError: it was lost, or its answer, or the broker is away; or what
                the action raises.
        """
        process = PROCESS.get()
        if process is not None and process.step():
            await asyncio.sleep(0)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def tell(result: Any, error: BaseException | None) -> None:
            if not answer.done():
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(error)

        def arrive(tries: int = 0) -> None:
            if self.away_until > self.now:
                error = KafkaConnectionError("simulated: the broker is away")
                self.later(self.dice.uniform(0.01, 0.3), lambda: tell(None, error))
                return
            try:
                result = action()
            except BusyError:
                if tries < MOST_TRIES:
                    self.later(BUSY_SECONDS, lambda: arrive(tries + 1))
                else:
                    tell(None, KafkaTimeoutError("simulated: the transaction does not end"))
                return
            except Exception as raised:  # noqa: BLE001
                refused = raised
                self.later(self._way(), lambda: tell(None, refused))
                return
            if process is not None:
                process.step()
            if self.happens("lose_answer"):
                lost = KafkaConnectionError(f"simulated: the answer to {name} was lost")
                self.later(REQUEST_SECONDS, lambda: tell(None, lost))
            else:
                self.later(self._way(), lambda: tell(result, None))

        self.trace(f"asks for {name}")
        if self.happens("lose_request"):
            lost = KafkaTimeoutError(f"simulated: {name} was lost")
            self.later(REQUEST_SECONDS, lambda: tell(None, lost))
        else:
            self.later(self._way(), arrive)
        return await answer

    # --- logs ------------------------------------------------------------------------------

    def log(self, tp: TP) -> Log:
        """A partition, made when first asked for."""
        log = self.logs.get(tp)
        if log is None:
            log = self.logs[tp] = Log()
        return log

    def append(self, tp: TP, value: bytes | None, not_before: int = 0) -> int:
        """A record of another program, or outside a transaction; its offset."""
        log = self.log(tp)
        log.add(Entry(None, value, [], data=True, timestamp=0), self.now, not_before)
        return len(log.entries) - 1

    def hole(self, tp: TP, *, aborted: bool) -> None:
        """An offset that readers do not see: another program's marker or aborted record."""
        entry = Entry(None, b'{"aborted":1}', [], data=aborted, timestamp=0, visible=False)
        log = self.log(tp)
        log.add(entry, self.now)

    # --- transactions ----------------------------------------------------------------------

    def fence(self, producer: str) -> int:
        """A new owner of a transactional id; its epoch."""
        if "no fencing" in self.planted:
            return self.epochs.setdefault(producer, 0)
        transaction = self.transactions.get(producer)
        if transaction is not None:
            if not transaction.ending:
                # As the coordinator: the old epoch writes nothing from now on, not even after the
                # abort, when its last batch would begin a transaction of its own.
                self.epochs[producer] += 1
                self.end(transaction, commit=False)
            raise BusyError
        self.epochs[producer] = self.epochs.get(producer, -1) + 1
        return self.epochs[producer]

    def check(self, producer: str, epoch: int) -> None:
        """Refuse a producer that was fenced."""
        if self.epochs.get(producer) != epoch:
            raise ProducerFenced

    def transaction(self, producer: str, epoch: int, timeout: float) -> Transaction:
        """The open transaction of a producer, begun by its first request."""
        self.check(producer, epoch)
        transaction = self.transactions.get(producer)
        if transaction is not None and transaction.ending:
            raise BusyError
        if transaction is None:
            transaction = self.transactions[producer] = Transaction(producer, epoch)
            mine = transaction

            def give_up() -> None:
                if self.transactions.get(producer) is mine and not mine.ending:
                    self.counts["transaction timed out"] += 1
                    self.tell(f"the transaction of {producer} has timed out")
                    self.epochs[producer] += 1
                    self.end(mine, commit=False)

            self.later(timeout, give_up)
        return transaction

    def write(
        self, transaction: Transaction, tp: TP, records: list[tuple[Any, Any, Headers]]
    ) -> int:
        """Append records that become visible with the transaction; the first offset."""
        log = self.log(tp)
        log.open.setdefault(transaction, len(log.entries))
        entries = [
            Entry(key, value, headers, data=True, timestamp=0, visible=None)
            for key, value, headers in records
        ]
        # What agents write comes after what they have read, by the broker's clock, too.
        latest = max(each.last for each in self.logs.values())
        for entry in entries:
            log.add(entry, self.now, latest)
        transaction.entries.setdefault(tp, []).extend(entries)
        return len(log.entries) - len(entries)

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Decide a transaction; each partition and the group learn of it at its own moment."""
        transaction.ending = True
        if not commit:
            self.counts["aborted"] += 1

        def learn(tp: TP | None) -> None:
            if tp is None:
                if commit:
                    self.offsets.update(transaction.offsets)
            else:
                log = self.log(tp)
                for entry in transaction.entries[tp]:
                    entry.visible = commit
                del log.open[transaction]
                log.add(Entry(None, None, [], data=False, timestamp=0, visible=False), self.now)
            transaction.unaware -= 1
            if not transaction.unaware:
                del self.transactions[transaction.producer]

        waiting: list[TP | None] = [*transaction.entries, None]
        transaction.unaware = len(waiting)
        for tp in waiting:
            seconds = self.dice.expovariate(1 / 0.001)
            if self.happens("late_marker"):
                seconds = self.dice.uniform(0.05, 1.0)
            self.later(seconds, lambda tp=tp: learn(tp))  # type: ignore[misc]


class Process(Freezable):
    """One run of a worker process on a machine; it may be paused or killed between any two steps.

    `step` counts down to a pause or a kill that was planned for the n-th step from its order on:
    steps are requests sent, requests answered, and writes of RocksDB.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        #: Folders of stores that it has open.
        self.locks: set[str] = set()
        #: Seconds that its wall clock and its monotonic clock are off.
        self.wall_offset = 0.0
        self.monotonic_offset = 0.0
        self._fuse: tuple[int, Callable[[], None]] | None = None

    def arm(self, steps: int, action: Callable[[], None]) -> None:
        """Do something at one of the next steps."""
        self._fuse = (steps, action)

    def step(self) -> bool:
        """A step is made; whether the process has stopped at it."""
        if self._fuse is not None:
            steps, action = self._fuse
            self._fuse = None if steps <= 0 else (steps - 1, action)
            if steps <= 0:
                action()
        return self.dead or self.paused
