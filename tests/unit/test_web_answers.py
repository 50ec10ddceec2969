"""Times, candles and parameters of the JSON answers."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from app.contracts.wire import QuoteBarRecord, encoder
from app.web.answers import ApiError, Parameters, answer, iso, time_fields, with_times
from app.web.candles import candle, parse_bar

START = 1_381_154_400_000_000_000


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (START, "2013-10-07T14:00:00Z"),
        (START + 250_000_000, "2013-10-07T14:00:00.250Z"),
        (START + 1_000, "2013-10-07T14:00:00.000001Z"),
        (START + 1, "2013-10-07T14:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_times_have_the_digits_that_are_needed(nanoseconds: int, text: str) -> None:
    assert iso(nanoseconds) == text


def test_a_time_is_given_three_ways_or_not_at_all() -> None:
    found = time_fields("watermark", START + 1_999_999)
    assert found["watermark_ms"] == START // 1_000_000 + 1
    assert found["watermark_ns"] == str(START + 1_999_999)
    assert set(time_fields("watermark", None)) == set(found)
    assert set(time_fields("watermark", None).values()) == {None}


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=10))
def test_rows_without_times_are_left_as_they_are(value: object) -> None:
    assert with_times({"held": value}) == {"held": value}


def test_times_within_rows() -> None:
    found = with_times({"open": [{"start": START, "event_time": None, "first_time": 1}]})
    assert found["open"][0]["start_ns"] == str(START)
    assert found["open"][0]["event_time"] is None
    assert found["open"][0]["first_time"] == "1970-01-01T00:00:00.000000001Z"


def test_a_bar_of_quotes_has_the_mids_prices() -> None:
    prices = [float(number) for number in range(15)]
    value = encoder.encode(QuoteBarRecord("EURUSD", "1s", START, *prices, 7, 2, True, ("oanda",)))
    shown = candle(parse_bar(value))
    assert [shown[name] for name in ("open", "high", "low", "close")] == [8.0, 9.0, 10.0, 11.0]
    assert [shown[name] for name in ("volume", "vwap", "trades")] == [None, None, None]
    assert (shown["bid_open"], shown["ask_close"], shown["quotes"]) == (0.0, 7.0, 7)
    assert shown["spread"] == 14.0
    assert (shown["start_ms"], shown["revision"]) == (START // 1_000_000, 2)
    assert "symbol" not in shown


def test_parameters_are_known_single_and_short() -> None:
    for query in (
        MultiDict(x="1"),
        MultiDict([("limit", "1"), ("limit", "2")]),
        MultiDict(limit="1" * 257),
    ):
        with pytest.raises(ApiError) as caught:
            Parameters(query, {"limit"})
        assert caught.value.status == 400


@pytest.mark.parametrize("text", ["", "0", "11", "1.0", "0x1", "1_0", "\u0661", "9" * 30])
def test_numbers_are_whole_and_bounded(text: str) -> None:
    with pytest.raises(ApiError, match=r"limit=.*expected a whole number from 1 to 10"):
        Parameters({"limit": text}, {"limit"}).number("limit", 5, 10)
    assert Parameters({}, {"limit"}).number("limit", 5, 10) == 5
    assert Parameters({"limit": "10"}, {"limit"}).number("limit", 5, 10) == 10


def test_only_what_is_unavailable_says_when_to_come_back() -> None:
    assert answer({}, 503).headers["Retry-After"] == "1"
    assert "Retry-After" not in answer({}).headers
    assert msgspec.json.decode(answer({"a": 1}).body) == {"a": 1}
