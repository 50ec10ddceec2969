"""Quotes out of Lean's rows, which may speak of one side only.

Lean writes a quote of an equity as two rows, the bid and then the ask, both with the national
best price and the exchange that shows it. A quote of ours has both sides:

- a zero price says nothing of its side, which keeps its last price and size, whatever exchange
  they are from; before both sides are known there is no quote;
- a bid alone and the ask alone that follows it in the same millisecond are one quote;
- suspicious rows, and rows whose flags do not say `regular`, are left out;
- `sequence` is the place of the row, of the second one in a pair; `venue` is the exchange where
  both sides are from one, and absent where they are not.

So the rows of a file are its quotes and what is counted as left out. Measured on IBM, 7-9 Oct
2013 (370,309 rows, 185,148 quotes), against the vendor's own quote bars, which open at the close
of the bar before: 37,114 of 37,117 second bars and 1,726 of 1,727 minute bars are equal in all ten
fields. With the suspicious and irregular rows 37,109 and 1,722 (and five bars too many); with a
book for each exchange 4,801 and 416.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.contracts.records import MAX_PRICE, MAX_SIZE
from app.feeds.columns import Numbers, Origin, QuoteColumns, Vocabulary
from app.feeds.lean_flags import regular_quote
from app.feeds.lean_layouts import BrokenRowError, Layout, known_exchange, times_of
from app.feeds.lean_trades import SOURCE

#: Why rows are left out.
SUSPICIOUS: Final = "suspicious quotes"
IRREGULAR: Final = "quotes that are not regular (opening, closing, halts)"
NO_PRICE: Final = "quotes without a price"
PAIRED: Final = "bids sent together with their asks"
ONE_SIDE: Final = "quotes before the other side is known"


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a file: ns, place, prices and sizes (0: not said), number of the exchange."""

    time: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    bid: npt.NDArray[np.float64]
    bid_size: npt.NDArray[np.float64]
    ask: npt.NDArray[np.float64]
    ask_size: npt.NDArray[np.float64]
    exchange: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: npt.NDArray[Any] | slice) -> _Rows:
        return _Rows(*(getattr(self, field.name)[rows] for field in fields(self)))

    def followed_by(self, other: _Rows) -> _Rows:
        return _Rows(
            *(
                np.concatenate([getattr(self, field.name), getattr(other, field.name)])
                for field in fields(self)
            )
        )


class QuoteReader:
    """Tables of one file's rows, one after the other, as quotes, the same whatever the cuts.

    `symbol` is the vocabulary's number, `day` is from `midnights`.
    """

    def __init__(
        self,
        layout: Layout,
        symbol: int,
        day: npt.NDArray[np.int64],
        vocabulary: Vocabulary,
        left_out: Counter[str],
    ) -> None:
        self._layout = layout
        self._symbol = symbol
        self._day = day
        self._vocabulary = vocabulary
        self._left_out = left_out
        self._exchanges: Numbers[str | None] = Numbers()
        #: The rows that hold the sides' last prices, and then one that may yet be of a pair.
        self._carried: _Rows | None = None
        self._spoken = 0

    def read(self, table: Any, rows: int) -> QuoteColumns:
        """What is certain with the next rows, which begin `rows` into the file.

        Raises:
            BrokenRowError: a row is not as it must be.
        """
        return self._quotes(self._rows(table, rows), last=False)

    def end(self) -> QuoteColumns | None:
        """What was held back, if anything."""
        if self._carried is None:
            return None
        quotes = self._quotes(self._carried.take(slice(0, 0)), last=True)
        return quotes if len(quotes) else None

    def _quotes(self, new: _Rows, last: bool) -> QuoteColumns:
        rows = new if self._carried is None else self._carried.followed_by(new)
        has_bid, has_ask = rows.bid != 0, rows.ask != 0
        bid_only, ask_only = has_bid & ~has_ask, has_ask & ~has_bid
        paired = np.zeros(len(rows), dtype=np.bool_)
        paired[:-1] = bid_only[:-1] & ask_only[1:] & (rows.time[:-1] == rows.time[1:])
        paired[: self._spoken] = False
        held = not last and len(rows) > self._spoken and bool(bid_only[-1])
        end = len(rows) - held
        # The row of each side's last price, at every row; -1 where there is none.
        places = np.arange(len(rows))
        bid_row = np.maximum.accumulate(np.where(has_bid, places, -1))
        ask_row = np.maximum.accumulate(np.where(has_ask, places, -1))
        speaks = ~paired
        speaks[: self._spoken] = False
        speaks[end:] = False
        known = (bid_row >= 0) & (ask_row >= 0)
        self._count(PAIRED, int(paired[:end].sum()))
        self._count(ONE_SIDE, int((speaks & ~known).sum()))
        at = np.flatnonzero(speaks & known)
        bid_at, ask_at = bid_row[at], ask_row[at]
        quotes = QuoteColumns(
            symbol=np.full(len(at), self._symbol, dtype=np.int32),
            bid=rows.bid[bid_at],
            ask=rows.ask[ask_at],
            bid_size=rows.bid_size[bid_at],
            ask_size=rows.ask_size[ask_at],
            event_time=rows.time[at],
            sequence=rows.place[at],
            origin=self._origins(rows.exchange[bid_at], rows.exchange[ask_at]),
        )
        sides = [] if not end else [row[end - 1] for row in (bid_row, ask_row)]
        kept = np.unique([row for row in sides if row >= 0]).astype(np.int64)
        self._spoken = len(kept)
        self._carried = rows.take(np.concatenate([kept, places[end:]]))
        return quotes

    def _rows(self, table: Any, rows: int) -> _Rows:
        """A table's rows that count, as numbers."""
        numbers = {
            name: table.column(name).to_numpy()
            for name in ("bid", "bid_size", "ask", "ask_size")
            if name in self._layout.columns
        }
        size = len(table)
        nothing = np.zeros(size)
        bid, ask = (numbers[name] / self._layout.scale for name in ("bid", "ask"))
        bid_size, ask_size = (
            numbers.get(name, nothing).astype(np.float64) for name in ("bid_size", "ask_size")
        )
        sound = np.ones(size, dtype=np.bool_)
        for price, amount in ((bid, bid_size), (ask, ask_size)):
            sound &= (np.abs(price) <= MAX_PRICE) & (amount >= 0) & (amount <= MAX_SIZE)
            if self._layout.market == "equity":
                sound &= price >= 0
        if not bool(np.all(sound)):
            raise BrokenRowError("a number out of its bounds")
        found = _Rows(
            times_of(table, self._day),
            np.arange(rows, rows + size, dtype=np.int64),
            bid,
            bid_size,
            ask,
            ask_size,
            self._numbered(table),
        )
        suspicious, regular = self._judged(table)
        empty = (bid == 0) & (ask == 0)
        self._count(SUSPICIOUS, int(suspicious.sum()))
        self._count(IRREGULAR, int((~suspicious & ~regular).sum()))
        self._count(NO_PRICE, int((~suspicious & regular & empty).sum()))
        good = ~suspicious & regular & ~empty
        return found if bool(good.all()) else found.take(good)

    def _judged(self, table: Any) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Whether rows are suspicious, and whether their flags are those of a regular quote."""
        suspicious = np.zeros(len(table), dtype=np.bool_)
        regular = np.ones(len(table), dtype=np.bool_)
        if "suspicious" in self._layout.columns:
            texts, indices = _distinct(table, "suspicious")
            if not {"0", "1"}.issuperset(texts):
                raise BrokenRowError("suspicious")
            suspicious = np.array([text == "1" for text in texts], dtype=np.bool_)[indices]
        if "flags" in self._layout.columns:
            texts, indices = _distinct(table, "flags")
            try:
                regular = np.array([regular_quote(text) for text in texts], np.bool_)[indices]
            except ValueError as error:
                raise BrokenRowError(str(error)) from None
        return suspicious, regular

    def _numbered(self, table: Any) -> npt.NDArray[np.int64]:
        """The exchanges as numbers of this file."""
        if "exchange" not in self._layout.columns:
            return np.full(len(table), self._exchanges.number(None), dtype=np.int64)
        texts, indices = _distinct(table, "exchange")
        if not all(known_exchange(text, self._layout) for text in texts):
            raise BrokenRowError("exchange")
        numbers = [self._exchanges.number(text or None) for text in texts]
        return np.array(numbers, dtype=np.int64)[indices]

    def _origins(
        self, bid: npt.NDArray[np.int64], ask: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int32]:
        """Numbers of the vocabulary: the exchange of both sides, or none."""
        origins = self._vocabulary.origins
        of_one = [origins.number(Origin(text, (), SOURCE)) for text in self._exchanges.values]
        of_two = origins.number(Origin(None, (), SOURCE))
        if not of_one:
            return np.full(len(bid), of_two, dtype=np.int32)
        return np.where(bid == ask, np.array(of_one, dtype=np.int32)[bid], np.int32(of_two))

    def _count(self, reason: str, count: int) -> None:
        if count:
            self._left_out[reason] += count


def _distinct(table: Any, name: str) -> tuple[list[str], npt.NDArray[np.int64]]:
    encoded = table.column(name).combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
