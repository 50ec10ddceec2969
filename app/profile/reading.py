"""Recorded files as single records, in the order in which a replay would send them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from app.contracts.wire import (
    ControlRecord,
    QuoteRecord,
    TradeRecord,
    control_decoder,
)
from app.feeds.columns import QuoteColumns, TickColumns, TradeColumns, Vocabulary
from app.feeds.source import TickSource

#: A record that a replay would send, or the bytes of one that would become a dead letter.
Item = TradeRecord | QuoteRecord | ControlRecord | bytes


def records(source: TickSource) -> Iterator[Item]:
    """Yield the records of a verified source, one by one.

    Raises:
        FeedError: a file is broken.
    """
    for columns in source.chunks():
        rows = _records(columns, source.vocabulary)
        if columns.value is None:
            yield from rows
            continue
        for record, value in zip(rows, columns.value.tolist(), strict=True):
            yield record if value is None else _control(value)


def _control(value: bytes) -> ControlRecord | bytes:
    try:
        record: ControlRecord = control_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # What no reader can read is sent as it is, and counted here.
        return value
    return record


def _records(columns: TickColumns, vocabulary: Vocabulary) -> Iterator[TradeRecord | QuoteRecord]:
    if isinstance(columns, TradeColumns):
        return _trades(columns, vocabulary)
    return _quotes(columns, vocabulary)


def _trades(columns: TradeColumns, vocabulary: Vocabulary) -> Iterator[TradeRecord]:
    symbols, origins = vocabulary.symbols.values, vocabulary.origins.values
    nothing = [None] * len(columns)
    identifiers = nothing if columns.trade_id is None else columns.trade_id.tolist()
    for symbol, price, size, time, sequence, number, identifier in zip(
        columns.symbol.tolist(),
        columns.price.tolist(),
        columns.size.tolist(),
        columns.event_time.tolist(),
        columns.sequence.tolist(),
        columns.origin.tolist(),
        identifiers,
        strict=True,
    ):
        origin = origins[number]
        yield TradeRecord(
            symbols[symbol],
            price,
            size,
            time,
            identifier,
            sequence,
            origin.venue,
            origin.conditions,
            origin.source,
        )


def _quotes(columns: QuoteColumns, vocabulary: Vocabulary) -> Iterator[QuoteRecord]:
    symbols, origins = vocabulary.symbols.values, vocabulary.origins.values
    for symbol, bid, ask, bid_size, ask_size, time, sequence, number in zip(
        columns.symbol.tolist(),
        columns.bid.tolist(),
        columns.ask.tolist(),
        columns.bid_size.tolist(),
        columns.ask_size.tolist(),
        columns.event_time.tolist(),
        columns.sequence.tolist(),
        columns.origin.tolist(),
        strict=True,
    ):
        origin = origins[number]
        yield QuoteRecord(
            symbols[symbol],
            bid,
            ask,
            time,
            bid_size,
            ask_size,
            sequence,
            origin.venue,
            origin.source,
        )
