"""Trades and quotes as columns: what readers give, and what is merged, delayed and encoded.

Repeated texts are numbers into a `Vocabulary` that all files of a replay share; it grows with
the distinct values (symbols; venue, conditions and source together), never with the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from app.contracts.wire import QuoteRecord, TradeRecord

Value = TypeVar("Value")


class Numbers(Generic[Value]):
    """Distinct values, numbered from 0 in the order they were first seen."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._numbers: dict[Value, int] = {}

    def number(self, value: Value) -> int:
        """The value's number; a new value gets the next one."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


class Origin(NamedTuple):
    """What a trade says of itself beside its numbers."""

    venue: str | None
    conditions: tuple[str, ...]
    source: str | None


@dataclass(slots=True)
class Vocabulary:
    """The texts behind the columns `symbol` and `origin`."""

    symbols: Numbers[str] = field(default_factory=Numbers)
    origins: Numbers[Origin] = field(default_factory=Numbers)


@dataclass(frozen=True, slots=True)
class TradeColumns:
    """Trades, one entry each in every column.

    `event_time` and `sequence` are int64 (ns since the epoch; ordering number), `price` and
    `size` float64, `symbol` and `origin` int32 numbers of the vocabulary; `trade_id` holds str
    or None, and is None as a whole where no record has one. `value` likewise holds bytes that
    are sent as they are instead of the row's own JSON (control records, unreadable lines).
    """

    symbol: npt.NDArray[np.int32]
    price: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    event_time: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int32]
    trade_id: npt.NDArray[np.object_] | None = None
    value: npt.NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> TradeColumns:
        """These rows, in this order; a slice shares memory with this one."""
        return TradeColumns(
            self.symbol[rows],
            self.price[rows],
            self.size[rows],
            self.event_time[rows],
            self.sequence[rows],
            self.origin[rows],
            None if self.trade_id is None else self.trade_id[rows],
            None if self.value is None else self.value[rows],
        )


@dataclass(frozen=True, slots=True)
class QuoteColumns:
    """Quotes, one entry each in every column; the columns as in `TradeColumns`."""

    symbol: npt.NDArray[np.int32]
    bid: npt.NDArray[np.float64]
    ask: npt.NDArray[np.float64]
    bid_size: npt.NDArray[np.float64]
    ask_size: npt.NDArray[np.float64]
    event_time: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int32]
    value: npt.NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> QuoteColumns:
        """These rows, in this order; a slice shares memory with this one."""
        return QuoteColumns(
            self.symbol[rows],
            self.bid[rows],
            self.ask[rows],
            self.bid_size[rows],
            self.ask_size[rows],
            self.event_time[rows],
            self.sequence[rows],
            self.origin[rows],
            None if self.value is None else self.value[rows],
        )


#: What a reader gives and a replay sends: trades or quotes.
TickColumns = TradeColumns | QuoteColumns
Ticks = TypeVar("Ticks", bound=TickColumns)


def concatenate(parts: Sequence[Ticks]) -> Ticks:
    """One after the other; `parts` has at least one, all of the same kind."""
    if len(parts) == 1:
        return parts[0]
    joined: list[Any] = []
    for field_ in fields(parts[0]):
        columns = [getattr(part, field_.name) for part in parts]
        if all(column is None for column in columns):
            joined.append(None)
            continue
        joined.append(
            np.concatenate(
                [
                    np.full(len(part), None, dtype=object) if column is None else column
                    for part, column in zip(parts, columns, strict=True)
                ]
            )
        )
    return type(parts[0])(*joined)


def columns_of(trades: Sequence[TradeRecord], vocabulary: Vocabulary) -> TradeColumns:
    """Trades of a test or a generator as columns; a missing sequence is the place in the list."""
    symbols, origins = vocabulary.symbols, vocabulary.origins
    identifiers = np.array([trade.trade_id for trade in trades], dtype=object)
    return TradeColumns(
        np.array([symbols.number(trade.symbol) for trade in trades], dtype=np.int32),
        np.array([trade.price for trade in trades], dtype=np.float64),
        np.array([trade.size for trade in trades], dtype=np.float64),
        np.array([trade.event_time for trade in trades], dtype=np.int64),
        _sequences(trades),
        np.array(
            [
                origins.number(Origin(trade.venue, trade.conditions, trade.source))
                for trade in trades
            ],
            dtype=np.int32,
        ),
        identifiers if any(trade.trade_id is not None for trade in trades) else None,
    )


def quote_columns_of(quotes: Sequence[QuoteRecord], vocabulary: Vocabulary) -> QuoteColumns:
    """Quotes of a test or a generator as columns; a missing sequence is the place in the list."""
    symbols, origins = vocabulary.symbols, vocabulary.origins
    return QuoteColumns(
        np.array([symbols.number(quote.symbol) for quote in quotes], dtype=np.int32),
        np.array([quote.bid for quote in quotes], dtype=np.float64),
        np.array([quote.ask for quote in quotes], dtype=np.float64),
        np.array([quote.bid_size for quote in quotes], dtype=np.float64),
        np.array([quote.ask_size for quote in quotes], dtype=np.float64),
        np.array([quote.event_time for quote in quotes], dtype=np.int64),
        _sequences(quotes),
        np.array(
            [origins.number(Origin(quote.venue, (), quote.source)) for quote in quotes],
            dtype=np.int32,
        ),
    )


def _sequences(records: Sequence[TradeRecord | QuoteRecord]) -> npt.NDArray[np.int64]:
    return np.array(
        [
            place if record.sequence is None else record.sequence
            for place, record in enumerate(records)
        ],
        dtype=np.int64,
    )
