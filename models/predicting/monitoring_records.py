"""What is said of predictions once it is known what came: the records of an output topic.

A `MonitoringRecord` says two things. Its figures are for whoever reads it by itself. Its sums are
for whoever wants the figures of several partitions: they add up (`monitoring_summaries.merge`),
which means and coverages do not. All of it is of all outcomes and rows since the partition began
to watch the version, so that the last record of each partition is enough.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["better", "worse", "undecided"]


class MonitoringSums(msgspec.Struct, kw_only=True, gc=False, forbid_unknown_fields=True):
    """What adds up over partitions; the field order is that of the state of a monitor.

    Whole numbers are exact. Floats are added one by one in the order of the log, so a replay has
    the same bits; sums over partitions are those of one partition but for rounding.

    Attributes:
        outcomes: how many.
        intervals: those that had an interval.
        inside: those whose target was in it.
        signed: those where neither prediction nor target was 0.
        hits: those of `signed` with the right sign.
        squared_error, squared_zero, squared_last_value: of the prediction, of predicting 0, of
            predicting the last value, which is 0 where it is not known, as in training.
        absolute_error: of the prediction.
        width: of the intervals.
        recent_outcomes, recent_squared_error, recent_squared_zero: the same, where each outcome
            takes 1/500 of what was before.
        recent_intervals, recent_inside: the same, where each outcome with an interval does so.
    """

    outcomes: int = 0
    intervals: int = 0
    inside: int = 0
    signed: int = 0
    hits: int = 0
    squared_error: float = 0.0
    squared_zero: float = 0.0
    squared_last_value: float = 0.0
    absolute_error: float = 0.0
    width: float = 0.0
    recent_outcomes: float = 0.0
    recent_squared_error: float = 0.0
    recent_squared_zero: float = 0.0
    recent_intervals: float = 0.0
    recent_inside: float = 0.0


class PairedSums(msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True):
    """A version beside the champion, on rows that both predicted.

    Attributes:
        generation: of the alias when it named this champion.
        champion: its version.
        length: of a block at level 0, ns.
        level: blocks are 2 ** level as long.
        champion_error: sum of the champion's squared errors.
        blocks: number (time of the row // length >> level), rows, and the sum of the champion's
            squared errors less the version's own; ascending, those with rows.
    """

    generation: int
    champion: int
    length: int
    level: int
    champion_error: float
    blocks: tuple[tuple[int, int, float], ...]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What sums amount to; None for what is not known yet. Returns are shares, not percent.

    Attributes:
        outcomes: how many.
        mse, mse_zero, mse_last_value: mean squared errors.
        skill_against_zero, skill_against_last_value: 1 - mse / theirs.
        mean_absolute_error: of the prediction.
        hit_rate: share of right signs, where neither sign is 0.
        intervals: outcomes that had an interval.
        coverage: share of them inside.
        mean_width: of the intervals.
        recent_skill: against zero, of about the last 500 outcomes of each partition.
        recent_coverage: of about the last 500 with an interval of each partition.
        rows: counted in the last days, for the drift.
        psi: of each feature, 6 decimals; None without a reference, and of fewer than 500 rows.
        worst_feature: that of the greatest PSI.
        worst_psi: how great it is.
    """

    outcomes: int
    mse: float | None
    mse_zero: float | None
    mse_last_value: float | None
    skill_against_zero: float | None
    skill_against_last_value: float | None
    mean_absolute_error: float | None
    hit_rate: float | None
    intervals: int
    coverage: float | None
    mean_width: float | None
    recent_skill: float | None
    recent_coverage: float | None
    rows: int
    psi: dict[str, float] | None
    worst_feature: str | None
    worst_psi: float | None


class MonitoringRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What partitions know of one version in one role; the field order is part of the bytes.

    Attributes:
        model, alias, version: which.
        partitions: that it is of: one as an agent writes it, more after a merge; ascending.
        since: the first event time it was watched at, ns.
        until: end of the hour of event time that it is up to, ns.
        figures: what it amounts to.
        sums: what adds up.
        drift: by feature, in the order of the columns: rows of the last days by bin, and then
            those of NaN; empty where the version has no reference.
        paired: beside the champion; None of the champion itself and without a row in common.
    """

    model: str
    alias: str
    version: int
    partitions: tuple[int, ...]
    since: int
    until: int
    figures: Figures
    sums: MonitoringSums
    drift: dict[str, tuple[int, ...]]
    paired: PairedSums | None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A challenger against the champion, on the rows that both predicted.

    Attributes:
        model: of both.
        champion, challenger: versions.
        rows: that both predicted, whose target is known.
        blocks: of time that those are in.
        champion_mse, challenger_mse: of these rows; None without any.
        skill: 1 - challenger_mse / champion_mse.
        difference: champion_mse - challenger_mse; above 0 the challenger is better.
        standard_error: of the difference, by blocks; None of fewer than 20.
        low, high: of its interval, which holds at all looks together.
        confidence: of the interval.
        verdict: better or worse where the interval is above or below 0.
    """

    model: str
    champion: int
    challenger: int
    rows: int
    blocks: int
    champion_mse: float | None
    challenger_mse: float | None
    skill: float | None
    difference: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    confidence: float
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it rests on."""
        rows = f"{self.rows:,} rows in {self.blocks} blocks of time"
        if self.difference is None or self.low is None or self.high is None:
            return f"Undecided: {rows} are too few."
        found = {
            "better": "Better than the champion, beyond chance",
            "worse": "Worse than the champion, beyond chance",
            "undecided": "Not told apart from the champion",
        }[self.verdict]
        return (
            f"{found}: its mean squared error is lower by {self.difference:.3g}, {self.low:.3g} to "
            f"{self.high:.3g} with {self.confidence:.0%} at all looks together; {rows}."
        )
