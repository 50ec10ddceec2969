"""The alerts of one partition: records in, in log order; notifications and rows of state out.

Every decision is taken from the log alone. The clock is the greatest event time so far, of events
and clock records; what became due on the way there is told at the time when it was due, so that
more or fewer clock records change no notification.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from app.contracts.records import MAX_TIME
from app.durations import format_duration
from tables.alerts.alert import Alert, Content, Pending, severity_of
from tables.alerts.contracts import Action
from tables.alerts.grouping import Grouper, GroupName
from tables.alerts.records import (
    AcknowledgeRecord,
    AlertEventRecord,
    AlertRecord,
    ClockRecord,
    MemberRecord,
    NotificationRecord,
    SilenceRecord,
    UnsilenceRecord,
)
from tables.alerts.rules import AlertRules, matches
from tables.alerts.silences import Silence, Silences
from tables.learning import State, StateVersionError

#: To be raised when older code cannot read the rows.
VERSION = 1
#: Stands for all keys, or types, beyond those that are tracked one by one.
OTHERS = "*"
#: Types that have a row for the keys beyond `max_keys`; further ones share one.
OTHER_TYPES = 64

Name = tuple[str, str]


class RefusedError(ValueError):
    """A record that the book does not take; nothing has changed. `reason` is one word."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Totals:
    """What became of the records; `fired = told + silenced + unrouted +` what is pending.

    Attributes:
        fired: firing events taken.
        told: those that a notification counts.
        silenced: those that came and ended without a message, because of a silence.
        unrouted: those too mild for any channel.
        others: those of keys beyond `max_keys`, which count for `*`.
        resolved: resolved events taken.
        stray: those of alerts that are not known to fire.
        notifications: messages made.
    """

    fired: int = 0
    told: int = 0
    silenced: int = 0
    unrouted: int = 0
    others: int = 0
    resolved: int = 0
    stray: int = 0
    notifications: int = 0

    def to_row(self) -> list[int]:
        """Return its state as plain values."""
        return [getattr(self, name) for name in self.__slots__]


class AlertBook:
    """The alerts of a partition.

    Args:
        rules: what decides.
        partition: part of each idempotency key.
    """

    def __init__(self, rules: AlertRules, partition: int) -> None:
        self.rules, self.partition = rules, partition
        self.clock: int | None = None
        self.totals = Totals()
        self.alerts: dict[Name, Alert] = {}
        self.silences = Silences()
        self._grouper = Grouper(rules.group_wait, rules.max_group)
        #: (when, type, key); one that is not the alert's own any more is passed over.
        self._due: list[tuple[int, str, str]] = []
        self._deadlines: dict[Name, int] = {}
        self._out: list[NotificationRecord] = []
        self._changed: set[str] = set()

    # --- records ---------------------------------------------------------------------------

    def apply(self, record: AlertRecord, append_time: int) -> list[NotificationRecord]:
        """Take the next record of the log; return what it leads to, in order.

        Args:
            record: as `records.decode` gives it.
            append_time: the broker's, in ns.

        Raises:
            RefusedError: it is too far ahead of its append time (`event_time_too_late`), or one
                silence too many (`too_many_silences`).
        """
        self._judge(record, append_time)
        self._changed.add("clock")
        if isinstance(record, AlertEventRecord | ClockRecord):
            self._advance(min(record.event_time, append_time + self.rules.clock_ahead))
        if isinstance(record, AlertEventRecord):
            self._take(record)
        elif isinstance(record, SilenceRecord):
            self._silence(record)
        elif isinstance(record, UnsilenceRecord):
            self._unsilence(record)
        elif isinstance(record, AcknowledgeRecord):
            self._acknowledge(record)
        out, self._out = self._out, []
        return out

    def _judge(self, record: AlertRecord, append_time: int) -> None:
        if isinstance(record, AlertEventRecord | ClockRecord):
            if record.event_time > append_time + self.rules.max_ahead:
                raise RefusedError("event_time_too_late")
        elif isinstance(record, SilenceRecord):
            held = self.silences.by_id
            if record.id not in held and len(held) >= self.rules.max_silences:
                raise RefusedError("too_many_silences")

    def _take(self, event: AlertEventRecord) -> None:
        now = self._now
        if event.state == "resolved":
            self.totals.resolved += 1
            ending = self.alerts.get((event.alert_type, event.key))
            if ending is None or not ending.firing:
                self.totals.stray += 1
                return
            ending.end(Content(event.title, event.text, event.details, event.source))
            self._settle(ending, now)
            return
        self.totals.fired += 1
        channels = self.rules.channels(event.alert_type, event.severity)
        if not channels:
            self.totals.unrouted += 1
            return
        alert = self._alert(event.alert_type, event.key)
        alert.fire(event, channels, now, self.rules.quiet_time)
        self._settle(alert, now)

    def _alert(self, alert_type: str, key: str) -> Alert:
        """Return the alert of a key, or the one that stands for those beyond the bound."""
        name = (alert_type, key)
        if name not in self.alerts and len(self.alerts) >= self.rules.max_keys:
            self.totals.others += 1
            name = (alert_type, OTHERS)
            if name not in self.alerts and len(self.alerts) >= self.rules.max_keys + OTHER_TYPES:
                name = (OTHERS, OTHERS)
        found = self.alerts.get(name)
        if found is None:
            found = self.alerts[name] = Alert(*name)
        return found

    # --- control ---------------------------------------------------------------------------

    def _silence(self, record: SilenceRecord) -> None:
        self._resettle(self.silences.by_id.get(record.id), self.silences.add(record))
        self._changed.add(f"silence/{record.id}")
        self._forget_silences()

    def _unsilence(self, record: UnsilenceRecord) -> None:
        ended = self.silences.by_id.pop(record.id, None)
        self._changed.add(f"silence/{record.id}")
        self._resettle(ended)

    def _resettle(self, *silences: Silence | None) -> None:
        """Look again at the alerts that silences cover, in order of their names."""
        changed = [silence for silence in silences if silence is not None]
        for name in sorted(self.alerts):
            if any(silence.covers(*name) for silence in changed):
                self._settle(self.alerts[name], self._now)

    def _forget_silences(self) -> None:
        for name in self.silences.expired(self._now):
            del self.silences.by_id[name]
            self._changed.add(f"silence/{name}")

    def _acknowledge(self, record: AcknowledgeRecord) -> None:
        for name in sorted(self.alerts):
            alert = self.alerts[name]
            if (
                alert.firing
                and matches(record.alert_type, name[0])
                and matches(record.key, name[1])
            ):
                alert.acknowledged = record.by or ""
                self._settle(alert, self._now)

    # --- time ------------------------------------------------------------------------------

    @property
    def next_due(self) -> int | None:
        """When, by the clock, something waits to be told, resolved or forgotten; None: nothing."""
        self._drop_stale()
        waiting = [self._due[0][0]] if self._due else []
        of_groups = self._grouper.next
        return min(waiting if of_groups is None else [*waiting, of_groups], default=None)

    @property
    def _now(self) -> int:
        return self.clock or 0

    def _advance(self, target: int) -> None:
        """Move the clock, stopping wherever something is due."""
        if self.clock is not None and target <= self.clock:
            return
        while True:
            self._drop_stale()
            of_alerts = self._due[0][0] if self._due else MAX_TIME
            of_groups = self._grouper.next
            if of_groups is not None and of_groups < of_alerts and of_groups <= target:
                for name in self._grouper.due(of_groups):
                    self._release(name, of_groups)
            elif self._due and of_alerts <= target:
                due, *name_parts = heapq.heappop(self._due)
                self._fall_due(self.alerts[name_parts[0], name_parts[1]], due)
            else:
                break
        self.clock = target
        if self.silences.by_id:
            self._forget_silences()

    def _drop_stale(self) -> None:
        while self._due and self._deadlines.get(self._due[0][1:]) != self._due[0][0]:
            heapq.heappop(self._due)

    def _fall_due(self, alert: Alert, now: int) -> None:
        if alert.ends_at is not None and alert.ends_at <= now:
            quiet = format_duration(alert.quiet_time)
            alert.end(replace(alert.content, text=f"Nothing more was heard for {quiet}."))
        self._settle(alert, now)

    def _settle(self, alert: Alert, now: int) -> None:
        """Tell what is to be told of an alert by now, and know when to look at it again."""
        name = (alert.alert_type, alert.key)
        silenced = self.silences.until(*name, now)
        if alert.unheard and silenced:
            self.totals.silenced += alert.pending.count
            alert.pending = Pending()
        at = self._speaks_at(alert, silenced)
        if at is not None and at <= now:
            self._tell(alert, now)
            at = self._speaks_at(alert, silenced)
        self._changed.add(_row_name(name))
        if alert.idle and alert.cools_until <= now:
            del self.alerts[name]
            self._deadlines.pop(name, None)
            return
        due = [each for each in (at, alert.ends_at) if each is not None]
        self._schedule(name, min(due, default=alert.cools_until))

    def _schedule(self, name: Name, deadline: int) -> None:
        if self._deadlines.get(name) == deadline:
            return
        self._deadlines[name] = deadline
        if len(self._due) > 2 * len(self._deadlines) + 64:
            # Deadlines that have changed stay in the heap until then.
            self._due = [(due, *each) for each, due in self._deadlines.items()]
            heapq.heapify(self._due)
        else:
            heapq.heappush(self._due, (deadline, *name))

    def _speaks_at(self, alert: Alert, silenced: int) -> int | None:
        at = alert.speaks_at
        return None if at is None else max(at, silenced)

    # --- messages --------------------------------------------------------------------------

    def _tell(self, alert: Alert, now: int) -> None:
        action = alert.action(now)
        draft = self._draft(alert, action, now)
        self.totals.told += draft.count
        grouped = self._grouper.wait > 0
        alert.tell(now + self.rules.cool_down + self._grouper.wait)
        if not grouped:
            self._send(draft)
            return
        if self._grouper.holds(alert.alert_type, alert.key):
            for name in self._grouper.of_type(alert.alert_type):
                self._release(name, now)
        if action == "escalate":
            self._send(draft)
            return
        group = self._grouper.hold(draft, now)
        self._changed.add(_group_row_name(group))
        if self._grouper.full(group):
            self._release(group, now)

    def _release(self, name: GroupName, now: int) -> None:
        self._changed.add(_group_row_name(name))
        self._send(self._grouper.release(name, now))

    def _draft(self, alert: Alert, action: Action, now: int) -> NotificationRecord:
        """Return a notification without its id and sequence number."""
        pending, content = alert.pending, alert.content
        over = action == "resolve"
        rank = max(pending.rank, alert.told_rank) if over else pending.rank
        told = alert.told_channels if over else ()
        severity = severity_of(rank)
        return NotificationRecord(
            id="",
            sequence=0,
            alert_type=alert.alert_type,
            key=alert.key,
            severity=severity,
            action=action,
            title=content.title,
            text=content.text,
            details=dict(sorted(content.details.items())),
            value=pending.value,
            count=pending.count,
            first=pending.first if pending.count else now,
            last=pending.last if pending.count else now,
            time=now,
            source=content.source,
            channels=tuple(sorted({*pending.channels, *told})),
            members=(MemberRecord(alert.key, severity, pending.count, pending.value),),
            by=alert.acknowledged or None,
        )

    def _send(self, draft: NotificationRecord) -> None:
        sequence = self.totals.notifications
        self.totals.notifications += 1
        parts = (self.rules.deployment, self.partition, sequence, draft.alert_type, draft.key)
        text = "\x00".join(map(str, (*parts, draft.action)))
        identity = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._out.append(msgspec.structs.replace(draft, id=identity, sequence=sequence))

    # --- state -----------------------------------------------------------------------------

    def take_rows(self) -> list[tuple[str, State | None]]:
        """Return the rows that changed since the last call, by name; None: delete it."""
        names, self._changed = sorted(self._changed), set()
        return [(name, self._row(name)) for name in names]

    def _row(self, name: str) -> State | None:
        kind, _, rest = name.partition("/")
        if kind == "clock":
            return [VERSION, self.clock, self.totals.to_row()]
        if kind == "silence":
            silence = self.silences.by_id.get(rest)
            return None if silence is None else silence.to_row()
        alert_type, _, last = rest.partition("/")
        if kind == "group":
            group = (alert_type, last == "over")
            return self._grouper.to_row(group) if group in self._grouper.groups else None
        alert = self.alerts.get((alert_type, last))
        return None if alert is None else alert.to_row()

    @classmethod
    def from_rows(
        cls, rules: AlertRules, partition: int, rows: Iterable[tuple[str, State]]
    ) -> AlertBook:
        """Build a book that goes on from all rows that another one has given.

        Raises:
            StateVersionError: they are of another version.
        """
        book = cls(rules, partition)
        held = dict(rows)
        if not held:
            return book
        first: list[Any] = held.pop("clock", [])
        if not first or first[0] != VERSION:
            raise StateVersionError(
                f"AlertBook: the rows have version {first[0] if first else 'no'}, "
                f"this code reads {VERSION}"
            )
        book.clock, book.totals = first[1], Totals(*first[2])
        for name in sorted(held, reverse=True):  # Silences first: deadlines follow from them.
            book._restore(name, held[name])
        return book

    def _restore(self, name: str, row: State) -> None:
        kind, _, rest = name.partition("/")
        alert_type, _, last = rest.partition("/")
        if kind == "silence":
            alert_type, key, until, by = row
            self.silences.by_id[rest] = Silence(rest, alert_type, key, until, by)
        elif kind == "group":
            self._grouper.restore((alert_type, last == "over"), row)
        else:
            alert = self.alerts[alert_type, last] = Alert.from_row(alert_type, last, row)
            self._settle(alert, self._now)
            self._changed.clear()


def _row_name(name: Name) -> str:
    return f"alert/{name[0]}/{name[1]}"


def _group_row_name(name: GroupName) -> str:
    return f"group/{name[0]}/{'over' if name[1] else 'firing'}"
