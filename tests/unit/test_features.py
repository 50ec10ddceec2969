"""Features of trades and quotes: what a record does, by hand-worked cases and extreme values."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from models.features import FeaturesConfiguration, QuoteFeatures, TradeFeatures
from tables.policies import policy_of
from tests.unit.bars_log import configuration

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
START = 1_700_000_100 * SECOND // (5 * MINUTE) * 5 * MINUTE
FLUSH = b'{"type":"flush"}'
Stage = TradeFeatures | QuoteFeatures


def settings_of(policy: str = "all", **changes: Any) -> FeaturesConfiguration:
    """Windows of 5 min each 60 s."""
    return FeaturesConfiguration(configuration(policy=policy_of(policy)), **changes)


def trade(at: float, price: float, size: float = 1.0, **more: object) -> bytes:
    """A trade so many seconds after the start."""
    record = {"symbol": "A", "price": price, "size": size}
    return json.dumps(record | {"event_time": START + round(at * SECOND)} | more).encode()


def quote(at: float, bid: float, ask: float, *sizes: float) -> bytes:
    """A quote so many seconds after the start."""
    record: dict[str, object] = {"symbol": "A", "bid": bid, "ask": ask}
    record |= dict(zip(("bid_size", "ask_size"), sizes, strict=False))
    return json.dumps(record | {"event_time": START + round(at * SECOND)}).encode()


def clock(at: float) -> bytes:
    return json.dumps({"type": "clock", "event_time": START + round(at * SECOND)}).encode()


def feed(stage: Stage, *values: bytes | None, first: int = 0) -> list[dict[str, Any]]:
    """Apply values, which the broker had a quarter of an hour after the start; what came out."""
    count = len(values)
    before = len(stage.outputs["features"])
    appends = np.full(count, START + 15 * MINUTE, dtype=np.int64)
    offsets = np.arange(first, first + count, dtype=np.int64)
    stage.apply(RecordBatch("input", 0, first, first + count, list(values), offsets, appends))
    return [json.loads(record.value or b"") for record in stage.outputs["features"][before:]]


def of_window(records: list[dict[str, Any]], window: str) -> list[dict[str, Any]]:
    return [record for record in records if record["window"] == window]


def test_the_features_of_trades_are_those_worked_out_by_hand() -> None:
    stage = TradeFeatures(settings_of(), 0)
    published = feed(
        stage, trade(10, 100, 1), trade(20, 102, 2), trade(80, 102, 3), trade(90, 101, 4), FLUSH
    )
    record = of_window(published, "5m")[1]
    assert (record["start"], record["end"]) == (START - 3 * MINUTE, START + 2 * MINUTE)
    assert (record["symbol"], record["kind"], record["complete"]) == ("A", "trades", False)
    values = record["values"]
    assert values["trades"] == 4
    assert values["volume"] == 10.0
    assert values["price_mean"] == 101.25
    assert values["vwap"] == (100 + 204 + 306 + 404) / 10
    assert values["momentum"] == pytest.approx(0.01)
    returns = (math.log(1.02), math.log(101 / 102))
    assert values["realised_volatility"] == pytest.approx(math.hypot(*returns), rel=1e-12)
    # Bought 2 and, at the same price, 3; sold 4; of the first nothing is known.
    assert values["imbalance"] == pytest.approx(1 / 9)
    assert values["interval_mean"] == pytest.approx(80 / 3)
    assert values["interval_last"] == 10.0
    assert values["latency_max"] == 890.0
    # Panes of 0, 0, 0, 3 and 7.
    assert values["volume_mean"] == 2.0
    assert values["volume_trend"] == 3.5
    assert values["volume_slope"] == pytest.approx(1.7)


def test_the_features_of_quotes_are_those_worked_out_by_hand() -> None:
    stage = QuoteFeatures(settings_of(), 0)
    published = feed(
        stage, quote(10, 100, 102, 3, 1), quote(20, 99, 103), quote(50, 100, 101, 0, 2), FLUSH
    )
    values = of_window(published, "5m")[0]["values"]
    assert values["quotes"] == 3
    assert values["spread_mean"] == pytest.approx(7 / 3)
    assert values["spread_last"] == 1.0
    # 2 for 10 s, 4 for 30 s, 1 for the last 10 s of the minute.
    assert values["spread_time_weighted"] == pytest.approx(150 / 50)
    assert values["spread_relative"] == pytest.approx((2 / 101 + 4 / 101 + 1 / 100.5) / 3)
    assert (values["imbalance"], values["imbalance_last"]) == (-0.25, -1.0)
    assert values["mid_last"] == 100.5
    assert values["realised_volatility"] == pytest.approx(abs(math.log(100.5 / 101)))


def test_windows_close_in_the_order_of_their_ends_and_symbols() -> None:
    stage = TradeFeatures(settings_of(gap=90 * SECOND), 0)
    values = (trade(30, 1, symbol="B"), trade(10, 1, symbol="A"), trade(70, 1, symbol="C"))
    published = feed(stage, *sorted(values), clock(900))
    keys = [(record["end"], record["window"] != "5m", record["symbol"]) for record in published]
    assert keys == sorted(keys)
    assert len(of_window(published, "5m")) == 15
    assert len(of_window(published, "session")) == 3


def test_an_idle_window_is_closed_by_the_clock_and_an_empty_one_gives_nothing() -> None:
    stage = TradeFeatures(settings_of(), 0)
    assert feed(stage, trade(10, 1), clock(60.5)) == []
    (record,) = feed(stage, clock(61), first=2)
    assert record["end"] == START + MINUTE
    assert len(of_window(feed(stage, clock(700), first=3), "5m")) == 4
    assert feed(stage, clock(890), first=4) == []


def test_sessions_end_by_silence_and_days_by_the_calendar() -> None:
    stage = TradeFeatures(settings_of(gap=30 * SECOND), 0, lambda time: time // (2 * MINUTE))
    times = (0, 10, 39.9, 69.9, 80, 130)
    published = feed(stage, *(trade(each, 1) for each in times), FLUSH)
    sessions = of_window(published, "session")
    assert [record["values"]["trades"] for record in sessions] == [3, 2, 1]
    assert sessions[0]["start"] == START
    assert sessions[0]["end"] == START + round(69.9 * SECOND)
    days = of_window(published, "day")
    first = START // (2 * MINUTE) * 2 * MINUTE
    inside = [round(each * SECOND) + START - first for each in times]
    expected = [sum(each // (2 * MINUTE) == day for each in inside) for day in (0, 1)]
    assert [record["values"]["trades"] for record in days] == [each for each in expected if each]


def test_a_record_behind_the_watermark_is_late_and_sent_with_its_place() -> None:
    stage = TradeFeatures(settings_of(), 0)
    late = trade(4.9, 1)
    feed(stage, trade(6, 1), trade(5, 1), late)
    assert (stage.counts["applied"], stage.counts["late"]) == (2, 1)
    (record,) = stage.outputs["late"]
    assert (record.key, record.value) == (b"A", late)
    assert dict(record.headers) == {
        "reason": b"late", "topic": b"input", "partition": b"0", "offset": b"2",
    }  # fmt: skip


def test_what_comes_after_a_flush_does_not_open_what_it_closed() -> None:
    stage = TradeFeatures(settings_of(), 0)
    first = feed(stage, trade(10, 1), trade(20, 1), FLUSH)
    assert len(of_window(first, "5m")) == 5
    more = feed(stage, trade(20, 1), trade(30, 1), trade(70, 1), FLUSH, first=3)
    assert stage.counts["late"] == 1
    (record,) = of_window(more, "5m")
    assert record["end"] == START + 6 * MINUTE
    assert record["values"]["trades"] == 1
    everything = [(each["window"], each["start"]) for each in first + more]
    assert len(set(everything)) == len(everything)


def test_a_repeated_trade_counts_once_while_the_first_waits() -> None:
    stage = TradeFeatures(settings_of(), 0)
    feed(stage, trade(10, 1, trade_id="x"), trade(10.5, 1, trade_id="x"))
    feed(stage, trade(10, 1, trade_id="x", venue="Q"), trade(20, 1), first=2)
    # The same once more, when the first has gone into its windows.
    feed(stage, trade(10, 1, trade_id="x"), first=4)
    assert [stage.counts[each] for each in ("applied", "duplicate", "late")] == [3, 1, 1]


def test_odd_lots_have_volume_but_no_price_under_the_tapes_policy() -> None:
    stage = TradeFeatures(settings_of("sip"), 0)
    odd = trade(20, 90, 5, conditions=["odd_lot"])
    published = feed(stage, trade(10, 100, 10), odd, trade(30, 101, 10), FLUSH)
    values = of_window(published, "5m")[0]["values"]
    assert (values["trades"], values["volume"], values["price_mean"]) == (3, 25.0, 100.5)


def test_quotes_without_a_side_or_crossed_are_ignored() -> None:
    stage = QuoteFeatures(settings_of(), 0)
    published = feed(
        stage, quote(1, 0, 5), quote(2, 5, 0), quote(3, 5, 4), quote(4, 5, 5), clock(900)
    )
    assert stage.counts["ignored"] == 3
    assert of_window(published, "5m")[0]["values"]["quotes"] == 1


def test_bad_records_are_dead_with_their_reasons_and_change_nothing() -> None:
    stage = TradeFeatures(settings_of(), 0)
    bad = (None, b"", b"{", trade(0, 1e12, 1e12), trade(10_000, 1), clock(10_000), b"[1]")
    published = feed(stage, trade(1, 1), *bad, trade(2, 1), FLUSH)
    assert stage.counts["dead"] == len(bad) == len(stage.outputs["dead"])
    reasons = [dict(record.headers)["reason"] for record in stage.outputs["dead"]]
    assert reasons == [
        b"null", b"empty", b"malformed", b"notional_too_large", b"event_time_too_late",
        b"event_time_too_late", b"malformed",
    ]  # fmt: skip
    assert of_window(published, "5m")[0]["values"]["trades"] == 2


def test_so_many_records_wait_at_most_and_then_the_oldest_goes_on() -> None:
    stage = TradeFeatures(settings_of(max_pending=10), 0)
    feed(stage, *(trade(5, price) for price in range(1, 1001)))
    ((_, (_, waiting)),) = stage.take_changes()
    assert len(waiting) == 10
    # Time has not passed 5 s, but what was let go is behind.
    assert (stage.counts["applied"], stage.counts["late"]) == (11, 989)


def test_a_day_that_was_begun_ahead_of_the_watermark_is_not_left_again() -> None:
    stage = TradeFeatures(settings_of(max_pending=1), 0, lambda time: time // (5 * MINUTE))
    # The second lets the first go, whose day the watermark reaches a second later.
    published = feed(stage, trade(300.5, 1), trade(300.6, 1), clock(300.7), trade(310, 1), FLUSH)
    (day,) = of_window(published, "day")
    assert day["values"]["trades"] == 3


def test_a_symbol_that_was_only_late_is_known_after_a_restart() -> None:
    stage = TradeFeatures(settings_of(), 0)
    feed(stage, trade(30, 1), trade(1, 1, symbol="B"))
    again = TradeFeatures(settings_of(), 0, None, stage.header())
    for name, row in stage.take_changes():
        again.restore(name, msgspec.msgpack.decode(msgspec.msgpack.encode(row)))
    assert again.symbols.count == 2
    assert again.header() == stage.header()


def test_state_of_another_version_is_refused() -> None:
    header = TradeFeatures(settings_of(), 0).header()
    with pytest.raises(ValueError, match="features of version 9, this code reads 1"):
        TradeFeatures(settings_of(), 0, None, [9, *header[1:]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 100 * SECOND}, "window 100s, slide 1m: expected a whole number"),
        ({"slide": 0}, "expected a whole number of slides"),
        ({"window": 601 * MINUTE}, "up to 600"),
        ({"recent": 0}, "recent 0ns: expected"),
        ({"recent": 6 * MINUTE}, "within the window of 5m"),
        ({"gap": 0}, "gap 0"),
        ({"max_pending": 0}, "max_pending 0"),
    ],
)
def test_windows_that_do_not_fit_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of(**changes)


EXTREMES = (5e-324, 1e-300, 1e12, -1e12, 1.0, 0.0, -0.0, 1e-9)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), kind=st.sampled_from(("trades", "quotes")))
def test_extreme_values_never_give_nan_nor_infinity(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    stage: Stage = TradeFeatures(settings_of(), 0)
    if kind == "quotes":
        stage = QuoteFeatures(settings_of(), 0)
    values = []
    for place in range(40):
        one, two = rng.choice(EXTREMES), rng.choice(EXTREMES)
        if kind == "trades":
            values.append(trade(place * 3, one, abs(two)))
        else:
            sizes = (rng.choice((0.0, 5e-324, 1e12)), rng.choice((0.0, 5e-324, 1e12)))
            values.append(quote(place * 3, min(one, two), max(one, two), *sizes))
    published = feed(stage, *values, FLUSH)
    for record in published:
        assert b"NaN" not in json.dumps(record).encode()
        assert all(each is None or math.isfinite(each) for each in record["values"].values())
        # JSON of msgspec writes null for what is no number: a sum must not have become one.
        if kind == "quotes":
            assert record["values"]["spread_mean"] is not None


def test_what_a_symbol_keeps_is_bounded_by_its_windows() -> None:
    stage = TradeFeatures(settings_of(), 0, lambda time: time // (10**6 * MINUTE))
    sizes = []
    for place in range(12):
        feed(stage, *(trade(place * 60 + second, 100 + second % 7) for second in range(0, 60, 2)),
             first=place * 30)  # fmt: skip
        ((_, row),) = stage.take_changes()
        sizes.append(len(json.dumps(row)))
    # From the sixth minute on, panes go as others come; sums grow by digits alone.
    assert max(sizes[6:]) < min(sizes[6:]) * 1.1
    assert max(sizes) < 4_000
