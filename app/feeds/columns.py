"""Trades as columns: what readers give, and what is merged, delayed and encoded.

Repeated texts are numbers into a `Vocabulary` that all files of a replay share; it grows with
the distinct values (symbols; venue, conditions and source together), never with the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from app.contracts.wire import TradeRecord

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
    or None, and is None as a whole where no record has one.
    """

    symbol: npt.NDArray[np.int32]
    price: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]
    event_time: npt.NDArray[np.int64]
    sequence: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int32]
    trade_id: npt.NDArray[np.object_] | None = None

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
        )


def concatenate(parts: Sequence[TradeColumns]) -> TradeColumns:
    """One after the other; `parts` has at least one."""
    if len(parts) == 1:
        return parts[0]
    identifiers: npt.NDArray[np.object_] | None = None
    if any(part.trade_id is not None for part in parts):
        identifiers = np.concatenate(
            [
                np.full(len(part), None, dtype=object) if part.trade_id is None else part.trade_id
                for part in parts
            ]
        )
    return TradeColumns(
        np.concatenate([part.symbol for part in parts]),
        np.concatenate([part.price for part in parts]),
        np.concatenate([part.size for part in parts]),
        np.concatenate([part.event_time for part in parts]),
        np.concatenate([part.sequence for part in parts]),
        np.concatenate([part.origin for part in parts]),
        identifiers,
    )


def columns_of(trades: Sequence[TradeRecord], vocabulary: Vocabulary) -> TradeColumns:
    """Trades of a test or a generator as columns; a missing sequence is the place in the list."""
    symbols, origins = vocabulary.symbols, vocabulary.origins
    identifiers = np.array([trade.trade_id for trade in trades], dtype=object)
    return TradeColumns(
        np.array([symbols.number(trade.symbol) for trade in trades], dtype=np.int32),
        np.array([trade.price for trade in trades], dtype=np.float64),
        np.array([trade.size for trade in trades], dtype=np.float64),
        np.array([trade.event_time for trade in trades], dtype=np.int64),
        np.array(
            [
                place if trade.sequence is None else trade.sequence
                for place, trade in enumerate(trades)
            ],
            dtype=np.int64,
        ),
        np.array(
            [
                origins.number(Origin(trade.venue, trade.conditions, trade.source))
                for trade in trades
            ],
            dtype=np.int32,
        ),
        identifiers if any(trade.trade_id is not None for trade in trades) else None,
    )
