"""Equity trade ticks as Lean stores AlgoSeek's data: one zip a symbol and day.

`equity/tick/spy/20131007_trade.zip` holds `20131007_spy_Trade_Tick.csv`, no header, a line

    milliseconds since midnight in New York, price x 10^4, size, exchange, condition flags (hex),
    suspicious (0 or 1)

The symbol is the folder's or the inner file's name, the date is the name's. The order of the
lines is the records' `sequence`; `venue` is the exchange's letter, `source` is `lean`.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from app.contracts.records import MAX_CONDITIONS, MAX_NOTIONAL, MAX_PRICE, MAX_SIZE
from app.feeds.columns import Origin, TradeColumns, Vocabulary
from app.feeds.errors import FeedError
from app.feeds.files import LineTooLongError, line_blocks

SOURCE: Final = "lean"
NEW_YORK: Final = ZoneInfo("America/New_York")
DAY_MILLISECONDS: Final = 86_400_000
PRICE_SCALE: Final = 10_000.0
COLUMNS: Final = ("milliseconds", "price", "size", "exchange", "flags", "suspicious")
MEMBER_PATTERN: Final = re.compile(r"^(\d{8})_(.+)_trade_tick\.csv$", re.IGNORECASE)
NAME_PATTERN: Final = re.compile(r"^\d{8}_(trade|quote|openinterest)\.zip$", re.IGNORECASE)

#: Lean's `TradeConditionFlags` (Common/Data/Auxiliary/TradeConditionFlags.cs), bit by bit.
#: None: a flag without a meaning for bars, which is dropped - CAP election (27, abolished),
#: automatic execution (28, a regular trade) and the vendor's undocumented bit (30).
FLAGS: Final[tuple[str | None, ...]] = (
    "regular",
    "cash_sale",
    "next_day",
    "seller",
    "yellow_flag",
    "iso",
    "opening_print",
    "closing_print",
    "reopening_print",
    "derivatively_priced",
    "extended_hours",  # Form T: the reporting form's name of the same thing
    "sold_last",
    "stopped_stock",
    "extended_hours",
    "sold_out_of_sequence",
    "split_trade",
    "acquisition",
    "bunched",
    "stock_option",
    "distribution",
    "average_price",
    "cross",
    "price_variation",
    "rule_127_155",
    "market_center_official_close",
    "prior_reference_price",
    "market_center_official_open",
    None,
    None,
    "trade_through_exempt",
    None,
    "odd_lot",
)
_HEXADECIMAL = re.compile(r"^[0-9A-Fa-f]{1,8}$")
_WHOLE = re.compile(r"^\d{1,18}$")

_READ: Any = pa.csv.ReadOptions(use_threads=False, column_names=list(COLUMNS))
_PARSE: Any = pa.csv.ParseOptions(quote_char=False, ignore_empty_lines=False)
_CONVERT: Any = pa.csv.ConvertOptions(
    column_types=dict(
        zip(COLUMNS, (pa.int64(), pa.int64(), pa.int64(), *[pa.string()] * 3), strict=True)
    ),
    null_values=[],
    strings_can_be_null=False,
)


class _BrokenRowError(ValueError):
    """A block has a row that is not as it must be; `_explain` finds it."""


def conditions_of(flags: str, suspicious: str) -> tuple[str, ...]:
    """Lean's two condition columns in our vocabulary, sorted, each name once.

    Raises:
        ValueError: not a hex number of 32 bits, not 0 or 1, or too many conditions.
    """
    if _HEXADECIMAL.match(flags) is None:
        raise ValueError(f"condition flags {flags!r}: expected 1 to 8 hex digits")
    if suspicious not in ("0", "1"):
        raise ValueError(f"suspicious {suspicious!r}: expected 0 or 1")
    value = int(flags, 16)
    names = {name for bit, name in enumerate(FLAGS) if name is not None and value >> bit & 1}
    if suspicious == "1":
        names.add("suspicious")
    if len(names) > MAX_CONDITIONS:
        raise ValueError(f"condition flags {flags!r}: more than {MAX_CONDITIONS} conditions")
    return tuple(sorted(names))


@dataclass(frozen=True, slots=True)
class LeanFile:
    """One zip of equity trade ticks. Its date is New York's."""

    path: Path
    member: str
    symbol: str
    day: date

    def columns(self, vocabulary: Vocabulary) -> Iterator[TradeColumns]:
        """Its trades, block by block.

        Raises:
            FeedError: the zip is truncated or damaged (line None), or a row is broken.
        """
        symbol = vocabulary.symbols.number(self.symbol)
        midnights = _midnights(self.day)
        rows = 0
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                for block in line_blocks(stream):
                    try:
                        part = _parse(block, symbol, midnights, rows, vocabulary)
                    except (_BrokenRowError, pa.ArrowInvalid) as error:
                        raise _explain(self.path, block, rows, str(error)) from None
                    rows += len(part)
                    yield part
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise FeedError(self.path, None, f"not a whole zip: {error}") from error
        except OSError as error:
            raise FeedError(self.path, None, f"cannot be read: {error}") from error
        except LineTooLongError as error:
            raise FeedError(self.path, rows + 1, str(error)) from None


def open_lean(path: Path) -> LeanFile | str:
    """A zip as Lean's equity trade ticks, or the reason why it is something else.

    Raises:
        FeedError: not a whole zip, or the date in its name is none.
    """
    kind = NAME_PATTERN.match(path.name)
    if kind is not None and kind.group(1).lower() != "trade":
        return f"{kind.group(1).lower()}s, not trades"
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile as error:
        raise FeedError(path, None, f"not a whole zip: {error}") from error
    except OSError as error:
        raise FeedError(path, None, f"cannot be read: {error}") from error
    matches = [MEMBER_PATTERN.match(Path(name).name) for name in members]
    if len(members) != 1 or matches[0] is None or "equity" not in _market(path):
        inside = ", ".join(members[:3]) or "nothing"
        return f"not Lean equity trade ticks (inside: {inside})"
    stamp, symbol = matches[0].groups()
    try:
        day = datetime.strptime(stamp, "%Y%m%d").date()
    except ValueError:
        raise FeedError(path, None, f"{stamp} in the name {members[0]!r} is not a date") from None
    return LeanFile(path, members[0], symbol.upper(), day)


def _market(path: Path) -> str:
    """The market the folders name (`equity`, `future`, ...); equity where they name none."""
    parts = [part.lower() for part in path.resolve().parts]
    if "tick" in parts:
        place = len(parts) - 1 - parts[::-1].index("tick")
        return parts[place - 1] if parts[place - 1] in _MARKETS else "equity"
    return "equity"


_MARKETS: Final = frozenset(
    {"equity", "forex", "future", "crypto", "cfd", "option", "index", "futureoption"}
)


def _midnights(day: date) -> npt.NDArray[np.int64]:
    """For each hour of the wall clock, the epoch ns at which that clock would have read 0:00.

    24 entries; they differ on the two days a year when New York's offset changes, and New
    York changes it on a full hour. Of an hour that comes twice, the first is meant.
    """
    entries = []
    for hour in range(24):
        wall = datetime(day.year, day.month, day.day, hour, tzinfo=NEW_YORK)
        since_midnight = timedelta(hours=hour)
        entries.append(round((wall.timestamp() - since_midnight.total_seconds()) * 1_000_000_000))
    return np.array(entries, dtype=np.int64)


def _parse(
    block: bytes,
    symbol: int,
    midnights: npt.NDArray[np.int64],
    rows: int,
    vocabulary: Vocabulary,
) -> TradeColumns:
    table = pa.csv.read_csv(
        pa.BufferReader(block), read_options=_READ, parse_options=_PARSE, convert_options=_CONVERT
    ).combine_chunks()
    milliseconds, price, size = (table.column(name).to_numpy() for name in COLUMNS[:3])
    scaled = price / PRICE_SCALE
    if bool(
        np.any((milliseconds < 0) | (milliseconds >= DAY_MILLISECONDS))
        or np.any((price < 0) | (scaled > MAX_PRICE) | (size < 0) | (size > MAX_SIZE))
        or np.any(scaled * size > MAX_NOTIONAL)
    ):
        raise _BrokenRowError("a number out of its bounds")
    return TradeColumns(
        symbol=np.full(len(price), symbol, dtype=np.int32),
        price=scaled,
        size=size.astype(np.float64),
        event_time=midnights[milliseconds // 3_600_000] + milliseconds * 1_000_000,
        sequence=np.arange(rows, rows + len(price), dtype=np.int64),
        origin=_origins(table, vocabulary),
    )


def _origins(table: Any, vocabulary: Vocabulary) -> npt.NDArray[np.int32]:
    """Numbers of (venue, conditions) over the distinct triples of the last three columns."""
    combined = np.zeros(len(table), dtype=np.int64)
    texts: list[list[str]] = []
    for name in COLUMNS[3:]:
        encoded = table.column(name).combine_chunks().dictionary_encode()
        texts.append(encoded.dictionary.to_pylist())
        combined = combined * len(texts[-1]) + encoded.indices.to_numpy()
    distinct, inverse = np.unique(combined, return_inverse=True)
    numbers = []
    for code in distinct.tolist():
        code, suspicious = divmod(code, len(texts[2]))
        exchange, flags = divmod(code, len(texts[1]))
        venue = texts[0][exchange]
        if len(venue) != 1 or not venue.isalnum():
            raise _BrokenRowError("exchange")
        try:
            conditions = conditions_of(texts[1][flags], texts[2][suspicious])
        except ValueError as error:
            raise _BrokenRowError(str(error)) from None
        numbers.append(vocabulary.origins.number(Origin(venue, conditions, SOURCE)))
    return np.array(numbers, dtype=np.int32)[inverse]


def _explain(path: Path, block: bytes, rows: int, otherwise: str) -> FeedError:
    """The first broken row of a block that could not be parsed, `rows` lines into the file."""
    for line, raw in enumerate(block.split(b"\n"), start=rows + 1):
        if line == rows + 1 + block.count(b"\n") and not raw:
            break
        fault = _fault(raw.decode("utf-8", "replace").removesuffix("\r").split(","))
        if fault is not None:
            return FeedError(path, line, fault)
    return FeedError(path, None, otherwise)


def _fault(fields: list[str]) -> str | None:
    """What is wrong with one row, or None."""
    if len(fields) != len(COLUMNS):
        return f"{len(fields)} columns; expected {len(COLUMNS)}: {', '.join(COLUMNS)}"
    for name, text in zip(COLUMNS[:3], fields[:3], strict=True):
        if _WHOLE.match(text) is None:
            return f"{name} {text!r}: expected a whole number"
    milliseconds, price, size = (int(text) for text in fields[:3])
    if milliseconds >= DAY_MILLISECONDS:
        return f"milliseconds {milliseconds}: expected less than {DAY_MILLISECONDS}"
    if price / PRICE_SCALE > MAX_PRICE or size > MAX_SIZE:
        return f"price {price} or size {size} is out of its bounds"
    if price / PRICE_SCALE * size > MAX_NOTIONAL:
        return f"price {price} x size {size} is more than {MAX_NOTIONAL:.0e}"
    if len(fields[3]) != 1 or not fields[3].isalnum():
        return f"exchange {fields[3]!r}: expected a letter"
    try:
        conditions_of(fields[4], fields[5])
    except ValueError as error:
        return str(error)
    return None
