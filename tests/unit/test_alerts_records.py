"""The contract of alerts (pydantic) and the decoders (msgspec) take the same values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.contracts.records import Contract
from tables.alerts import AlertBook, contracts
from tables.alerts.records import (
    NotificationRecord,
    decode,
    encoder,
    notification_decoder,
    price_alert_decoder,
)
from tables.alerts.rules import matches
from tests.unit.alerts_log import event, rules, run, told

GOOD: dict[type[Contract], dict[str, Any]] = {
    contracts.AlertEvent: {
        **{"type": "alert", "alert_type": "a.b", "key": "SPY", "severity": "info"},
        **{"title": "t", "event_time": 1, "state": "firing", "text": "x", "details": {"a": "b"}},
        **{"value": 1.5, "source": "s", "quiet_time": 10**9},
    },
    contracts.Silence: {
        **{"type": "silence", "id": "i", "alert_type": "*", "key": "S*", "until": 5, "by": "Ann"},
    },
    contracts.Unsilence: {"type": "unsilence", "id": "i"},
    contracts.Acknowledge: {"type": "acknowledge", "alert_type": "*", "key": "*", "by": None},
    contracts.PriceAlert: {
        **{"type": "price_alert", "id": "i", "symbol": "BTC/USD", "above": 1.0, "below": None},
        "severity": "info",
    },
}
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([10**9, 10**9 - 1, 2**63 - 1, 2**63, 7 * 86_400 * 10**9 + 1, 10**400]),
    st.sampled_from([0.5, -1e15, 1e16, 1e300]),
    st.sampled_from(["", "*", "a", "a.b", "A", "a\n", "a.", "\x00", "é", "critical", "resolved"]),
    st.sampled_from(["x" * n for n in (31, 32, 64, 65, 200, 201, 1_000, 1_001)]),
    st.dictionaries(st.sampled_from(["", "k", "k" * 65]), st.sampled_from(["", "v" * 201, 1])),
    st.just({f"k{number}": "v" for number in range(17)}),
    st.just([]),
)


def refused(value: bytes, kind: type[Contract]) -> bool:
    """Whether the decoder refuses it."""
    decoder = price_alert_decoder.decode if kind is contracts.PriceAlert else decode
    try:
        decoder(value)
    except msgspec.DecodeError:
        return True
    return False


@given(st.sampled_from(list(GOOD)), st.data())
@hypothesis_settings(deadline=None)
def test_contract_and_decoder_agree_on_every_value_of_a_field(
    kind: type[Contract], data: st.DataObject
) -> None:
    record = dict(GOOD[kind])
    name = data.draw(st.sampled_from([*(set(record) - {"type"}), "unknown"]))
    if data.draw(st.booleans()) or name == "unknown":
        record[name] = data.draw(values)
    else:
        del record[name]
    value = json.dumps(record).encode()
    try:
        kind.model_validate_json(value)
    except ValidationError:
        assert refused(value, kind)
    else:
        assert not refused(value, kind)


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_good_is_taken_by_both(kind: type[Contract]) -> None:
    value = json.dumps(GOOD[kind]).encode()
    kind.model_validate_json(value)
    assert not refused(value, kind)


@pytest.mark.parametrize("value", [b"", b"{", b"null", b"[]", b"\xff", b'{"type":"other"}', b"{}"])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode(value)


def test_a_notification_is_of_its_contract_and_comes_back_as_it_was() -> None:
    (found,) = run(AlertBook(rules(), 0), [event(0, details={"b": "2", "a": "1"}, value=2.0)])
    value = encoder.encode(found)
    assert notification_decoder.decode(value) == found
    contract = contracts.Notification.model_validate_json(value)
    assert set(contract.model_dump()) == {"type", *NotificationRecord.__struct_fields__}
    assert value.index(b'"a":"1"') < value.index(b'"b":"2"')
    assert told([found]) == [("fire", "SPY", 1, 0)]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        *(("*", "", True), ("a*", "a", True), ("a*a", "a", False), ("a*a", "aa", True)),
        *(("*b*", "abc", True), ("*b*d", "abcd", True), ("*b*d", "abc", False)),
        *(("a.*", "a.b.c", True), ("a.*", "ab", False), ("[a]", "a", False), ("", "a", False)),
        *(("S?Y", "SPY", False), ("a*b*a", "aba", True), ("a*b*b", "ab", False)),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_is_special(
    pattern: str, text: str, expected: bool
) -> None:
    assert matches(pattern, text) is expected


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
@hypothesis_settings(deadline=None)
def test_patterns_match_as_a_regular_expression_would(pattern: str, text: str) -> None:
    import re

    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert matches(pattern, text) is expected
