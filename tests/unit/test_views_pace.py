"""How a view reads on: in steps, behind the engine, from where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from app.streaming.restore import Bounds
from app.streaming.slim import SlimBatch
from app.views.follower import LAST_RECORDS, STEP_RECORDS, first_offset, steps
from app.views.pace import BUSY_SHARE, LOOK, PATIENCE, Load, give_way


class Clock:
    """Seconds that pass by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("busy", "waited"),
    [([False], 0.0), ([True, True, False], 2 * LOOK), ([True] * 1_000, PATIENCE)],
)
async def test_a_view_waits_for_the_engine_but_not_for_ever(
    busy: list[bool], waited: float
) -> None:
    clock, answers = Clock(), iter(busy)
    seconds = await give_way(lambda: next(answers), now=lambda: clock.now, sleep=clock.sleep)
    assert seconds == pytest.approx(waited, abs=LOOK)


def test_an_engine_is_busy_by_the_time_it_spends_not_by_what_is_waiting() -> None:
    clock, spent = Clock(), 0.0
    load = Load(lambda: spent, lambda: clock.now)
    for share, expected in ((0.0, False), (0.9, True), (BUSY_SHARE / 2, False), (0.5, True)):
        clock.now += 0.2
        spent += share * 0.2
        assert load.is_busy() is expected


@pytest.mark.parametrize(
    ("first", "end", "at_lookback", "begin"),
    [
        (0, 1_000_000, 900_000, 900_000),
        (0, 1_000_000, 999_000, 1_000_000 - LAST_RECORDS),
        (0, 1_000_000, None, 1_000_000 - LAST_RECORDS),
        (990_000, 1_000_000, None, 990_000),
        (5, 5, None, 5),
        (10, 100, 50, 10),
    ],
)
def test_a_new_view_begins_at_the_lookback_or_earlier(
    first: int, end: int, at_lookback: int | None, begin: int
) -> None:
    assert first_offset(Bounds(first, end), at_lookback) == begin


@dataclass
class Record:
    """As of the slow way of reading."""

    offset: int
    value: bytes


def slim(base: int, count: int, following: int) -> SlimBatch:
    values: list[bytes | None] = [b"%d" % (base + number) for number in range(count)]
    return SlimBatch(base, following, values, np.arange(base, base + count), 0, None)


def test_steps_are_short_and_end_where_the_next_one_begins() -> None:
    part = STEP_RECORDS * 3 // 4
    end = 2 * part + 2
    batches = [slim(0, part, part + 1), slim(part + 1, part, end), slim(end, 0, end + 1)]
    records = [Record(number, b"") for number in range(STEP_RECORDS + 1)]

    def lengths(found: Iterator[tuple[list[bytes | None], int]]) -> list[tuple[int, int]]:
        return [(len(values), following) for values, following in found]

    assert lengths(steps(batches)) == [(2 * part, end)]
    assert lengths(steps([*batches, slim(end + 1, 1, end + 2)])) == [(2 * part, end), (1, end + 2)]
    assert lengths(steps(records)) == [(STEP_RECORDS, STEP_RECORDS), (1, STEP_RECORDS + 1)]
    assert lengths(steps([])) == []
