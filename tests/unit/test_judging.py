"""What one compiled pass takes for ordinary is judged by masks in the same way, to the byte."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables import bars, intake
from tables.judging import compiled_judging
from tables.policies import policy_of
from tests.unit.bars_log import START, Run, configuration, random_log, trade

pytestmark = pytest.mark.skipif(compiled_judging is None, reason="needs a C compiler")

GRACE, AHEAD = 100, 50
#: Without effect; all; all, and a closing print.
FLAGS = np.array([0, 7, 15], dtype=np.int8)


def run(seed: int, policy: str) -> Run:
    """A log in many batches, with checkpoints and crashes; what comes of it."""
    chance = random.Random(seed)
    made = Run(configuration(policy=policy_of(policy)))
    log = random_log(seed, chance.randrange(1, 200))
    while (made.state.next or 0) < len(log):
        begin = made.state.next or 0
        made.feed(log[: min(len(log), begin + chance.choice((1, 3, 10)))], [])
        if chance.random() < 0.2:
            made.checkpoint()
        elif chance.random() < 0.1:
            made.crash()
    made.checkpoint()
    return made


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(("all", "sip", "algoseek")))
def test_outputs_rows_and_counts_are_those_of_masks(seed: int, policy: str) -> None:
    fast = run(seed, policy)
    with (
        mock.patch.object(intake, "compiled_judging", None),
        mock.patch.object(bars, "compiled_judging", None),
    ):
        slow = run(seed, policy)
    assert fast.published == slow.published
    assert fast.store == slow.store
    assert fast.state.counts == slow.state.counts


def test_ordinary_batches_are_not_judged_by_masks() -> None:
    made = Run(configuration())
    log = [(trade("AAA", 100.0, 1.0, START + number), START) for number in range(30)]
    made.feed(log[:10], [])
    refused = AssertionError("judged by masks")
    with (
        mock.patch.object(intake, "judge", side_effect=refused),
        mock.patch.object(intake, "register", side_effect=refused),
        mock.patch.object(made.state, "_in_time", side_effect=refused),
        mock.patch.object(made.state, "_others", side_effect=refused),
    ):
        made.feed(log, [20])
    assert made.state.counts["applied"] == 30


def known(**changes: Any) -> tuple[bool, list[int]]:
    """The answer for two trades, one of them changed; and the masks."""
    values: dict[str, Any] = {
        "time": 1_000, "append_time": 1_000, "symbol": 1, "source": 1, "price": 2.0, "size": 3.0
    }  # fmt: skip
    kinds = {"symbol": np.int32, "source": np.int32, "price": np.float64, "size": np.float64}
    columns = [
        np.array([value, changes.get(name, value)], dtype=kinds.get(name, np.int64))
        for name, value in values.items()
    ]
    masks = np.zeros(2, dtype=np.int64)
    # A symbol that is refused, and one that is known; no source, two, and one without a bit.
    symbols, sources = np.array([0, 1], np.uint8), np.array([0, 1, 2, -1], np.int64)
    found = compiled_judging.known_trades(*columns, symbols, sources, 100, AHEAD, 1e3, masks)
    return found, masks.tolist()


def test_trades_of_known_symbols_and_sources_are_known() -> None:
    assert known() == (True, [1, 1])
    assert known(source=2, time=100, price=-1e3, size=1.0) == (True, [1, 2])
    assert known(source=0, time=1_000 + AHEAD) == (True, [1, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": 0}, {"symbol": 2}, {"symbol": -1}, {"source": 3}, {"source": 4}, {"source": -1},
        {"time": 99}, {"time": 1_001 + AHEAD}, {"price": 334.0}, {"price": -334.0},
        {"price": float("nan")}, {"size": float("inf")},
    ],
)  # fmt: skip
def test_anything_else_is_not(changes: dict[str, Any]) -> None:
    assert not known(**changes)[0]


def in_order(
    times: list[int], conditions: list[int], *, maximum: int = 1_000, amends: bool = False
) -> tuple[bool, list[int], list[int]]:
    """The answer, the maxima and the watermarks."""
    maxima, watermarks = np.zeros(len(times), np.int64), np.zeros(len(times), np.int64)
    found = compiled_judging.in_order(
        np.array(times, np.int64),
        np.full(len(times), 1_000, np.int64),
        np.array(conditions, np.int32),
        [FLAGS, FLAGS],
        *(maximum, AHEAD, GRACE, maxima, watermarks, amends),
    )
    return found, maxima.tolist(), watermarks.tolist()


def test_maxima_rise_and_stay_near_the_append_time() -> None:
    assert in_order([990, 1_020, 1_090, 951], [1, 1, 2, 1]) == (
        True, [1_000, 1_020, 1_050, 1_050], [900, 900, 920, 950],
    )  # fmt: skip


def test_what_is_behind_the_watermark_without_effect_or_moved_is_not_in_order() -> None:
    assert in_order([900], [1])[0]
    assert in_order([899], [1]) == (False, [1_000], [900])
    assert not in_order([1_040, 939], [1, 1])[0]
    assert not in_order([1_000], [0])[0]
    assert in_order([1_000], [2])[0]
    assert not in_order([1_000], [2], amends=True)[0]


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="without a code"):
        in_order([1_000], [3])
    with pytest.raises(ValueError, match="different lengths"):
        in_order([1_000], [1, 1])
    with pytest.raises(ValueError, match="0 classes"):
        compiled_judging.in_order(
            *[np.zeros(0, np.int64)] * 2, np.zeros(0, np.int32), [], 0, 0, 0,
            *[np.zeros(0, np.int64)] * 2, False,
        )  # fmt: skip
