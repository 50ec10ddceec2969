"""From a batch to steps in log order: columns of good trades and control records; the rest is dead.

Reasons are judged in the order that app/README.md gives, by masks over columns; only records
that are bad, or bring a new symbol or source, are looked at one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.contracts.batch import RecordBatch
from app.contracts.conditions import UnknownConditionError
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
        self._good_texts: set[str | None] = {None}

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
        bad_texts = self._bad_texts(decoded.trades)
        if bad_texts:
            good_texts = [index not in bad_texts for index in range(len(decoded.trades))]
            self._drop(decoded, good_texts, "malformed")
        trades = decoded.trades
        if not trades:
            return None
        names = [trade.conditions for trade in trades]
        try:
            condition = self.conditions.encode(names)
        except UnknownConditionError:
            known = [self.conditions.is_known(each) for each in names]
            self._drop(decoded, known, "unknown_condition")
            trades = decoded.trades
            if not trades:
                return None
            condition = self.conditions.encode([trade.conditions for trade in trades])
        position = np.array(decoded.positions, dtype=np.int64)
        time = np.array([trade.event_time for trade in trades], dtype=np.int64)
        # Adding 0.0 turns -0.0 into 0.0, so that high and low do not depend on the order.
        price = np.array([trade.price for trade in trades], dtype=np.float64) + 0.0
        size = np.array([trade.size for trade in trades], dtype=np.float64) + 0.0
        symbol = self._symbols.intern([trade.symbol for trade in trades])
        append_time = batch.append_times[position]
        columns = Columns(
            position,
            batch.offsets[position],
            append_time,
            time,
            sequence_column(trades),
            symbol,
            price,
            size,
            condition,
            np.zeros(len(trades), dtype=np.int64),
            None,
        )
        good = self._judge(columns, decoded)
        if good is not None:
            columns = columns.take(good)
            trades = [trades[index] for index in np.flatnonzero(good).tolist()]
        columns, trades = self._register(columns, trades, decoded)
        if not trades:
            return None
        columns.source = self.sources.bits([trade.source for trade in trades])
        columns.identifiers = self._identities(trades)
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

    def _bad_texts(self, trades: list[TradeRecord]) -> set[int]:
        """Trades with a NUL in a name or id, which the contract refuses; rarely any."""
        good = self._good_texts
        bad: set[int] = set()
        names = {trade.venue for trade in trades} | {trade.source for trade in trades}
        fresh = names - good
        identifiers = [trade.trade_id for trade in trades if trade.trade_id is not None]
        suspect = SEPARATOR in "".join(identifiers)
        for name in fresh:
            if name is not None and SEPARATOR in name:
                suspect = True
            elif len(good) < 4096:
                good.add(name)
        if suspect:
            for index, trade in enumerate(trades):
                parts = (trade.venue, trade.source, trade.trade_id)
                if any(part is not None and SEPARATOR in part for part in parts):
                    bad.add(index)
        return bad

    def _register(
        self, columns: Columns, trades: list[TradeRecord], decoded: Decoded
    ) -> tuple[Columns, list[TradeRecord]]:
        """Make every symbol and source of the good trades known, in log order."""
        symbols, sources = self._symbols, self.sources
        new = {code for code in set(columns.symbol.tolist()) if not symbols.registered[code]}
        if not new and sources.known({trade.source for trade in trades}):
            return columns, trades
        keep = np.ones(len(trades), dtype=np.bool_)
        for index, trade in enumerate(trades):
            code = int(columns.symbol[index])
            full = not symbols.registered[code] and symbols.count >= symbols.limit
            if full:
                reason = "too_many_symbols"
            elif trade.source is not None and not sources.add(trade.source):
                reason = "too_many_sources"
            else:
                symbols.register(code)
                continue
            keep[index] = False
            decoded.dead.append((int(columns.position[index]), reason))
        if keep.all():
            return columns, trades
        return columns.take(keep), [trades[index] for index in np.flatnonzero(keep).tolist()]

    def _identities(self, trades: list[TradeRecord]) -> list[str | None] | None:
        identifiers = [trade.trade_id for trade in trades]
        count = identifiers.count(None)
        if count == len(identifiers):
            return None
        if count == 0:
            parts = [(trade.symbol, trade.venue or "", trade.trade_id or "") for trade in trades]
            return [SEPARATOR.join(part) for part in parts]
        return [
            None
            if trade.trade_id is None
            else join_identity(trade.symbol, trade.venue, trade.trade_id)
            for trade in trades
        ]
