"""The records of the predictions stage: pydantic models, the published contract, and their twins.

In: indicators, and records that move an alias, which the stage's own worker appends. Out:
predictions, what became of them, and an hourly summary a partition
(`models/predicting/monitoring.py`). `tests/unit/test_predictions_contracts.py` holds the models and
their msgspec twins equal.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import Field

from app.contracts.records import MAX_TIME, Contract
from app.contracts.records import Symbol as SymbolField
from app.contracts.wire import Count, IndicatorsRecord, Nanoseconds, Symbol

MAX_INDICATORS = 1_000
Version = Annotated[int, Field(ge=1)]


class AliasMove(Contract):
    """From here on in this partition an alias of a model names another version, or none.

    `generation` is that of the move in the registry: one that is not higher than the last one taken
    says nothing new. `sha256` is that of the version's manifest, which names the files' hashes; it
    and `version` are null together, or the move is `malformed`.
    """

    type: Literal["alias"]
    model: Annotated[str, Field(max_length=64)]
    alias: Annotated[str, Field(max_length=64)]
    generation: Annotated[int, Field(ge=1, le=MAX_TIME, strict=True)]
    version: Annotated[int, Field(ge=1, le=MAX_TIME, strict=True)] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Alternative(Contract):
    """What another alias of the model predicts for the same bar."""

    version: Version
    prediction: float | None
    low: float | None
    high: float | None


class Prediction(Contract):
    """The predicted return from a bar's close to that of the bar `horizon` bars later.

    Identity: (symbol, interval, start, model), and the `revision` of the bar; the highest holds.
    `alias` and `version` say who predicts: the champion, unless shares of an experiment give the
    symbol to another. `low` and `high` bound an interval that holds the return with the share of
    `predictions.alpha` missing; null where no finite one does. All are null for a bar that a
    correction emptied. `others` are the other aliases', which serve nobody. `exact` is false where
    an older bar was revised meanwhile, until that has left all features. It says nothing of the
    interval, which has learned from the return by the old close and never quite forgets it.
    """

    symbol: SymbolField
    interval: str
    start: int
    revision: Annotated[int, Field(ge=0)]
    exact: bool
    model: str
    horizon: Annotated[int, Field(ge=1)]
    alias: str
    version: Version
    prediction: float | None
    low: float | None
    high: float | None
    others: dict[str, Alternative]


class PredictionOutcome(Contract):
    """What became of a prediction: `target` is the return that came.

    One for each alias that had predicted, once the bar behind the target's has closed; `realised`
    is when the target was known, the end of its bar in ns. `error` is target less prediction,
    `inside` whether the target is within the interval, null where there is none. `previous` is the
    return over the horizon before, which the last-value baseline predicts; null where there is
    none. `served`: whether it is what the `predictions` record said.
    """

    symbol: SymbolField
    interval: str
    start: int
    model: str
    alias: str
    version: Version
    served: bool
    horizon: Annotated[int, Field(ge=1)]
    prediction: float
    low: float | None
    high: float | None
    target: float
    error: float
    inside: bool | None
    previous: float | None
    realised: int


class AliasRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An `AliasMove` as encoded and decoded."""

    # A tag may lack where there is one type alone.
    type: Literal["alias"]
    model: Annotated[str, msgspec.Meta(max_length=64)]
    alias: Annotated[str, msgspec.Meta(max_length=64)]
    generation: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIME)]
    version: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIME)] | None
    # Python's $ takes a line end at the end, too.
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None


class IndicatorsInput(IndicatorsRecord, forbid_unknown_fields=True, gc=False):
    """An `Indicators` as decoded by the stage behind: bounded, whoever wrote it."""

    symbol: Symbol
    interval: Annotated[str, msgspec.Meta(max_length=16)]
    start: Nanoseconds
    revision: Count
    exact: bool
    values: Annotated[dict[str, float | None], msgspec.Meta(max_length=MAX_INDICATORS)]


class AlternativeRecord(msgspec.Struct, gc=False):
    """An `Alternative` as encoded."""

    version: int
    prediction: float | None
    low: float | None
    high: float | None


class PredictionRecord(msgspec.Struct, gc=False):
    """A `Prediction` as encoded; the field order is part of the bytes."""

    symbol: str
    interval: str
    start: int
    revision: int
    exact: bool
    model: str
    horizon: int
    alias: str
    version: int
    prediction: float | None
    low: float | None
    high: float | None
    others: dict[str, AlternativeRecord]


class OutcomeRecord(msgspec.Struct, gc=False):
    """A `PredictionOutcome` as encoded; the field order is part of the bytes."""

    symbol: str
    interval: str
    start: int
    model: str
    alias: str
    version: int
    served: bool
    horizon: int
    prediction: float
    low: float | None
    high: float | None
    target: float
    error: float
    inside: bool | None
    previous: float | None
    realised: int


def alias_move(
    model: str, alias: str, generation: int, version: int | None, sha256: str | None
) -> AliasRecord:
    """Return a move."""
    return AliasRecord("alias", model, alias, generation, version, sha256)


alias_decoder = msgspec.json.Decoder(AliasRecord)
indicators_input_decoder = msgspec.json.Decoder(IndicatorsInput)
prediction_decoder = msgspec.json.Decoder(PredictionRecord)
outcome_decoder = msgspec.json.Decoder(OutcomeRecord)
