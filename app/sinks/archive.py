"""The archive as a sink: topics into Parquet files, each record a row once.

The archive keeps its positions itself, in the manifests that name the files: `assign` tells them,
the loop goes on there, and the group's offsets are only for people. A full disk or a server that
is away keeps the records in Kafka; a writer that was thought dead loses, with nothing written.

Encoding, compression and files are a thread's, one at a time; `add` only puts aside, also while the
thread writes. Another thread keeps the archive small (`archive_upkeep.py`).
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from aiokafka.errors import KafkaError

from app.archive.layout import archive_location, archived_topics
from app.archive.manifest import ArchiveConflictError, ArchiveError
from app.archive.writing import ArchiveWriter
from app.connection import AdminError
from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.sinks.archive_logs import Log, topic_logs
from app.sinks.archive_upkeep import Upkeep
from app.sinks.driver import (
    Driver,
    Flushed,
    Place,
    SinkConflictError,
    SinkRefusesError,
    SinkUnavailableError,
)
from app.sinks.drivers import sink_topics
from models.predicting.registry_store import Store, must_be_exclusive, open_store

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
#: Logs of topics by partition; see `topic_logs`.
Logs = Callable[[Collection[str]], Awaitable[Mapping[Place, Log]]]

#: Why records give no row: Kafka's retention had removed them. Counted in offsets.
EXPIRED: Final = "expired"
#: Seconds for a flush on its way when the driver is closed.
CLOSE_SECONDS: Final = 5.0
#: Bytes of a record in memory beside its value: the object, its places, offset and time.
RECORD_BYTES: Final = 64
_SECOND: Final = 1e9
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Clients of object stores, whose errors are not all `OSError`.
_CLIENTS: Final = frozenset(
    ("aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs")
)


@dataclass(slots=True, eq=False)
class _Reading:
    """A partition that is ours.

    Attributes:
        next: where its next batch begins.
        newest: append time of the newest record, ns.
        over: it is ours no more; what still lies here of it is not written.
        other: a record before `next` came that is newer than `newest`: not the log that it was.
    """

    place: Place
    log: Log
    next: int
    newest: int = 0
    over: bool = False
    other: bool = False


@dataclass(slots=True, eq=False)
class _Arrived:
    """A batch that waits for the thread.

    Attributes:
        after: offset behind which records lack before it; None: none lack.
        sure: none lack, or Kafka has been asked and does not have them any more.
    """

    reading: _Reading
    batch: RecordBatch
    bytes: int
    after: int | None
    sure: bool


class ArchiveDriver(Driver):
    """Writes the topics of a deployment into its archive.

    Args:
        make_store: opens a folder or an address.
        logs: asks Kafka; else with the settings' broker.
    """

    NAME: ClassVar[str] = "archive"
    TAKES_MEANWHILE: ClassVar[bool] = True

    def __init__(
        self,
        settings: Settings,
        make_store: Callable[[str], Store] = open_store,
        logs: Logs | None = None,
    ) -> None:
        self.location = archive_location(settings)
        self._topics = archived_topics(ticks=settings.sinks.ticks)
        self._make_store = make_store
        self._logs = logs or partial(topic_logs, settings)
        self._rows, self._age = settings.archive.rows, settings.archive.age / _SECOND
        # Half, so that reading goes on while one half is written.
        self._bytes = settings.sinks.max_held_bytes // 2
        self._pool: ThreadPoolExecutor | None = None
        self._lock = asyncio.Lock()
        self._writer: ArchiveWriter | None = None
        topics = frozenset(sink_topics(settings, self).values())
        self.upkeep = Upkeep(
            settings.archive,
            lambda: make_store(self.location),
            topics,
            min(topics, default=""),
            lambda: self._assigned,
        )
        self._forget()

    def watch(self, registry: CollectorRegistry) -> None:
        """Tell of the upkeep in the worker's metrics."""
        registry.register(self.upkeep)

    def _forget(self) -> None:
        self._assigned: dict[Place, _Reading] = {}
        self._doubts: list[_Arrived] = []
        self._expired = 0
        self._since: float | None = None
        # Filled here, emptied by the thread; each counter has one side that counts.
        self._arrived: deque[_Arrived] = deque()
        self._leaving: deque[Place] = deque()
        self._rows_in = self._rows_out = self._bytes_in = self._bytes_out = 0

    @property
    def topics(self) -> Sequence[str]:
        """All inputs and outputs but those that others hold already; see `archived_topics`."""
        return self._topics

    async def open(self) -> None:
        """See that the place can be written, and read the manifests; what is held stays."""
        async with self._lock:
            await self._open()

    async def check(self) -> Sequence[str]:
        """Return lines that say what is there."""
        async with self._lock:
            state = (await self._open()).state
        rows = sum(part.rows for part in state.parts.values())
        return [
            f"{self.location}: {len(state.parts):,} files, {rows:,} rows, "
            f"{len(state.positions):,} partitions, manifests up to {state.number:,}"
        ]

    async def close(self) -> None:
        """Wait a little for the flush on its way, then forget everything."""
        await self.upkeep.stop()
        try:
            async with asyncio.timeout(CLOSE_SECONDS), self._lock:
                pass
        except TimeoutError:
            logger.warning(
                "archive: still writing to %s; what is not in a manifest is read again",
                self.location,
            )
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._writer = None
        self._forget()

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        """Begin to write partitions; return where the archive goes on in each.

        Where it holds nothing of a partition, or of another log of that name, that is where the log
        begins, whatever the group says. What Kafka's retention has removed before it came to be
        read is said once, counted, and passed.

        Raises:
            SinkUnavailableError, SinkRefusesError: as `open`; also, Kafka does not answer, or has
                lost what it had acknowledged.
        """
        async with self._lock:
            writer = self._writer or await self._open()
            logs = await self._find({place.topic for place in places})
            lacking = sorted(set(places) - logs.keys())
            if lacking:
                raise SinkUnavailableError(
                    f"archive: Kafka has no {lacking[0].topic} partition {lacking[0].partition}"
                )
            chosen = {place: logs[place] for place in sorted(places)}
            self.revoke(places)
            held = await self._run(partial(self._begin, writer, chosen))
            positions = {}
            for place, log in chosen.items():
                begin = held[place]
                if begin is None:
                    begin = log.first
                elif begin > log.end:
                    raise SinkRefusesError(
                        f"{place.topic} partition {place.partition}: its log ends at offset "
                        f"{log.end}, {self.location} holds it up to {begin}: Kafka has lost what "
                        "it had acknowledged; give the archive another CANDLEWICK_ARCHIVE__LOCATION"
                    )
                elif begin < log.first:
                    self._note_expired(place, begin, log.first)
                    begin = log.first
                positions[place] = begin
            for place, begin in positions.items():
                self._assigned[place] = _Reading(place, chosen[place], begin)
            self.upkeep.start()
            return positions

    def revoke(self, places: Collection[Place]) -> None:
        """Drop what is held of partitions that go to another writer.

        A flush that is on its way goes on: either it is in the archive before the other begins, or
        one of the two has a conflict.
        """
        for place in places:
            reading = self._assigned.pop(place, None)
            if reading is not None:
                reading.over = True
                self._leaving.append(place)

    def add(self, topic: str, batch: RecordBatch) -> None:
        """Put the next records of a partition aside; those of one that is not ours are left."""
        place = Place(topic, batch.partition)
        reading = self._assigned.get(place)
        if reading is None or batch.next == batch.base:
            return
        newest = int(batch.append_times[-1]) if len(batch) else 0
        if batch.next <= reading.next:
            reading.other = reading.other or newest > reading.newest > 0
            return
        size = sum(len(value) for value in batch.values if value is not None)
        lacks = batch.base > reading.next
        item = _Arrived(
            reading,
            batch,
            size + RECORD_BYTES * len(batch),
            after=reading.next if lacks else None,
            sure=not lacks,
        )
        if lacks:
            self._doubts.append(item)
        reading.next, reading.newest = batch.next, max(newest, reading.newest)
        self._arrived.append(item)
        self._rows_in += len(batch)
        self._bytes_in += item.bytes

    @property
    def held_bytes(self) -> int:
        """About how many bytes wait; a doubt is one, so that the loop asks to flush."""
        held = self._bytes_in - self._bytes_out + self._in_doubt
        if self._writer is not None:
            held += self._writer.bytes + RECORD_BYTES * self._writer.rows
        return held

    @property
    def _in_doubt(self) -> bool:
        """Whether a flush has to ask Kafka: something came that does not go on where it should."""
        return bool(self._doubts) or any(each.other for each in self._assigned.values())

    def due(self, now: float) -> bool:
        """Whether to flush: so many records, half of what may be held, or so long after."""
        if self._in_doubt:
            return True
        writer = self._writer
        if not self._arrived and not (writer is not None and writer.waits):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        rows = self._rows_in - self._rows_out + (0 if writer is None else writer.rows)
        return (
            rows >= self._rows or self.held_bytes >= self._bytes or now - self._since >= self._age
        )

    async def flush(self, now: int) -> Flushed:
        """Write what is held."""
        async with self._lock:
            writer = self._writer or await self._open()
            await self._settle_doubts()
            readings = dict(self._assigned)
            rows, reached = await self._run(partial(self._write, writer, now, list(readings)))
            self._since = None
            # Also what was held before: a replay of it waits for nothing.
            positions = {
                place: offset
                for place, reading in readings.items()
                if not reading.over and (offset := reached[place]) is not None
            }
            expired, self._expired = self._expired, 0
            return Flushed(positions, rows, passed={EXPIRED: expired} if expired else {})

    # --- what is asked of Kafka ------------------------------------------------------------

    async def _find(self, topics: Collection[str]) -> Mapping[Place, Log]:
        try:
            return await self._logs(topics)
        except (AdminError, KafkaError, OSError) as error:
            raise SinkUnavailableError(
                f"archive: Kafka does not tell its logs: {error or type(error).__name__}"
            ) from error

    async def _settle_doubts(self) -> None:
        """Find out why records lack, or came again as others.

        Raises:
            SinkConflictError: they are there, or the topic was made anew: to be assigned again.
            SinkUnavailableError: Kafka does not answer.
        """
        doubts = [each for each in self._doubts if not each.reading.over]
        others = [each for each in self._assigned.values() if each.other]
        readings = {each.reading.place: each.reading for each in doubts}
        readings |= {each.place: each for each in others}
        if not readings:
            self._doubts = []
            return
        logs = await self._find({place.topic for place in readings})
        for place, reading in readings.items():
            log = logs.get(place)
            if log is None or log.id != reading.log.id:
                self.revoke([place])
                raise SinkConflictError(
                    f"{place.topic} partition {place.partition}: the topic was made anew"
                )
            for item in doubts:
                if item.reading is not reading or item.after is None or item.sure:
                    continue
                if log.first < item.batch.base:
                    self.revoke([place])
                    raise SinkConflictError(
                        f"{place.topic} partition {place.partition}: read on at offset "
                        f"{item.batch.base}, the archive goes on at {item.after}"
                    )
                self._note_expired(place, item.after, item.batch.base)
                item.sure = True
            if reading.other:
                reading.other, reading.newest = False, 0
                logger.error(
                    "archive: %s partition %d: Kafka has lost records that it had acknowledged, "
                    "and has others before offset %d: these are not archived",
                    *(place.topic, place.partition, reading.next),
                )
        # Others may have come meanwhile.
        self._doubts = [each for each in self._doubts if not (each.sure or each.reading.over)]

    def _note_expired(self, place: Place, begin: int, end: int) -> None:
        self._expired += end - begin
        logger.warning(
            "archive: %s partition %d: up to %d records are lost to it, offsets %d to %d: Kafka's "
            "retention removed them before they were archived; it goes on behind them",
            *(place.topic, place.partition, end - begin, begin, end - 1),
        )

    # --- the thread's ----------------------------------------------------------------------

    async def _open(self) -> ArchiveWriter:
        try:
            self._writer = await self._run(partial(self._connect, self._writer))
        except (ImportError, ValueError) as error:
            raise SinkRefusesError(f"{self.location}: {error}") from error
        return self._writer

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="archive")
        with self._told():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _connect(self, writer: ArchiveWriter | None) -> ArchiveWriter:
        store = self._make_store(self.location)
        must_be_exclusive(store)
        if writer is None:
            return ArchiveWriter(store)
        writer.refresh()
        return writer

    def _begin(
        self, writer: ArchiveWriter, logs: Mapping[Place, Log]
    ) -> Mapping[Place, int | None]:
        self._drop_leaving(writer)
        writer.refresh()
        held = {}
        for place, log in logs.items():
            writer.begin(*place, log.id)
            held[place] = writer.next_offset(*place)
            writer.skip(*place, log.first)
        return held

    def _write(
        self, writer: ArchiveWriter, now: int, places: Collection[Place]
    ) -> tuple[int, Mapping[Place, int | None]]:
        self._drop_leaving(writer)
        while self._arrived:
            item = self._arrived[0]
            if not (item.sure or item.reading.over):
                break
            if not item.reading.over:
                if item.after is not None:
                    writer.skip(*item.reading.place, item.batch.base)
                writer.add(item.reading.place.topic, item.batch, now)
            self._arrived.popleft()
            self._rows_out += len(item.batch)
            self._bytes_out += item.bytes
        manifest = writer.flush(now)
        rows = 0 if manifest is None else sum(part.rows for part in manifest.change.added)
        return rows, {place: writer.next_offset(*place) for place in places}

    def _drop_leaving(self, writer: ArchiveWriter) -> None:
        leaving = [self._leaving.popleft() for _ in range(len(self._leaving))]
        writer.drop(leaving)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what goes wrong into what the loop knows."""
        try:
            yield
        except ArchiveConflictError as error:
            if not error.places:
                # Others committed all the time: it helps to try again.
                raise SinkUnavailableError(str(error)) from error
            self.revoke([Place(*place) for place in error.places])
            raise SinkConflictError(str(error)) from error
        except ArchiveError as error:
            raise SinkRefusesError(str(error)) from error
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise SinkRefusesError(
                f"{self.location}: {error.strerror or error}: the worker cannot write there"
            ) from error
        except OSError as error:
            raise SinkUnavailableError(self._what_to_do(error)) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in _CLIENTS:
                raise
            raise SinkUnavailableError(self._what_to_do(error)) from error

    def _what_to_do(self, error: Exception) -> str:
        if isinstance(error, OSError) and error.errno in _FULL:
            return (
                f"{self.location}: no space left: free some, or drop old days with `candlewick "
                "archive retain` and `candlewick archive clean`; Kafka keeps the records meanwhile"
            )
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{self.location}: {reason}; Kafka keeps the records meanwhile"
