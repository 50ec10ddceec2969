"""Numbers that should be consecutive: of the sources that are declared so.

Rule, per symbol, source and venue: a number one above the last is in order; one further above
leaves the numbers between missing; one below fills a missing one, or starts the numbering
again if it is the first of its day. Massive's numbers grow with gaps, and a channel's numbers
go over symbols of other partitions: such sources must not be declared.
"""

from __future__ import annotations

from app.contracts.wire import QuoteRecord, TradeRecord
from tables.quality.counters import SEQUENCE_FILLED, SEQUENCE_GAPS, SEQUENCE_MISSING
from tables.quality.events import QualityEvent
from tables.quality.state import MAX_STREAMS, SymbolState


def follow_sequence(
    state: SymbolState, record: TradeRecord | QuoteRecord, offset: int
) -> QualityEvent | None:
    """Take a record of a declared source; the event, if numbers are missing before it."""
    number = record.sequence
    if number is None:
        return None
    name = f"{record.source or ''}\0{record.venue or ''}"
    day = state.day.identifier
    entry = state.sequences.get(name)
    if entry is None:
        if len(state.sequences) >= MAX_STREAMS:
            return None
        state.sequences[name] = [number, 0, day]
        _count(state, 1)
        return None
    last, missing, seen_day = entry
    entry[2] = day
    step = number - last
    if step > 0:
        entry[0] = number
        _count(state, step)
        if step == 1:
            return None
        entry[1] = missing + step - 1
        state.counts[SEQUENCE_GAPS] += 1
        state.counts[SEQUENCE_MISSING] += step - 1
        return QualityEvent(
            state.symbol,
            "sequence_gap",
            record.event_time,
            offset,
            day,
            "warning",
            step - 1,
            0,
            {"last": last, "number": number, "source": record.source, "venue": record.venue},
        )
    if step < 0 and seen_day != day:
        state.sequences[name] = [number, 0, day]
        _count(state, 1)
    elif step < 0 and missing:
        entry[1] = missing - 1
        state.seen += 1
        state.counts[SEQUENCE_FILLED] += 1
    return None


def _count(state: SymbolState, expected: int) -> None:
    state.expected += expected
    state.seen += 1
