"""Bars of the archive: the highest revisions, as `candlewick query` shows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, Final, TypeVar

import pyarrow as pa

from app.archive.layout import DAY, archive_location, view_name
from app.archive.manifest import ArchiveError, State, read_state
from app.archive.querying import stream
from app.durations import NANOSECONDS
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import Drift
from app.reconcile.judging import Key, Span
from app.reconcile.stores import ARCHIVE, Held
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.archive_logs import topic_logs
from app.topics import AGENT_TOPICS
from models.predicting.registry_store import Store, open_store

Taken = TypeVar("Taken")
#: Rows that are Python's objects at once.
ROWS: Final = 20_000
_KEY: Final = 'symbol, "interval", start'


class ArchivedBars:
    """An agent's bars in an archive, as it was when its positions were asked for.

    Args:
        location: a folder or address of fsspec's; None: the deployment's.

    Raises:
        RunError: an address that fsspec does not know, or whose package is missing.
    """

    def __init__(self, settings: Settings, agent: str, location: str | None = None) -> None:
        self.name = ARCHIVE
        self._settings, self._fields = settings, FIELDS[agent]
        self._topic = AGENT_TOPICS[agent].outputs["bars"][0]
        self._store = open_archive(settings, location)
        self._state = State()

    async def positions(self) -> Mapping[int, int]:
        """Return how far each partition of the bars' topic is held, of the topic that is there."""
        self._state = state = held_state(self._store)
        logs = await topic_logs(self._settings, [self._topic])
        return {
            place.partition: held.next
            for place, log in logs.items()
            if (held := state.positions.get(place)) is not None and held.goes_on(log.id)
        }

    async def bars(self, span: Span, cuts: Sequence[int]) -> AsyncIterator[Held]:
        """Yield the bars of the span, day by day, `ROWS` at once."""
        view = view_name(self._topic)
        values = ", ".join(f'"{name}"' for name in self._fields)
        days = self._days(span)
        state = narrowed(self._state, [self._topic], days)
        conditions = [_condition(day, span) for day in days]
        newest = f"SELECT {_KEY}, {values} FROM {view} WHERE {{}}"
        async for rows in in_thread(self._rows(state, newest, conditions)):
            yield Held(dict(_bars(rows, self._fields)))
        # The view shows one of them; by their place in the log they are the same record.
        doubles = (
            f"SELECT {_KEY}, count(*) - 1 AS copies FROM {view}_versions WHERE {{}} "
            f"GROUP BY {_KEY}, log_partition, log_offset, append_time HAVING count(*) > 1"
        )
        sums = f"SELECT {_KEY}, sum(copies)::BIGINT FROM ({doubles}) GROUP BY {_KEY}"
        async for rows in in_thread(self._rows(state, sums, conditions)):
            yield Held({}, {(symbol, i, start): n for symbol, i, start, n in _tuples(rows)})

    def notes(self, drift: Drift) -> list[str]:
        """Say what was never archived, and which days are not there any more."""
        found = [
            f"{self._topic} partition {partition}: {held.lost:,} offsets were gone from Kafka "
            "before they were archived; their bars count as missing"
            for (topic, partition), held in sorted(self._state.positions.items())
            if topic == self._topic and held.lost
        ]
        first, missing = first_day(self._state, self._topic), drift.first_missing
        if first is not None and missing is not None and missing < _begin(first):
            found.append(
                f"{self._store.where('').rstrip('/')}: its first day of {self._topic} is {first}: "
                "bars of days that `candlewick archive retain` has dropped count as missing; "
                "choose a later --from"
            )
        return found

    def _days(self, span: Span) -> list[date]:
        days = {part.day for part in self._state.parts.values() if part.topic == self._topic}
        found = sorted(map(date.fromisoformat, days))
        return [
            each for each in found if _begin(each) < span.end and _begin(each) + DAY > span.begin
        ]

    def _rows(self, state: State, sql: str, conditions: Sequence[str]) -> Iterator[pa.RecordBatch]:
        statements = [sql.format(each) for each in conditions]
        with told():
            yield from stream(self._store, state, statements, ROWS)


def open_archive(settings: Settings, location: str | None) -> Store:
    """Open the archive at a place; None: the deployment's.

    Raises:
        RunError: an address that fsspec does not know, or whose package is missing.
    """
    with told():
        return open_store(location or archive_location(settings))


def held_state(store: Store) -> State:
    """Return what an archive holds now.

    Raises:
        RunError: there is none, or its manifests cannot be read.
    """
    with told():
        state = read_state(store)
    if not state.number:
        raise RunError(
            f"{store.where('').rstrip('/')}: there is no archive; expected what the sink archive "
            "has written: CANDLEWICK_SINKS__DRIVERS, CANDLEWICK_ARCHIVE__LOCATION or --archive"
        )
    return state


def narrowed(state: State, topics: Collection[str], days: Collection[date] | None = None) -> State:
    """Return a state with the files of some topics, and of some days, alone: no other is opened."""
    wanted = None if days is None else {day.isoformat() for day in days}
    found = State()
    found.parts = {
        path: part
        for path, part in state.parts.items()
        if part.topic in topics and (wanted is None or part.day in wanted)
    }
    return found


def first_day(state: State, topic: str) -> date | None:
    """Return the first day of which an archive has rows of a topic, None where there is none."""
    days = (part.day for part in state.parts.values() if part.topic == topic)
    first = min(days, default=None)
    return None if first is None else date.fromisoformat(first)


async def in_thread(rows: Iterator[Taken]) -> AsyncIterator[Taken]:
    """Yield what an iterator gives; a thread takes it, so that the command can be stopped."""
    while (found := await asyncio.to_thread(next, rows, None)) is not None:
        yield found


@contextmanager
def told() -> Iterator[None]:
    """Make what is wrong with an archive an error of one line.

    Raises:
        RunError: instead of it.
    """
    try:
        yield
    except (ArchiveError, ValueError, ImportError) as error:
        raise RunError(str(error)) from error


def _condition(day: date, span: Span) -> str:
    # Column by column: so DuckDB opens the files of the day alone.
    return (
        f"year = {day.year} AND month = {day.month} AND day = {day.day} "
        f"AND start >= {span.begin} AND start < {span.end}"
    )


def _bars(rows: pa.RecordBatch, fields: Sequence[str]) -> Iterator[tuple[Key, Values]]:
    for symbol, interval, start, *values in _tuples(rows):
        yield (symbol, interval, start), dict(zip(fields, values, strict=True))


def _tuples(rows: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in rows.columns), strict=True)


def _begin(day: date) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(moment.timestamp()) * NANOSECONDS["s"]
