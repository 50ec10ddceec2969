"""Every bound of the alert rules, in one place; `docs/metrics.md` shows them in the rules.

The first six are the requirements'; the others are ours: a multiple of what a healthy worker does,
high enough that a person should look. Durations are Prometheus' own text.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """A value and how long it has to hold."""

    above: float
    hold: str


ERROR_RATIO = Bound(0.05, "2m")
LATENCY_SECONDS = Bound(1.0, "5m")
LAG_RECORDS = Bound(10_000, "5m")
PREDICTIONS_MISSING_RATIO = Bound(0.10, "2m")
NO_BARS_WINDOW = "5m"
LATE_RATIO = Bound(0.01, "5m")

#: Longer than the shortest bars take to close (10 s by the defaults) with a wide margin.
TRADES_WITHOUT_BARS_HOLD = "2m"
NO_BARS_HOLD = "1m"
DEAD_RECORDS = 100
DEAD_WINDOW = "5m"
CLOCK_SKEW_RATIO = Bound(0.01, "5m")

DOWN_HOLD = "1m"
RESTARTS = 3
RESTARTS_WINDOW = "15m"
NOT_READY_HOLD = "10m"
RESIDENT_BYTES = Bound(4 * 1024**3, "10m")
LOOP_DELAY_SECONDS = Bound(0.25, "5m")
#: As `/healthz` says it (`health.STUCK_SECONDS`).
LOOP_STUCK_SECONDS = 30.0
SERVER_ERROR_RATIO = Bound(0.05, "5m")

CHECKPOINT_FAILURES = 3
CHECKPOINT_FAILURES_WINDOW = "5m"
#: A healthy one is about a second (`checkpoint.max_delay`).
CHECKPOINT_AGE_SECONDS = Bound(30.0, "1m")
#: As `docs/metrics.md` says under Health.
STALLED_SECONDS = 300.0
FENCED = 3
FENCED_WINDOW = "15m"
STORE_STOPPED_HOLD = "1m"

MODEL_FAULT_HOLD = "5m"
MODELS_REFUSED_HOLD = "5m"
CHANNEL_REST_HOLD = "5m"
#: A resting channel is tried now and then, and reads 0 in that moment.
CHANNEL_REST_WINDOW = "2m"
NOTIFICATIONS_DEAD_WINDOW = "15m"

#: What a sink has not written: a minute at 100,000 records a second.
SINK_LAG_RECORDS = Bound(6_000_000, "10m")
#: Longer than a restart of the system behind it.
SINK_RESTS_HOLD = "5m"
SINK_DEAD_WINDOW = "10m"
