"""Queries of InfluxDB in Flux, over the measurements of `docs/influxdb.md`.

Which bucket, symbol, interval and model is asked for are variables of the dashboard. A revision may
say in its field `nulls` that a field is null, though an older value of it still stands: `told`
leaves such points out.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Conditions of points.
SYMBOL = 'r.symbol == "${symbol}"'
SERIES = f'{SYMBOL} and r.interval == "${{interval}}"'
MODEL = 'r.model == "${model}"'


def points(measurement: str, fields: Sequence[str], *conditions: str) -> str:
    """Return the points of some fields in the chosen time, a table a series."""
    wanted = " and ".join([f'r._measurement == "{measurement}"', *conditions])
    named = " or ".join(f'r._field == "{name}"' for name in fields)
    return (
        'from(bucket: "${bucket}")\n'
        "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
        f"  |> filter(fn: (r) => {wanted})\n"
        f"  |> filter(fn: (r) => {named})"
    )


def rows(
    measurement: str, fields: Sequence[str], *conditions: str, tags: Sequence[str] = ()
) -> str:
    """Return a column a field, with the time and these tags, in one table."""
    return (
        f"{points(measurement, fields, *conditions)}\n"
        f"{PIVOT}\n"
        "  |> group()\n"
        f"  |> keep(columns: {columns('_time', *tags, *fields)})"
    )


def told(
    measurement: str, field: str, *conditions: str, name: str = "", more: Sequence[str] = ()
) -> str:
    """Return a field where the newest revision has it, under another name if asked for.

    Args:
        more: further fields, as they are.
    """
    renamed = f'\n  |> rename(columns: {{"{field}": "{name}"}})' if name else ""
    return (
        f"{points(measurement, [field, *more, 'nulls'], *conditions)}\n"
        f"{PIVOT}\n"
        "  |> filter(fn: (r) => not exists r.nulls or not strings.containsStr("
        f'v: "," + r.nulls + ",", substr: ",{field},"))\n'
        "  |> group()\n"
        f"  |> keep(columns: {columns('_time', field, *more)}){renamed}"
    )


def columns(*names: str) -> str:
    """Return names as a list."""
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def tag_values(tag: str, measurement: str) -> str:
    """Return a query of the values that a tag has in the chosen time."""
    return (
        'import "influxdata/influxdb/schema"\n\n'
        f'schema.tagValues(bucket: "${{bucket}}", tag: "{tag}", predicate: (r) => '
        f'r._measurement == "{measurement}", start: v.timeRangeStart, stop: v.timeRangeStop)'
    )


PIVOT = '  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
STRINGS = 'import "strings"\n\n'
#: Of outputs: the live one and the one of replays, not the one of ticks.
BUCKETS = (
    "buckets()\n"
    "  |> filter(fn: (r) => r.name !~ /^_/ and r.name !~ /_ticks$/)\n"
    '  |> keep(columns: ["name"])\n'
    '  |> sort(columns: ["name"])'
)
