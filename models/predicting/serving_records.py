"""Records that the predictions agent publishes, made of what its state holds."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts.predictions import AlternativeRecord, OutcomeRecord, PredictionRecord
from models.predicting.serving_entry import Given, Settled
from models.predicting.serving_jobs import Job, Post

#: Model and alias of each slot.
Slots = Sequence[tuple[str, str]]


def outcome_record(
    job: Job, settled: Settled, value: float, length: int, slots: Slots
) -> OutcomeRecord:
    """Return what became of a prediction.

    Args:
        job: of the bar that tells it.
        value: that was predicted.
        length: of the bars, ns.
    """
    (start, _, given), target = settled
    low, high = given.low, given.high
    return OutcomeRecord(
        job.symbol,
        job.interval,
        start,
        *slots[given.slot],
        given.version,
        given.served,
        given.span // length,
        value,
        low,
        high,
        target,
        target - value,
        None if low is None or high is None else low <= target <= high,
        given.previous,
        start + given.span + length,
    )


def prediction_record(
    job: Job, model: str, champion: Post, given: Sequence[Given], slots: Slots
) -> PredictionRecord:
    """Return what is predicted from a bar: by what serves the symbol, and by the others."""
    value, low, high = None, None, None
    others = {}
    for each in given:
        if each.served:
            value, low, high = each.value, each.low, each.high
        elif each.value is not None:
            alias = slots[each.slot][1]
            others[alias] = AlternativeRecord(each.version, each.value, each.low, each.high)
    return PredictionRecord(
        job.symbol,
        job.interval,
        job.start,
        job.revision,
        job.exact,
        model,
        champion.serving.manifest.horizon,
        champion.alias,
        champion.version,
        value,
        low,
        high,
        others,
    )
