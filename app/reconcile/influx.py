"""Bars of InfluxDB: a point each, at its start; what is in the history holds (docs/influxdb.md)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from app.connection import connect
from app.durations import NANOSECONDS, format_duration
from app.groups import committed_offsets
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import Drift
from app.reconcile.flux import FluxReader
from app.reconcile.judging import FOREVER, Key, Span
from app.reconcile.stores import INFLUX, Held
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.groups import sink_group
from app.sinks.influx_routes import Bucket, Buckets
from app.sinks.lines import Kind
from app.sinks.measurements import NULLS, measurements_of
from app.topics import AGENT_TOPICS, bars_topic

#: Fields of a point by name, as InfluxDB writes them.
Point = dict[str, str]
_READ: Final[Mapping[Kind, Callable[[str], float]]] = {Kind.FLOAT: float, Kind.INTEGER: int}


class InfluxBars:
    """An agent's bars in InfluxDB.

    Args:
        now: the present in ns.

    Raises:
        SettingsError: address or token are not set, or a retention that InfluxDB does not have.
    """

    def __init__(
        self, settings: Settings, agent: str, now: Callable[[], int] = time.time_ns
    ) -> None:
        self.name = INFLUX
        self._settings, self._agent, self._now = settings, agent, now
        (measurement,) = measurements_of(AGENT_TOPICS[agent].outputs["bars"][0])
        self._measurement = measurement.name
        self._kinds = {name: measurement.fields[name] for name in FIELDS[agent]}
        self._buckets = Buckets.of(settings.influx)
        self._reader = FluxReader(settings.influx)

    async def positions(self) -> Mapping[int, int]:
        """Return what the sink's group has let go; see that the buckets can be read."""
        async with self._reader as reader:
            for bucket in self._used():
                async for _ in reader.rows(self._flux(bucket, 0, 1)):
                    pass
        settings = self._settings
        async with connect(settings) as client:
            return await committed_offsets(
                client,
                sink_group(settings, INFLUX),
                bars_topic(settings, self._agent),
                settings.topics.partitions,
            )

    async def bars(self, span: Span, cuts: Sequence[int]) -> AsyncIterator[Held]:
        """Yield the bars of the span, those between two cuts at once."""
        async with self._reader as reader:
            for begin, end in _windows(span, cuts):
                found: dict[Key, Values] = {}
                copies: Counter[Key] = Counter()
                for bucket in self._used():
                    points: dict[Key, Point] = {}
                    repeats: Counter[tuple[Key, str]] = Counter()
                    async for header, rows in reader.rows(self._flux(bucket, begin, end)):
                        _add(points, repeats, header, rows)
                    found.update((key, self._values(key, points[key])) for key in points)
                    for (key, _), times in repeats.items():
                        copies[key] = max(copies[key], times)
                yield Held(found, copies)

    def notes(self, drift: Drift) -> list[str]:
        """Say what the retention has let go."""
        bucket, first = self._buckets.outputs, drift.first_missing
        if not bucket.retention or first is None or first >= self._now() - bucket.retention:
            return []
        return [
            f"bucket {bucket.name} keeps points {format_duration(bucket.retention)}: bars that it "
            "has let go count as missing; choose a later --from"
        ]

    def _used(self) -> tuple[Bucket, Bucket]:
        """The buckets with bars; what is in the last one holds."""
        return self._buckets.outputs, self._buckets.history

    def _flux(self, bucket: Bucket, begin: int, end: int) -> str:
        # Field by field, as InfluxDB stores them: a pivot would have all of it in its memory.
        fields = " or ".join(f'r._field == "{name}"' for name in (*self._kinds, NULLS))
        return (
            f'from(bucket: "{bucket.name}") '
            f"|> range(start: time(v: {begin}), stop: time(v: {end})) "
            f'|> filter(fn: (r) => r._measurement == "{self._measurement}" and ({fields})) '
            '|> drop(columns: ["_start", "_stop", "_measurement"])'
        )

    def _values(self, key: Key, point: Point) -> Values:
        """Return a bar's fields; what its `nulls` names is none."""
        nulls = point.get(NULLS, "").split(",")
        try:
            return {
                name: None if name in nulls or name not in point else _READ[kind](point[name])
                for name, kind in self._kinds.items()
            }
        except ValueError as error:
            symbol, interval, start = key
            raise RunError(
                f"InfluxDB: {self._measurement} of {symbol} {interval} at {start}: a field is no "
                f"number: {error}"
            ) from None


def _windows(span: Span, cuts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield begins and ends between the cuts, within what a time may be."""
    begin, end = max(span.begin, 0), min(span.end, FOREVER)
    inside = [cut for cut in cuts if begin < cut < end]
    for first, last in zip([begin, *inside], [*inside, end], strict=True):
        if first < last:
            yield first, last


def _add(
    points: dict[Key, Point],
    repeats: Counter[tuple[Key, str]],
    header: list[str],
    rows: list[list[str]],
) -> None:
    """Put rows to their points; a field that a point has already is of one that repeats it."""
    # Points of others may lack the tags; then it is none of our bars.
    columns = [
        header.index(name) if name in header else len(header)
        for name in ("symbol", "interval", "_time", "_field", "_value")
    ]
    for cells in rows:
        cells.append("")
        symbol, interval, at, name, value = (cells[column] for column in columns)
        key = (symbol, interval, _nanoseconds(at))
        point = points.setdefault(key, {})
        if name in point:
            repeats[key, name] += 1
        else:
            point[name] = value


@lru_cache(maxsize=10_000)
def _nanoseconds(text: str) -> int:
    """Read a time as InfluxDB writes it: RFC 3339 with up to nine digits of a second."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp())
    return seconds * NANOSECONDS["s"] + int(rest.ljust(9, "0") or 0)
