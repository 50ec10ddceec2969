"""Bars of activity against the independent reference: random logs, and a day's hour of SPY."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.activity import ActivityBars, parse_kinds
from tests.oracle.activity_reference import Trade, bars

SECOND = 1_000_000_000
NAMES = ("A", "B", "C")
LABELS = (
    "tick:1", "tick:7", "volume:100", "volume:0.3", "dollar:2500.5", "tick_imbalance:10",
    "volume_imbalance:15", "dollar_imbalance:12", "tick_run:10", "volume_run:25", "dollar_run:1",
)  # fmt: skip


@dataclass
class Arrays:
    """Columns of a segment."""

    position: npt.NDArray[np.int64]
    time: npt.NDArray[np.int64]
    symbol: npt.NDArray[np.int32]
    price: npt.NDArray[np.float64]
    size: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time)


def arrays(trades: Sequence[Trade], first: int, names: Sequence[str] = NAMES) -> Arrays:
    """Trades as columns; positions count from `first`."""
    return Arrays(
        np.arange(first, first + len(trades), dtype=np.int64),
        np.array([trade.time for trade in trades], dtype=np.int64),
        np.array([names.index(trade.symbol) for trade in trades], dtype=np.int32),
        np.array([trade.price for trade in trades], dtype=np.float64),
        np.array([trade.size for trade in trades], dtype=np.float64),
    )


def random_trades(seed: int, count: int) -> list[Trade]:
    """Trades that walk, with zero sizes, huge ones, negative prices, disorder and repeats."""
    rng = random.Random(seed)
    step = rng.choice((0.01, 1.0, 1 / 3))
    price = {name: rng.choice((10.0, 0.5, -3.0)) for name in NAMES}
    sizes = rng.choice(((1, 100, 37), (0.1, 0.0, 1e-9), (0.1, 25, 1e9), (0.25,)))
    weights = rng.choice(((1, 1, 1), (20, 1, 0), (1, 0, 0)))
    trades = []
    for index in range(count):
        (name,) = rng.choices(NAMES, weights)
        price[name] += rng.choice((0, 0, 1, -1)) * step
        behind = rng.choice((0, 0, rng.randrange(5 * SECOND)))
        trades.append(Trade(name, price[name], rng.choice(sizes), index * SECOND - behind))
    return trades


def ours(
    trades: Sequence[Trade], labels: tuple[str, ...], rng: random.Random, carry: bool
) -> list[dict[str, Any]]:
    """Bars by any split into segments and single trades, with restarts from stored rows."""
    made = ActivityBars(parse_kinds(labels), carry=carry)
    store: dict[str, bytes] = {}
    found: list[dict[str, Any]] = []
    begin = 0
    while begin < len(trades):
        part = trades[begin : begin + rng.choice((1, 5, 40, 1000))]
        if rng.random() < 0.2:
            for trade in part:
                records = made.take_one(trade.symbol, trade.price, trade.size, trade.time)
                found += [msgspec.to_builtins(record) for record in records]
        else:
            closed = made.take(arrays(part, begin), NAMES)
            found += [msgspec.to_builtins(bar.record) for bar in closed]
        begin += len(part)
        if rng.random() < 0.3:
            store |= {name: msgspec.msgpack.encode(row) for name, row in made.take_changes()}
            made = ActivityBars(parse_kinds(labels), carry=carry)
            for name, row in store.items():
                made.restore(name, msgspec.msgpack.decode(row))
    return found


def expected(trades: Sequence[Trade], label: str, carry: bool) -> list[dict[str, Any]]:
    return [
        asdict(bar) | {"revision": 0, "is_final": True} for bar in bars(trades, label, carry=carry)
    ]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), carry=st.booleans())
def test_every_split_and_restart_gives_the_bars_of_the_reference(seed: int, carry: bool) -> None:
    rng = random.Random(seed)
    trades = random_trades(seed, rng.choice((3, 60, 400)))
    labels = tuple(rng.sample(LABELS, 4))
    found = ours(trades, labels, rng, carry)
    for label in labels:
        of_label = [bar for bar in found if bar["interval"] == label]
        assert repr(of_label) == repr(expected(trades, label, carry))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_bars_does_not_depend_on_the_split(seed: int) -> None:
    trades = random_trades(seed, 300)
    once = [
        msgspec.to_builtins(bar.record)
        for bar in ActivityBars(parse_kinds(LABELS)).take(arrays(trades, 0), NAMES)
    ]
    assert ours(trades, LABELS, random.Random(seed), carry=False) == once


def spy_hour(folder: Path) -> list[Trade]:
    """The first 40,000 rows of SPY on 7 October 2013: ms, price x 10^4, size."""
    path = folder / "equity/tick/spy/20131007_trade.zip"
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
        rows = [line.decode().split(",") for _, line in zip(range(40_000), file, strict=False)]
    return [
        Trade("A", int(price) / 10_000, float(size), int(time) * 1_000_000)
        for time, price, size, *_ in rows
    ]


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("label", "least"),
    [
        ("tick:1000", 40),
        ("volume:50000", 40),
        ("dollar:1000000", 400),
        ("tick_imbalance:200", 20),
        ("volume_imbalance:200", 20),
        ("dollar_run:200", 20),
    ],
)
def test_recorded_trades_give_the_bars_of_the_reference(
    realdata: Path, label: str, least: int
) -> None:
    trades = spy_hour(realdata)
    assert len(trades) == 40_000
    found = ours(trades, (label,), random.Random(7), carry=False)
    assert len(found) >= least
    assert repr(found) == repr(expected(trades, label, carry=False))
