"""The pairs' published contract (pydantic) and the msgspec twins take the same values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.pairs import Leg, LegProgress, PairStatistics
from app.contracts.records import MAX_PRICE, MAX_TIME, Contract
from app.contracts.wire import encoder
from tables.crossing import LegRecord, PairRecord, ProgressRecord, input_decoder

VALID: dict[str, dict[str, Any]] = {
    "leg": {
        "type": "leg",
        "pair": "A/B@1m",
        "symbol": "A",
        "interval": "1m",
        "start": 60_000_000_000,
        "close": 1.5,
        "revision": 0,
        "partition": 3,
        "position": 7,
    },
    "progress": {
        "type": "progress",
        "partition": 3,
        "interval": "1m",
        "watermark": 60_000_000_000,
    },
}
MODELS: dict[str, type[Contract]] = {"leg": Leg, "progress": LegProgress}
#: As JSON text, so that what Python cannot hold is there, too.
odd = st.sampled_from(
    [
        *("null", "true", "0", "-1", "1.0", "1.5", "-0.0", "1e3", "1e999", "NaN", "Infinity", "[]"),
        *("{}", '"1"', '""', '"A"', '"leg"', '"progress"', '"Leg"', '"\\ud800"', '"\\u0041"', "01"),
        *(str(each) for each in (MAX_TIME, MAX_TIME + 1, 2**64, int(MAX_PRICE), -int(MAX_PRICE))),
        *(str(int(MAX_PRICE) + 1), repr(MAX_PRICE), "1000000000000.1", "5e-324"),
    ]
)


@st.composite
def changed(draw: st.DrawFn, kind: str) -> bytes:
    """A valid record with up to three fields set, removed or added."""
    pairs = {name: json.dumps(value) for name, value in VALID[kind].items()}
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*pairs, "colour"]) if pairs else st.just("colour"))
        if draw(st.booleans()):
            pairs.pop(name, None)
        else:
            pairs[name] = draw(odd)
    text = "{" + ",".join(f'"{name}":{value}' for name, value in pairs.items()) + "}"
    return text.encode() + draw(st.sampled_from([b"", b" ", b"x", b"{}"]))


def by_msgspec(value: bytes, kind: str) -> dict[str, Any] | None:
    try:
        record = input_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    fields = {"type": type(record).__struct_config__.tag, **msgspec.structs.asdict(record)}
    return fields if fields["type"] == kind else None


def by_pydantic(value: bytes, kind: str) -> dict[str, Any] | None:
    try:
        return MODELS[kind].model_validate_json(value).model_dump()
    except ValidationError:
        return None


@pytest.mark.parametrize("kind", list(VALID))
@given(data=st.data())
@settings(max_examples=800, deadline=None)
def test_inputs_are_the_same_for_both(kind: str, data: st.DataObject) -> None:
    value = data.draw(changed(kind))
    assert by_msgspec(value, kind) == by_pydantic(value, kind)


@pytest.mark.parametrize("kind", list(VALID))
def test_what_the_router_writes_is_of_the_contract(kind: str) -> None:
    record = input_decoder.decode(json.dumps(VALID[kind]))
    assert by_pydantic(encoder.encode(record), kind) == VALID[kind]


finite = st.floats(allow_nan=False, allow_infinity=False) | st.none()


@given(
    st.builds(
        PairRecord,
        pair=st.just("A/B@1m"),
        first=st.just("A"),
        second=st.just("B"),
        interval=st.just("1m"),
        start=st.integers(0, MAX_TIME),
        first_close=finite,
        second_close=finite,
        spread=finite,
        ratio=finite,
        score=finite,
        correlation=st.floats(-1, 1) | st.none(),
        beta=finite,
        revision=st.integers(0, 2**40),
        void=st.booleans(),
        left_out=st.integers(0, 2**40),
    )
)
@settings(deadline=None)
def test_pairs_as_written_are_of_the_contract(pair: PairRecord) -> None:
    value = encoder.encode(pair)
    assert PairStatistics.model_validate_json(value).model_dump() == msgspec.structs.asdict(pair)


def test_the_twins_have_the_same_fields_in_the_same_order() -> None:
    assert ("type", *LegRecord.__struct_fields__) == tuple(Leg.model_fields)
    assert ("type", *ProgressRecord.__struct_fields__) == tuple(LegProgress.model_fields)
    assert PairRecord.__struct_fields__ == tuple(PairStatistics.model_fields)
