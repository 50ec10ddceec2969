"""The simulated market: the same seed gives the same records; what is asked for comes out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import quote_decoder, trade_decoder
from app.feeds.columns import QuoteColumns, TradeColumns, Vocabulary, concatenate
from app.feeds.encode import TickEncoder
from app.feeds.market import BLOCK, SECOND, Market, MarketOptions, parse_session, repeated

START = 1_700_000_000 * SECOND
Records = tuple[TradeColumns, QuoteColumns]


def run(options: MarketOptions, seconds: float, start: int = START) -> Records:
    """All records of so many seconds."""
    market = Market(options, start, Vocabulary())
    blocks = [market.block() for _ in range(int(seconds * SECOND / BLOCK))]
    return concatenate([block[0] for block in blocks]), concatenate([block[1] for block in blocks])


def lists(columns: TradeColumns | QuoteColumns) -> list[list[object]]:
    """Columns as comparable lists."""
    return [
        value.tolist()
        for name in type(columns).__slots__
        if (value := getattr(columns, name)) is not None
    ]


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    symbols=st.integers(1, 300),
    ratio=st.sampled_from((0.0, 0.5, 4.0)),
    burst=st.sampled_from((1.0, 8.0)),
)
def test_the_same_seed_gives_the_same_records(
    seed: int, symbols: int, ratio: float, burst: float
) -> None:
    options = MarketOptions(symbols, 500.0, ratio, burst, 1.0, 0.5, seed=seed)
    first, second = run(options, 2), run(options, 2)
    for one, other in zip(first, second, strict=True):
        assert lists(one) == lists(other)
    trades, quotes = first
    together = np.concatenate([trades.event_time, quotes.event_time])
    assert together.min() >= START
    assert together.max() < START + 2 * SECOND
    for columns in first:
        assert (np.diff(columns.event_time) >= 0).all()
        assert (np.diff(columns.sequence) > 0).all()


def test_another_seed_gives_others() -> None:
    assert lists(run(MarketOptions(seed=1), 1)[0]) != lists(run(MarketOptions(seed=2), 1)[0])


def test_every_record_is_within_the_contract_and_quotes_are_never_crossed() -> None:
    options = MarketOptions(symbols=40, rate=2_000.0, quotes_per_trade=3.0, seed=3)
    vocabulary = Vocabulary()
    market = Market(options, START, vocabulary)
    encoder = TickEncoder(vocabulary, 4)
    seen: set[str] = set()
    for _ in range(40):
        trades, quotes = market.block()
        for value in encoder.encode(trades):
            trade = trade_decoder.decode(value)
            assert trade.price > 0
            assert trade.size > 0
            seen.add(trade.symbol)
        for value in encoder.encode(quotes):
            quote = quote_decoder.decode(value)
            assert 0 < quote.bid < quote.ask
    assert {"SIM-01", "SIM-40"} <= seen


def test_rate_and_ratio_are_what_was_asked_for() -> None:
    trades, quotes = run(MarketOptions(rate=5_000.0, quotes_per_trade=4.0, seed=1), 20)
    total = len(trades) + len(quotes)
    # Poisson: five standard deviations of 100,000 events are 1,600.
    assert abs(total - 100_000) < 1_600
    assert 3.8 < len(quotes) / len(trades) < 4.2


def test_bursts_multiply_the_rate() -> None:
    calm, _ = run(MarketOptions(rate=1_000.0, seed=1), 60)
    bursts, _ = run(
        MarketOptions(rate=1_000.0, burst_factor=10.0, burst_every=4.0, burst_seconds=2.0, seed=1),
        60,
    )
    assert len(bursts) > 2 * len(calm)
    per_second = np.bincount((bursts.event_time - START) // SECOND)
    assert per_second.max() > 8 * np.median(per_second[per_second < 2_000])


def test_a_session_has_no_trades_outside_its_hours_and_more_at_its_ends() -> None:
    session = parse_session("09:30-16:00", "America/New_York")
    options = MarketOptions(rate=50.0, session=session, seed=1)

    def count(text: str) -> int:
        start = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND
        return len(run(options, 60, start)[0])

    assert count("2026-11-20T14:29:00") == 0
    assert count("2026-11-20T21:00:00") == 0
    assert count("2026-11-21T15:00:00") == 0  # a Saturday
    opening, middle = count("2026-11-20T14:30:00"), count("2026-11-20T17:45:00")
    assert 2 * middle < opening < 4 * middle
    assert count("2026-07-20T13:30:00") > middle  # daylight saving


@pytest.mark.parametrize(
    ("text", "zone"), [("9-16", "UTC"), ("16:00-09:30", "UTC"), ("09:30-16:00", "Mars/Base")]
)
def test_a_wrong_session_is_refused(text: str, zone: str) -> None:
    with pytest.raises(ValueError, match=r"expected|not after"):
        parse_session(text, zone)


@pytest.mark.parametrize("change", [{"symbols": 0}, {"rate": 0.0}, {"burst_factor": 0.5}])
def test_wrong_options_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        MarketOptions(**change)  # type: ignore[arg-type]


def test_a_long_walk_stays_near_its_anchor() -> None:
    trades, _ = run(MarketOptions(symbols=1, rate=2_000.0, seed=5), 300)
    assert trades.price.max() / trades.price.min() < 1.5


def test_repeated_trades_come_a_little_later_with_the_same_id() -> None:
    trades, _ = run(MarketOptions(rate=2_000.0, seed=1), 1)
    twice = repeated(trades, 0.1, np.random.default_rng(1))
    assert twice.trade_id is not None
    identifiers = twice.trade_id.tolist()
    assert len(set(identifiers)) == len(trades)
    share = (len(twice) - len(trades)) / len(trades)
    assert 0.05 < share < 0.15
    places: dict[str, list[int]] = {}
    for place, identity in enumerate(identifiers):
        places.setdefault(identity, []).append(place)
    assert all(
        0 < second - first <= 60 for each in places.values() for first, second in pairwise(each)
    )
