"""Bars as they come: closed ones and their revisions, and the forming ones in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import msgspec
from aiokafka import TopicPartition

from app.contracts.wire import BarRecord, QuoteBarRecord
from app.run.reader import WAIT_MILLISECONDS, bounds, partitions_of, plain_consumer, read_range
from app.settings import Settings
from app.topics import bars_topic, output_topic
from tables.partitioning import partition_of

#: Offsets from a partition's end in which recent bars are looked for.
LOOK_BACK = 20_000
AnyBar = BarRecord | QuoteBarRecord
#: By agent. A forming record holds one bar or all changed ones of its partition.
_decoders: dict[str, msgspec.json.Decoder[AnyBar | list[AnyBar]]] = {
    "bars": msgspec.json.Decoder(BarRecord | list[BarRecord]),
    "quotes": msgspec.json.Decoder(QuoteBarRecord | list[QuoteBarRecord]),
}


@dataclass(frozen=True)
class Selection:
    """Which bars: of these symbols and of these intervals; None is all."""

    symbols: Collection[str] | None = None
    intervals: Collection[str] | None = None

    def holds(self, bar: AnyBar) -> bool:
        """Whether a bar is one of them."""
        return (self.symbols is None or bar.symbol in self.symbols) and (
            self.intervals is None or bar.interval in self.intervals
        )

    def partitions(self, found: list[TopicPartition]) -> list[TopicPartition]:
        """Return those of a topic's partitions that can hold them."""
        if self.symbols is None:
            return found
        numbers = {partition_of(symbol.encode(), len(found)) for symbol in self.symbols}
        return [partition for partition in found if partition.partition in numbers]


def decode(value: bytes | None, agent: str = "bars") -> list[AnyBar]:
    """Return the bars of a record of an agent."""
    if not value:
        return []
    bars = _decoders[agent].decode(value)
    return bars if isinstance(bars, list) else [bars]


async def recent_bars(
    settings: Settings, selection: Selection, count: int, agent: str = "bars"
) -> tuple[list[AnyBar], dict[TopicPartition, int]]:
    """Return an agent's last closed bars in order of their end, and where reading on would begin.

    Each bar comes once, in its highest revision; `count` is a limit for each interval.

    Raises:
        BrokerUnreachableError, RunError: the topic cannot be read.
    """
    found = await partitions_of(settings, [bars_topic(settings, agent)])
    ends = await bounds(settings, selection.partitions(found), committed=True)
    ranges = {place: (max(first, end - LOOK_BACK), end) for place, (first, end) in ends.items()}
    highest: dict[tuple[str, str, int], AnyBar] = {}
    async for _, records in read_range(settings, ranges):
        for record in records:
            for bar in filter(selection.holds, decode(record.value, agent)):
                key = (bar.symbol, bar.interval, bar.start)
                if key not in highest or highest[key].revision < bar.revision:
                    highest[key] = bar
    ordered = sorted(highest.values(), key=lambda bar: (bar.start, bar.symbol, bar.interval))
    kept: dict[str, list[AnyBar]] = {}
    for bar in reversed(ordered):
        shown = kept.setdefault(bar.interval, [])
        if len(shown) < count:
            shown.append(bar)
    last = [bar for bars in kept.values() for bar in bars]
    last.sort(key=lambda bar: (bar.start, bar.symbol, bar.interval))
    return last, {place: end for place, (_, end) in ends.items()}


async def follow_bars(
    settings: Settings,
    selection: Selection,
    start: dict[TopicPartition, int],
    agent: str = "bars",
) -> AsyncIterator[AnyBar]:
    """Yield an agent's bars for ever: closed ones from `start` on, forming ones from now on.

    A closed bar has `is_final`. Closed bars are read committed, as every reader should.

    Raises:
        BrokerUnreachableError, RunError: the topics cannot be read.
    """
    found = await partitions_of(settings, [output_topic(settings, f"{agent}.forming")])
    forming = selection.partitions(found)
    ends = await bounds(settings, forming, committed=True)
    async with plain_consumer(settings) as consumer:
        consumer.assign([*start, *forming])
        for place, offset in start.items():
            consumer.seek(place, offset)
        for place in forming:
            consumer.seek(place, ends[place][1])
        while True:
            fetched = await consumer.getmany(timeout_ms=WAIT_MILLISECONDS)
            # Forming bars first: where a bar has closed meanwhile, its last word is the final one.
            for place in sorted(fetched, key=lambda place: place not in ends):
                for record in fetched[place]:
                    for bar in filter(selection.holds, decode(record.value, agent)):
                        yield bar
