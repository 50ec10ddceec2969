"""The topic of an agent's bars: what it holds, and which bars it has told of behind an offset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition

from app.reconcile.batch import FIELDS, Values
from app.reconcile.judging import Key, Span
from app.run.export import LAYOUTS
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import bars_topic


@dataclass(frozen=True)
class Topic:
    """The topic with an agent's closed bars and their revisions."""

    settings: Settings
    agent: str

    async def bars(self, span: Span) -> tuple[dict[Key, Values], list[str]]:
        """Return the highest revision of each bar of the span, and what its reader should know.

        Raises:
            BrokerUnreachableError, RunError: the topic cannot be read.
        """
        limits = await bounds(self.settings, await self._partitions())
        notes = [
            f"{place.topic} partition {place.partition} begins at offset {first}: bars that its "
            "retention has removed count as missing; choose a later --from"
            for place, (first, _) in sorted(limits.items())
            if first
        ]
        decode, fields = LAYOUTS[self.agent].decoder.decode, FIELDS[self.agent]
        found: dict[Key, tuple[int, Values]] = {}
        async for _, records in read_range(self.settings, limits):
            for record in records:
                bar = decode(record.value)
                if not span.holds(bar.start):
                    continue
                key = (bar.symbol, bar.interval, bar.start)
                kept = found.get(key)
                if kept is None or bar.revision > kept[0]:
                    found[key] = (bar.revision, {name: getattr(bar, name) for name in fields})
        return {key: values for key, (_, values) in found.items()}, notes

    async def committed_ends(self) -> dict[int, int]:
        """Return the offset by partition before which all transactions are decided.

        Raises:
            BrokerUnreachableError, RunError: the topic cannot be read.
        """
        found = await bounds(self.settings, await self._partitions(), committed=True)
        return {place.partition: end for place, (_, end) in found.items()}

    async def touched(self, begins: Mapping[int, int], span: Span) -> set[Key]:
        """Return the bars of the span of which there are records from these offsets on.

        Raises:
            BrokerUnreachableError, RunError: the topic cannot be read.
        """
        limits = await bounds(self.settings, await self._partitions())
        ranges = {
            place: (max(first, begins.get(place.partition, 0)), end)
            for place, (first, end) in limits.items()
        }
        decode = LAYOUTS[self.agent].decoder.decode
        found: set[Key] = set()
        async for _, records in read_range(self.settings, ranges):
            bars = (decode(record.value) for record in records)
            found.update(
                (bar.symbol, bar.interval, bar.start) for bar in bars if span.holds(bar.start)
            )
        return found

    async def _partitions(self) -> list[TopicPartition]:
        return await partitions_of(self.settings, [bars_topic(self.settings, self.agent)])
