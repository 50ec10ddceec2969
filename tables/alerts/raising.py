"""What agents find, as alert events: which of it, how severe, under which type and key.

Each function takes one finding that an agent publishes and returns the events of it, so they are a
pure function of that agent's log. Whoever finds something publishes them with `raise_alerts`.

| finding | alert type | key | severity | ends |
|---|---|---|---|---|
| odd bar | `anomaly.bars.REASON`, `anomaly.quotes.REASON` | symbol | critical from so many powers of ten rarer than the threshold on, else warning | when quiet |
| bar beyond the price rule alone | `anomaly.bars.price`, `anomaly.quotes.price` | symbol | warning | when quiet |
| finding of quality | `quality.ticks.KIND`, `quality.quotes.KIND` | symbol | the finding's | when quiet |
| `stale` | the same | symbol | the finding's | with the gap that ends it |
| limit of an account | `portfolio.LIMIT` | account, and symbol where the limit has one | critical | when cleared |

`value` is how bad, the greater the worse: the score of a bar; seconds of a gap or of silence; the
share by which prices differ (outlier, level_shift, disagreement) or that lacks (incomplete); missing
numbers; what a limit is compared with.

An event time is never after the record's append time: a bar that a flush closes early ends later.
"""  # noqa: E501 - a table

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from app.contracts.records import MAX_TEXT
from tables.alerts.contracts import MAX_DETAIL, MAX_DETAILS, MAX_TITLE, MAX_VALUE, Severity
from tables.alerts.records import RANK, AlertEventRecord, encoder
from tables.partitioning import partition_of

if TYPE_CHECKING:
    from app.contracts.portfolio import LimitRecord
    from app.contracts.wire import AnomalyRecord
    from tables.quality.events import QualityEventRecord

#: Name of the output of each agent that raises alerts.
OUTPUT: Final = "alerts"
#: The kinds of findings of the quality agents (`tables/quality/events.py`).
QUALITY_KINDS: Final = (
    "gap",
    "stale",
    "outlier",
    "level_shift",
    "duplicate",
    "crossed",
    "zero_quote",
    "disagreement",
    "sequence_gap",
    "incomplete",
)
#: Of what lasts until its end is told: the longest that a contract allows.
UNTIL_TOLD: Final = 7 * 86_400_000_000_000
_SECOND = 1_000_000_000
#: A score is a tenth of -log10 of a probability.
_DECADE = 0.1
_RAISED = re.compile(r"([a-z_]+)(?::([a-z]+))?")


class Publisher(Protocol):
    """A partition that publishes; `tables.derived.DerivedPartition` is one."""

    def route(self, output: str, partition: int, key: bytes, value: bytes) -> None:
        """Publish a record in a partition with the next checkpoint."""


def raise_alerts(publisher: Publisher, partitions: int, events: Iterable[AlertEventRecord]) -> None:
    """Publish events, each in the partition of its key."""
    for event in events:
        key = event.key.encode()
        publisher.route(OUTPUT, partition_of(key, partitions), key, encoder.encode(event))


def parse_raised(texts: Iterable[str]) -> dict[str, int]:
    """Return the least rank of severity of each kind of `KIND` or `KIND:SEVERITY`.

    Raises:
        ValueError: no such kind or severity, or a kind twice.
    """
    found: dict[str, int] = {}
    for text in texts:
        match = _RAISED.fullmatch(text)
        kind, severity = (match[1], match[2] or "info") if match is not None else ("", "")
        if kind not in QUALITY_KINDS or severity not in RANK:
            raise ValueError(
                f"{text!r}: expected KIND or KIND:SEVERITY with a kind of "
                f"{', '.join(QUALITY_KINDS)} and a severity of {', '.join(RANK)}"
            )
        if kind in found:
            raise ValueError(f"{kind!r} is named twice")
        found[kind] = RANK[severity]
    return found


def of_anomaly(
    record: AnomalyRecord, interval: int, append_time: int, critical: float
) -> list[AlertEventRecord]:
    """Return the events of a bar's score.

    Args:
        interval: length of the bar, ns.
        append_time: of the bar, ns.
        critical: powers of ten that a critical score is rarer than the threshold; what is as rare
            as a score can tell is critical, too.
    """
    if record.is_anomaly:
        reason = record.reason
        bound = min(1.0, record.threshold + _DECADE * critical)
        severity: Severity = "critical" if record.score >= bound else "warning"
    elif "price" in record.rules:
        reason, severity = "price", "warning"
    else:
        return []
    topic = "bars" if record.source == "bars" else "quotes"
    details = {
        "interval": record.interval,
        "score": _number(record.score),
        "threshold": _number(record.threshold),
        "rules": ", ".join(record.rules) or "-",
        **{name: _number(value) for name, value in record.features.items()},
    }
    late = "" if record.learned else " It is a revision that came after the next bar."
    return [
        AlertEventRecord(
            alert_type=f"anomaly.{topic}.{reason}",
            key=record.symbol,
            severity=severity,
            title=f"{record.symbol}: a {record.interval} bar of {topic} is odd ({reason})",
            text=f"Score {record.score:.3f}, threshold {record.threshold:.3f}.{late}",
            details=_bounded(details),
            value=_finite(record.score),
            event_time=min(record.start + interval, append_time),
            source=f"{record.source} {record.interval} {record.start} r{record.revision}",
        )
    ]


def of_quality(
    event: QualityEventRecord, append_time: int, raised: Mapping[str, int]
) -> list[AlertEventRecord]:
    """Return the events of a finding of quality.

    Args:
        append_time: of the record that it was found with, ns.
        raised: the least rank of severity of each kind that alerts, see `parse_raised`.
    """
    found = []
    if event.kind == "gap" and "stale" in raised:
        found.append(_quality_event(event, "stale", append_time, over=True))
    least = raised.get(event.kind)
    if least is not None and RANK[event.severity] >= least:
        found.append(_quality_event(event, event.kind, append_time, over=False))
    return found


def _quality_event(
    event: QualityEventRecord, kind: str, append_time: int, *, over: bool
) -> AlertEventRecord:
    words = kind.replace("_", " ")
    about = f"{event.symbol}: {words} in {event.input}"
    details = {name: _detail(value) for name, value in event.details.items() if value is not None}
    if event.value is not None:
        details["measured"] = _number(event.value)
    if event.limit is not None:
        details["limit"] = _number(event.limit)
    return AlertEventRecord(
        alert_type=f"quality.{event.input}.{kind}",
        key=event.symbol,
        severity=event.severity,
        title=f"{event.symbol}: {event.input} come again" if over else about,
        details=_bounded(details),
        value=None if over else _finite(_badness(event)),
        event_time=min(event.event_time, append_time),
        state="resolved" if over else "firing",
        source=f"{event.input}, found at offset {event.offset}",
        quiet_time=UNTIL_TOLD if kind == "stale" else None,
    )


def _badness(event: QualityEventRecord) -> float | None:
    value = event.value
    if value is None:
        return None
    if event.kind in ("gap", "stale"):
        return value / _SECOND
    if event.kind == "incomplete":
        return 1.0 - value
    if event.kind in ("outlier", "level_shift"):
        median = event.details.get("median")
        usable = isinstance(median, int | float) and median != 0
        return abs(value - median) / abs(median) if usable else None  # type: ignore[operator,arg-type]
    return value


def of_limit(record: LimitRecord, append_time: int) -> list[AlertEventRecord]:
    """Return the events of a limit that an account has begun, or ceased, to break.

    Args:
        append_time: of the record that it was found with, ns.
    """
    over = record.state == "cleared"
    words = record.limit.replace("_", " ")
    where = record.account if record.symbol is None else f"{record.account}, {record.symbol}"
    said = "is within" if over else "breaks"
    details = {"cause": record.cause}
    for name, value in (("value", record.value), ("threshold", record.threshold)):
        if value is not None:
            details[name] = _number(value)
    return [
        AlertEventRecord(
            alert_type=f"portfolio.{record.limit}",
            key=_key_of(record.account, record.symbol),
            severity="critical",
            title=f"{where} {said} {words}"[:MAX_TITLE],
            details=_bounded(details),
            # Without equity the leverage is beyond every number.
            value=None if over or record.value is None else _finite(record.value),
            event_time=min(record.time, append_time),
            state="resolved" if over else "firing",
            source=f"portfolio {record.cause}",
            quiet_time=UNTIL_TOLD,
        )
    ]


def _key_of(account: str, symbol: str | None) -> str:
    """Return account and symbol, as far as a key may be long; what is cut off is told apart."""
    text = account if symbol is None else f"{account} {symbol}"
    if len(text) <= MAX_TEXT:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: MAX_TEXT - 9]}~{mark}"


def _finite(value: float | None) -> float | None:
    """Return a value within the contract's bounds."""
    if value is None or math.isnan(value):
        return None
    return float(max(-MAX_VALUE, min(MAX_VALUE, value)))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


def _detail(value: float | str) -> str:
    return value[:MAX_DETAIL] if isinstance(value, str) else _number(value)


def _bounded(details: Mapping[str, str]) -> dict[str, str]:
    return dict(list(details.items())[:MAX_DETAILS])
