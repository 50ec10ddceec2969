"""The instrument master: what is known of a symbol, read from a TOML file.

    [[instrument]]
    symbol = "AAPL"                 # or a prefix: "ES*"
    calendar = "XNYS"               # a name of exchange-calendars; "24/7" where absent
    pauses = ["16:00-17:00"]        # of each local day, which the calendar does not know
    tick_size = 0.01
    currency = "USD"
    venue = "XNAS"
    splits = [{ date = 2020-08-31, ratio = 4 }]
    formerly = [{ symbol = "OLD", until = 2020-01-31 }]     # traded as OLD before that date

An exact symbol wins over a prefix, a longer prefix over a shorter one; a symbol without an entry
trades around the clock, in UTC dates.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from app.contracts.records import SYMBOL_PATTERN
from tables.markets.calendars import ALWAYS, UnknownCalendarError, load_market
from tables.markets.market import Market

_ENTRY: Final = re.compile(r"^\s*\[\[\s*instrument\s*\]\]")
_PATTERN: Final = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\*?\Z|\*\Z")
_PAUSE: Final = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)\Z")


class InstrumentsError(ValueError):
    """An instrument file that cannot be used: which file, which line, what is wrong."""


def _pattern(value: str) -> str:
    if _PATTERN.match(value) is None:
        raise ValueError(f"{value!r} is neither a symbol nor a prefix with * at its end")
    return value


def _calendar(value: str) -> str:
    load_market(value)
    return value


def _pause(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _PAUSE.match(value)
    numbers = [int(each) for each in match.groups()] if match else [0] * 4
    begin, end = numbers[0] * 3600 + numbers[1] * 60, numbers[2] * 3600 + numbers[3] * 60
    if match is None or max(numbers[1], numbers[3]) > 59 or not begin < end <= 86_400:
        raise ValueError(f"{value!r} is not a pause; expected HH:MM-HH:MM within a day")
    return begin, end


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Entry):
    """From `date` on, one share is `ratio` of the shares before: 4 for four to one."""

    date: date
    ratio: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class SymbolChange(_Entry):
    """The instrument traded as `symbol` before the date `until`."""

    symbol: Annotated[str, Field(pattern=SYMBOL_PATTERN)]
    until: date


class Instrument(_Entry):
    """What is known of a symbol, or of all symbols with a prefix."""

    symbol: Annotated[str, AfterValidator(_pattern)]
    calendar: Annotated[str, AfterValidator(_calendar)] = ALWAYS
    pauses: tuple[Annotated[tuple[int, int], BeforeValidator(_pause)], ...] = ()
    tick_size: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    currency: Annotated[str, Field(pattern=r"^[A-Z0-9]{3,10}$")] | None = None
    venue: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    splits: tuple[Split, ...] = ()
    formerly: tuple[SymbolChange, ...] = ()

    @property
    def market(self) -> Market:
        """The market of its calendar."""
        return load_market(self.calendar, self.pauses)

    def split_ratio(self, after: int, until: int) -> float:
        """Return the product of the splits after one date up to another, both yyyymmdd."""
        ratio = 1.0
        for split in self.splits:
            if after < int(split.date.strftime("%Y%m%d")) <= until:
                ratio *= split.ratio
        return ratio


DEFAULT: Final = Instrument(symbol="*")


class Instruments:
    """All entries, by symbol."""

    def __init__(self, entries: Sequence[Instrument] = (), default: Instrument = DEFAULT) -> None:
        """Take the entries; `default` holds for every other symbol.

        Raises:
            InstrumentsError: a symbol or prefix is named twice.
        """
        self._exact: dict[str, Instrument] = {}
        prefixes: dict[str, Instrument] = {}
        for entry in entries:
            own, name = (
                (prefixes, entry.symbol[:-1])
                if entry.symbol.endswith("*")
                else (self._exact, entry.symbol)
            )
            if name in own:
                raise InstrumentsError(f"symbol {entry.symbol!r} is named twice")
            own[name] = entry
        self._former: dict[str, list[tuple[date, Instrument]]] = {}
        for entry in entries:
            for change in entry.formerly:
                self._former.setdefault(change.symbol, []).append((change.until, entry))
        for changes in self._former.values():
            changes.sort(key=lambda each: each[0])
        self._prefixes = sorted(prefixes.items(), key=lambda item: -len(item[0]))
        self._default = default

    def of(self, symbol: str) -> Instrument:
        """Return the entry of a symbol, of its longest prefix, of its successor, or the default."""
        found = self._exact.get(symbol)
        if found is not None:
            return found
        for prefix, entry in self._prefixes:
            if symbol.startswith(prefix):
                return entry
        former = self._former.get(symbol)
        return former[-1][1] if former else self._default

    def market(self, symbol: str) -> Market:
        """Return the market of a symbol."""
        return self.of(symbol).market

    def symbol_after(self, symbol: str, day: date) -> str:
        """Return today's symbol of what traded as `symbol` on a date; itself if unchanged."""
        for until, entry in self._former.get(symbol, ()):
            if day < until:
                return entry.symbol
        return symbol


def read_instruments(path: Path, default_calendar: str = ALWAYS) -> Instruments:
    """Read an instrument file; symbols that it does not name have the default calendar.

    Raises:
        InstrumentsError: it cannot be read, is no TOML, or an entry is wrong: file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise InstrumentsError(f"{path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InstrumentsError(f"{path}: not TOML: {error}") from error
    unknown = sorted(set(content) - {"instrument"})
    raw = content.get("instrument", [])
    if unknown or not isinstance(raw, list):
        found = f"found {', '.join(unknown)}; " if unknown else ""
        raise InstrumentsError(f"{path}: {found}expected entries [[instrument]]")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _ENTRY.match(line)]
    entries: list[Instrument] = []
    for number, values in enumerate(raw):
        place = f"{path}:{lines[number]}" if len(lines) == len(raw) else f"{path}: entry {number}"
        try:
            entries.append(Instrument.model_validate(values))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "entry"
            reason = first["msg"].removeprefix("Value error, ")
            raise InstrumentsError(f"{place}: {name} = {first['input']!r}: {reason}") from None
    try:
        return Instruments(entries, Instrument(symbol="*", calendar=default_calendar))
    except InstrumentsError as error:
        raise InstrumentsError(f"{path}: {error}") from None
    except (ValidationError, UnknownCalendarError) as error:
        raise InstrumentsError(f"calendar {default_calendar!r}: {error}") from error
