"""Trades out of Lean's rows."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.columns import Origin, TradeColumns, Vocabulary
from app.feeds.lean_flags import conditions_of, known_flags
from app.feeds.lean_layouts import BrokenRowError, Layout, known_exchange, times_of

SOURCE: Final = "lean"


class TradeReader:
    """Tables of one file's rows, one after the other, as trades. `symbol` is the vocabulary's
    number, `day` is from `midnights`.
    """

    def __init__(
        self, layout: Layout, symbol: int, day: npt.NDArray[np.int64], vocabulary: Vocabulary
    ) -> None:
        self._layout = layout
        self._symbol = symbol
        self._day = day
        self._vocabulary = vocabulary

    def read(self, table: Any, rows: int) -> TradeColumns:
        """The next rows, `rows` into the file; the row's place is the trade's `sequence`.

        Raises:
            BrokenRowError: a row is not as it must be.
        """
        price, size = (table.column(name).to_numpy() for name in ("price", "size"))
        scaled = price / self._layout.scale
        with np.errstate(invalid="ignore", over="ignore"):
            sound = (
                (np.abs(scaled) <= MAX_PRICE)
                & (size >= 0)
                & (size <= MAX_SIZE)
                & (np.abs(scaled * size) <= MAX_NOTIONAL)
            )
            if self._layout.market == "equity":
                sound &= price >= 0
        if not bool(np.all(sound)):
            raise BrokenRowError("a number out of its bounds")
        return TradeColumns(
            symbol=np.full(len(price), self._symbol, dtype=np.int32),
            price=scaled,
            size=size.astype(np.float64),
            event_time=times_of(table, self._day),
            sequence=np.arange(rows, rows + len(price), dtype=np.int64),
            origin=self._origins(table),
        )

    def end(self) -> None:
        """Nothing is held back."""

    def _origins(self, table: Any) -> npt.NDArray[np.int32]:
        """Numbers of (venue, conditions) over the distinct triples of the texts."""
        combined = np.zeros(len(table), dtype=np.int64)
        texts: list[list[str]] = []
        for names in (("exchange",), ("flags", "condition"), ("suspicious",)):
            name = next((each for each in names if each in self._layout.columns), None)
            if name is None:
                texts.append([""])
                continue
            encoded = table.column(name).combine_chunks().dictionary_encode()
            texts.append(encoded.dictionary.to_pylist())
            combined = combined * len(texts[-1]) + encoded.indices.to_numpy()
        distinct, inverse = np.unique(combined, return_inverse=True)
        numbers = []
        for code in distinct.tolist():
            code, suspicious = divmod(code, len(texts[2]))
            exchange, flags = divmod(code, len(texts[1]))
            origin = self._origin(texts[0][exchange], texts[1][flags], texts[2][suspicious])
            numbers.append(self._vocabulary.origins.number(origin))
        return np.array(numbers, dtype=np.int32)[inverse]

    def _origin(self, exchange: str, flags: str, suspicious: str) -> Origin:
        if not known_exchange(exchange, self._layout):
            raise BrokenRowError("exchange")
        if "flags" not in self._layout.columns:
            # A condition of futures is another vendor's code; Lean's own files have none.
            if not known_flags(flags or "0"):
                raise BrokenRowError("condition")
            flags = "0"
        if "suspicious" not in self._layout.columns:
            suspicious = "0"
        try:
            return Origin(exchange or None, conditions_of(flags, suspicious), SOURCE)
        except ValueError as error:
            raise BrokenRowError(str(error)) from None
