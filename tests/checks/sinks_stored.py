"""What the export, the log and each store hold of bars and trades: values by key, to be compared.

Read with what a user has: the reader's token, SQL, `redis-py`; nothing that the sinks write with.
"""

from __future__ import annotations

import csv
import io
import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pyarrow.parquet as pq

from app.archive.querying import query
from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import ticks_topic

Value = float | int | None
Key = tuple[str | int, ...]

BARS, TRADES, NEWEST_BARS, NEWEST_TRADES = "bars", "trades", "newest bars", "newest trades"
_BAR: Final = ("open", "high", "low", "close", "volume", "vwap", "trades", "revision")
#: What is compared of each kind, beside its key: of bars the symbol, the interval and the start; of
#: trades the symbol and the offset, as a symbol has one partition; of the newest all but the time.
FIELDS: Final = {
    BARS: _BAR,
    TRADES: ("event_time", "price", "size"),
    NEWEST_BARS: ("start", *_BAR),
    NEWEST_TRADES: ("event_time", "offset", "price", "size"),
}
INTEGERS: Final = frozenset({"trades", "revision", "event_time", "start", "offset"})


@dataclass(frozen=True)
class Rows:
    """Rows of one kind.

    Attributes:
        count: of rows; more than keys where some are doubled.
        values: of `FIELDS`, by key.
    """

    count: int
    values: Mapping[Key, tuple[Value, ...]]

    @classmethod
    def of(cls, rows: Iterable[tuple[Key, tuple[Value, ...]]]) -> Rows:
        """Count rows and keep them by key."""
        count, values = 0, {}
        for key, each in rows:
            count += 1
            values[key] = each
        return cls(count, values)


class _Record(msgspec.Struct, gc=False):
    """What is read of a record of `ticks`; a trade need not say that it is one."""

    type: str = "trade"
    symbol: str = ""
    event_time: int = 0
    price: float = 0.0
    size: float = 0.0


class Store(Protocol):
    """A store, of which one kind after the other is asked for."""

    def rows(self, kind: str) -> Rows:
        """Return what it holds of a kind."""
        ...


def exported(path: Path) -> Rows:
    """Return the bars of an export."""
    table = pq.read_table(path, columns=["symbol", "interval", "start_ns", *_BAR])
    return Rows.of(_split(zip(*(each.to_pylist() for each in table.columns), strict=True), 3))


async def logged(settings: Settings) -> Rows:
    """Return the trades of the topic `ticks`: all but control records."""
    found: list[tuple[Key, tuple[Value, ...]]] = []
    decode = msgspec.json.Decoder(_Record).decode
    partitions = await partitions_of(settings, [ticks_topic(settings)])
    ranges = await bounds(settings, partitions, committed=True)
    async for _, records in read_range(settings, ranges):
        for each in records:
            trade = decode(each.value)
            if trade.type == "trade":
                values = (trade.event_time, trade.price, trade.size)
                found.append(((trade.symbol, each.offset), values))
    return Rows.of(found)


def newest_bars(bars: Rows) -> Rows:
    """Return the latest bar of each symbol and interval."""
    found: dict[Key, tuple[Any, ...]] = {}
    for (*name, start), values in bars.values.items():
        key = tuple(name)
        found[key] = max(found.get(key, ()), (start, *values), key=lambda each: each[:1])
    return Rows.of(found.items())


def newest_trades(trades: Rows) -> Rows:
    """Return the trade of each symbol with the latest event time, of several the last one."""
    found: dict[Key, tuple[Any, ...]] = {}
    for (symbol, offset), (event_time, *values) in trades.values.items():
        one = (event_time, offset, *values)
        found[symbol,] = max(found.get((symbol,), ()), one, key=lambda each: each[:2])
    return Rows.of(found.items())


def _split(rows: Iterable[Sequence[Any]], width: int) -> Iterator[tuple[Key, tuple[Value, ...]]]:
    """Yield rows whose first columns are the key."""
    for row in rows:
        yield tuple(row[:width]), tuple(row[width:])


class SqlStore:
    """PostgreSQL, or the archive: both have a table `bars` and a table `ticks`.

    Args:
        ask: returns the rows of a query.
        schema: before the names of the tables, with its dot.
    """

    def __init__(self, ask: Callable[[str], Iterable[Sequence[Any]]], schema: str = "") -> None:
        self._ask, self._schema = ask, schema

    def rows(self, kind: str) -> Rows:
        """Return what it holds of a kind."""
        table, key = {
            BARS: ("bars", ("symbol", "interval", "start")),
            TRADES: ("ticks", ("symbol", "log_offset")),
        }[kind]
        names = ", ".join(f'"{each}"' for each in (*key, *FIELDS[kind]))
        return Rows.of(_split(self._ask(f"SELECT {names} FROM {self._schema}{table}"), len(key)))


def ask_archive(location: str, sql: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query over an archive."""
    table = query(location, sql)
    return zip(*(each.to_pylist() for each in table.columns), strict=True)


@dataclass(frozen=True)
class InfluxStore:
    """The three buckets of an InfluxDB.

    Attributes:
        resolution: ns that `sinks.tick_resolution` gives the ordinals of ticks.
    """

    url: str
    organization: str
    bucket: str
    token: str
    resolution: int

    def rows(self, kind: str) -> Rows:
        """Return what it holds of a kind; a point in two buckets counts twice."""
        return Rows.of(self._bars() if kind == BARS else self._trades())

    def _bars(self) -> Iterator[tuple[Key, tuple[Value, ...]]]:
        for key, point in self._points("bars", ("symbol", "interval"), (*_BAR, "nulls")):
            # Of a revision: a field that an earlier one had stays in the point.
            nulls = str(point.get("nulls", "")).split(",")
            # A first version has none.
            point.setdefault("revision", 0)
            yield key, tuple(None if each in nulls else point.get(each) for each in _BAR)

    def _trades(self) -> Iterator[tuple[Key, tuple[Value, ...]]]:
        fields = ("offset", "price", "size", "remainder")
        for (symbol, time), point in self._points("trades", ("symbol",), fields):
            event_time = time // self.resolution * self.resolution + point.get("remainder", 0)
            yield (symbol, point["offset"]), (event_time, point["price"], point["size"])

    def _points(
        self, measurement: str, tags: Sequence[str], fields: Sequence[str]
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield each point: its tags and time, and those of the fields that it has."""
        for bucket in ("", "_ticks", "_history"):
            points: dict[Key, dict[str, Any]] = {}
            for name in fields:
                columns = ", ".join(f'"{each}"' for each in ("_time", "_value", *tags))
                flux = (
                    f'from(bucket: "{self.bucket}{bucket}")'
                    " |> range(start: 0, stop: 2100-01-01T00:00:00Z) |> filter(fn: (r) =>"
                    f' r._measurement == "{measurement}" and r._field == "{name}")'
                    f" |> keep(columns: [{columns}])"
                )
                kind = str if name == "nulls" else int if name in _INTEGER_FIELDS else float
                for row in self._ask(flux, ("_time", "_value", *tags)):
                    key: Key = (*row[2:], nanoseconds(row[0]))
                    points.setdefault(key, {})[name] = kind(row[1])
            yield from points.items()

    def _ask(self, flux: str, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Yield some columns of a query's rows, as text.

        Raises:
            ValueError: it failed on the way.
            urllib.error.HTTPError: it is refused.
        """
        body = json.dumps({"query": flux, "type": "flux", "dialect": {"annotations": []}})
        request = urllib.request.Request(
            f"{self.url}/api/v2/query?{urllib.parse.urlencode({'org': self.organization})}",
            body.encode(),
            {
                "Authorization": f"Token {self.token}",
                "Content-Type": "application/json",
                "Accept": "application/csv",
            },
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            places: list[int] = []
            for cells in csv.reader(io.TextIOWrapper(answer, encoding="utf-8", newline="")):
                if not cells:
                    # A table with other columns follows.
                    places = []
                elif places:
                    yield tuple(cells[each] for each in places)
                elif "error" in cells:
                    raise ValueError(f"InfluxDB: {flux}: an error follows its rows")
                else:
                    places = [cells.index(each) for each in names]


_INTEGER_FIELDS: Final = INTEGERS | {"remainder"}


def nanoseconds(text: str) -> int:
    """Return the time of RFC 3339 with up to nine digits of a second."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    return _seconds(whole) * 1_000_000_000 + int(rest.ljust(9, "0"))


@lru_cache(maxsize=1024)
def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


@dataclass(frozen=True)
class RedisStore:
    """The latest values of a deployment: `namespace` is what its keys begin with."""

    url: str
    namespace: str

    def rows(self, kind: str) -> Rows:
        """Return what it holds of a kind."""
        return Rows.of(self._rows(kind))

    def _rows(self, kind: str) -> Iterator[tuple[Key, tuple[Value, ...]]]:
        import redis

        topic = "bars" if kind == NEWEST_BARS else "ticks"
        begin = f"{self.namespace}:{topic}:"
        client: Any
        with redis.Redis.from_url(self.url) as client:
            # Redis may name a key twice.
            for name in set(client.scan_iter(f"{begin}*")):
                value, order = client.hmget(name, "value", "order")
                record = json.loads(value)
                # The offset of a trade is nowhere else.
                record.setdefault("offset", int(order.partition(b".")[2]))
                key = tuple(name.decode().removeprefix(begin).split(":"))
                yield key, tuple(record[each] for each in FIELDS[kind])
