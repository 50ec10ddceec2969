"""InfluxDB as a sink: records to points, points to requests, requests to what may be let go.

Data that flows: `add` keeps records; `flush` makes lines of them in a thread (`influx_partition`),
a few batches ahead of the requests, and writes each batch to its bucket (`influx_routes`,
`influx_http`). Of a batch that is refused, the culprits are those that the answer names; where it
names none, halves are asked for (`influx_culprits`).

Invariants, beside those of `driver`:

- Of a partition one request is under way at a time, in log order: the highest revision is written
  last. Of different partitions there are up to `influx.requests`.
- A position moves on batch by batch, only when all lines before it are written or are culprits'.
- A line is a culprit only if InfluxDB has named all of it, or refused it alone or with culprits
  alone. Where a hundred in a row of a partition are, that is no matter of lines: the sink waits for
  somebody to act.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final

from prometheus_client import CollectorRegistry

from app.contracts.batch import RecordBatch
from app.durations import format_duration
from app.settings import Settings
from app.sinks.driver import (
    Culprit,
    Driver,
    Flushed,
    Place,
    SinkError,
    SinkRefusesError,
    SinkUnavailableError,
)
from app.sinks.influx_culprits import SEARCHED, find_culprits
from app.sinks.influx_health import EVERY, Health, collect_from
from app.sinks.influx_http import InfluxHttp, Refusal
from app.sinks.influx_partition import InfluxPartition, Written
from app.sinks.influx_routes import TICKS, Bucket, Buckets, divide, oldest
from app.sinks.line_batches import LineBatch
from app.sinks.measurements import DECODERS, check_left_out
from app.sinks.points import Inputs, PointEncoder

logger = logging.getLogger(__name__)

#: Of `sinks.timeout`, after which a flush ends behind the batches under way: the loop gives it six.
FLUSH_TIMEOUTS: Final = 2
#: Culprits of a partition with no other line in between, from which on none is blamed.
REFUSED_IN_A_ROW: Final = 100
#: Bytes that latency and lag take, about.
HEALTH_BYTES: Final = 1_000
#: Seconds between two lines of the log about points that went to the history.
HISTORY_SECONDS: Final = 60.0
_SECOND: Final = 1e9


class _OutOfTimeError(Exception):
    """The search in a batch takes longer than a flush may."""


class InfluxDriver(Driver):
    """The driver of one InfluxDB.

    Args:
        monotonic: a clock in seconds.

    Raises:
        SettingsError: no address is set, a retention that InfluxDB does not have, or a field that
            may not be left out.
    """

    NAME: ClassVar[str] = "influx"
    TAKES_MEANWHILE: ClassVar[bool] = True

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._monotonic = settings, monotonic
        self._http = InfluxHttp(settings.influx, settings.sinks.timeout)
        self._buckets = Buckets.of(settings.influx)
        check_left_out(settings.influx.leave_out)
        self._partitions: dict[Place, InfluxPartition] = {}
        self._encoders: dict[str, PointEncoder] = {}
        self._refused: Counter[Place] = Counter()
        self._gate = asyncio.Semaphore(settings.influx.requests)
        self._halted, self._until = False, 0.0
        #: One thread: more of them would wait for each other, and an encoder is no two threads'.
        self._pool: ThreadPoolExecutor | None = None
        self._since: float | None = None
        self._health: Health | None = None
        self._health_at = 0.0
        self._old = self._old_told = 0
        self._old_at = 0.0

    def watch(self, registry: CollectorRegistry) -> None:
        """Write points of a worker's latency and lag, too, from its metrics (`influx_health`)."""
        self._health = Health(self._settings.worker, collect_from(registry))
        self._health_at = self._monotonic() + EVERY

    @property
    def topics(self) -> Sequence[str]:
        return sorted(set(DECODERS) - (set() if self._settings.sinks.ticks else TICKS))

    async def open(self) -> None:
        await self._http.open()
        for bucket in self._used():
            await self._http.probe(bucket.name)

    async def close(self) -> None:
        self.revoke(list(self._partitions))
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        # A thread may be using them still.
        self._encoders = {}
        self._tell_history(float("inf"))
        try:
            await self._http.close()
        except OSError as error:
            logger.debug("closing the connections to InfluxDB: %r", error)

    async def check(self) -> Sequence[str]:
        await self._http.open()
        version = await self._http.version()
        lines = [f"InfluxDB {version or 'of an unknown version'} answers at {self._http.url}"]
        for bucket in self._used():
            await self._http.probe(bucket.name)
            kept = format_duration(bucket.retention) if bucket.retention else "for ever"
            lines.append(f"bucket {bucket.name} can be written; points are kept {kept}, by setting")
        return lines

    async def assign(self, places: Collection[Place]) -> Mapping[Place, int]:
        self.revoke(places)
        return {}

    def revoke(self, places: Collection[Place]) -> None:
        for place in places:
            self._refused.pop(place, None)
            partition = self._partitions.pop(place, None)
            if partition is not None:
                partition.drop()

    def add(self, topic: str, batch: RecordBatch) -> None:
        place = Place(topic, batch.partition)
        partition = self._partitions.get(place)
        if partition is None:
            partition = self._partitions[place] = self._partition(place)
        partition.add(batch)

    @property
    def held_bytes(self) -> int:
        held = sum(each.held_bytes for each in self._partitions.values())
        # An idle worker has a latency and a lag, too.
        return held + HEALTH_BYTES * self._health_due

    def due(self, now: float) -> bool:
        if not any(each.waits for each in self._partitions.values()):
            self._since = None
            return self._health_due
        if self._since is None:
            self._since = now
        records = sum(each.records for each in self._partitions.values())
        influx = self._settings.influx
        late = now - self._since >= influx.delay / _SECOND
        return self._health_due or late or records >= influx.batch

    @property
    def _health_due(self) -> bool:
        return self._health is not None and self._monotonic() >= self._health_at

    async def flush(self, now: int) -> Flushed:
        self._halted = False
        self._until = self._monotonic() + FLUSH_TIMEOUTS * self._settings.sinks.timeout / _SECOND
        waiting = [each for each in self._partitions.values() if each.waits]
        ends = await asyncio.gather(
            *(self._drain(each, now) for each in waiting), return_exceptions=True
        )
        errors = [each for each in ends if isinstance(each, BaseException)]
        if errors:
            raise max(errors, key=_weight)
        if not any(each.waits for each in waiting):
            self._since = None
        self._tell_history(self._monotonic())
        if self._health_due:
            await self._write_health(now)
        return self._flushed()

    async def _drain(self, partition: InfluxPartition, now: int) -> None:
        """Write what a partition holds, until the time is over or a flush has failed elsewhere.

        What comes meanwhile is the next flush's, but for what fills the last request.
        """
        end = partition.end
        await self._fill(partition, 1)
        while partition.ready and self._monotonic() < self._until and not partition.reached(end):
            batch = partition.ready[0]
            ahead = asyncio.ensure_future(self._fill(partition, 2))
            try:
                async with self._gate:
                    if self._halted or partition.dropped:
                        return
                    written = await self._write(partition, batch, now)
            except _OutOfTimeError:
                # The next one has less to search, so the position moves on at last.
                partition.split(batch, max(1, len(batch.lines) // 4))
                return
            except BaseException:
                # Whatever it is, a cancellation among it, goes on up; until then no other partition
                # begins a request.
                self._halted = True
                raise
            finally:
                await ahead
            if written is None:
                partition.split(batch, SEARCHED)
                continue
            partition.written(batch, written)
            self._old += written.old

    async def _fill(self, partition: InfluxPartition, wanted: int) -> None:
        """Make lines until so many batches are ready, or all are."""
        while len(partition.ready) < wanted:
            piece = partition.piece
            if piece is None:
                partition.finish()
                return
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="influx-lines")
            loop = asyncio.get_running_loop()
            made, left_out = await loop.run_in_executor(self._pool, partition.encode, piece)
            partition.encoded(piece, made, left_out)

    async def _write(
        self, partition: InfluxPartition, batch: LineBatch, now: int
    ) -> Written | None:
        """Write a batch, whatever of it InfluxDB takes; None: it is refused, and to be cut."""
        written = Written()
        bucket = partition.bucket
        fresh, old = divide(batch, bucket.oldest(now))
        for target, part in ((bucket, fresh), (self._buckets.history, old)):
            if not part.lines:
                continue
            refusal = await self._try(partition.place, target, part, written)
            if refusal is not None and not await self._search(
                partition.place, target, part, written, refusal
            ):
                return None
        written.old += len(old.lines)
        return written

    async def _search(
        self, place: Place, bucket: Bucket, part: LineBatch, written: Written, refusal: Refusal
    ) -> bool:
        """Write all but the culprits of lines that were refused together; False: cut them first."""
        before = self._refused[place]
        search = find_culprits(part, refusal)
        answer: Refusal | None = None
        try:
            rows = next(search)
            while True:
                if self._monotonic() > self._until:
                    raise _OutOfTimeError
                lines = part.chosen(rows.tolist())
                answer = await self._try(place, bucket, lines, written)
                if answer is not None and len(rows) == 1:
                    self._judge(place, answer.reason(lines.lines[0]))
                rows = search.send(answer)
        except StopIteration as end:
            found: dict[int, str] | None = end.value
        if found is None:
            return False
        # Once more, all of them: those that were named have not been counted.
        self._refused[place] = before
        for row, offset in enumerate(part.offsets):
            if row in found:
                self._judge(place, found[row])
                written.culprits.append((offset, found[row]))
            else:
                self._refused.pop(place, None)
        return True

    async def _try(
        self, place: Place, bucket: Bucket, part: LineBatch, written: Written
    ) -> Refusal | None:
        """Write lines; what a bucket finds too old goes to the history."""
        history = self._buckets.history
        refusal = await self._http.write(bucket.name, part.body())
        moved: list[LineBatch] = []
        while refusal is not None and refusal.too_old and bucket.name != history.name:
            count = len(part.lines) if len(part.lines) == 1 else refusal.dropped
            if not count:
                break
            # It says how many, not which. Those are the oldest, unless a shard is there that should
            # be gone: so the others are asked for again, fewer and fewer, until none is missing.
            part, old = oldest(part, max(count, 2 * len(moved[-1].lines) if moved else 0))
            moved.append(old)
            refusal = await self._http.write(bucket.name, part.body()) if part.lines else None
        if refusal is not None:
            return refusal
        if part.lines:
            written.rows += len(part.lines)
            self._refused.pop(place, None)
        for old in moved:
            refusal = await self._try(place, history, old, written)
            if refusal is not None and not await self._search(
                place, history, old, written, refusal
            ):
                return refusal
            written.old += len(old.lines)
        return None

    def _judge(self, place: Place, reason: str) -> None:
        """Count a culprit.

        Raises:
            SinkRefusesError: the lines are not the matter.
        """
        self._refused[place] += 1
        if self._refused[place] >= REFUSED_IN_A_ROW:
            raise SinkRefusesError(
                f"{REFUSED_IN_A_ROW} points of {place.topic} partition {place.partition} in a row "
                f"are refused: {reason}; see whether somebody else writes to the bucket"
            )

    async def _write_health(self, now: int) -> None:
        """Write latency and lag; what InfluxDB refuses of them is not worth a second attempt."""
        assert self._health is not None
        lines = self._health.lines(now)
        if lines:
            body = LineBatch(lines, [0] * len(lines), 0).body()
            refusal = await self._http.write(self._buckets.outputs.name, body)
            if refusal is not None:
                logger.warning("influx: latency and lag are refused: %s", refusal.reason(lines[0]))
        self._health_at = self._monotonic() + EVERY

    def _flushed(self) -> Flushed:
        positions: dict[Place, int] = {}
        culprits: list[Culprit] = []
        passed: Counter[str] = Counter()
        rows = 0
        for place, partition in self._partitions.items():
            position, own_rows, own_culprits, own_passed = partition.tell()
            if position is not None:
                positions[place] = position
            rows += own_rows
            culprits += own_culprits
            passed += own_passed
        return Flushed(positions, rows, culprits, passed)

    def _tell_history(self, now: float) -> None:
        if self._old > self._old_told and now >= self._old_at:
            self._old_told, self._old_at = self._old, self._monotonic() + HISTORY_SECONDS
            logger.info(
                "influx: %s points, older than their bucket keeps them, are in %s",
                f"{self._old:,}",
                self._buckets.history.name,
            )

    def _used(self) -> list[Bucket]:
        buckets = self._buckets
        ticks = [buckets.ticks] if self._settings.sinks.ticks else []
        return [buckets.outputs, *ticks, buckets.history]

    def _partition(self, place: Place) -> InfluxPartition:
        chosen, topic = self._settings, place.topic
        left_out = chosen.influx.leave_out
        room, sample = chosen.sinks.tick_resolution, 1
        if topic in TICKS:
            bars = chosen.bars
            inputs = Inputs(
                place.partition,
                chosen.topics.partitions,
                bars.earliest_event_time,
                bars.max_ahead,
            )
            encoder = PointEncoder(topic, inputs, room, left_out=left_out)
            sample = chosen.sinks.tick_sample
        else:
            # Of all its partitions: they have the same series' names.
            known = self._encoders.get(topic)
            encoder = known or PointEncoder(topic, room=room, left_out=left_out)
            self._encoders[topic] = encoder
        bucket = self._buckets.of_topic(topic)
        return InfluxPartition(place, bucket, encoder, chosen.influx.batch, sample)


def _weight(error: BaseException) -> tuple[int, float]:
    """Return how much an error says: a fault of ours most, then what somebody has to act on."""
    if not isinstance(error, SinkError):
        return (2, 0.0)
    asked = error.retry_after if isinstance(error, SinkUnavailableError) else None
    return (int(isinstance(error, SinkRefusesError)), asked or 0.0)
