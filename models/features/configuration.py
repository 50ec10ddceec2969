"""What features depend on, as plain values; the agent makes it from settings."""

from __future__ import annotations

from dataclasses import dataclass

from app.durations import format_duration
from tables.configuration import BarsConfiguration

SECOND = 1_000_000_000
#: So many panes of a symbol are merged at each slide, and kept in its row.
MAX_PANES = 600


@dataclass(frozen=True, slots=True)
class FeaturesConfiguration:
    """Fixed for the life of a deployment. Durations in ns.

    Attributes:
        intake: what a record is judged by: policy, bounds, partitions, clock, and the grace.
        window: length of the sliding window.
        slide: how far it slides; windows end at its multiples since the epoch.
        recent: the newest part of the window, which the volume trend sets against the whole.
        gap: a session of activity ends when a symbol is silent for so long.
        max_pending: records that wait for the watermark, a partition; then the oldest goes on.

    Raises:
        ValueError: the window is not a whole number, up to 600, of slides; `recent` is not one
            within the window; or the gap or `max_pending` is not positive.
    """

    intake: BarsConfiguration
    window: int = 300 * SECOND
    slide: int = 60 * SECOND
    recent: int = 60 * SECOND
    gap: int = 300 * SECOND
    max_pending: int = 100_000

    def __post_init__(self) -> None:
        window = format_duration(self.window)
        if self.slide <= 0 or self.window % self.slide or not 0 < self.panes <= MAX_PANES:
            raise ValueError(
                f"window {window}, slide {format_duration(self.slide)}: expected a whole number "
                f"of slides, up to {MAX_PANES}"
            )
        if self.recent % self.slide or not 0 < self.recent <= self.window:
            raise ValueError(
                f"recent {format_duration(self.recent)}: expected a whole number of slides "
                f"within the window of {window}"
            )
        if self.gap <= 0 or self.max_pending <= 0:
            raise ValueError(f"gap {self.gap}, max_pending {self.max_pending}: expected above 0")

    @property
    def panes(self) -> int:
        """Slides in a window."""
        return self.window // self.slide
