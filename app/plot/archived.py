"""Charts of an archive: what was published, of the highest revisions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from app.archive.querying import query
from app.durations import NANOSECONDS
from app.plot.chart import RSI, Chart, Selection, make_chart, one_model

_BAR = "start, open, high, low, close, volume, vwap"
_PREDICTION = "start, horizon, prediction, low, high, model"


def archived_chart(location: str, chosen: Selection) -> Chart:
    """Return what an archive at a folder or address of fsspec's has of a symbol.

    Raises:
        PlotError: there are no such bars, too many, or several models.
        ArchiveError, ValueError, ImportError: see `app.archive.querying.query`.
    """
    order = "ASC" if chosen.forward else "DESC"
    bars = sorted(
        _rows(location, _BAR, "bars", chosen, f"ORDER BY start {order} LIMIT {chosen.most + 1}")
    )
    bars = chosen.cut(bars)
    if not bars:
        return make_chart(chosen, [], {}, [], [])
    # Of these bars alone: the days keep the files of others from being opened.
    drawn = replace(chosen, begin=bars[0][0], end=bars[-1][0] + 1)
    rsi = _rows(location, f"start, \"values\"['{RSI}']", "indicators", drawn)
    odd = _rows(location, "start", "anomalies", drawn, "AND source = 'bars' AND is_anomaly")
    predictions = _rows(location, _PREDICTION, "predictions", drawn)
    model = one_model({row[-1] for row in predictions}, chosen)
    return make_chart(
        chosen,
        bars,
        dict(rsi),
        [start for (start,) in odd],
        [row[:-1] for row in predictions if row[-1] == model],
    )


def _rows(
    location: str, columns: str, view: str, chosen: Selection, more: str = ""
) -> list[tuple[Any, ...]]:
    found = query(location, sql_of(columns, view, chosen, more))
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def sql_of(columns: str, view: str, chosen: Selection, more: str = "") -> str:
    """Return the query of a view's rows of the symbol; `more` is SQL behind the conditions."""
    conditions = [f"symbol = {_quoted(chosen.symbol)}", f"interval = {_quoted(chosen.interval)}"]
    if chosen.begin is not None:
        conditions += [f"start >= {chosen.begin}", f"year >= {_date(chosen.begin).year}"]
    if chosen.end is not None:
        conditions += [f"start < {chosen.end}", f"year <= {_date(chosen.end).year}"]
    if chosen.begin is not None and chosen.end is not None:
        # Column by column: of other conditions DuckDB does not see which files they are about.
        first, last = _date(chosen.begin), _date(chosen.end)
        if first.year == last.year:
            conditions.append(f"month BETWEEN {first.month} AND {last.month}")
            if first.month == last.month:
                conditions.append(f"day BETWEEN {first.day} AND {last.day}")
    return f"SELECT {columns} FROM {view} WHERE {' AND '.join(conditions)} {more}"


def _date(time: int) -> date:
    return datetime.fromtimestamp(time // NANOSECONDS["s"], UTC).date()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
