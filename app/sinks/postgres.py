"""The PostgreSQL sink: rows of the flat topics, and up to where, in one transaction.

Read in this order: `postgres_tables` (topics, columns, keys), `postgres_rows` (records to CSV),
`postgres_session` (a connection), this file (what is held, flushed, and by whom), `postgres_check`,
`postgres_admin` (migrations, retention); `postgres_address` and `postgres_errors` on the side.

A flush is one transaction: it takes the positions' rows for itself, sees that they are as this
writer left them, puts the rows and moves the positions. So a writer that was replaced is told so,
whenever it wakes. A row has a key and a revision: to put it again changes nothing, and a flush
whose answer was lost is simply done again.

Where rows are refused, the server puts them one by one and says which (`Session.sift`); those that
not even COPY takes are found by halves. Before a culprit the position stays, until the next flush:
its dead letter may not be written yet.

A replay writes rows alone, wherever it begins: positions, and who moves them, stay as they are, so
it may run beside the deployment's sink.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import ClassVar, Final

from aiokafka.errors import KafkaError

from app.connection import AdminError
from app.contracts.batch import RecordBatch
from app.durations import NANOSECONDS
from app.identity import deployment_name
from app.settings import Settings
from app.sinks.archive_logs import Log, topic_logs
from app.sinks.driver import (
    Culprit,
    Driver,
    Flushed,
    Place,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)
from app.sinks.line_batches import bisect
from app.sinks.postgres_address import read_address
from app.sinks.postgres_check import check_tables, describe
from app.sinks.postgres_rows import Held, Part, RowsRefusedError, prepare, value_of
from app.sinks.postgres_session import Session
from app.sinks.postgres_tables import TOPICS

#: Records of a held batch at most, so that a flush can be of any size above.
_PIECE: Final = 2_000
#: Rows that are put one by one in a statement, which has a time-out.
SIFTED: Final = 2_000
#: Bytes that a record takes besides its value.
_OVERHEAD: Final = 64
_TICKS: Final = frozenset({"ticks", "quotes"})

#: What Kafka has of topics: `topic_logs` of `app/sinks/archive_logs.py`.
Logs = Callable[[Collection[str]], Awaitable[Mapping[Place, Log]]]


class PostgresDriver(Driver):
    """Writes into the tables that `candlewick postgres migrate` has made."""

    NAME: ClassVar[str] = "postgres"

    def __init__(self, settings: Settings, logs: Logs | None = None) -> None:
        """Begin, without a connection.

        Args:
            logs: tells topics' ids, by which one that was made anew is known, and where they begin;
                the deployment's broker, where it is not given.
        """
        self._settings, self._chosen = settings, settings.postgres
        self._deployment = deployment_name(settings)
        self._logs = logs or partial(topic_logs, settings)
        self._writer = secrets.token_hex(8)
        self._session: Session | None = None
        self._held: deque[Held] = deque()
        self._rows = self._bytes = 0
        #: When `due` saw the oldest of what is held.
        self._since: float | None = None
        #: Of topics, as `assign` has found them.
        self._ids: dict[Place, str] = {}
        #: Places that are replayed.
        self._again: set[Place] = set()
        #: By place that this writer moves, the version of its position.
        self._owned: dict[Place, int] = {}
        #: Of them, those whose last commit may have been done or not.
        self._unsure: set[Place] = set()
        #: Records of a transaction; fewer for a while after an error: they may have taken too long.
        self._most = self._chosen.rows
        self._piece = min(_PIECE, self._chosen.rows)

    @property
    def topics(self) -> Sequence[str]:
        """Those whose records have columns of their own."""
        ticks = self._settings.sinks.ticks
        return [each for each in TOPICS if ticks or each not in _TICKS]

    async def open(self) -> None:
        """Connect, and see that the tables are there and ours."""
        if self._session is not None and self._session.usable:
            return
        await self._hang_up()
        session = await Session.connect(read_address(self._settings))
        try:
            await check_tables(session, self._deployment)
        except BaseException:
            await session.close()
            raise
        self._session = session

    async def _hang_up(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ready(self) -> Session:
        await self.open()
        assert self._session is not None
        return self._session

    async def close(self) -> None:
        """Let go of the connection and of what is held."""
        self.revoke({each.place for each in self._held} | self._owned.keys() | self._ids.keys())
        self._again.clear()
        await self._hang_up()

    async def check(self) -> Sequence[str]:
        """Return what server and which tables there are, and up to where."""
        return await describe(await self._ready())

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        """Begin to write partitions; what the tables do not hold yet begins where the log does.

        Raises:
            SinkUnavailableError: also, no broker answers.
            SinkRefusesError: also, a topic was made anew, and rows of the earlier one are there.
        """
        self.revoke(places)
        if not places:
            return {}
        session = await self._ready()
        try:
            logs = await self._logs({each.topic for each in places})
        except (AdminError, KafkaError, OSError) as error:
            text = str(error) or type(error).__name__
            raise SinkUnavailableError(f"postgres: Kafka does not tell its logs: {text}") from None
        # Waits for a writer that is at it.
        async with session.transaction():
            kept = await session.kept(places)
        told: dict[Place, int] = {}
        for place in sorted(places):
            log, found = logs.get(place), kept.get(place)
            if log is not None and found is not None and found.topic_id not in (None, log.id):
                raise SinkRefusesError(
                    f"{session.address.where}: topic {place.topic} was made anew since its rows "
                    f"were written; `candlewick postgres empty {place.topic}` takes them away"
                )
            # What retention has removed cannot be read.
            begins = [log.first] if log is not None else []
            if found is not None and found.next is not None:
                begins.append(found.next)
            if begins:
                told[place] = max(begins)
            if log is not None:
                self._ids[place] = log.id
        return told

    def replay(self, places: Collection[Place]) -> None:
        """Move no positions of partitions."""
        self._again |= set(places)

    def revoke(self, places: Collection[Place]) -> None:
        """Drop what is held of partitions."""
        gone = set(places)
        self._held = deque(each for each in self._held if each.place not in gone)
        for place in gone:
            for known in (self._ids, self._owned):
                known.pop(place, None)
        self._again -= gone
        self._unsure -= gone
        self._measure()

    def add(self, topic: str, batch: RecordBatch) -> None:
        """Hold the next records of a partition, in pieces."""
        if batch.next == batch.base:
            return
        self._held.extend(Held(topic, each) for each in batch.pieces(self._piece))
        self._rows += len(batch)
        self._bytes += _size(batch)

    @property
    def held_bytes(self) -> int:
        """About how many bytes wait."""
        return self._bytes

    def due(self, now: float) -> bool:
        """Whether a transaction is full, or the oldest record has waited for `postgres.delay`."""
        if not self._held:
            return False
        if self._since is None:
            self._since = now
        delay = self._chosen.delay / NANOSECONDS["s"]
        return self._rows >= self._chosen.rows or now - self._since >= delay

    def _measure(self) -> None:
        self._rows = sum(len(each.batch) for each in self._held)
        self._bytes = sum(_size(each.batch) for each in self._held)
        if not self._held:
            self._since = None

    async def flush(self, now: int) -> Flushed:
        """Write the oldest of what is held, in one transaction of `postgres.rows` at most."""
        held = self._oldest()
        if not held:
            return Flushed()
        try:
            flushed = await self._write(await self._ready(), held)
        except (SinkUnavailableError, asyncio.CancelledError):
            # Perhaps it was too much at once.
            self._most = max(self._piece, self._most // 2)
            raise
        self._most = min(self._chosen.rows, 2 * self._most)
        done = {id(each.batch) for each in held}
        self._held = deque(each for each in self._held if id(each.batch) not in done)
        self._measure()
        return flushed

    def _oldest(self) -> list[Held]:
        chosen: list[Held] = []
        rows = 0
        for each in self._held:
            rows += len(each.batch)
            if chosen and rows > self._most:
                break
            chosen.append(each)
        return chosen

    async def _write(self, session: Session, held: Sequence[Held]) -> Flushed:
        ends: dict[Place, int] = {}
        for each in held:
            ends[each.place] = max(each.batch.next, ends.get(each.place, 0))
        moved = ends.keys() - self._again
        lacking = moved - self._owned.keys()
        if lacking:
            # A place that is replayed by another stays with whoever moves it.
            ids = {place: self._ids[place] for place in lacking if place in self._ids}
            self._owned |= await session.claim(lacking, self._deployment, self._writer, ids)
        prepared = await asyncio.to_thread(prepare, held)
        await session.stage([part.table for part in prepared.parts])
        rows, passed, culprits = 0, Counter(prepared.passed), list[Culprit]()
        async with session.transaction():
            await self._hold(session, moved)
            for part in prepared.parts:
                put, faults = await _put(session, part)
                rows += put
                passed["older"] += len(part) - put - len(faults)
                culprits += [_culprit(part, row, faults[row], held) for row in sorted(faults)]
            culprits.sort(key=lambda each: (each.place, each.offset))
            positions = {place: ends[place] for place in moved}
            for culprit in culprits:
                if culprit.place in positions:
                    positions[culprit.place] = min(culprit.offset, positions[culprit.place])
            await session.move(positions)
            self._unsure |= moved & self._owned.keys()
        for place in moved & self._owned.keys():
            self._owned[place] += 1
        self._unsure -= moved
        return Flushed(ends, rows, culprits, {name: n for name, n in passed.items() if n})

    async def _hold(self, session: Session, places: Collection[Place]) -> None:
        """Keep positions from others until the transaction ends, if they are as we left them.

        Raises:
            SinkConflictError: they are not.
        """
        kept = await session.kept(places)
        for place in places:
            found, owned = kept.get(place), self._owned.get(place)
            # A commit without an answer has been done, or not.
            steps = (0, 1) if place in self._unsure else (0,)
            if (
                found is None
                or owned is None
                or found.writer != self._writer
                or found.version - owned not in steps
            ):
                raise SinkConflictError(
                    f"{session.address.where}: another writer has {place.topic} partition "
                    f"{place.partition}, or its position was set back"
                )
            self._owned[place] = found.version
            self._unsure.discard(place)


async def _put(session: Session, part: Part) -> tuple[int, dict[int, str]]:
    """Put rows; return how many were new or newer, and why others are never taken, by row."""
    try:
        return await session.put(part.table, part.whole), {}
    except RowsRefusedError:
        # Which of them, is the question from here on.
        written, faults = 0, dict[int, str]()
    for begin in range(0, len(part), SIFTED):
        rows = range(begin, min(begin + SIFTED, len(part)))
        try:
            put, found = await session.sift(part.table, part.body(rows))
        except RowsRefusedError as error:
            # Not even COPY takes it.
            put, found = await _halve(session, part, rows, str(error))
        written += put
        faults |= {begin + row: reason for row, reason in found.items()}
    return written, faults


async def _halve(
    session: Session, part: Part, rows: range, reason: str
) -> tuple[int, dict[int, str]]:
    """Put rows by halves, until those that COPY refuses are alone; as `_put`, from the first on."""
    faults: dict[int, str] = {}
    written, search = 0, bisect(len(rows))
    taken: bool | None = None
    while True:
        try:
            chosen = next(search) if taken is None else search.send(taken)
        except StopIteration as end:
            for row in end.value:
                # Of a single row the first answer was the reason.
                faults.setdefault(row, reason)
            return written, faults
        body = part.body(rows[chosen.start : chosen.stop])
        try:
            put, found = await session.sift(part.table, body)
            written += put
            faults |= {chosen.start + row: why for row, why in found.items()}
            taken = True
        except RowsRefusedError as error:
            taken = False
            if len(chosen) == 1:
                faults[chosen.start] = str(error)


def _culprit(part: Part, row: int, reason: str, held: Sequence[Held]) -> Culprit:
    place, offset = part.place(row)
    return Culprit(place, offset, reason, value_of(held, place, offset))


def _size(batch: RecordBatch) -> int:
    return sum(len(value) + _OVERHEAD for value in batch.values if value is not None)
