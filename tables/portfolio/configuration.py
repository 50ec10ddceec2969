"""What the portfolio stage computes, fixed per deployment. All of it changes results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from app.contracts.records import MAX_NOTIONAL
from app.durations import NANOSECONDS

#: Names of the inputs that the kinds of records come from. Updates come from their own input where
#: there is one, else from that of the transactions.
BARS: Final = "bars"
TRANSACTIONS: Final = "transactions"
UPDATES: Final = "portfolio_updates"
INPUTS: Final = (BARS, TRANSACTIONS, UPDATES)

#: In the order in which they are checked and reported.
LIMITS: Final = (
    "max_position",
    "max_short",
    "max_gross_exposure",
    "max_leverage",
    "max_concentration",
    "max_session_loss",
)


@dataclass(frozen=True)
class PortfolioConfiguration:
    """Times and durations in ns.

    Attributes:
        inputs: partitions of each input that progress marks come from; the names are `INPUTS`.
        partitions: of the stage's own input, which is partitioned by account.
        pricing_interval: of the bars whose closes are prices; the valuations are at its multiples.
        pricing_label: the name of that interval in the bars.
        cost_basis: which lots a closing trade takes: the oldest first, or all at their average.
        currency: of all money; a record in another is dead.
        limits: thresholds by limit name; what is not named has no limit.
        timezone, session_end: a session ends so long after local midnight.
        own_inputs: those of `inputs` that are partitioned by account, too, so that a partition of
            the stage hears of theirs with its own number alone.
        patience: an input partition that is silent while something waits for it is given up after
            so long, by append times, until its next mark; None: never.
        late_horizon: a record so far behind its input's mark is still taken, as a correction.
        identifier_horizon: ids are remembered for so long; at least `late_horizon`.
        max_ahead: a record further ahead of its append time is dead.
        earliest_event_time: an earlier record is dead.
        max_held: records that wait for the watermark. Beyond it the slowest input partition is
            given up until its next mark; where that does not help, the record is dead.
        max_identifiers: ids remembered; beyond it the oldest is forgotten early.
        max_accounts, max_symbols: of the partition; a record of another one is dead.
        max_positions: of an account. A new symbol takes the place of the position that has been
            closed for longest; where all are open, it is refused.
        max_lots: of a position by first in, first out; beyond it the newest two are merged.
    """

    inputs: Mapping[str, int]
    partitions: int = 1
    pricing_interval: int = NANOSECONDS["m"]
    pricing_label: str = "1m"
    cost_basis: Literal["fifo", "average"] = "fifo"
    currency: str = "USD"
    limits: Mapping[str, float] = field(default_factory=dict)
    timezone: str = "UTC"
    session_end: int = 0
    own_inputs: frozenset[str] = frozenset()
    patience: int | None = None
    late_horizon: int = NANOSECONDS["d"]
    identifier_horizon: int = 2 * NANOSECONDS["d"]
    max_ahead: int = 10 * NANOSECONDS["s"]
    earliest_event_time: int = 631_152_000_000_000_000
    max_held: int = 100_000
    max_identifiers: int = 200_000
    max_accounts: int = 10_000
    max_symbols: int = 100_000
    max_positions: int = 1_000
    max_lots: int = 500

    def __post_init__(self) -> None:
        unknown = sorted(set(self.inputs) - set(INPUTS))
        if unknown or TRANSACTIONS not in self.inputs or min(self.inputs.values()) < 1:
            raise ValueError(
                f"inputs {dict(self.inputs)!r}: expected partitions (1 or more) of "
                f"{TRANSACTIONS}, and of some of {', '.join(INPUTS)}"
            )
        limits = sorted(set(self.limits) - set(LIMITS))
        if limits or any(not 0 <= value <= MAX_NOTIONAL for value in self.limits.values()):
            raise ValueError(
                f"limits {dict(self.limits)!r}: expected values of 0 to 1e14 for some of "
                f"{', '.join(LIMITS)}"
            )
        if self.identifier_horizon < self.late_horizon:
            raise ValueError(
                f"identifier_horizon {self.identifier_horizon} is below late_horizon "
                f"{self.late_horizon}: a late repetition would count twice"
            )
        for name in ("partitions", "pricing_interval", "max_lots", "max_positions", "max_held"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected 1 or more")

    @property
    def lots(self) -> int:
        """Most lots of a position: the average is that of a single one."""
        return 1 if self.cost_basis == "average" else self.max_lots
