"""The bench's input: seeded trades of the full contract, as columns and as JSON values.

The columns stay in memory, because the oracle (`expected.py`) computes the bars from them; values
are made a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from aiokafka.partitioner import murmur2

from app.contracts.forms import pack

#: 2025-06-02 13:30 UTC: the same bars on every day the bench runs.
BEGIN = 1_748_871_000_000_000_000
#: Trades a second of event time, over all symbols.
RATE = 20_000
VENUES = ("ARCX", "BATS", "EDGX", "IEXG", "MEMX", "XCHI", "XNAS", "XNYS")
SOURCES = ("feed-a", "feed-b")
#: Three of ten trades carry conditions.
CONDITIONS: tuple[tuple[str, ...], ...] = (
    (), (), (), (), (), (), (),
    ("odd_lot",), ("iso",), ("iso", "odd_lot"),
)  # fmt: skip

#: What the trades are written as: an object a record, a MessagePack map a record, or a JSON array
#: of `ARRAY_TRADES` objects a record.
JSON, MSGPACK, ARRAY = FORMS = ("json", "msgpack", "array")
#: Trades of a partition that come together, as vendors send what a few milliseconds brought.
ARRAY_TRADES = 50
#: Kinds of records: all fields of the contract, or symbol, price, size and time.
FULL, FOUR = RECORDS = ("full", "four")

Int64Array = npt.NDArray[np.int64]
Record = TypeVar("Record", bytes, tuple[bytes, bytes])


@dataclass(frozen=True)
class Ticks:
    """Trades in log order, one entry a trade; `event_time` in ns, `cents` are the price.

    `symbol`, `venue`, `condition` and `source` index the names.
    """

    symbols: list[str]
    symbol: Int64Array
    cents: Int64Array
    size: Int64Array
    event_time: Int64Array
    sequence: Int64Array
    venue: Int64Array
    condition: Int64Array
    source: Int64Array

    def __len__(self) -> int:
        return len(self.symbol)


def make_ticks(records: int, symbols: int, disorder: int, seed: int = 1, rate: int = RATE) -> Ticks:
    """Make trades: skewed symbols, random walks in cents, exponential gaps.

    Args:
        disorder: ns that a trade may arrive after its turn; below the grace no bar is revised.
        rate: trades a second of event time, over all symbols.
    """
    random = np.random.default_rng(seed)
    weight = 1.0 / (np.arange(symbols) + 20.0) ** 0.8
    symbol = random.choice(symbols, records, p=weight / weight.sum()).astype(np.int64)
    step = random.integers(-2, 3, records)
    by_symbol = np.argsort(symbol, kind="stable")
    walked = np.cumsum(step[by_symbol])
    first = np.searchsorted(symbol[by_symbol], np.arange(symbols))
    base = random.integers(20_000, 60_000, symbols)
    offset = base - np.append(walked, 0)[first]
    cents = np.empty(records, dtype=np.int64)
    # The floor never binds in a sensible run; it keeps prices positive in any.
    cents[by_symbol] = np.maximum(walked + offset[symbol[by_symbol]], 1)
    gaps = random.exponential(1e9 / rate, records).astype(np.int64) + 1
    ticks = Ticks(
        [_name(index) for index in range(symbols)],
        symbol,
        cents,
        np.where(random.random(records) < 0.6, 100, random.integers(1, 1_000, records)),
        BEGIN + np.cumsum(gaps),
        np.arange(1, records + 1, dtype=np.int64),
        random.integers(0, len(VENUES), records),
        random.integers(0, len(CONDITIONS), records),
        random.integers(0, len(SOURCES), records),
    )
    if not disorder:
        return ticks
    return _take(ticks, np.argsort(ticks.event_time + random.integers(0, disorder, records)))


def _name(index: int) -> str:
    letters = [chr(ord("A") + index // 26**place % 26) for place in (3, 2, 1, 0)]
    return "".join(letters)


def _take(ticks: Ticks, chosen: npt.NDArray[np.intp] | slice) -> Ticks:
    return Ticks(
        ticks.symbols,
        ticks.symbol[chosen],
        ticks.cents[chosen],
        ticks.size[chosen],
        ticks.event_time[chosen],
        ticks.sequence[chosen],
        ticks.venue[chosen],
        ticks.condition[chosen],
        ticks.source[chosen],
    )


def first_of(ticks: Ticks, count: int) -> Ticks:
    """The first trades of the log."""
    return _take(ticks, slice(0, count))


def chunks(
    ticks: Ticks, partitions: int, size: int = 40_000, *, record: str = FULL, form: str = JSON
) -> Iterator[list[list[bytes]]]:
    """Yield chunks of the log: for each partition its values, in log order."""
    for part, routes in _parts(ticks, partitions, size):
        values = values_of(part, record)
        if form == MSGPACK:
            values = list(map(pack, values))
        routed = _shared_out(values, routes, partitions)
        yield list(map(_arrays, routed)) if form == ARRAY else routed


def _arrays(values: list[bytes]) -> list[bytes]:
    """Objects one behind the other, as arrays of them."""
    return [
        b"[" + b",".join(values[begin : begin + ARRAY_TRADES]) + b"]"
        for begin in range(0, len(values), ARRAY_TRADES)
    ]


def keyed_chunks(
    ticks: Ticks, partitions: int, size: int = 40_000, *, record: str = FULL
) -> Iterator[list[list[tuple[bytes, bytes]]]]:
    """Yield the same with the symbol as each record's key, which others than ours need."""
    keys = [name.encode() for name in ticks.symbols]
    for part, routes in _parts(ticks, partitions, size):
        values = values_of(part, record)
        pairs = [
            (keys[symbol], value)
            for symbol, value in zip(part.symbol.tolist(), values, strict=True)
        ]
        yield _shared_out(pairs, routes, partitions)


def _parts(ticks: Ticks, partitions: int, size: int) -> Iterator[tuple[Ticks, list[int]]]:
    """Chunks of trades, and the partition of each trade."""
    home = np.array([(murmur2(name.encode()) & 0x7FFF_FFFF) % partitions for name in ticks.symbols])
    for begin in range(0, len(ticks), size):
        part = _take(ticks, slice(begin, begin + size))
        yield part, home[part.symbol].tolist()


def _shared_out(records: list[Record], routes: list[int], partitions: int) -> list[list[Record]]:
    routed: list[list[Record]] = [[] for _ in range(partitions)]
    for route, record in zip(routes, records, strict=True):
        routed[route].append(record)
    return routed


def values_of(ticks: Ticks, record: str) -> list[bytes]:
    """The trades as JSON: `full`, all fields of the contract, or `four` of them."""
    return _values(ticks) if record == FULL else _four(ticks)


def _four(ticks: Ticks) -> list[bytes]:
    heads = [f'{{"symbol":"{name}","price":' for name in ticks.symbols]
    rows = zip(
        ticks.symbol.tolist(),
        (ticks.cents / 100.0).tolist(),
        ticks.size.tolist(),
        ticks.event_time.tolist(),
        strict=True,
    )
    return [
        f'{heads[symbol]}{price!r},"size":{size},"event_time":{time}}}'.encode()
        for symbol, price, size, time in rows
    ]


def _values(ticks: Ticks) -> list[bytes]:
    heads = [f'{{"symbol":"{name}","price":' for name in ticks.symbols]
    venues = [f'","venue":"{name}"' for name in VENUES]
    conditions = [
        ',"conditions":[' + ",".join(f'"{name}"' for name in names) + "]" if names else ""
        for names in CONDITIONS
    ]
    sources = [f',"source":"{name}"}}' for name in SOURCES]
    rows = zip(
        ticks.symbol.tolist(),
        (ticks.cents / 100.0).tolist(),
        ticks.size.tolist(),
        ticks.event_time.tolist(),
        ticks.sequence.tolist(),
        ticks.venue.tolist(),
        ticks.condition.tolist(),
        ticks.source.tolist(),
        strict=True,
    )
    return [
        (
            f'{heads[symbol]}{price!r},"size":{size},"event_time":{time},"sequence":{sequence}'
            f',"trade_id":"{52_983_525_000_000 + sequence}{venues[venue]}'
            f"{conditions[condition]}{sources[source]}"
        ).encode()
        for symbol, price, size, time, sequence, venue, condition, source in rows
    ]
