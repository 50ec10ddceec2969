"""Options of commands that must know when markets are open."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


def market_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--calendar` and `--instruments`; the command is given `instruments`."""

    @click.option(
        "--calendar",
        default="24/7",
        show_default=True,
        metavar="NAME",
        help="Of symbols that no instrument file names: XNYS, CMES, ...",
    )
    @click.option(
        "--instruments",
        "instruments_file",
        metavar="FILE.toml",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Calendars, tick sizes and splits by symbol.",
    )
    @wraps(command)
    def with_instruments(
        *args: Any, calendar: str, instruments_file: Path | None, **options: Any
    ) -> None:
        from tables.markets import (
            Instrument,
            Instruments,
            InstrumentsError,
            UnknownCalendarError,
            load_market,
            read_instruments,
        )

        try:
            load_market(calendar)
            if instruments_file is None:
                instruments = Instruments(default=Instrument(symbol="*", calendar=calendar))
            else:
                instruments = read_instruments(instruments_file, calendar)
        except (InstrumentsError, UnknownCalendarError) as error:
            raise click.UsageError(str(error)) from None
        command(*args, instruments=instruments, **options)

    return with_instruments
