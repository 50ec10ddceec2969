"""The published contracts of the portfolio stage and its decoder take the same values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.portfolio import (
    ACTION_FIELDS,
    MIN_QUANTITY,
    ClosingPrice,
    Limit,
    LimitRecord,
    PortfolioRecord,
    PortfolioUpdate,
    PortfolioUpdateRecord,
    PortfolioValue,
    Position,
    PositionRecord,
    PriceRecord,
    Progress,
    ProgressRecord,
    Transaction,
    TransactionRecord,
)
from app.contracts.records import MAX_NOTIONAL, MAX_SIZE, MAX_TIME, Contract
from tables.portfolio.book import Refused
from tables.portfolio.intake import BadRecordError, decode
from tests.unit.portfolio_stage import Stage

numbers = st.one_of(
    st.integers(-10, 10).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        [
            *("0", "-0", "-0.0", "1.0", "1e0", "1.5e1", "1e999", "NaN", "Infinity", "01", "1."),
            *("9" * 400, repr(MIN_QUANTITY), "9e-11", "1e-11", "1000000", "1000001"),
            *(str(value) for value in (2**31 - 1, 2**31, 2**63 - 1, 2**63, MAX_TIME)),
            *(repr(value) for value in (MAX_SIZE, MAX_SIZE * 2, MAX_NOTIONAL, -2 * MAX_NOTIONAL)),
        ]
    ),
)
texts = st.one_of(
    st.sampled_from(["", "SPY", "a" * 32, "a" * 33, "x" * 64, "x" * 65, "A\n", "é", "\x00", "A B"]),
    st.text(max_size=70),
).map(json.dumps)
words = st.sampled_from(
    [
        *("buy", "sell", "Buy", "deposit", "split", "cancel", "set_limit", "max_short", "spend"),
        *("transfer_in", "dividend", "bars", "1m", ""),
    ]
).map(json.dumps)
anything = st.one_of(
    numbers, texts, words, st.sampled_from(["null", "true", "false", "[]", "{}", '"1"', ""])
)

NAMES: dict[str, tuple[type[Contract], type[msgspec.Struct]]] = {
    "transaction": (Transaction, TransactionRecord),
    "portfolio_update": (PortfolioUpdate, PortfolioUpdateRecord),
    "price": (ClosingPrice, PriceRecord),
    "progress": (Progress, ProgressRecord),
}
HEAD = {"account": '"one"', "event_time": "1381132800464000000", "update_id": '"u1"'}
PARTS = {
    "amount": "10.5",
    "symbol": '"SPY"',
    "quantity": "3",
    "price": "167.41",
    "split_to": "2",
    "split_from": "1",
    "transaction_id": '"t1"',
    "limit": '"max_short"',
    "threshold": "0",
}
VALID: dict[str, list[dict[str, str]]] = {
    "transaction": [
        {
            "account": '"one"',
            "symbol": '"SPY"',
            "side": '"buy"',
            "quantity": "100",
            "price": "167.41",
            "event_time": "1381132800464000000",
            "transaction_id": '"t1"',
        }
    ],
    "portfolio_update": [
        {**HEAD, "action": f'"{action}"', **{name: PARTS[name] for name in sorted(required)}}
        for action, (required, _) in ACTION_FIELDS.items()
    ],
    "price": [{"symbol": '"SPY"', "interval": '"1m"', "start": "0", "end": "60", "close": "1.5"}],
    "progress": [{"input": '"bars"', "partition": "0", "watermark": "60"}],
}


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """A valid record with up to three fields set, removed or added."""
    fields = {"type": f'"{name}"', **draw(st.sampled_from(VALID[name]))}
    known = [*NAMES[name][0].model_fields, "colour"]
    for _ in range(draw(st.integers(0, 3))):
        field = draw(st.sampled_from(known))
        if draw(st.integers(0, 3)) == 0:
            fields.pop(field, None)
        else:
            # What suits some field more often than anything.
            suiting = st.sampled_from(sorted(PARTS.values()))
            fields[field] = draw(suiting if draw(st.booleans()) else anything)
    text = "{" + ",".join(f'"{field}":{value}' for field, value in fields.items()) + "}"
    return text.encode("utf-8", "surrogatepass")


def by_pydantic(model: type[Contract], value: bytes) -> dict[str, Any] | None:
    try:
        return model.model_validate_json(value).model_dump()
    except ValidationError:
        return None


def by_msgspec(value: bytes) -> dict[str, Any] | None:
    """The stage's decoder; what the contract cannot say (the notional) is not asked here."""
    try:
        record = decode(value)
    except BadRecordError as error:
        return {} if error.reason == "notional_too_large" else None
    return {"type": type(record).__struct_config__.tag, **msgspec.structs.asdict(record)}


@pytest.mark.parametrize("name", sorted(NAMES))
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_records_are_the_same_for_both(name: str, data: st.DataObject) -> None:
    value = data.draw(changed(name))
    model = NAMES[name][0]
    found = by_msgspec(value)
    if found == {}:
        assert by_pydantic(model, value) is not None
        return
    if found is not None and found["type"] != name:
        model = NAMES[str(found["type"])][0]
    assert found == by_pydantic(model, value)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_valid_is_taken(name: str) -> None:
    for fields in VALID[name]:
        fields = {"type": f'"{name}"', **fields}
        value = "{" + ",".join(f'"{field}":{text}' for field, text in fields.items()) + "}"
        assert by_msgspec(value.encode()) is not None


@pytest.mark.parametrize("action", sorted(ACTION_FIELDS))
@given(given_=st.sets(st.sampled_from(sorted(PARTS))))
@settings(max_examples=60, deadline=None)
@example(given_=set())
def test_an_action_takes_its_own_fields_and_no_others(action: str, given_: set[str]) -> None:
    fields = {"type": '"portfolio_update"', **HEAD, "action": f'"{action}"'}
    fields |= {name: PARTS[name] for name in given_}
    value = ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()
    required, allowed = ACTION_FIELDS[action]
    good = required <= given_ <= required | allowed
    assert (by_msgspec(value) is not None) == good
    assert (by_pydantic(PortfolioUpdate, value) is not None) == good


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (b"", "empty"),
        (b"{", "malformed"),
        (b'{"type":"trade"}', "malformed"),
        (b'{"account":"one"}', "malformed"),
        (b"[" * 100_000, "malformed"),
        (("quantity", "0"), "malformed"),
        (("quantity", "-1"), "malformed"),
        (("quantity", "NaN"), "malformed"),
        (("quantity", "1e-12"), "malformed"),
        (("price", "1e999"), "malformed"),
        (("side", '"hold"'), "malformed"),
        (("account", '"a\\u0000b"'), "malformed"),
        (("symbol", '"no good"'), "bad_symbol"),
        (("quantity", "1e12"), "notional_too_large"),
    ],
)
def test_a_bad_value_has_its_reason(value: bytes | tuple[str, str] | None, reason: str) -> None:
    if isinstance(value, tuple):
        fields = {"type": '"transaction"', **VALID["transaction"][0], value[0]: value[1]}
        value = ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode()
    with pytest.raises(BadRecordError) as caught:
        decode(value)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("model", "record"),
    [
        *((model, record) for model, record in NAMES.values()),
        (Position, PositionRecord),
        (PortfolioValue, PortfolioRecord),
        (Limit, LimitRecord),
    ],
)
def test_the_twins_have_the_same_fields_in_the_same_order(
    model: type[Contract], record: type[msgspec.Struct]
) -> None:
    fields = tuple(name for name in model.model_fields if name != "type")
    assert record.__struct_fields__ == fields


def test_every_record_has_a_schema() -> None:
    for model in (Transaction, PortfolioUpdate, ClosingPrice, Progress):
        schema = model.model_json_schema()
        assert schema["additionalProperties"] is False
        assert "type" in schema["required"]
        json.dumps(schema)


def test_outputs_as_written_are_of_their_contracts() -> None:
    stage = Stage(limits={"max_position": 5.0, "max_leverage": 1.0})
    stage.update(0, "deposit", amount=100.0)
    stage.trade(1, 10, 10.1)
    stage.trade(2, -3, 9.9, "BBB", fee=0.1)
    stage.price(60, 11.3)
    stage.reach(61, idle=True)
    models: dict[type[msgspec.Struct], type[Contract]] = {
        PositionRecord: Position,
        PortfolioRecord: PortfolioValue,
        LimitRecord: Limit,
    }
    seen: set[type[msgspec.Struct]] = set()
    for output in stage.partition.outputs:
        assert not isinstance(output, Refused)
        seen.add(type(output))
        written = models[type(output)].model_validate_json(msgspec.json.encode(output))
        assert written.model_dump() == msgspec.structs.asdict(output)
    assert seen == set(models)
