"""The msgspec twins of `contracts.py`: one decoder pass, no coercion, the same bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

from app.contracts.records import MAX_TEXT, MAX_TIME, SYMBOL_PATTERN
from tables.alerts.contracts import (
    MAX_DETAIL,
    MAX_DETAILS,
    MAX_MESSAGE,
    MAX_PATTERN,
    MAX_TITLE,
    MAX_VALUE,
    Action,
    Severity,
    State,
)

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}

# msgspec searches with the pattern, and `$` would let a line break in behind the text.
AlertType = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*\Z", max_length=64)
]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT, pattern=r"^[^\x00]+\Z")]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_PATTERN, pattern=r"^[^\x00]+\Z")]
PriceAlertId = Annotated[str, msgspec.Meta(min_length=1, max_length=31, pattern=r"^[^\x00]+\Z")]
Symbol = Annotated[str, msgspec.Meta(pattern=SYMBOL_PATTERN.removesuffix("$") + r"\Z")]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TITLE)]
Message = Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE)]
Detail = Annotated[str, msgspec.Meta(max_length=MAX_DETAIL)]
Details = Annotated[dict[Text, Detail], msgspec.Meta(max_length=MAX_DETAILS)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME)]
Badness = Annotated[float, msgspec.Meta(ge=-MAX_VALUE, le=MAX_VALUE)]
QuietTime = Annotated[int, msgspec.Meta(ge=1_000_000_000, le=7 * 86_400_000_000_000)]


class AlertEventRecord(
    msgspec.Struct, tag_field="type", tag="alert", forbid_unknown_fields=True, frozen=True
):
    """An `AlertEvent` as decoded; a record without `type` is one."""

    alert_type: AlertType
    key: Text
    severity: Severity
    title: Title
    event_time: Nanoseconds
    state: State = "firing"
    text: Message = ""
    details: Details = {}
    value: Badness | None = None
    source: Message = ""
    quiet_time: QuietTime | None = None


class ClockRecord(msgspec.Struct, tag_field="type", tag="clock", forbid_unknown_fields=True):
    """A `Clock` as decoded: event time has come so far although nothing was seen."""

    event_time: Nanoseconds


class SilenceRecord(msgspec.Struct, tag_field="type", tag="silence", forbid_unknown_fields=True):
    """A `Silence` as decoded."""

    id: Text
    until: Nanoseconds
    alert_type: Pattern = "*"
    key: Pattern = "*"
    by: Text | None = None


class UnsilenceRecord(
    msgspec.Struct, tag_field="type", tag="unsilence", forbid_unknown_fields=True
):
    """An `Unsilence` as decoded."""

    id: Text


class AcknowledgeRecord(
    msgspec.Struct, tag_field="type", tag="acknowledge", forbid_unknown_fields=True
):
    """An `Acknowledge` as decoded."""

    alert_type: Pattern = "*"
    key: Pattern = "*"
    by: Text | None = None


class PriceAlertRecord(
    msgspec.Struct, tag_field="type", tag="price_alert", forbid_unknown_fields=True
):
    """A `PriceAlert` as decoded."""

    id: PriceAlertId
    symbol: Symbol
    above: Badness | None = None
    below: Badness | None = None
    severity: Severity = "warning"


class MemberRecord(msgspec.Struct, frozen=True):
    """A `NotificationMember` as encoded; the field order is part of the bytes."""

    key: str
    severity: Severity
    count: int
    value: float | None


class NotificationRecord(msgspec.Struct, tag_field="type", tag="notification", frozen=True):
    """A `Notification` as encoded; the field order is part of the bytes."""

    id: str
    sequence: int
    alert_type: str
    key: str
    severity: Severity
    action: Action
    title: str
    text: str
    details: dict[str, str]
    value: float | None
    count: int
    first: int
    last: int
    time: int
    source: str
    channels: tuple[str, ...]
    members: tuple[MemberRecord, ...]
    by: str | None = None


ControlRecord = ClockRecord | SilenceRecord | UnsilenceRecord | AcknowledgeRecord
AlertRecord = AlertEventRecord | ControlRecord

event_decoder: msgspec.json.Decoder[AlertEventRecord] = msgspec.json.Decoder(AlertEventRecord)
control_decoder: msgspec.json.Decoder[ControlRecord] = msgspec.json.Decoder(ControlRecord)
price_alert_decoder = msgspec.json.Decoder(PriceAlertRecord)
notification_decoder = msgspec.json.Decoder(NotificationRecord)
encoder = msgspec.json.Encoder(order="deterministic")


class _Typed(msgspec.Struct):
    """What tells a control record from an event."""

    type: str = "alert"


_typed_decoder = msgspec.json.Decoder(_Typed)


def decode(value: bytes) -> AlertRecord:
    """Decode a record of the topic `alerts.events`.

    Raises:
        msgspec.DecodeError: it is none of the contract, or not JSON.
        UnicodeDecodeError, RecursionError: the bytes are not text, or too deep.
    """
    if _typed_decoder.decode(value).type == "alert":
        return event_decoder.decode(value)
    return control_decoder.decode(value)
