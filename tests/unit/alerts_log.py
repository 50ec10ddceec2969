"""Logs for the tests of alerts: random ones, and a few words to write one by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tables.alerts import AlertBook, AlertRules, Route
from tables.alerts.records import (
    AcknowledgeRecord,
    AlertEventRecord,
    AlertRecord,
    ClockRecord,
    NotificationRecord,
    SilenceRecord,
    UnsilenceRecord,
)

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_700_000_000 * SECOND
SLACK, PAGER = "slack", "pagerduty"
ROUTES = (Route("*", "warning", SLACK), Route("*", "critical", PAGER))


def rules(**more: Any) -> AlertRules:
    return AlertRules(**{"deployment": "test", "routes": ROUTES, **more})


def event(seconds: float, key: str = "SPY", severity: Any = "warning", **more: Any) -> Any:
    """Return a firing event so many seconds after the start."""
    chosen = {"alert_type": "anomaly.price", "title": f"{key} moves", **more}
    return AlertEventRecord(
        key=key, severity=severity, event_time=START + round(seconds * SECOND), **chosen
    )


def resolved(seconds: float, key: str = "SPY", **more: Any) -> Any:
    return event(seconds, key, "info", state="resolved", **more)


def clock(seconds: float) -> ClockRecord:
    return ClockRecord(START + round(seconds * SECOND))


def silence(seconds: float, key: str = "*", name: str = "s") -> SilenceRecord:
    """Return a silence until so many seconds after the start."""
    return SilenceRecord(name, START + round(seconds * SECOND), key=key)


def run(book: AlertBook, records: Iterable[AlertRecord]) -> list[NotificationRecord]:
    """Apply records that were appended at their event time."""
    return [each for record in records for each in book.apply(record, time_of(record))]


def told(found: Iterable[NotificationRecord]) -> list[tuple[str, str, int, float]]:
    """Return (action, key, count, seconds after the start) of each."""
    return [(each.action, each.key, each.count, (each.time - START) / SECOND) for each in found]


def time_of(record: AlertRecord) -> int:
    return getattr(record, "event_time", START)


def rows_of(book: AlertBook, rows: dict[str, Any]) -> dict[str, Any]:
    """Bring rows up to date with what has changed."""
    for name, row in book.take_rows():
        if row is None:
            rows.pop(name, None)
        else:
            rows[name] = row
    return rows


keys = st.sampled_from(["SPY", "IBM", "AAPL"])
severities = st.sampled_from(["info", "warning", "critical"])
steps = st.sampled_from([-30.0, 0.0, 0.0, 1.0, 5.0, 30.0, 60.0, 299.0, 300.0, 900.0, 3600.0])


@st.composite
def logs(draw: st.DrawFn, most: int = 40) -> list[AlertRecord]:
    """A log of every kind of record; event times go forward, some back."""
    seconds, records = 0.0, list[AlertRecord]()
    for _ in range(draw(st.integers(0, most))):
        seconds = max(0.0, seconds + draw(steps))
        kind = draw(st.sampled_from("fffffrrcsuak"))
        key = draw(keys)
        if kind == "f":
            value = draw(st.none() | st.integers(0, 5).map(float))
            records.append(event(seconds, key, draw(severities), value=value))
        elif kind == "r":
            records.append(resolved(seconds, key))
        elif kind == "c":
            records.append(clock(seconds))
        elif kind == "s":
            until = seconds + draw(st.sampled_from([0.0, 10.0, 400.0]))
            records.append(silence(until, draw(st.sampled_from(["*", "S*", "IBM"])), name=key))
        elif kind == "u":
            records.append(UnsilenceRecord(key))
        elif kind == "a":
            records.append(AcknowledgeRecord(key=draw(st.sampled_from(["*", "SPY"])), by="me"))
        else:
            records.append(event(seconds, key, draw(severities), alert_type="quality.stale"))
    return records
