"""What the bars of a deployment depend on, as plain values; the agent makes it from settings."""

from __future__ import annotations

from dataclasses import dataclass

from tables.activity import ActivityKind
from tables.policies import Policy

DAY = 86_400_000_000_000


@dataclass(frozen=True, slots=True)
class BarsConfiguration:
    """Fixed for the life of a deployment. Durations and times in ns, `intervals` ascending.

    `results_hash` names all of it in the marker. `session_end` in ns after local midnight.
    """

    intervals: tuple[int, ...]
    grace: int
    correction_horizon: int
    policy: Policy
    partitions: int
    results_hash: str
    session_end: int = 16 * 3_600_000_000_000
    session_timezone: str = "America/New_York"
    fill_forward: bool = False
    fill_forward_limit: int = 900
    earliest_event_time: int = 631_152_000_000_000_000
    clock_ahead: int = 1_000_000_000
    max_ahead: int = 10_000_000_000
    max_symbols: int = 100_000
    max_value_bytes: int = 524_288
    recall_horizon: int = DAY
    activity: tuple[ActivityKind, ...] = ()
    activity_carry: bool = False

    def slots(self, length: int) -> int:
        """Ring slots of closed bars of an interval.

        A bar may be revised until its end lies the horizon behind the watermark, and a flush may
        close bars up to `max_ahead` before it; amendments reach back another horizon.
        """
        horizons = 2 if self.policy.amends else 1
        span = horizons * self.correction_horizon + self.grace + self.max_ahead
        return -(-span // length) + 3
