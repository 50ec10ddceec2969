"""From a batch to steps in log order: columns of good trades and control records; the rest is dead.

Reasons are judged in the order that app/README.md gives, by masks over columns; only records
that are bad, or bring a new symbol or source, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import ControlRecord, TradeRecord
from tables.columns import Columns, Decoded, decode, sequence_column
from tables.configuration import BarsConfiguration
from tables.identifiers import SEPARATOR, join_identity
from tables.symbols import Conditions, Sources, Symbols


@dataclass(frozen=True, slots=True)
class Control:
    """A control record at its place in the log; `append_time` in ns."""

    position: int
    append_time: int
    record: ControlRecord


class Intake:
    """Decodes and judges the batches of one partition."""

    def __init__(
        self, configuration: BarsConfiguration, symbols: Symbols, sources: Sources
    ) -> None:
        self._configuration = configuration
        self._symbols = symbols
        self.sources = sources
        self.conditions = Conditions(configuration.policy)

    def read(self, batch: RecordBatch) -> tuple[list[Columns | Control], list[tuple[int, str]]]:
        """Split a batch into steps in log order and its dead (position, reason) in log order."""
        decoded = decode(batch.values, self._configuration.max_value_bytes)
        columns = self._columns(batch, decoded) if decoded.trades else None
        steps = list(self._steps(batch, decoded, columns))
        decoded.dead.sort()
        return steps, decoded.dead

    def _steps(
        self, batch: RecordBatch, decoded: Decoded, columns: Columns | None
    ) -> Iterator[Columns | Control]:
        done = 0
        for position, record in decoded.controls:
            if columns is not None:
                upto = int(np.searchsorted(columns.position, position))
                if upto > done:
                    yield columns.take(np.arange(done, upto))
                done = upto
            yield Control(position, int(batch.append_times[position]), record)
        if columns is not None and done < len(columns):
            yield columns if done == 0 else columns.take(np.arange(done, len(columns)))

    def _columns(self, batch: RecordBatch, decoded: Decoded) -> Columns | None:
        texts = _Texts.of(decoded.trades)
        identities = _identities(texts)
        sources = set(texts.sources)
        if _may_have_separator(texts, identities, sources - self.sources.known_names):
            self._drop(decoded, [not _has_separator(each) for each in decoded.trades], "malformed")
            texts = _Texts.of(decoded.trades)
            identities = _identities(texts)
        condition = self.conditions.encode(texts.conditions)
        trades = decoded.trades
        position = np.array(decoded.positions, dtype=np.int64)
        columns = Columns(
            position,
            batch.offsets[position],
            batch.append_times[position],
            np.array([trade.event_time for trade in trades], dtype=np.int64),
            sequence_column(trades),
            self._symbols.intern(texts.symbols),
            # Adding 0.0 turns -0.0 into 0.0, so that high and low do not depend on the order.
            np.array([trade.price for trade in trades], dtype=np.float64) + 0.0,
            np.array([trade.size for trade in trades], dtype=np.float64) + 0.0,
            condition,
            np.zeros(len(trades), dtype=np.int64),
            None,
        )
        good = self._judge(columns, decoded)
        if good is not None:
            columns, texts = columns.take(good), texts.take(good)
            identities = None if identities is None else list(compress(identities, good.tolist()))
        keep = self._register(columns, texts, sources, decoded)
        if keep is not None:
            columns, texts = columns.take(keep), texts.take(keep)
            identities = None if identities is None else list(compress(identities, keep.tolist()))
        if not len(columns):
            return None
        columns.source = self.sources.bits(texts.sources, sources)
        columns.identifiers = identities
        return columns

    def _drop(self, decoded: Decoded, keep: list[bool], reason: str) -> None:
        kept = [index for index, good in enumerate(keep) if good]
        decoded.dead.extend(
            (decoded.positions[index], reason) for index, good in enumerate(keep) if not good
        )
        decoded.trades = [decoded.trades[index] for index in kept]
        decoded.positions = [decoded.positions[index] for index in kept]

    def _judge(self, columns: Columns, decoded: Decoded) -> npt.NDArray[np.bool_] | None:
        """Mask of the good trades, or None where all are; the others become dead."""
        configuration = self._configuration
        early = columns.time < configuration.earliest_event_time
        late = columns.time > columns.append_time + configuration.max_ahead
        large = np.abs(columns.price * columns.size) > MAX_NOTIONAL
        faulty = self._symbols.faulty(columns.symbol)
        bad = early | late | large | faulty
        if not bad.any():
            return None
        for index in np.flatnonzero(bad).tolist():
            fault = self._symbols.faults[int(columns.symbol[index])]
            if fault == "bad_symbol":
                reason = fault
            elif early[index]:
                reason = "event_time_too_early"
            elif late[index]:
                reason = "event_time_too_late"
            elif large[index]:
                reason = "notional_too_large"
            else:
                reason = str(fault)
            decoded.dead.append((int(columns.position[index]), reason))
        return ~bad

    def _register(
        self, columns: Columns, texts: _Texts, names: set[str | None], decoded: Decoded
    ) -> npt.NDArray[np.bool_] | None:
        """Make every symbol and source of the good trades known, in log order.

        The mask of those that fit, or None where all do; the others become dead.
        """
        symbols, sources = self._symbols, self.sources
        if symbols.all_registered(columns.symbol) and names <= sources.known_names:
            return None
        keep = np.ones(len(columns), dtype=np.bool_)
        for index, (code, source) in enumerate(
            zip(columns.symbol.tolist(), texts.sources, strict=True)
        ):
            if not symbols.registered[code] and symbols.count >= symbols.limit:
                reason = "too_many_symbols"
            elif source is not None and not sources.add(source):
                reason = "too_many_sources"
            else:
                symbols.register(code)
                continue
            keep[index] = False
            decoded.dead.append((int(columns.position[index]), reason))
        return None if keep.all() else keep


class _Texts(NamedTuple):
    """The text fields of trades, one list a field."""

    symbols: list[str]
    venues: list[str | None]
    identifiers: list[str | None]
    sources: list[str | None]
    conditions: list[tuple[str, ...]]

    @classmethod
    def of(cls, trades: list[TradeRecord]) -> _Texts:
        return cls(
            [trade.symbol for trade in trades],
            [trade.venue for trade in trades],
            [trade.trade_id for trade in trades],
            [trade.source for trade in trades],
            [trade.conditions for trade in trades],
        )

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Texts:
        kept = chosen.tolist()
        return _Texts(
            list(compress(self.symbols, kept)),
            list(compress(self.venues, kept)),
            list(compress(self.identifiers, kept)),
            list(compress(self.sources, kept)),
            list(compress(self.conditions, kept)),
        )


def _may_have_separator(
    texts: _Texts, identities: list[str | None] | None, new_sources: set[str | None]
) -> bool:
    """Whether a name or id may hold a NUL, which the contract refuses; hardly ever.

    Known sources were looked at when they were new; the rest, when every trade has an id, in one
    look at all identities.
    """
    if any(SEPARATOR in name for name in new_sources if name is not None):
        return True
    if identities is not None and None not in identities:
        joined: str = "".join(identities)  # type: ignore[arg-type]
        return joined.count(SEPARATOR) != 2 * len(identities)
    names = {*texts.venues, *texts.identifiers}
    return any(SEPARATOR in name for name in names if name is not None)


def _has_separator(trade: TradeRecord) -> bool:
    parts = (trade.venue, trade.source, trade.trade_id)
    return any(part is not None and SEPARATOR in part for part in parts)


def _identities(texts: _Texts) -> list[str | None] | None:
    """Identity of each trade that has an id; None where no trade has one."""
    missing = texts.identifiers.count(None)
    if missing == len(texts.identifiers):
        return None
    venues = texts.venues if None not in texts.venues else [venue or "" for venue in texts.venues]
    if missing == 0:
        # At C speed: the usual case.
        parts = zip(texts.symbols, venues, texts.identifiers, strict=True)
        return list(map(SEPARATOR.join, parts))  # type: ignore[arg-type]
    return [
        None if identifier is None else join_identity(symbol, venue, identifier)
        for symbol, venue, identifier in zip(texts.symbols, venues, texts.identifiers, strict=True)
    ]
