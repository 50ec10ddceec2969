"""From a value of a topic to a record, or to the reason why it is none."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from app.contracts.portfolio import (
    PortfolioInput,
    PortfolioUpdateRecord,
    PriceRecord,
    ProgressRecord,
    TransactionRecord,
    portfolio_decoder,
    update_fault,
)
from app.contracts.records import MAX_NOTIONAL, SYMBOL_PATTERN
from app.contracts.wire import ClockRecord, FlushRecord, HistoricalRecord
from tables import derived
from tables.identifiers import SEPARATOR
from tables.parsing import DECODE_ERRORS

_SYMBOL: Final = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")

Account = TransactionRecord | PortfolioUpdateRecord
#: What the input topic holds.
Arriving = Account | ClockRecord | HistoricalRecord | FlushRecord

_arriving_decoder: Final = msgspec.json.Decoder(Arriving)
_staged_decoder: Final = msgspec.json.Decoder(PortfolioInput | ClockRecord)


class BadRecordError(derived.BadRecordError):
    """A value that is no record; `reason` is that of the dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decode(value: bytes | None) -> PortfolioInput:
    """Read one value of the stage's topic that is no clock record.

    Raises:
        BadRecordError: `null`, `empty`, `malformed`, `bad_symbol` or `notional_too_large`.
    """
    record: PortfolioInput = _decode(portfolio_decoder, value)
    return record


def decode_staged(value: bytes | None) -> PortfolioInput | ClockRecord:
    """Read one value of the stage's topic; raises as `decode`."""
    record: PortfolioInput | ClockRecord = _decode(_staged_decoder, value)
    return record


def decode_arriving(value: bytes | None) -> Arriving:
    """Read one value of the input topic; raises as `decode`."""
    record: Arriving = _decode(_arriving_decoder, value)
    return record


def _decode(decoder: msgspec.json.Decoder[Any], value: bytes | None) -> Any:
    if value is None:
        raise BadRecordError("null")
    if not value:
        raise BadRecordError("empty")
    try:
        record = decoder.decode(value)
    except DECODE_ERRORS as error:
        raise BadRecordError("malformed") from error
    reason = _fault(record)
    if reason is not None:
        raise BadRecordError(reason)
    return record


def _fault(record: PortfolioInput | Arriving) -> str | None:
    symbol: str | None = None
    notional = 0.0
    texts: tuple[str | None, ...] = ()
    if isinstance(record, TransactionRecord):
        symbol, notional = record.symbol, record.price * record.quantity
        texts = (record.account, record.transaction_id, record.currency, record.source)
    elif isinstance(record, PortfolioUpdateRecord):
        if update_fault(record) is not None:
            return "malformed"
        symbol, notional = record.symbol, (record.price or 0.0) * (record.quantity or 0.0)
        texts = (record.account, record.update_id, record.currency, record.source)
        texts += (record.transaction_id,)
    elif isinstance(record, PriceRecord):
        if record.end <= record.start:
            return "malformed"
        symbol, texts = record.symbol, (record.interval,)
    elif isinstance(record, ProgressRecord):
        texts = (record.input,)
    if any(SEPARATOR in text for text in texts if text is not None):
        return "malformed"
    if symbol is not None and _SYMBOL.match(symbol) is None:
        return "bad_symbol"
    return "notional_too_large" if abs(notional) > MAX_NOTIONAL else None
