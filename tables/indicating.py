"""The indicators of one partition of bars: each closed bar in, its indicators out.

An entry is the `IndicatorSet` of one symbol and interval. What becomes of a bar (`Outcome`) is the
outcome of its record: `applied` (new), `revised` (the last one once more; `emptied` is among them),
`older` (a revision that comes too late: counted, and later records are not `exact`), `repeated`.
Bars of an interval without indicators are `ignored`. New and revised bars publish a record with the
bar's revision; of an emptied bar all values are null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.contracts.wire import BarInput, BarRecord, IndicatorsRecord, bar_input_decoder, encoder
from app.durations import parse_duration
from tables.derived import BadRecordError, DerivedConfiguration, check_bar_time
from tables.indicators.base import Context
from tables.indicators.registry import Request
from tables.indicators.sets import IndicatorSet, Outcome
from tables.journaled import JournaledPartition
from tables.markets import Instruments, Market, TradingDays
from tables.parsing import DECODE_ERRORS
from tables.symbols import SymbolFaults
from tables.windows import Reader

_OUTCOMES = {
    Outcome.NEW: "applied",
    Outcome.REVISED: "revised",
    Outcome.EMPTIED: "revised",
    Outcome.OLDER: "older",
    Outcome.REPEATED: "repeated",
}
#: By symbol.
ContextOf = Callable[[str], Context]
_PUBLISHED = (Outcome.NEW, Outcome.REVISED, Outcome.EMPTIED)
_decode_row = msgspec.msgpack.Decoder(list).decode
_encode_row = msgspec.msgpack.Encoder().encode


def contexts_of(instruments: Instruments) -> ContextOf:
    """What indicators are told of each symbol: sessions are the days of its market."""
    # One for all symbols of a market: the day of a time is looked up once for all of them.
    contexts: dict[int, tuple[Market, Context]] = {}

    def context_of(symbol: str) -> Context:
        market = instruments.market(symbol)
        found = contexts.get(id(market))
        if found is None:
            found = contexts[id(market)] = (market, Context(TradingDays(market)))
        return found[1]

    return context_of


def _values_type(requests: Sequence[Request]) -> type[msgspec.Struct]:
    """A record of outputs that is encoded like a dictionary by name, in half the time."""
    names = [name for each in requests for name in each.names]
    fields = [f"output_{number}" for number in range(len(names))]
    return msgspec.defstruct(
        "Values",
        [(field, float | None) for field in fields],
        rename=dict(zip(fields, names, strict=True)),
        gc=False,
    )


class IndicatorsPartition(JournaledPartition[IndicatorSet]):
    """State of one partition of the indicators agent."""

    OUTCOMES = ("applied", "revised", "older", "repeated", "ignored", "dead")
    SETTINGS = "indicators, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        read: Reader | None,
        requests: Mapping[str, Sequence[Request]],
        max_ahead: int,
        *,
        context_of: ContextOf | None = None,
        fill_forward: bool = False,
    ) -> None:
        """Begin without bars.

        Args:
            requests: by interval (`1m`), for each that bars come in.
            max_ahead: how far (ns) a bar may begin after its append time; no bar of ours does.
            context_of: what indicators are told, by symbol; sessions are UTC dates without.
        """
        super().__init__(configuration, partition, read)
        self._requests = requests
        self._lengths = {label: parse_duration(label) for label in requests}
        self._max_ahead = max_ahead
        self._context_of = context_of
        self._fill_forward = fill_forward
        self._faults = SymbolFaults(partition, configuration.partitions)
        self._values = {label: _values_type(each) for label, each in requests.items() if each}

    def decode(self, key: bytes, row: bytes | None) -> IndicatorSet:
        """Make a set of its row, or a new one."""
        symbol, _, interval = key.decode().partition("\0")
        requests = self._requests[interval]
        context = None if self._context_of is None else self._context_of(symbol)
        if row is None:
            return IndicatorSet(requests, context, fill_forward=self._fill_forward)
        return IndicatorSet.from_state(
            _decode_row(row), requests, context, fill_forward=self._fill_forward
        )

    def encode(self, key: bytes, entry: IndicatorSet) -> bytes:
        """Make a row of a set."""
        return _encode_row(entry.state())

    def replay(self, key: bytes, entry: IndicatorSet, item: list[Any]) -> None:
        """Let a set take a bar again."""
        symbol, _, interval = key.decode().partition("\0")
        fields = [*item[:-1], tuple(item[-1])]
        entry.take(BarRecord(symbol, interval, *fields))

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a bar.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        try:
            bar = bar_input_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        self._check(bar, append_time + self._max_ahead)
        if not self._requests[bar.interval]:
            return "ignored"
        symbol = bar.symbol.encode()
        key = symbol + b"\0" + bar.interval.encode()
        held = self.entry(key)
        outcome = held.take(bar)
        self.note(
            key,
            (
                *(bar.start, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap),
                *(bar.trades, bar.revision, bar.is_final, bar.filled, bar.sources),
            ),
        )
        if self.maximum is None or bar.start > self.maximum:
            self.maximum = bar.start
        if outcome in _PUBLISHED:
            outputs = held.outputs()
            if outcome is Outcome.EMPTIED:
                outputs = [None] * len(outputs)
            values: Any = self._values[bar.interval](*outputs)
            record = IndicatorsRecord(
                bar.symbol, bar.interval, bar.start, bar.revision, held.exact, values
            )
            self.put("indicators", symbol, encoder.encode(record))
        return _OUTCOMES[outcome]

    def _check(self, bar: BarInput, latest: int) -> None:
        fault = self._faults.of(bar.symbol)
        if fault is not None:
            raise BadRecordError(fault)
        length = self._lengths.get(bar.interval)
        if length is None:
            raise BadRecordError("unknown_interval")
        check_bar_time(bar.start, length, latest)
