"""Reconcile a deployment: its bars as the topic or a store has them, and its log.

With the topic, markers are read before and after its bars, and what moves between is left out. A
store may be behind the topic, and cannot be read at one moment: so whatever the topic tells of
behind the store's position, until the store has been read, is left out where it differs.

A partition whose log has corrections is read three times: for the sums and its corrections, for the
trades that these name, and for the sums without what was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from aiokafka import TopicPartition

from app.contracts.batch import RecordBatch
from app.reconcile.compare import Comparison, Drift
from app.reconcile.corrections import Naming
from app.reconcile.judging import NEVER, Correction, Key, Span
from app.reconcile.logs import KafkaLog, Log, Ranges
from app.reconcile.stores import Store
from app.reconcile.topic import Topic
from app.reconcile.windows import LogPartition, Recomputed
from app.run.errors import RunError
from app.run.outcomes import read_markers
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import output_topic
from tables.configuration import BarsConfiguration
from tables.partitioning import partition_of

#: Records taken at once, some 20 MB of columns and values.
CHUNK_RECORDS = 20_000
#: Bars of a store that are held at once, about.
PART_BARS = 20_000
Value = TypeVar("Value")
Progress = Callable[[int, int], None]
Logs = dict[int, LogPartition]


class Reader(Protocol):
    """Takes one partition's log in chunks."""

    def mark(self) -> None:
        """Hear that the next chunk, and all behind it, may be published already or not."""

    def take(self, batch: RecordBatch) -> None:
        """Take the next chunk."""


def why_not(settings: Settings) -> str | None:
    """Return why bars of these settings cannot be recomputed in batch, None where they can."""
    if settings.bars.fill_forward:
        return "bars of CANDLEWICK_BARS__FILL_FORWARD depend on each other: not reconciled"
    if settings.bars.policy == "algoseek":
        return "policy algoseek moves volume and closing prints between bars: not reconciled"
    return None


async def reconcile(
    settings: Settings,
    configuration: BarsConfiguration,
    agent: str,
    span: Span,
    worst: int = 0,
    progress: Progress = lambda done, total: None,
    *,
    store: Store | None = None,
    log: Log | None = None,
) -> Drift:
    """Compare an agent's bars with what its log says, as far as it is committed.

    Args:
        settings: of the deployment; `why_not` is None for them.
        configuration: of the agent, of the same settings.
        agent: `bars` or `quotes`.
        span: starts of the bars that are compared.
        worst: differences to list.
        progress: told how many records of how many are read, in each reading anew.
        store: has the bars that are compared; None: the topic.
        log: where the records are read; None: Kafka.

    Raises:
        BrokerUnreachableError, RunError: a topic or store cannot be read, or is another one, or
            its retention has removed records while it was read.
    """
    read = _Reading(settings, configuration, agent, span, log or KafkaLog(settings, agent))
    topic = Topic(settings, agent)
    if store is None:
        before = await read.committed()
        published, notes = await topic.bars(span)
        logs, count = await read.logs(before, await read.committed(), progress)
        comparison = Comparison(agent, _together(logs))
        comparison.take(_known(published, logs))
        drift = comparison.result(worst)
    else:
        # In this order: what the topic had by then is in what is recomputed.
        begins = await topic.committed_ends()
        positions = await store.positions()
        begins = {each: min(end, positions.get(each, 0)) for each, end in begins.items()}
        after = await read.committed()
        logs, count = await read.logs(after, after, progress)
        recomputed = _together(logs)
        comparison = Comparison(agent, recomputed)
        first = min((each.known_after + 1 for each in logs.values()), default=NEVER)
        part = Span(max(span.begin, first), span.end)
        async for held in store.bars(part, _cuts(recomputed)):
            comparison.take(_known(held.bars, logs))
            comparison.take_copies(_known(held.copies, logs))
        drift = comparison.result(worst, await topic.touched(begins, span))
        drift.against, notes = store.name, store.notes(drift)
    drift.records, drift.notes = count, [*notes, *read.log.notes()]
    return drift


class _Reading:
    """One agent's log, read as often as it takes."""

    def __init__(
        self,
        settings: Settings,
        configuration: BarsConfiguration,
        agent: str,
        span: Span,
        log: Log,
    ) -> None:
        self._settings, self._agent = settings, agent
        self._configuration, self._span = configuration, span
        self.log = log

    async def committed(self) -> dict[int, int]:
        """Return the next source offset of each partition with a marker."""
        ours = self._settings.model_copy(update={"agents": (self._agent,)})
        markers = await read_markers(ours)
        return {place.partition: marker.next for place, marker in markers.items()}

    async def logs(
        self, before: Mapping[int, int], after: Mapping[int, int], progress: Progress
    ) -> tuple[Logs, int]:
        """Sum each partition's log up to `after`; from `before` on windows are moving.

        Return the sums, and how many records there were.
        """
        settings, agent, configuration = self._settings, self._agent, self._configuration
        ranges: dict[TopicPartition, tuple[int, int]] = {}
        logs: Logs = {}
        for place, (first, end) in sorted((await self.log.ranges()).items()):
            number = place.partition
            upto = after.get(number, 0)
            if upto > end:
                raise RunError(
                    f"{place.topic} partition {number} ends at {end}, but the deployment has "
                    f"applied {upto} of it: it is another topic of this name"
                )
            ranges[place] = (first, max(first, upto))
            logs[number] = LogPartition(configuration, agent, number, self._span, whole=first == 0)
        counts = await self._read(ranges, before, logs, progress)
        total = sum(counts.values())
        corrections = {number: log.corrections for number, log in logs.items() if log.corrections}
        if not corrections:
            return logs, total
        if not all(logs[number].whole for number in corrections):
            corrections = await _without_refused(settings, agent, corrections)
        again = {place: each for place, each in ranges.items() if place.partition in corrections}
        namings = {
            number: Naming(configuration, number, each) for number, each in corrections.items()
        }
        _same(await self._read(again, before, namings, progress), counts)
        anew = {
            number: LogPartition(
                configuration,
                agent,
                number,
                self._span,
                whole=logs[number].whole,
                changes=naming.changes,
            )
            for number, naming in namings.items()
        }
        _same(await self._read(again, before, anew, progress), counts)
        return logs | anew, total

    async def _read(
        self,
        ranges: Ranges,
        before: Mapping[int, int],
        readers: Mapping[int, Reader],
        progress: Progress,
    ) -> dict[TopicPartition, int]:
        """Give each partition's log to its reader; return how many records each had."""
        total = sum(end - first for first, end in ranges.values())
        done: dict[int, int] = {}
        counts = dict.fromkeys(ranges, 0)
        async for place, fetched in self.log.read(ranges):
            reader = readers[place.partition]
            for part, moving in _parts(fetched, before.get(place.partition, 0)):
                if moving:
                    reader.mark()
                reader.take(_batch(place, part))
            counts[place] += len(fetched)
            done[place.partition] = fetched[-1].offset + 1 - ranges[place][0]
            progress(sum(done.values()), total)
        return counts


def _same(counts: Mapping[TopicPartition, int], before: Mapping[TopicPartition, int]) -> None:
    """Refuse a log that has shrunk: records would be missing that were counted before."""
    for place, count in counts.items():
        if count != before[place]:
            raise RunError(
                f"{place.topic} partition {place.partition} had {before[place]} records, and "
                f"{count} when it was read again: its retention has removed the others; "
                "reconcile again"
            )


async def _without_refused(
    settings: Settings, agent: str, corrections: dict[int, list[Correction]]
) -> dict[int, list[Correction]]:
    """Leave out the corrections that came after the log that they needed was gone.

    When that was depends on retention alone, so the dead letters must tell.
    """
    topic = output_topic(settings, f"{agent}.dead")
    limits = await bounds(settings, await partitions_of(settings, [topic]))
    refused: set[tuple[bytes, bytes]] = set()
    async for _, letters in read_range(settings, limits):
        for letter in letters:
            headers = dict(letter.headers)
            if headers.get("reason") == b"log_gone":
                refused.add((headers["partition"], headers["offset"]))
    return {
        number: [each for each in found if (b"%d" % number, b"%d" % each.offset) not in refused]
        for number, found in corrections.items()
    }


def _parts(records: list[Any], border: int) -> Iterator[tuple[list[Any], bool]]:
    """Yield chunks of a fetch, and whether each lies behind the offset `border`."""
    cut = next((index for index, each in enumerate(records) if each.offset >= border), len(records))
    for part, moving in ((records[:cut], False), (records[cut:], True)):
        for begin in range(0, len(part), CHUNK_RECORDS):
            yield part[begin : begin + CHUNK_RECORDS], moving


def _batch(place: TopicPartition, records: list[Any]) -> RecordBatch:
    return RecordBatch(
        place.topic,
        place.partition,
        records[0].offset,
        records[-1].offset + 1,
        [record.value for record in records],
        np.array([record.offset for record in records], dtype=np.int64),
        np.array([record.timestamp for record in records], dtype=np.int64) * 1_000_000,
    )


def _together(logs: Logs) -> Recomputed:
    """Return all partitions' bars; a symbol has one partition, so no key is twice."""
    every = Recomputed()
    for log in logs.values():
        one = log.result()
        every.bars.update(one.bars)
        every.moving.update(one.moving)
        for why, count in one.left_out.items():
            every.left_out[why] += count
    return every


def _cuts(recomputed: Recomputed) -> Sequence[int]:
    """Return starts between which there are `PART_BARS` bars, or those of one start."""
    starts = np.sort(np.fromiter((key[2] for key in recomputed.bars), dtype=np.int64))
    cuts: list[int] = np.unique(starts[PART_BARS::PART_BARS]).tolist()
    return cuts


def _known(published: Mapping[Key, Value], logs: Logs) -> Mapping[Key, Value]:
    """Return the published bars that the log is there for."""
    if all(log.whole for log in logs.values()):
        return published
    after = {number: log.known_after for number, log in logs.items()}
    symbols = {symbol: partition_of(symbol.encode(), len(logs)) for symbol, _, _ in published}
    return {key: value for key, value in published.items() if key[2] > after[symbols[key[0]]]}
