"""The predictions' published contract (pydantic) and the msgspec twins take the same values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.monitoring import (
    MonitoringFigures,
    MonitoringSums,
    PairedSums,
    PredictionMonitoring,
)
from app.contracts.predictions import (
    AliasMove,
    Alternative,
    AlternativeRecord,
    IndicatorsInput,
    OutcomeRecord,
    Prediction,
    PredictionOutcome,
    PredictionRecord,
    alias_decoder,
    indicators_input_decoder,
    outcome_decoder,
    prediction_decoder,
)
from app.contracts.records import MAX_TIME, Contract, Indicators
from app.contracts.schema import json_schemas
from app.contracts.wire import IndicatorsRecord, encoder
from models.predicting import monitoring_records as records
from models.predicting.monitoring_records import Figures, MonitoringRecord
from tests.unit.serving_feeding import Served, monitored_hours

SHA256 = "0123456789abcdef" * 4
MOVE: dict[str, Any] = {
    "type": "alias",
    "model": "returns",
    "alias": "champion",
    "generation": 3,
    "version": 2,
    "sha256": SHA256,
}
#: As JSON text, so that what Python cannot hold is there, too.
odd = st.sampled_from(
    [
        *("null", "true", "0", "-1", "1", "1.0", "1.5", "-0.0", "1e3", "1e999", "NaN", "[]", "{}"),
        *('"1"', '""', '"A"', '"alias"', '"Alias"', '"\\ud800"', '"\\u0041"', '"a\\u0000"', "01"),
        *(str(each) for each in (MAX_TIME, MAX_TIME + 1, 2**64)),
        *(json.dumps(each) for each in ("a" * 64, "a" * 65, "é" * 64, "😀" * 64, "😀" * 65)),
        *(json.dumps(SHA256 + more) for more in ("", "\n", "0")),
        *(json.dumps(each) for each in (SHA256.upper(), SHA256[1:], "\n" + SHA256)),
    ]
)


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A valid move with up to three fields set, removed or added."""
    pairs = {name: json.dumps(value) for name, value in MOVE.items()}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*pairs, "colour"]) if pairs else st.just("colour"))
        if draw(st.booleans()):
            pairs.pop(name, None)
        else:
            pairs[name] = draw(odd)
    text = "{" + ",".join(f'"{name}":{value}' for name, value in pairs.items()) + "}"
    return text.encode() + draw(st.sampled_from([b"", b" ", b"x", b"{}"]))


def by_msgspec(value: bytes) -> dict[str, Any] | None:
    try:
        record = alias_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def by_pydantic(value: bytes) -> dict[str, Any] | None:
    try:
        return AliasMove.model_validate_json(value).model_dump()
    except ValidationError:
        return None


def written(**fields: object) -> bytes:
    """A move with other fields."""
    return encoder.encode(MOVE | fields)


@given(changed())
@example(encoder.encode({name: value for name, value in MOVE.items() if name != "type"}))
@example(written(sha256=SHA256 + "\n"))
@example(written(model="a" * 65))
@example(written(alias="a" * 65))
@example(written(version=None, sha256=None))
@example(written(version=None))
@example(written(sha256=None))
@settings(max_examples=1_500, deadline=None)
def test_moves_are_the_same_for_both(value: bytes) -> None:
    assert by_msgspec(value) == by_pydantic(value)


@pytest.mark.parametrize("named", [(2, SHA256), (None, None)])
def test_what_a_worker_writes_is_of_the_contract(named: tuple[int | None, str | None]) -> None:
    move = MOVE | {"version": named[0], "sha256": named[1]}
    value = encoder.encode(alias_decoder.decode(json.dumps(move)))
    assert by_pydantic(value) == move
    assert list(json.loads(value)) == list(AliasMove.model_fields)


finite = st.floats(allow_nan=False, allow_infinity=False)
number = finite | st.none()
versions = st.integers(1, MAX_TIME)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
symbols = st.sampled_from(("SPY", "BTC/USD", "A" * 32))
starts = st.integers(0, MAX_TIME)


@given(
    st.builds(
        PredictionRecord,
        symbol=symbols,
        interval=st.just("1m"),
        start=starts,
        revision=st.integers(0, MAX_TIME),
        exact=st.booleans(),
        model=names,
        horizon=st.integers(1, 10_000),
        alias=names,
        version=versions,
        prediction=number,
        low=number,
        high=number,
        others=st.dictionaries(
            names,
            st.builds(
                AlternativeRecord, version=versions, prediction=number, low=number, high=number
            ),
            max_size=3,
        ),
    )
)
@settings(deadline=None)
def test_predictions_as_written_are_of_the_contract(record: PredictionRecord) -> None:
    value = encoder.encode(record)
    assert prediction_decoder.decode(value) == record
    assert Prediction.model_validate_json(value).model_dump() == msgspec.to_builtins(record)


@given(
    st.builds(
        OutcomeRecord,
        symbol=symbols,
        interval=st.just("1m"),
        start=starts,
        model=names,
        alias=names,
        version=versions,
        served=st.booleans(),
        horizon=st.integers(1, 10_000),
        prediction=finite,
        low=number,
        high=number,
        target=finite,
        error=finite,
        inside=st.booleans() | st.none(),
        previous=number,
        realised=starts,
    )
)
@settings(deadline=None)
def test_outcomes_as_written_are_of_the_contract(record: OutcomeRecord) -> None:
    value = encoder.encode(record)
    assert outcome_decoder.decode(value) == record
    assert PredictionOutcome.model_validate_json(value).model_dump() == msgspec.to_builtins(record)


@given(
    st.builds(
        IndicatorsRecord,
        symbol=symbols,
        interval=st.just("1m"),
        start=starts,
        revision=st.integers(0, MAX_TIME),
        exact=st.booleans(),
        values=st.dictionaries(
            st.sampled_from(("CLOSE", "RSI(14)", "MACD(12,26,9).signal")), number
        ),
    )
)
@settings(deadline=None)
def test_indicators_as_written_are_input_and_of_the_contract(record: IndicatorsRecord) -> None:
    value = encoder.encode(record)
    fields = msgspec.structs.asdict(record)
    assert msgspec.structs.asdict(indicators_input_decoder.decode(value)) == fields
    assert Indicators.model_validate_json(value).model_dump() == fields
    with pytest.raises(msgspec.ValidationError):
        alias_decoder.decode(value)


def test_a_move_is_no_indicators_for_either() -> None:
    with pytest.raises(msgspec.ValidationError):
        indicators_input_decoder.decode(written())
    with pytest.raises(ValidationError):
        Indicators.model_validate_json(written())


def test_the_twins_have_the_same_fields_in_the_same_order() -> None:
    assert AlternativeRecord.__struct_fields__ == tuple(Alternative.model_fields)
    assert PredictionRecord.__struct_fields__ == tuple(Prediction.model_fields)
    assert OutcomeRecord.__struct_fields__ == tuple(PredictionOutcome.model_fields)
    assert IndicatorsInput.__struct_fields__ == tuple(Indicators.model_fields)
    assert MonitoringRecord.__struct_fields__ == tuple(PredictionMonitoring.model_fields)
    assert Figures.__struct_fields__ == tuple(MonitoringFigures.model_fields)
    for record, model in (
        (records.MonitoringSums, MonitoringSums),
        (records.PairedSums, PairedSums),
    ):
        assert record.__struct_fields__ == tuple(model.model_fields)


def test_monitoring_as_written_is_of_the_contract(tmp_path: Path) -> None:
    published = monitored_hours(Served(tmp_path))
    assert len(published) == 6
    for value in published:
        record = PredictionMonitoring.model_validate_json(value)
        assert json.loads(record.model_dump_json()) == json.loads(value)
    assert json.loads(published[-1])["paired"] is not None


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("alias_move", AliasMove),
        ("prediction", Prediction),
        ("prediction_outcome", PredictionOutcome),
        ("prediction_monitoring", PredictionMonitoring),
    ],
)
def test_every_record_has_a_schema(name: str, model: type[Contract]) -> None:
    schema = json_schemas()[name]
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(model.model_fields)
