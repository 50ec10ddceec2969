"""The records of alerting, as pydantic models: the published contract.

`AlertEvent` and the control records go into `DEPLOYMENT.alerts.events`, `Notification` comes out
into `DEPLOYMENT.notifications`. The hot path decodes with the msgspec twins in
`tables/alerts/records.py`; `tests/unit/test_alerts_records.py` holds the two equal.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.records import Contract, Nanoseconds, Symbol, Text

MAX_TITLE = 200
MAX_MESSAGE = 1_000
MAX_DETAIL = 200
MAX_DETAILS = 16
MAX_PATTERN = 64
#: Bound of a value, so that JSON of it is never infinite.
MAX_VALUE = 1e15

Severity = Literal["info", "warning", "critical"]
State = Literal["firing", "resolved"]
Action = Literal["fire", "escalate", "repeat", "resolve"]
#: Dotted, from the general to the particular: `quality.stale`, `anomaly.price`.
AlertType = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=64)]
#: A symbol or an account.
Key = Text
#: `*` stands for any text, also none.
Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN, pattern=r"^[^\x00]+$")]
#: With a symbol of 32 and a space it is a key.
PriceAlertId = Annotated[str, Field(min_length=1, max_length=31, pattern=r"^[^\x00]+$")]
Title = Annotated[str, Field(min_length=1, max_length=MAX_TITLE)]
Message = Annotated[str, Field(max_length=MAX_MESSAGE)]
Detail = Annotated[str, Field(max_length=MAX_DETAIL)]
Details = Annotated[dict[Text, Detail], Field(max_length=MAX_DETAILS)]
#: How bad; the greater, the worse.
Badness = Annotated[float, Field(ge=-MAX_VALUE, le=MAX_VALUE, strict=True)]


class AlertEvent(Contract):
    """Something that an agent has seen, or that has ended; keyed by `key`.

    Attributes:
        alert_type: what kind; alerts are told apart by (alert_type, key).
        state: `resolved` ends what was firing; its severity does not matter.
        value: how bad, the greater the worse; the worst of several is told.
        event_time: when, in ns.
        source: what it comes from, such as the topic, the window and its revision.
        quiet_time: it counts as resolved when nothing more is heard for so long, in ns; none: the
            deployment's `alerts.quiet_time`. For what lasts, and whose end is told, make it long.
    """

    type: Literal["alert"] = "alert"
    alert_type: AlertType
    key: Key
    severity: Severity
    state: State = "firing"
    title: Title
    text: Message = ""
    details: Details = Field(default_factory=dict)
    value: Badness | None = None
    event_time: Nanoseconds
    source: Message = ""
    quiet_time: Annotated[int, Field(ge=1_000_000_000, le=7 * 86_400_000_000_000)] | None = None


class Silence(Contract):
    """Control record: send nothing of what matches until an event time (ns), in every partition.

    What still fires then is told at once, and what has ended meanwhile of what was told before.
    """

    type: Literal["silence"]
    id: Text
    alert_type: Pattern = "*"
    key: Pattern = "*"
    until: Nanoseconds
    by: Text | None = None


class Unsilence(Contract):
    """Control record: end a silence by its id."""

    type: Literal["unsilence"]
    id: Text


class Acknowledge(Contract):
    """Control record: somebody takes care of what fires and matches; no repeats of it.

    It is over when the alert is resolved or gets more severe.
    """

    type: Literal["acknowledge"]
    alert_type: Pattern = "*"
    key: Pattern = "*"
    by: Text | None = None


class PriceAlert(Contract):
    """Control record for `PriceAlerts`: tell when a price reaches `above` or `below`.

    The same `id` again replaces it, and without both bounds removes it.
    """

    type: Literal["price_alert"]
    id: PriceAlertId
    symbol: Symbol
    above: Badness | None = None
    below: Badness | None = None
    severity: Severity = "warning"


class NotificationMember(Contract):
    """One key of a notification about several."""

    key: Key
    severity: Severity
    count: int
    value: float | None


class Notification(Contract):
    """What is to be sent, made exactly once; the channels deliver it at least once.

    Attributes:
        id: idempotency key: the same for each attempt, and of no other notification.
        key: of the alert; `*` where `members` has several, or where keys were too many to track.
        action: `fire`, more severe (`escalate`), still so (`repeat`), or over (`resolve`).
        count: firing events that no message before has told of.
        first, last: their event times in ns; of the message itself where there are none.
        value: the worst.
        time: of the partition's clock, in ns.
        channels: who is to get it, sorted.
        members: one or more keys, sorted; several only where alerts are grouped.
        by: who acknowledged it, where somebody did.
    """

    type: Literal["notification"] = "notification"
    id: str
    sequence: int
    alert_type: AlertType | Literal["*"]
    key: Key
    severity: Severity
    action: Action
    title: Title
    text: Message
    details: Details
    value: float | None
    count: int
    first: int
    last: int
    time: int
    source: Message
    channels: tuple[str, ...]
    members: tuple[NotificationMember, ...]
    by: Text | None
