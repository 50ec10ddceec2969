"""Quote bars: by hand, and any split, checkpoint and crash publishes the same bytes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.records import QuoteBar
from app.contracts.wire import encoder
from tables.quotes import QuotesPartition
from tests.unit.bars_log import SECOND, START, SYMBOLS, Log, Run, configuration, run_whole

FLUSH = b'{"type":"flush"}'


def quote(symbol: str, bid: float, ask: float, time: int, **more: object) -> bytes:
    """One quote's value."""
    return encoder.encode({"symbol": symbol, "bid": bid, "ask": ask, "event_time": time, **more})


def bars_of(run: Run, interval: str) -> list[dict[str, Any]]:
    """Published bars of one size, in order."""
    found = [json.loads(record.value or b"") for record in run.published["bars"]]
    return [bar for bar in found if bar["interval"] == interval]


def whole(*values: bytes | None) -> Run:
    """The values, appended at one moment, in one batch and one checkpoint."""
    return run_whole(
        configuration(), [(value, START + 100 * SECOND) for value in values], QuotesPartition
    )


def test_a_bar_by_hand() -> None:
    run = whole(
        quote("AAA", 10.0, 10.5, START, bid_size=3, ask_size=4, source="b"),
        # The mid is highest here, although neither side is.
        quote("AAA", 10.25, 10.5, START + 2, bid_size=1, ask_size=2),
        quote("AAA", 9.0, 11.0, START + 1, source="a"),
        FLUSH,
    )
    (bar,) = bars_of(run, "1s")
    QuoteBar.model_validate({**bar, "sources": tuple(bar["sources"])})
    assert bar == {
        "symbol": "AAA",
        "interval": "1s",
        "start": START,
        "bid_open": 10.0,
        "bid_high": 10.25,
        "bid_low": 9.0,
        "bid_close": 10.25,
        "ask_open": 10.5,
        "ask_high": 11.0,
        "ask_low": 10.5,
        "ask_close": 10.5,
        "mid_open": 10.25,
        "mid_high": 10.375,
        "mid_low": 10.0,
        "mid_close": 10.375,
        "bid_size": 1.0,
        "ask_size": 2.0,
        "spread": (0.5 + 0.25 + 2.0) / 3,
        "quotes": 3,
        "revision": 0,
        "is_final": True,
        "sources": ["a", "b"],
    }
    assert run.state.counts["applied"] == 3


def test_zero_and_crossed_quotes_are_ignored_and_counted() -> None:
    run = whole(
        quote("AAA", 0.0, 10.0, START),
        quote("AAA", 10.0, 0.0, START),
        quote("AAA", 10.0, 9.99, START),
        quote("AAA", 10.0, 10.0, START),
        quote("AAA", -0.5, -0.25, START),
        FLUSH,
    )
    assert run.state.details == {"zero": 2, "crossed": 1}
    assert (run.state.counts["ignored"], run.state.counts["applied"]) == (3, 2)
    (bar,) = bars_of(run, "1s")
    assert (bar["quotes"], bar["bid_low"], bar["ask_high"]) == (2, -0.5, 10.0)


def test_an_ignored_quote_alone_makes_no_bar_but_moves_the_clock() -> None:
    run = whole(quote("AAA", 5.0, 4.0, START), quote("BBB", 0.0, 1.0, START + 5 * SECOND))
    assert bars_of(run, "1s") == []
    assert run.state.maximum == START + 5 * SECOND


def test_a_quote_behind_the_watermark_is_a_revision() -> None:
    run = whole(
        quote("AAA", 10.0, 11.0, START),
        quote("AAA", 12.0, 13.0, START + 5 * SECOND),
        quote("AAA", 8.0, 9.0, START + 1),
    )
    versions = [(bar["revision"], bar["bid_low"], bar["quotes"]) for bar in bars_of(run, "1s")]
    assert versions == [(0, 10.0, 1), (1, 8.0, 2)]
    assert run.state.counts["revised"] == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null"),
        (b"", "empty"),
        (b"{", "malformed"),
        (b"x" * 5000, "too_large"),
        (
            encoder.encode({"symbol": "AAA", "price": 1, "size": 1, "event_time": START}),
            "malformed",
        ),
        (quote("AAA", 1, 2, START, bid_size=-1), "malformed"),
        (quote("AAA", 1, 2, START, venue="a\0b"), "malformed"),
        (quote("?", 1, 2, START), "bad_symbol"),
        (quote("AAA", 1, 2, 5), "event_time_too_early"),
        (quote("AAA", 1, 2, START + 3600 * SECOND), "event_time_too_late"),
        (b'{"type":"correction","action":"cancel","symbol":"AAA","event_time":5}', "malformed"),
    ],
)
def test_a_bad_record_is_dead_and_its_neighbours_go_on(value: bytes | None, reason: str) -> None:
    run = whole(quote("AAA", 1.0, 2.0, START), value, quote("AAA", 1.0, 3.0, START), FLUSH)
    (dead,) = run.published["dead"]
    assert (dead.value, dict(dead.headers)["reason"].decode()) == (value, reason)
    assert bars_of(run, "1s")[0]["quotes"] == 2


def random_quotes(seed: int, length: int) -> Log:
    """Quotes with disorder, late ones, bad values and control records."""
    rng = random.Random(seed)
    log: list[tuple[bytes | None, int]] = []
    now = START
    spread, pace = rng.choice((0, 2, 40, 200)) * SECOND, rng.choice((0.05, 0.5, 3.0))
    for _ in range(length):
        now += int(rng.expovariate(1 / pace) * SECOND)
        append = now // 1_000_000 * 1_000_000
        dice = rng.random()
        if dice < 0.03:
            log.append((rng.choice((b"", b"{", None, b"[1]", quote("?", 1, 1, now))), append))
        elif dice < 0.05:
            log.append((FLUSH, append))
        elif dice < 0.07:
            log.append((b'{"type":"clock","event_time":%d}' % (now + SECOND), append))
        else:
            bid = rng.choice((rng.uniform(-2, 5), 1.3871, 0.0, -0.0, 1e6 / 3))
            more: dict[str, object] = {}
            if rng.random() < 0.5:
                more["sequence"] = rng.randrange(5)
            if rng.random() < 0.5:
                more["source"] = rng.choice(("one", "two"))
            ask = bid + rng.choice((0.0, 1e-5, 0.1, 1 / 3, -0.1))
            time = now - int(rng.random() ** 3 * spread)
            log.append((quote(rng.choice(SYMBOLS), bid, ask, time, **more), append))
    return log


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_split_checkpoint_and_crash_publishes_the_same_bytes(seed: int) -> None:
    rng = random.Random(seed)
    log = random_quotes(seed, rng.randrange(1, 250))
    expected = run_whole(configuration(), log, QuotesPartition)
    run = Run(configuration(), QuotesPartition)
    while (run.state.next or 0) < len(log):
        begin = run.state.next or 0
        run.feed(log[: min(len(log), begin + rng.choice((1, 2, 5, 20, 100)))], [])
        if rng.random() < 0.5:
            run.checkpoint()
        elif rng.random() < 0.3:
            run.crash()
    run.checkpoint()
    assert run.published == expected.published
    assert run.state.counts == expected.state.counts
    assert run.state.details == expected.state.details
    assert sum(run.state.counts.values()) == len(log)
