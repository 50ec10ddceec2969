"""Reconcile a deployment on its broker: markers, bars, markers again, then the log.

A partition whose log has corrections is read three times: for the sums and its corrections, for the
trades that these name, and for the sums without what was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from aiokafka import TopicPartition

from app.contracts.batch import RecordBatch
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import Drift, compare
from app.reconcile.corrections import Naming
from app.reconcile.judging import Correction, Key, Span
from app.reconcile.windows import LogPartition, Recomputed
from app.run.errors import RunError
from app.run.export import LAYOUTS
from app.run.outcomes import read_markers
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import bars_topic, output_topic, source_topic
from tables.configuration import BarsConfiguration
from tables.partitioning import partition_of

#: Records taken at once, some 20 MB of columns and values.
CHUNK_RECORDS = 20_000
Progress = Callable[[int, int], None]
Ranges = dict[TopicPartition, tuple[int, int]]


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
) -> Drift:
    """Compare an agent's published bars with what its log says, as far as it is committed.

    Args:
        settings: of the deployment; `why_not` is None for them.
        configuration: of the agent, of the same settings.
        agent: `bars` or `quotes`.
        span: starts of the bars that are compared.
        worst: differences to list.
        progress: told how many records of how many are read, in each reading anew.

    Raises:
        BrokerUnreachableError, RunError: a topic cannot be read, or is another one, or its
            retention has removed records while it was read.
    """
    ours = settings.model_copy(update={"agents": (agent,)})
    topic = source_topic(settings, agent)
    before = await _committed(ours)
    published, notes = await _published(settings, agent, span)
    after = await _committed(ours)
    limits = await bounds(settings, await partitions_of(settings, [topic]))
    ranges: Ranges = {}
    logs: dict[int, LogPartition] = {}
    for place, (first, end) in sorted(limits.items()):
        number = place.partition
        upto = after.get(number, 0)
        if upto > end:
            raise RunError(
                f"{topic} partition {number} ends at {end}, but the deployment has applied "
                f"{upto} of it: it is another topic of this name"
            )
        ranges[place] = (first, max(first, upto))
        logs[number] = LogPartition(configuration, agent, number, span, whole=first == 0)
    counts = await _read(settings, ranges, before, logs, progress)
    corrections = {number: log.corrections for number, log in logs.items() if log.corrections}
    if corrections:
        if not all(logs[number].whole for number in corrections):
            corrections = await _without_refused(settings, agent, corrections)
        again = {place: each for place, each in ranges.items() if place.partition in corrections}
        namings = {
            number: Naming(configuration, number, each) for number, each in corrections.items()
        }
        _same(await _read(settings, again, before, namings, progress), counts)
        anew = {
            number: LogPartition(
                configuration,
                agent,
                number,
                span,
                whole=logs[number].whole,
                changes=naming.changes,
            )
            for number, naming in namings.items()
        }
        _same(await _read(settings, again, before, anew, progress), counts)
        logs |= anew
    recomputed = _together(logs)
    drift = compare(agent, recomputed, _known(published, logs), worst)
    drift.records, drift.notes = sum(counts.values()), notes
    return drift


async def _read(
    settings: Settings,
    ranges: Ranges,
    before: Mapping[int, int],
    readers: Mapping[int, Reader],
    progress: Progress,
) -> dict[TopicPartition, int]:
    """Give each partition's log to its reader; return how many records each had."""
    total = sum(end - first for first, end in ranges.values())
    done: dict[int, int] = {}
    counts = dict.fromkeys(ranges, 0)
    async for place, fetched in read_range(settings, ranges):
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


async def _committed(settings: Settings) -> dict[int, int]:
    """Return the next source offset of each partition with a marker; one agent's settings."""
    markers = await read_markers(settings)
    return {place.partition: marker.next for place, marker in markers.items()}


async def _published(
    settings: Settings, agent: str, span: Span
) -> tuple[dict[Key, Values], list[str]]:
    """Return the highest revision of each bar of the span, and what its reader should know."""
    limits = await bounds(settings, await partitions_of(settings, [bars_topic(settings, agent)]))
    notes = [
        f"{place.topic} partition {place.partition} begins at offset {first}: bars that its "
        "retention has removed count as missing; choose a later --from"
        for place, (first, _) in sorted(limits.items())
        if first
    ]
    decode, fields = LAYOUTS[agent].decoder.decode, FIELDS[agent]
    found: dict[Key, tuple[int, Values]] = {}
    async for _, records in read_range(settings, limits):
        for record in records:
            bar = decode(record.value)
            if not span.holds(bar.start):
                continue
            key = (bar.symbol, bar.interval, bar.start)
            kept = found.get(key)
            if kept is None or bar.revision > kept[0]:
                found[key] = (bar.revision, {name: getattr(bar, name) for name in fields})
    return {key: values for key, (_, values) in found.items()}, notes


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


def _together(logs: dict[int, LogPartition]) -> Recomputed:
    """Return all partitions' bars; a symbol has one partition, so no key is twice."""
    every = Recomputed()
    for log in logs.values():
        one = log.result()
        every.bars.update(one.bars)
        every.moving.update(one.moving)
        for why, count in one.left_out.items():
            every.left_out[why] += count
    return every


def _known(published: dict[Key, Values], logs: dict[int, LogPartition]) -> dict[Key, Values]:
    """Return the published bars that the log is there for."""
    if all(log.whole for log in logs.values()):
        return published
    after = {number: log.known_after for number, log in logs.items()}
    symbols = {symbol: partition_of(symbol.encode(), len(logs)) for symbol, _, _ in published}
    return {key: values for key, values in published.items() if key[2] > after[symbols[key[0]]]}
