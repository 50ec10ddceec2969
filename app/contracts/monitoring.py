"""The hourly records of versions at work, as pydantic models: the published contract.

Their msgspec twins, which explain the figures, are in `models/predicting/monitoring_records.py`;
`tests/unit/test_predictions_contracts.py` holds the two equal.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.contracts.records import Contract

Number = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(ge=0)]


class MonitoringSums(Contract):
    """What adds up over partitions; those of `recent` fade, each outcome takes 1/500 of before."""

    outcomes: Number
    intervals: Number
    inside: Number
    signed: Number
    hits: Number
    squared_error: Size
    squared_zero: Size
    squared_last_value: Size
    absolute_error: Size
    width: Size
    recent_outcomes: Size
    recent_squared_error: Size
    recent_squared_zero: Size
    recent_intervals: Size
    recent_inside: Size


class PairedSums(Contract):
    """A version beside a champion, on rows that both predicted, by blocks of time.

    Each block is its number (time of the row // `length` >> `level`), its rows, and the sum of the
    champion's squared errors less the version's own.
    """

    generation: Number
    champion: Annotated[int, Field(ge=1)]
    length: Annotated[int, Field(ge=1)]
    level: Number
    champion_error: Size
    blocks: tuple[tuple[int, Number, float], ...]


class MonitoringFigures(Contract):
    """What the sums amount to; null for what is not known yet. Returns are shares, not percent."""

    outcomes: Number
    mse: Size | None
    mse_zero: Size | None
    mse_last_value: Size | None
    skill_against_zero: float | None
    skill_against_last_value: float | None
    mean_absolute_error: Size | None
    hit_rate: Share | None
    intervals: Number
    coverage: Share | None
    mean_width: Size | None
    recent_skill: float | None
    recent_coverage: Share | None
    rows: Number
    psi: dict[str, float] | None
    worst_feature: str | None
    worst_psi: float | None


class PredictionMonitoring(Contract):
    """What a partition knows of one version in one role, up to the end of an hour of event time.

    Identity: (model, alias, version, partitions, until); the latest `until` holds, of everything
    since `since`. Sums of several partitions add up; figures do not. `drift`: of each feature, rows
    of the last days by bin, and then those without a value.
    """

    model: str
    alias: str
    version: Annotated[int, Field(ge=1)]
    partitions: tuple[Number, ...]
    since: int
    until: int
    figures: MonitoringFigures
    sums: MonitoringSums
    drift: dict[str, tuple[Number, ...]]
    paired: PairedSums | None
