"""Lean's tick files: one zip a symbol and day, `equity/tick/spy/20131007_trade.zip`.

What a zip holds is told by the names of the CSVs inside it:

| name of the CSV | market | symbol |
|---|---|---|
| `20131007_spy_Trade_Tick.csv`, `..._Quote_Tick.csv` | equity | SPY |
| `20140505_eurusd_tick_quote.csv` | forex (or CFD) or crypto | EURUSD |
| `20161007_btcusd_tick_trade.csv` | crypto | BTCUSD |
| `20131008_gc_tick_trade_201312.csv`, `..._201312_20131227.csv` | future | GC-201312 |

Where the folders name a market before `tick` (`forex/tick/eurusd`, `forex/oanda/tick/eurusd`), it
must agree, and tells forex from crypto; elsewhere three columns are forex. A zip of futures holds
a CSV for each contract, and each contract is a symbol of its own, ROOT-YEARMONTH.
Bars, open interest and options are told apart and not read.

The order of a CSV's lines is the records' `sequence`; `venue` is the exchange, `source` is
`lean`. The layouts are in `lean_layouts.py`, what a quote is in `lean_quotes.py`.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Final

from app.feeds.errors import FeedError
from app.feeds.files import MAX_LINE_BYTES, Kind
from app.feeds.lean_file import LeanFile
from app.feeds.lean_layouts import Layout, Market, layout_of
from app.feeds.rows import known_symbol

_EQUITY: Final = re.compile(r"^(\d{8})_(.+)_(trade|quote)_tick\.csv$", re.IGNORECASE)
_OTHER: Final = re.compile(r"^(\d{8})_(.+)_tick_(trade|quote)\.csv$", re.IGNORECASE)
_FUTURE: Final = re.compile(r"^(\d{8})_(.+)_tick_(trade|quote)_(\d{6})(?:_\d{8})?\.csv$", re.I)
_BARS: Final = re.compile(r"^\d{8}_.+_(second|minute|hour|daily)_(trade|quote)(_.+)?\.csv$", re.I)
_INTEREST: Final = re.compile(r"_openinterest(\.|_)", re.IGNORECASE)
_KINDS: Final[dict[str, Kind]] = {"trade": "trades", "quote": "quotes"}
#: Lean's folders of markets, and which of ours has their lines.
_FOLDERS: Final[dict[str, Market | None]] = {
    "equity": "equity",
    "forex": "forex",
    "cfd": "forex",
    "future": "future",
    "crypto": "crypto",
    "cryptofuture": None,
    "option": None,
    "index": None,
    "indexoption": None,
    "futureoption": None,
}


def open_lean(path: Path) -> Sequence[LeanFile] | str:
    """A zip of Lean's ticks, a file a CSV, or the reason why it is something else.

    Raises:
        FeedError: not a whole zip, or the date in a CSV's name is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            widths = [_width(archive, name) for name in members]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FeedError(path, None, f"not a whole zip: {error}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: encrypted
        raise FeedError(path, None, f"cannot be read: {error}") from error
    files: list[LeanFile] = []
    for member, width in zip(members, widths, strict=True):
        opened = _member(path, member, width, alone=len(members) == 1)
        if isinstance(opened, str):
            return opened
        files.append(opened)
    if len(files) > 1 and any(file.layout.market != "future" for file in files):
        return f"not Lean ticks ({len(files)} CSVs in one zip that is not of futures)"
    return files or "not Lean ticks (an empty zip)"


def _width(archive: zipfile.ZipFile, member: str) -> int:
    """Columns of a CSV's first line, 0 of an empty one."""
    if not member.lower().endswith(".csv"):
        return 0
    with archive.open(member) as stream:
        line = stream.readline(MAX_LINE_BYTES)
    return line.count(b",") + 1 if line.strip() else 0


def _member(path: Path, member: str, width: int, alone: bool) -> LeanFile | str:
    """One CSV of a zip, or the reason why it is none of ours."""
    name = Path(member).name
    if bars := _BARS.match(name):
        return f"{bars.group(1).lower()} bars, not ticks"
    if _INTEREST.search(name):
        return "open interest, neither trades nor quotes"
    folder = _folder(path)
    if folder is not None and _FOLDERS[folder] is None:
        return f"{folder} ticks, which are not read"
    found = _told(name)
    if found is None:
        return f"not Lean ticks (inside: {name})"
    stamp, symbol, markets, kind = found
    if folder is not None:
        market = _FOLDERS[folder]
        if market is None or market not in markets:
            return f"not Lean {folder} ticks (inside: {name})"
        markets = (market,)
    layout: Layout | None = layout_of(markets, kind, width)
    if layout is None:
        return f"not Lean ticks: no {kind} of {' or '.join(markets)}"
    if not known_symbol(symbol):
        return f"not Lean ticks: symbol {symbol!r} is outside the alphabet"
    return LeanFile(path, member, symbol, _date(path, stamp, member), layout, alone)


def _told(name: str) -> tuple[str, str, tuple[Market, ...], Kind] | None:
    """Date, symbol, possible markets and kind, as a CSV's name gives them."""
    if match := _EQUITY.match(name):
        stamp, symbol, kind = match.groups()
        return stamp, symbol.upper(), ("equity",), _KINDS[kind.lower()]
    if match := _FUTURE.match(name):
        stamp, root, kind, month = match.groups()
        return stamp, f"{root.upper()}-{month}", ("future",), _KINDS[kind.lower()]
    if match := _OTHER.match(name):
        stamp, symbol, kind = match.groups()
        return stamp, symbol.upper(), ("forex", "crypto"), _KINDS[kind.lower()]
    return None


def _date(path: Path, stamp: str, member: str) -> date:
    try:
        return datetime.strptime(stamp, "%Y%m%d").date()
    except ValueError:
        raise FeedError(path, None, f"{stamp} in the name {member!r} is not a date") from None


def _folder(path: Path) -> str | None:
    """The market that the folders name, right before `tick` or one before that."""
    parts = [part.lower() for part in path.resolve().parts[:-1]]
    if "tick" not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index("tick")
    for part in reversed(parts[max(0, place - 2) : place]):
        if part in _FOLDERS:
            return part
    return None
