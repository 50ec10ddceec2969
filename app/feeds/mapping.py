"""How a user's own CSV or Parquet is read: which column is what, in which units.

Given by options of `candlewick replay` (`app/cli/mapping.py`) or a TOML file:

    time_unit = "ms"
    [columns]
    symbol = "ticker"
    price = "last"
    event_time = "ts"
    [constants]
    size = "1"

Names of prices tell the kind: `price` is of trades, `bid` and `ask` are of quotes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from app.feeds.files import FeedFile, Kind
from app.feeds.mapping_times import TimeUnit
from app.feeds.rows import COLUMNS, REQUIRED, conditions_of, known_symbol, short_text

#: Names that may be the same in every record.
CONSTANTS: Final = ("symbol", "size", "bid_size", "ask_size", "venue", "conditions", "source")
_SIZES: Final = ("size", "bid_size", "ask_size")


class MappingError(ValueError):
    """A mapping that cannot be: what was given and what is expected, in one line."""


def _one_character(text: object) -> object:
    return {"tab": "\t", "\\t": "\t"}.get(text, text) if isinstance(text, str) else text


def _names(given: object) -> object:
    """Positions may be written as TOML numbers."""
    if isinstance(given, Mapping):
        return {
            name: str(value) if type(value) in (int, float) else value
            for name, value in given.items()
        }
    return given


class ColumnMapping(BaseModel):
    """What each of our names is in the file: a column, or the same value in every record.

    Attributes:
        columns: the file's column by our name; without header its position, from 1.
        constants: the value by our name.
        time_unit: of stamps that are numbers; None: ns, and text is ISO 8601.
        time_zone: whose clocks stamps without an offset are of.
        delimiter: between the fields of a CSV; `tab` may be written out.
        header: whether a CSV's first line names the columns.
        price_scale: what prices are divided by: 10000 where 1674100 means 167.41.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: Annotated[dict[str, str], BeforeValidator(_names)] = Field(default_factory=dict)
    constants: Annotated[dict[str, str], BeforeValidator(_names)] = Field(default_factory=dict)
    time_unit: TimeUnit | None = None
    time_zone: str | None = None
    delimiter: Annotated[str, BeforeValidator(_one_character)] = ","
    header: bool = True
    price_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    @property
    def kind(self) -> Kind:
        """What the names are of."""
        return "quotes" if {"bid", "ask"} & {*self.columns, *self.constants} else "trades"

    @property
    def zone(self) -> ZoneInfo | None:
        """The time zone, None where none was given."""
        return None if self.time_zone is None else ZoneInfo(self.time_zone)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [*self.columns, *self.constants]
        kind = self.kind
        if kind == "quotes" and "price" in names:
            raise ValueError("price beside bid or ask; expected one kind: trades or quotes")
        known = COLUMNS[kind]
        for name in names:
            if name not in known:
                raise ValueError(f"unknown name {name!r}; expected of {kind}: {', '.join(known)}")
        missing = [name for name in REQUIRED[kind] if name not in names]
        if missing:
            raise ValueError(f"no column for {', '.join(missing)}; {kind} need it")
        for name, value in self.constants.items():
            if name in self.columns:
                raise ValueError(f"{name} is both a column and a constant; expected one of them")
            _judge_constant(name, value)
        if len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n':
            raise ValueError(f"delimiter {self.delimiter!r}; expected one character, or tab")
        for name, column in self.columns.items():
            if not self.header and not (column.isdecimal() and int(column) >= 1):
                raise ValueError(
                    f"column {column!r} for {name}; expected its position, from 1, "
                    "because there is no header"
                )
        try:
            _ = self.zone
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"unknown time zone {self.time_zone!r}; expected UTC, America/New_York, ..."
            ) from None
        return self

    def open(self, path: Path) -> FeedFile | str:
        """The file as this mapping reads it, or the reason why it cannot (`mapping_files.py`).

        Raises:
            FeedError: the file cannot be read.
        """
        from app.feeds.mapping_files import open_mapped

        return open_mapped(path, self)


def _judge_constant(name: str, value: str) -> None:
    if name not in CONSTANTS:
        raise ValueError(f"{name} cannot be a constant; expected one of {', '.join(CONSTANTS)}")
    if name in _SIZES:
        try:
            fits = float(value) >= 0
        except ValueError:
            fits = False
    elif name == "conditions":
        conditions_of(value)
        fits = True
    else:
        fits = known_symbol(value) if name == "symbol" else short_text(value)
    if not fits:
        raise ValueError(f"constant {name}={value!r} is not a valid {name}")


def mapping_of(file: Path | None, options: Mapping[str, Any]) -> ColumnMapping:
    """The mapping of a TOML file (its keys are the attributes' names) with options on top.

    Of `columns` and `constants` each name of the options wins by itself.

    Raises:
        MappingError: the file cannot be read, or the whole is not a mapping.
    """
    merged: dict[str, Any] = {} if file is None else _read(file)
    place = "column mapping" if file is None else str(file)
    named = {*options.get("columns", {}), *options.get("constants", {})}
    for key in ("columns", "constants"):
        given = merged.get(key, {})
        if isinstance(given, dict):
            kept = {name: value for name, value in given.items() if name not in named}
            merged[key] = {**kept, **options.get(key, {})}
    merged.update({key: options[key] for key in options if key not in ("columns", "constants")})
    try:
        return ColumnMapping.model_validate(merged)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            where = ".".join(str(part) for part in fault["loc"])
            text = fault["msg"].removeprefix("Value error, ")
            faults.append(f"{where}: {text}" if where else text)
        raise MappingError(f"{place}: {'; '.join(faults)}") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return tomllib.load(stream)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"{file}: not TOML: {error}") from None
    except OSError as error:
        raise MappingError(f"{file}: cannot be read: {error.strerror}") from None
