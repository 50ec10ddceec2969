"""What changes the results of the quality checks. Times are ns."""

from __future__ import annotations

from dataclasses import dataclass

from app.durations import format_duration

_MILLISECOND = 1_000_000
_SECOND = 1_000_000_000


class QualityConfigurationError(ValueError):
    """What cannot be meant: its message has attribute, value and expectation."""

    def __init__(self, attribute: str, message: str) -> None:
        super().__init__(message)
        self.attribute = attribute


@dataclass(frozen=True, slots=True)
class QualityConfiguration:
    """Thresholds and windows; fixed for the life of a deployment.

    Attributes:
        gaps: lengths of open time, shortest first, from which on gaps are counted.
        gap_event: an event is told of a gap from this length on,
        gap_factor: if it is also this many times the symbol's usual interval (0: any), which is the
            mean length of the interval that a moment falls into (`SymbolState.usual`).
            At 10, the days of SPY and IBM of October 2013 have one such gap in 84 hours of session.
        stale_after: open time without a record, while the data's clock moved on.
        outlier_window: prices that are remembered, at least 5.
        outlier_warm_up: prices before anything is judged, at most the window.
        outlier_mean_factor: standard deviations from the rolling mean.
        outlier_median_factor: robust standard deviations from the rolling median.
        outlier_floor: share of the price that is never an outlier's distance,
        outlier_ticks: nor so many tick sizes, where the instrument has one.
        outlier_run: so many outliers in a row on one side are a new level.
        duplicate_window: trade ids that are remembered, a symbol.
        consecutive: sources whose `sequence` grows by one, by symbol and venue; `*` is all.
        disagreement: share by which the last prices of two sources differ,
        disagreement_for: for so long,
        disagreement_fresh: among prices that are not older than this.
        late_after: behind the data's clock: late, and not judged further.
        clock_ahead: a record moves the clock to its append time and this, at most.
        completeness: the goal of a session.
    """

    gaps: tuple[int, ...] = (500 * _MILLISECOND, 5 * _SECOND, 30 * _SECOND)
    gap_event: int = 5 * _SECOND
    gap_factor: float = 10.0
    stale_after: int = 30 * _SECOND
    outlier_window: int = 61
    outlier_warm_up: int = 31
    outlier_mean_factor: float = 6.0
    outlier_median_factor: float = 10.0
    outlier_floor: float = 0.002
    outlier_ticks: float = 3.0
    outlier_run: int = 20
    duplicate_window: int = 128
    consecutive: tuple[str, ...] = ()
    disagreement: float = 0.005
    disagreement_for: int = 5 * _SECOND
    disagreement_fresh: int = 30 * _SECOND
    late_after: int = 901 * _SECOND
    clock_ahead: int = _SECOND
    completeness: float = 0.998

    def __post_init__(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            QualityConfigurationError: which attribute, its value, and what is expected.
        """
        if not self.gaps or list(self.gaps) != sorted(set(self.gaps)) or self.gaps[0] <= 0:
            raise QualityConfigurationError(
                "gaps", f"gaps = {self.gaps}; expected lengths above 0, the shortest first"
            )
        if self.gap_event < self.gaps[0]:
            raise QualityConfigurationError(
                "gap_event",
                f"gap_event = {format_duration(self.gap_event)}; expected at least the shortest "
                f"gap, {format_duration(self.gaps[0])}",
            )
        if self.stale_after <= 0:
            raise QualityConfigurationError(
                "stale_after", f"stale_after = {self.stale_after}; expected a length above 0"
            )
        if not 5 <= self.outlier_warm_up <= self.outlier_window <= 1001:
            raise QualityConfigurationError(
                "outlier_warm_up",
                f"outlier_warm_up = {self.outlier_warm_up}, outlier_window = "
                f"{self.outlier_window}; expected 5 <= outlier_warm_up <= outlier_window <= 1001",
            )
        if not 1 <= self.duplicate_window <= 100_000:
            raise QualityConfigurationError(
                "duplicate_window",
                f"duplicate_window = {self.duplicate_window}; expected 1 to 100,000 ids",
            )
        if not 0 < self.completeness <= 1:
            raise QualityConfigurationError(
                "completeness", f"completeness = {self.completeness}; expected a share up to 1"
            )

    @property
    def gap_names(self) -> tuple[str, ...]:
        """Names of the gaps' counters: `gaps_500ms`."""
        return tuple(f"gaps_{format_duration(length)}" for length in self.gaps)
