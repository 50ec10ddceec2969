"""Which trade a correction of TAQ means: the file does not say, so it is found.

A row with `CORR` 10, 11 or 12 says that a trade of before was cancelled, an error or wrong; that
trade has `CORR` 8, 7 or 1. Both are of the same symbol and exchange, and no row is meant twice.

- A cancel names the first such trade with its own price and size.
- A correction has the new price and size. It names the trade that has one of them still (the size,
  rather than the price; the first of equals), else the first.

A correction without its trade in the file (it is in the file of the day before, or comes after it)
is sent all the same, without `original_event_time` and `original_sequence`: nothing that the venue
has said is lost, and the engine decides by what is left.
"""

from __future__ import annotations

from typing import NamedTuple

from app.contracts.wire import CorrectionRecord, encoder
from app.feeds.taq_codes import CANCELLED, CANCELS, CORRECTED


class Row(NamedTuple):
    """A row of a trades file, `event_time` in ns, `sequence` its place in the file from 0."""

    symbol: str
    venue: str
    event_time: int
    sequence: int
    price: float
    size: float
    correction: int


class Corrections:
    """The trades of one file that a correction is still to come for; fed in the file's order."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._waiting: dict[tuple[str, str], list[Row]] = {}

    def value(self, row: Row) -> bytes | None:
        """What to send instead of the trade: a control record, or None for a trade."""
        rows = self._waiting.setdefault((row.symbol, row.venue), [])
        if row.correction == CORRECTED or row.correction in CANCELLED:
            rows.append(row)
            return None
        cancels = row.correction in CANCELS
        original = _cancelled(rows, row) if cancels else _corrected(rows, row)
        named = original
        if original is not None:
            rows.remove(original)
        elif cancels:
            named = row
        return encoder.encode(
            CorrectionRecord(
                action="cancel" if cancels else "correct",
                symbol=row.symbol,
                event_time=row.event_time,
                venue=row.venue,
                original_event_time=None if original is None else original.event_time,
                original_sequence=None if original is None else original.sequence,
                original_price=None if named is None else named.price,
                original_size=None if named is None else named.size,
                new_price=None if cancels else row.price,
                new_size=None if cancels else row.size,
                source=self._source,
            )
        )


def _cancelled(rows: list[Row], cancel: Row) -> Row | None:
    for row in rows:
        if row.correction in CANCELLED and (row.price, row.size) == (cancel.price, cancel.size):
            return row
    return None


def _corrected(rows: list[Row], correct: Row) -> Row | None:
    candidates = [row for row in rows if row.correction == CORRECTED]
    return max(
        candidates,
        key=lambda row: (row.size == correct.size, row.price == correct.price),
        default=None,
    )
