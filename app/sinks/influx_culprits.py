"""Which of the lines that InfluxDB refused together are to blame: by its answer, else by halves.

| answer | says |
|---|---|
| 400 `unable to parse 'LINE': why`, joined by line feeds | each line that it cannot read, whole; \
nothing is written |
| 422 `field type conflict: input field "f" on measurement "m" is type A, already exists as type B \
dropped=N` | the first field of another type, and how many lines of one shard are not written; all \
others of that shard are |
| any other, or one that names no line of ours | nothing: halves of the lines are asked for |

A line that is named is a culprit at once; so is one whose point is named, where no other line has
the same. A line with an open quote takes those behind it along: what has a line feed names none.
Those of a conflict are told by their number: if as many lines as were dropped have the field with
another type, and InfluxDB takes all others, it is these.

Where halves are asked for because of a conflict, they are of the lines by time: a type holds for a
shard, which is a span of time. All that is asked for is in log order or in stable order of time,
so versions of one point are written in their order.

The answers were looked at with InfluxDB 2.7.12; `tests/influx/test_influx_real.py` asks it again.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import Final, NamedTuple

import numpy as np

from app.sinks.influx_http import Refusal
from app.sinks.line_batches import LineBatch
from app.sinks.line_bodies import Int64Array

#: Lines that are searched by halves at a time: the position moves on behind each part, and none
#: takes more than twice as many requests.
SEARCHED: Final = 250
_ENTRY: Final = "unable to parse '"
#: What stands between a line that cannot be read and the reason.
_WHY: Final = "': "
_CONFLICT = re.compile(
    r'field type conflict: input field "(?P<field>[^"]*)" on measurement "(?P<measurement>[^"]*)"'
    r" is type \w+, already exists as type (?P<kind>\w+)"
)
_LAST: Final = {"i": "integer", "u": "unsigned"}


class _Asked(NamedTuple):
    """Rows to write.

    `refused`: what refuses them, where that is known. `is_left`: the next ones are the right half
    of lines of which these are the left one, and together they were refused for some of them.
    """

    rows: Int64Array
    refused: Refusal | None = None
    is_left: bool = False


Search = Generator[Int64Array, Refusal | None, dict[int, str] | None]


def find_culprits(part: LineBatch, refusal: Refusal) -> Search:
    """Find the culprits of lines that were refused together, and get all others written.

    Yields the rows to write next, and is sent what refuses them; None: they are written. Returns
    the reasons of the culprits by their rows; None where more than `SEARCHED` lines would have to
    be asked for by halves: cut them.
    """
    lines = list(part.lines)
    found: dict[int, str] = {}
    asked = [_Asked(np.arange(len(lines)), refusal)]
    while asked:
        rows, refused, is_left = asked.pop()
        if refused is None:
            refused = yield rows
            if refused is None:
                if is_left and len(asked[-1].rows) > 1:
                    # Both together were refused: those need no asking as a whole.
                    asked += _halves(asked.pop().rows)
                continue
        own = _alone(lines, rows, refused) or _named(lines, rows, refused)
        if own:
            found |= own
            rest = rows[~np.isin(rows, list(own))]
            if len(rest):
                asked.append(_Asked(rest))
            continue
        conflicting = _conflicting(lines, rows, refused)
        if 0 < len(conflicting) == refused.dropped:
            rest = rows[~np.isin(rows, conflicting)]
            # One request tells whether it is these, and has to be made anyway.
            if (yield rest) is None:
                found |= _reasons(lines, conflicting, refused.without_count())
                continue
        if len(rows) > SEARCHED:
            return None
        if _CONFLICT.search(refused.message):
            rows = rows[np.argsort(part.times[rows], kind="stable")]
        asked += _halves(rows, not refused.whole)
    return found


def _halves(rows: Int64Array, one_is_refused: bool = True) -> list[_Asked]:
    """Return the right half and the left one, which is taken from the end first."""
    left, right = np.array_split(rows, 2)
    return [_Asked(right), _Asked(left, is_left=one_is_refused)]


def _alone(lines: Sequence[str], rows: Int64Array, refused: Refusal) -> dict[int, str]:
    """Return the reasons of all rows, where none can have been written."""
    if len(rows) == 1:
        return _reasons(lines, rows, refused)
    # Of lines of one shard, and more cannot be dropped.
    if not refused.too_old and refused.dropped == len(rows):
        return _reasons(lines, rows, refused.without_count())
    return {}


def _reasons(lines: Sequence[str], rows: Int64Array, refused: Refusal) -> dict[int, str]:
    return {row: refused.reason(lines[row]) for row in rows.tolist()}


def _named(lines: Sequence[str], rows: Int64Array, refused: Refusal) -> dict[int, str]:
    """Return the reasons of the rows whose lines the answer names."""
    if not refused.message.startswith(_ENTRY):
        return {}
    by_line: dict[str, list[int]] = {}
    by_point: dict[str, list[int]] = {}
    for row in rows.tolist():
        by_line.setdefault(lines[row], []).append(row)
        by_point.setdefault(_point(lines[row]), []).append(row)
    # Of several lines of one point it may be any.
    points = {point: places for point, places in by_point.items() if len(places) == 1}
    found: dict[int, str] = {}
    for entry in refused.message.removeprefix(_ENTRY).split(f"\n{_ENTRY}"):
        named = [entry[: place.start()] for place in re.finditer(_WHY, entry)]
        places = _only([by_line.get(text) for text in named])
        if not places:
            places = _only([points.get(_point(text)) for text in named if "\n" not in text])
        for row in places:
            found[row] = Refusal(f"{_ENTRY}{entry}").reason(lines[row])
    return found


def _point(line: str) -> str:
    """Return what names the point of a line, also of one that was spoiled on the way."""
    return f"{line.partition(' ')[0]} {line.rpartition(' ')[2]}"


def _only(found: Sequence[list[int] | None]) -> list[int]:
    """Return the rows where there are some once; a reason may look like the end of a line."""
    known = [rows for rows in found if rows is not None]
    return known[0] if len(known) == 1 else []


def _conflicting(lines: Sequence[str], rows: Int64Array, refused: Refusal) -> Int64Array:
    """Return the rows that seem to have the field of a conflict with another type.

    A text that looks like a field may deceive it: who asks counts them.
    """
    conflict = _CONFLICT.search(refused.message)
    if conflict is None:
        return rows[:0]
    value = re.compile(rf"[ ,]{re.escape(conflict['field'])}=([^ ,]+)")
    measurement = conflict["measurement"]
    chosen = []
    for row in rows.tolist():
        line = lines[row]
        if not line.startswith((f"{measurement},", f"{measurement} ")):
            continue
        found = value.search(line)
        if found is not None and _kind(found[1]) != conflict["kind"]:
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def _kind(value: str) -> str:
    """Return InfluxDB's name of a value's type; of a text its beginning is enough."""
    if value[0] == '"':
        return "string"
    return "boolean" if value[0] in "tTfF" else _LAST.get(value[-1], "float")
