"""The HTML of the report: self-contained, without scripts, escaped by jinja2."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2

from app.durations import NANOSECONDS
from app.profile.pictures import clock_text

FOLDER: Final = Path(__file__).resolve().parents[1] / "web" / "templates"
SECOND: Final = 1_000_000_000
#: Counters that are shown even where they are 0; others only where they are not.
ALWAYS_SHOWN: Final = frozenset({"records", "outliers", "duplicates", "late", "gap_events"})


def file_stem(symbol: str, session: int) -> str:
    """Return a name that any file system takes; another one for each symbol."""
    plain = re.sub(r"[^A-Za-z0-9.=+-]", "_", symbol)
    if plain != symbol:
        plain = f"{plain}-{zlib.crc32(symbol.encode()):08x}"
    return f"{plain}-{session}"


def length_text(length: int | None) -> str:
    """Return a length for people: 3 digits, in the unit that fits."""
    if length is None:
        return "-"
    if length >= NANOSECONDS["m"] * 2:
        minutes, rest = divmod(length // SECOND, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
    for unit in ("s", "ms", "us"):
        if length >= NANOSECONDS[unit]:
            return f"{length / NANOSECONDS[unit]:.3g} {unit}"
    return f"{length} ns"


def moment_text(time: int | None) -> str:
    """Return an event time as date and clock, UTC."""
    if time is None:
        return "-"
    return f"{datetime.fromtimestamp(time // SECOND, UTC):%Y-%m-%d} {clock_text(time)}"


def session_text(session: int) -> str:
    """Return yyyymmdd with hyphens."""
    text = str(session)
    return f"{text[:-4]}-{text[-4:-2]}-{text[-2:]}"


def share_text(share: float | None) -> str:
    """Return a share as %, never rounded up to 100."""
    if share is None:
        return "-"
    return f"{int(share * 1e5) / 1e3:g} %"


def number(value: float | None) -> str:
    """Return a number with thousands' commas."""
    return "-" if value is None else f"{value:,.10g}"


def measured(event: dict[str, Any], key: str) -> str:
    """Return an event's value or limit in the unit of its kind."""
    value = event[key]
    if value is None:
        return "-"
    if event["kind"] in ("gap", "stale"):
        return length_text(int(value))
    if event["kind"] in ("disagreement", "incomplete"):
        return share_text(value)
    return number(value)


class Pages:
    """Renders reports."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            length=length_text,
            moment=moment_text,
            session=session_text,
            share=share_text,
            number=number,
        )
        self._environment.globals.update(measured=measured, always_shown=ALWAYS_SHOWN)

    def day(self, report: dict[str, Any], plots: dict[str, Any], goal: float) -> str:
        """Return the page of one day."""
        template = self._environment.get_template("profile_day.html")
        return template.render(report=report, plots=plots, goal=goal)

    def index(self, index: dict[str, Any]) -> str:
        """Return the page that leads to all days."""
        return self._environment.get_template("profile_index.html").render(index=index)
