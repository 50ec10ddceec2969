"""Alerts: which of what the agents see is told, when, and to whom.

What comes in (`DEPLOYMENT.alerts.events`, by key): `AlertEvent`s of the agents, and the control
records `silence`, `unsilence`, `acknowledge` and `clock`, which travel in every partition.
What is kept: one row for each (alert type, key) that fires or cools down, one for each silence and
waiting group, one for clock and totals. What goes out (`DEPLOYMENT.notifications`):
`Notification`s, each with an idempotency key; `app/notify` delivers them.

What agents find becomes events in `raising.py`; prices that a user waits for, in `watching.py`.

Invariants, checked by `tests/unit/test_alerts_*.py`:

- *Pure*: notifications and rows depend on the records and their append times, in log order.
- *Cool-down*: between two messages about an (alert type, key) that neither escalate nor resolve
  lies the cool-down, by the partition's clock; and one resolve at most follows a message that told
  of firing, or sums up what came and went within a cool-down.
- *Nothing lost*: each firing event is counted by exactly one notification, or is pending in a row,
  or is counted as silenced or unrouted.
- *Bounded*: rows for `max_keys` + 65 alerts, `max_silences` silences; nothing is evicted, further
  keys count for key `*` of their type.
- *Clock records* change no notification, only when it is made.
"""

from __future__ import annotations

from tables.alerts.book import AlertBook, RefusedError, Totals
from tables.alerts.prices import PriceAlerts, TooManyPriceAlertsError
from tables.alerts.rules import AlertRules, Route

__all__ = [
    "AlertBook",
    "AlertRules",
    "PriceAlerts",
    "RefusedError",
    "Route",
    "TooManyPriceAlertsError",
    "Totals",
]
