"""From a value of `ticks` or `quotes` to a record, or the reason why it is bad.

The rules of the bars and quotes agents (app/README.md, *Semantics*, step 1), one record at a time;
tests/unit/test_quality_partition.py holds the two equal. A correction is judged by itself alone:
whether the trade that it names is there, only the bars agent knows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from app.contracts.forms import is_packed
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import (
    ControlRecord,
    CorrectionRecord,
    QuoteRecord,
    TradeRecord,
    any_condition_decoder,
    control_decoder,
    quote_control_decoder,
    quote_decoder,
    trade_decoder,
)
from tables.derived import BadRecordError
from tables.identifiers import SEPARATOR
from tables.parsing import DECODE_ERRORS
from tables.quote_intake import NUL_ESCAPE
from tables.symbols import MAX_SOURCES, symbol_fault

#: Faults of symbols that are remembered.
MAX_FAULTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """What records are refused by; times in ns. `max_symbols` is of a partition."""

    earliest_event_time: int
    max_ahead: int
    max_symbols: int


def decode_trade(value: bytes) -> TradeRecord | ControlRecord:
    """Decode a value of `ticks`.

    Raises:
        BadRecordError: it is no record of the contract.
    """
    record: TradeRecord | ControlRecord
    try:
        record = trade_decoder.decode(value)
    except DECODE_ERRORS:
        try:
            record = control_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError(_fault(value)) from None
    if isinstance(record, TradeRecord | CorrectionRecord) and _may_have_separator(value):
        _refuse_separator(record.trade_id, record.venue, record.source)
    return record


def decode_quote(value: bytes) -> QuoteRecord | ControlRecord:
    """Decode a value of `quotes`.

    Raises:
        BadRecordError: it is no record of the contract.
    """
    record: QuoteRecord | ControlRecord
    try:
        record = quote_decoder.decode(value)
    except DECODE_ERRORS:
        try:
            record = quote_control_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
    if isinstance(record, QuoteRecord) and _may_have_separator(value):
        _refuse_separator(record.venue, record.source)
    return record


def _fault(value: bytes) -> str:
    """Say whether only the conditions are unknown."""
    try:
        trade = any_condition_decoder.decode(value)
        _refuse_separator(trade.trade_id, trade.venue, trade.source)
    except (*DECODE_ERRORS, BadRecordError):
        return "malformed"
    return "unknown_condition"


def _may_have_separator(value: bytes) -> bool:
    """Whether a text of a value can hold a NUL: the texts are looked at only then."""
    return NUL_ESCAPE in value or is_packed(value)


def _refuse_separator(*texts: str | None) -> None:
    """Refuse the character that the engine joins names with."""
    if any(text is not None and SEPARATOR in text for text in texts):
        raise BadRecordError("malformed")


class Judge:
    """Judges the decoded records of one partition, and knows the sources that it let pass."""

    def __init__(self, bounds: Bounds, partition: int, partitions: int) -> None:
        self._bounds = bounds
        self._partition = partition
        self._partitions = partitions
        self._faults: dict[str, str | None] = {}
        #: In order of first sight (a dictionary as an ordered set).
        self._sources: dict[str, None] = {}

    @property
    def sources(self) -> list[str]:
        """The distinct sources of the records so far, in order of first sight."""
        return list(self._sources)

    def restore(self, sources: Iterable[str]) -> None:
        """Go on from the sources of the records before."""
        self._sources = dict.fromkeys(sources)

    def check(
        self, record: TradeRecord | QuoteRecord, append_time: int, known: Collection[str]
    ) -> None:
        """Let a trade or quote pass.

        Args:
            append_time: the broker's, in ns.
            known: symbols of the partition so far.

        Raises:
            BadRecordError: it is bad; nothing was changed.
        """
        bounds, symbol, source = self._bounds, record.symbol, record.source
        fault = self._fault_of(symbol)
        if fault == "bad_symbol":
            raise BadRecordError(fault)
        if record.event_time < bounds.earliest_event_time:
            raise BadRecordError("event_time_too_early")
        if record.event_time > append_time + bounds.max_ahead:
            raise BadRecordError("event_time_too_late")
        if isinstance(record, TradeRecord) and abs(record.price * record.size) > MAX_NOTIONAL:
            raise BadRecordError("notional_too_large")
        if fault is not None:
            raise BadRecordError(fault)
        if symbol not in known and len(known) >= bounds.max_symbols:
            raise BadRecordError("too_many_symbols")
        if source is not None and source not in self._sources:
            if len(self._sources) >= MAX_SOURCES:
                raise BadRecordError("too_many_sources")
            self._sources[source] = None

    def check_correction(self, record: CorrectionRecord) -> None:
        """Let a correction pass.

        Raises:
            BadRecordError: its symbol does not belong here.
        """
        fault = self._fault_of(record.symbol)
        if fault is not None:
            raise BadRecordError(fault)

    def _fault_of(self, symbol: str) -> str | None:
        if symbol not in self._faults:
            if len(self._faults) >= MAX_FAULTS:
                self._faults.clear()
            self._faults[symbol] = symbol_fault(symbol, self._partition, self._partitions)
        return self._faults[symbol]
