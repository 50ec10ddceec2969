"""Bars of activity: labels, overshoot, bounds of imbalance bars, and rows that do not fit."""

from __future__ import annotations

import random

import msgspec
import pytest

from tables.activity import ActivityBars, ActivityKind, parse_kinds
from tests.checks.test_activity_against_reference import NAMES, arrays, random_trades
from tests.oracle.activity_reference import Trade

SECOND = 1_000_000_000


def trades(*sizes: float, price: float = 10.0) -> list[Trade]:
    """Trades of one symbol, a second apart."""
    return [Trade("A", price, size, place * SECOND) for place, size in enumerate(sizes)]


def volumes(label: str, made: list[Trade], *, carry: bool) -> list[float]:
    """Volumes of the bars, alike as one segment and one by one."""
    bars = ActivityBars(parse_kinds((label,)), carry=carry)
    whole = [bar.record for bar in bars.take(arrays(made, 0), NAMES)]
    bars = ActivityBars(parse_kinds((label,)), carry=carry)
    single = [bar for each in made for bar in bars.take_one("A", each.price, each.size, each.time)]
    assert whole == single
    return [bar.volume for bar in whole]


def test_the_trade_that_reaches_the_threshold_belongs_wholly_to_its_bar() -> None:
    made = trades(*[40.0] * 18)
    assert volumes("volume:100", made, carry=False) == [120.0] * 6
    assert volumes("dollar:1000", made, carry=False) == [120.0] * 6


def test_what_is_carried_counts_towards_the_next_bar_but_no_trade_is_split() -> None:
    # Closes when 100, 200, 300, ... have been traded: after 120, 200, 320, 400, 520, 600, 720.
    made = trades(*[40.0] * 18)
    assert volumes("volume:100", made, carry=True) == [120, 80, 120, 80, 120, 80, 120]


def test_one_trade_closes_one_bar_of_a_type_however_large_it_is() -> None:
    made = trades(*[1050.0, 40.0, 20.0] * 5)
    assert volumes("volume:100", made, carry=False) == [1050.0, *[1110.0] * 4]
    assert volumes("volume:100", made, carry=True)[:3] == [1050.0, 60.0, 1050.0]


def test_sums_of_tenths_close_exactly_where_doubles_would_drift() -> None:
    # A tenth is the nearest multiple of 2^-40, just above; ten doubles come to less than 1.
    assert sum([0.1] * 10) < 1.0
    assert volumes("volume:1", trades(*[0.1] * 25), carry=False) == [pytest.approx(1.0)] * 2


def test_a_bar_names_its_first_and_last_trade_in_log_order() -> None:
    bars = ActivityBars(parse_kinds(("tick:3",)))
    made = [Trade("A", 1.0, 2.0, 50), Trade("A", 3.0, 0.0, 20), Trade("A", 2.0, 6.0, 40)]
    ((position, record),) = bars.take(arrays(made, 7), NAMES)
    assert position == 9
    assert msgspec.to_builtins(record) == {
        "symbol": "A", "interval": "tick:3", "number": 0, "start": 50, "end": 40, "open": 1.0,
        "high": 3.0, "low": 1.0, "close": 2.0, "volume": 8.0, "vwap": 1.75, "trades": 3,
        "revision": 0, "is_final": True,
    }  # fmt: skip


def test_a_bar_without_volume_has_no_vwap() -> None:
    bars = ActivityBars(parse_kinds(("tick:2",)))
    (closed,) = bars.take(arrays(trades(0.0, 0.0), 0), NAMES)
    assert (closed.record.volume, closed.record.vwap) == (0.0, None)


def test_bars_that_one_trade_closes_come_in_the_order_of_their_types() -> None:
    bars = ActivityBars(parse_kinds(("volume:10", "tick:1", "dollar:100")))
    closed = bars.take(arrays(trades(10.0, 10.0), 0), NAMES)
    assert [(bar.position, bar.record.interval) for bar in closed] == [
        (0, "volume:10"), (0, "tick:1"), (0, "dollar:100"),
        (1, "volume:10"), (1, "tick:1"), (1, "dollar:100"),
    ]  # fmt: skip


@pytest.mark.parametrize("label", ["tick_imbalance:50", "volume_imbalance:50", "dollar_run:50"])
@pytest.mark.parametrize("drift", [0.0, 0.3, 1.0])
def test_imbalance_and_run_bars_neither_collapse_nor_run_away(label: str, drift: float) -> None:
    rng = random.Random(3)
    price, made = 100.0, []
    for place in range(30_000):
        price += 0.01 if rng.random() < (1 + drift) / 2 else -0.01
        made.append(Trade("A", price, rng.choice((1.0, 100.0, 5_000.0)), place))
    closed = ActivityBars(parse_kinds((label,))).take(arrays(made, 0), NAMES)
    lengths = [bar.record.trades for bar in closed]
    assert lengths[0] == 50
    assert len(lengths) >= 60
    assert min(lengths) >= 5
    assert max(lengths) <= 500


def test_a_one_sided_market_closes_imbalance_bars_as_expected() -> None:
    # Every trade is a buy but the first, of which nothing is known: 49 of 50 are expected. Then
    # (50 - 2/21) x (0.98 + 0.02 x 2/21) = 49.002.
    made = [Trade("A", float(place), 1.0, place) for place in range(1000)]
    closed = ActivityBars(parse_kinds(("tick_imbalance:50",))).take(arrays(made, 0), NAMES)
    assert [bar.record.trades for bar in closed][:3] == [50, 49, 50]


@pytest.mark.parametrize(
    ("label", "measure", "rule", "size"),
    [
        ("tick:1000", "tick", "threshold", 1000),
        ("volume:0.5", "volume", "threshold", 2**39),
        ("dollar:1000000", "dollar", "threshold", 10**6 * 2**40),
        ("dollar_imbalance:500", "dollar", "imbalance", 500),
        ("tick_run:20", "tick", "run", 20),
    ],
)
def test_a_label_says_what_a_bar_is(label: str, measure: str, rule: str, size: int) -> None:
    assert ActivityKind.parse(label) == ActivityKind(label, measure, rule, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "label", ["tick", "tick:0", "tick:1.5", "volume:0", "volume:-1", "time:5", "volume_run:0.5",
              "dollar:1e6", "volume: 5", "tick_imbalance:", "volume:0.0000000000001"],
)  # fmt: skip
def test_what_is_no_bar_type_is_refused(label: str) -> None:
    with pytest.raises(ValueError, match=r"bar type|trades|2\^-41"):
        ActivityKind.parse(label)


def test_a_bar_type_is_named_once() -> None:
    with pytest.raises(ValueError, match="named twice"):
        parse_kinds(("tick:5", "tick:5"))


def test_rows_of_other_types_or_versions_are_refused() -> None:
    bars = ActivityBars(parse_kinds(("tick:5",)))
    bars.take(arrays(random_trades(1, 20), 0), NAMES)
    name, row = bars.take_changes()[0]
    with pytest.raises(ValueError, match="the state holds bars"):
        ActivityBars(parse_kinds(("tick:6",))).restore(name, row)
    with pytest.raises(ValueError, match="bars of version 2"):
        ActivityBars(parse_kinds(("tick:5",))).restore(name, [2, *row[1:]])


def test_only_symbols_that_traded_are_written_again() -> None:
    bars = ActivityBars(parse_kinds(("tick:5",)))
    bars.take(arrays([Trade("B", 1.0, 1.0, 0), Trade("A", 1.0, 1.0, 1)], 0), NAMES)
    assert [name for name, _ in bars.take_changes()] == ["A", "B"]
    bars.take_one("B", 1.0, 1.0, 2)
    assert [name for name, _ in bars.take_changes()] == ["B"]
    assert bars.take_changes() == []


def test_a_segment_is_at_most_what_sums_have_room_for() -> None:
    bars = ActivityBars(parse_kinds(("tick:5",)))
    with pytest.raises(ValueError, match="65537 trades: expected at most 65536"):
        bars.take(arrays(trades(1.0) * 65_537, 0), NAMES)


def test_sums_at_the_bound_of_a_batch_do_not_overflow() -> None:
    made = trades(*[1e6] * 60_000, price=1e8)
    closed = ActivityBars(parse_kinds(("dollar:100000000000000",))).take(arrays(made, 0), NAMES)
    assert len(closed) == 60_000
    assert closed[-1].record.vwap == 1e8
