"""The lines of Lean's tick files: which columns, in which units, by which clock.

| market | records | columns | prices | clock |
|---|---|---|---|---|
| equity | trades | ms, price, size, exchange, flags, suspicious | x 10^4 | New York |
| equity | quotes | ms, SIDES, exchange, flags, suspicious | x 10^4 | New York |
| forex | quotes | ms, bid, ask | decimal | UTC |
| future | trades | ms, price, size, exchange, condition, suspicious | decimal | UTC |
| future | quotes | ms, SIDES, exchange, suspicious | decimal | UTC |
| crypto | trades | ms, price, size and, in newer files, suspicious | decimal | UTC |
| crypto | quotes | ms, SIDES and, in newer files, suspicious | decimal | UTC |

`ms` are whole milliseconds since that clock's midnight, SIDES are `bid, bid size, ask,
ask size`. Source: `GenerateLine` in Lean's Common/Util/LeanData.cs, and for the futures' decimal
prices the recorded files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from app.contracts.records import MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.files import Kind
from app.feeds.lean_flags import conditions_of, known_flags
from app.feeds.rows import short_text

Market = Literal["equity", "forex", "future", "crypto"]

NEW_YORK: Final = ZoneInfo("America/New_York")
UTC: Final = ZoneInfo("UTC")
DAY_MILLISECONDS: Final = 86_400_000
PRICES: Final = frozenset({"price", "bid", "ask"})
SIZES: Final = frozenset({"size", "bid_size", "ask_size"})
_WHOLE = re.compile(r"^\d{1,18}\Z")
_DECIMAL = re.compile(r"^-?\d{1,18}(\.\d{1,18})?([eE][+-]?\d{1,2})?\Z")


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of line.

    Attributes:
        market, kind: whose.
        columns: names in the file's order.
    """

    market: Market
    kind: Kind
    columns: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What a price is multiplied by in the file; its numbers are whole unless this is 1."""
        return 10_000.0 if self.market == "equity" else 1.0

    @property
    def zone(self) -> ZoneInfo:
        """The clock of the file's date and of its milliseconds."""
        return NEW_YORK if self.market == "equity" else UTC


_SIDES: Final = ("milliseconds", "bid", "bid_size", "ask", "ask_size")
LAYOUTS: Final = (
    Layout(
        "equity", "trades", ("milliseconds", "price", "size", "exchange", "flags", "suspicious")
    ),
    Layout("equity", "quotes", (*_SIDES, "exchange", "flags", "suspicious")),
    Layout("forex", "quotes", ("milliseconds", "bid", "ask")),
    Layout(
        "future", "trades", ("milliseconds", "price", "size", "exchange", "condition", "suspicious")
    ),
    Layout("future", "quotes", (*_SIDES, "exchange", "suspicious")),
    Layout("crypto", "trades", ("milliseconds", "price", "size", "suspicious")),
    Layout("crypto", "trades", ("milliseconds", "price", "size")),
    Layout("crypto", "quotes", (*_SIDES, "suspicious")),
    Layout("crypto", "quotes", _SIDES),
)


def layout_of(markets: tuple[Market, ...], kind: Kind, columns: int) -> Layout | None:
    """The layout of these markets with so many columns; the first where none has as many."""
    fitting = [each for each in LAYOUTS if each.market in markets and each.kind == kind]
    for layout in fitting:
        if len(layout.columns) == columns:
            return layout
    return fitting[0] if fitting else None


class BrokenRowError(ValueError):
    """A block has a row that is not as it must be; `first_fault` finds it."""


def parsed(block: bytes, layout: Layout) -> Any:
    """A block of whole lines as an Arrow table in the layout's columns, checked in nothing else.

    Raises:
        ArrowInvalid: a row has another number of columns, or a number is none.
    """
    read, parse, convert = _options(layout)
    return pa.csv.read_csv(
        pa.BufferReader(block), read_options=read, parse_options=parse, convert_options=convert
    ).combine_chunks()


@cache
def _options(layout: Layout) -> tuple[Any, Any, Any]:
    number = pa.int64() if layout.scale != 1.0 else pa.float64()
    types = {
        name: pa.int64() if name == "milliseconds" else number
        for name in layout.columns
        if name in PRICES | SIZES | {"milliseconds"}
    }
    texts = {name: pa.string() for name in layout.columns if name not in types}
    read: Any = pa.csv.ReadOptions(use_threads=False, column_names=list(layout.columns))
    parse: Any = pa.csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
    convert: Any = pa.csv.ConvertOptions(
        column_types=types | texts, null_values=[], strings_can_be_null=False
    )
    return read, parse, convert


def midnights(day: date, zone: ZoneInfo) -> npt.NDArray[np.int64]:
    """For each hour of the wall clock, the epoch ns at which that clock would have read 0:00.

    24 entries; in New York they differ on the two days a year when its offset changes, and it
    changes on a full hour. Of an hour that comes twice, the first is meant.
    """
    entries = []
    for hour in range(24):
        wall = datetime(day.year, day.month, day.day, hour, tzinfo=zone)
        since_midnight = timedelta(hours=hour)
        entries.append(round((wall.timestamp() - since_midnight.total_seconds()) * 1_000_000_000))
    return np.array(entries, dtype=np.int64)


def times_of(table: Any, day: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Event times in ns; `day` is from `midnights`.

    Raises:
        BrokenRowError: milliseconds outside the day.
    """
    milliseconds = table.column("milliseconds").to_numpy()
    if bool(np.any((milliseconds < 0) | (milliseconds >= DAY_MILLISECONDS))):
        raise BrokenRowError("milliseconds out of the day")
    times: npt.NDArray[np.int64] = day[milliseconds // 3_600_000] + milliseconds * 1_000_000
    return times


def first_fault(block: bytes, layout: Layout) -> tuple[int, str] | None:
    """The first broken line of a block of whole lines: its number from 1, and what is wrong."""
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    for number, raw in enumerate(lines, start=1):
        fault = _fault(raw.decode("utf-8", "replace").removesuffix("\r").split(","), layout)
        if fault is not None:
            return number, fault
    return None


def _fault(fields: list[str], layout: Layout) -> str | None:
    """What is wrong with one row, or None."""
    names = layout.columns
    if len(fields) != len(names):
        return f"{len(fields)} columns; expected {len(names)}: {', '.join(names)}"
    row = dict(zip(names, fields, strict=True))
    for name, text in row.items():
        fault = _number_fault(name, text, layout) or _text_fault(name, text, layout)
        if fault is not None:
            return fault
    if "price" in row:
        notional = float(row["price"]) / layout.scale * float(row["size"])
        if abs(notional) > MAX_NOTIONAL:
            return f"price {row['price']} x size {row['size']} is more than {MAX_NOTIONAL:.0e}"
    if "flags" in row and layout.kind == "trades":
        try:
            conditions_of(row["flags"], row["suspicious"])
        except ValueError as error:
            return str(error)
    return None


def _number_fault(name: str, text: str, layout: Layout) -> str | None:
    if name == "milliseconds":
        if _WHOLE.match(text) is None:
            return f"{name} {text!r}: expected a whole number"
        if int(text) >= DAY_MILLISECONDS:
            return f"milliseconds {text}: expected less than {DAY_MILLISECONDS}"
    elif name in PRICES or name in SIZES:
        if layout.scale != 1.0 and _WHOLE.match(text) is None:
            return f"{name} {text!r}: expected a whole number"
        if _DECIMAL.match(text) is None:
            return f"{name} {text!r}: expected a number"
        bound = MAX_PRICE * layout.scale if name in PRICES else MAX_SIZE
        if abs(float(text)) > bound or (name in SIZES and float(text) < 0):
            return f"{name} {text} is out of its bounds"
    return None


def _text_fault(name: str, text: str, layout: Layout) -> str | None:
    if name == "exchange" and not known_exchange(text, layout):
        return f"exchange {text!r}: expected a {'letter' if layout.scale != 1.0 else 'short name'}"
    if name in ("flags", "condition") and not known_flags(text or "0"):
        return f"condition flags {text!r}: expected 1 to 8 hex digits"
    if name == "flags" and not text:
        return f"condition flags {text!r}: expected 1 to 8 hex digits"
    if name == "suspicious" and text not in ("0", "1"):
        return f"suspicious {text!r}: expected 0 or 1"
    return None


def known_exchange(text: str, layout: Layout) -> bool:
    """Whether a text may be an exchange: a letter in equity files, else any name or none."""
    if layout.market == "equity":
        return len(text) == 1 and text.isalnum()
    return not text or short_text(text)
