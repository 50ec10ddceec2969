"""The verdicts of the soak: a leak is told from noise and from a cache that fills."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.setting_groups import BarSettings
from tests.bench.soak_samples import Complaints
from tests.bench.soak_verdicts import (
    SPARE_SECONDS,
    Sample,
    after,
    complaint,
    complaints_verdicts,
    handles_verdict,
    medians,
    memory_verdict,
    percentile,
    slope,
    warm_up_seconds,
    window,
)

MEGABYTE = 1e6


def hour(*values: float) -> list[Sample]:
    """A value over an hour, as `rss` in MB."""
    step = 3600 / (len(values) - 1)
    return [
        {"seconds": number * step, "rss": value * MEGABYTE} for number, value in enumerate(values)
    ]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=100))
def test_each_sample_is_in_one_window(times: list[float]) -> None:
    samples = [{"seconds": each} for each in sorted(times)]
    assert [one for number in (1, 2, 3) for one in window(samples, number)] == samples


def test_the_warm_up_is_what_trade_ids_take_to_be_forgotten() -> None:
    def warm_up(**settings: str) -> float:
        return warm_up_seconds(BarSettings(**settings)) - SPARE_SECONDS  # type: ignore[arg-type]

    assert warm_up() == 15 * 60 + 1 + 60
    assert warm_up(correction_horizon="4m", grace="3s") == 4 * 60 + 3 + 60


def test_the_warm_up_is_counted_from_the_first_sample() -> None:
    samples: list[Sample] = [{"seconds": float(each)} for each in (7, 10, 17, 27)]
    assert after(samples, 10.0) == samples[2:]
    assert after([], 10.0) == []


def test_a_leak_is_not_flat_and_its_slope_is_told() -> None:
    leaking = hour(*[100 + number / 6 for number in range(361)])
    verdict = memory_verdict(leaking, "rss")
    assert verdict.flat is False
    assert slope(leaking, "rss") == pytest.approx(60 * MEGABYTE)
    assert "+60.0 MB/h" in verdict.text


def test_a_warm_up_and_noise_are_flat() -> None:
    warm = hour(*[100 + min(number, 60) + number % 5 for number in range(361)])
    rest = after(warm, 600)
    first, last = medians(rest, "rss")
    assert first == pytest.approx(last, rel=0.01)
    assert memory_verdict(rest, "rss").flat
    assert memory_verdict(rest, "rss", judged=False).flat is None


def test_what_slows_down_is_told() -> None:
    slower = hour(*[100 + min(number, 240) / 6 for number in range(361)])
    assert "+0.0 MB/h" in memory_verdict(slower, "rss").text


def test_the_threshold_is_five_in_a_hundred() -> None:
    assert memory_verdict(hour(*[100] * 50, *[105] * 50), "rss").flat
    assert memory_verdict(hour(*[100] * 50, *[105.1] * 50), "rss").flat is False


def test_handles_may_differ_by_a_few() -> None:
    def counted(before: int, after: int) -> bool | None:
        samples = [{"seconds": n, "fds": before if n < 50 else after} for n in range(100)]
        return handles_verdict(samples, "fds").flat

    assert counted(20, 23)
    assert counted(20, 24) is False
    assert counted(200, 210)
    assert counted(200, 211) is False


def test_warnings_are_counted_by_their_text() -> None:
    first = "2026-11-21T17:31:42.83Z [warning  ] bars 3: again in 0.2 s [app.streaming.engine]"
    other = "2026-11-22T00:00:00.00Z [warning  ] bars 11: again in 5.0 s [app.streaming.engine]"
    assert complaint(first) == complaint(other)
    assert complaint(first) == "[warning  ] bars N: again in N s [app.streaming.engine]"
    assert complaint("\x1b[33m[warning]\x1b[0m x") == "[warning] x"
    assert complaint("/lib/x.py:110: DeprecationWarning: gone") is not None
    assert complaint("Traceback (most recent call last):") is not None
    assert complaint("2026-11-21T17:31:42.8Z [info     ] ready with 2 partitions") is None


def test_a_warning_repeats_if_it_goes_on_after_the_warm_up() -> None:
    found = list(complaints_verdicts({"a": 3, "b": 4, "c": 9}, {"c": 6}))
    assert [each.flat for each in found] == [True, False, True]
    assert found[0].text == "6 + 3 times: c"
    assert [each.flat for each in complaints_verdicts({}, {})] == [True]


def test_a_log_is_read_on_line_by_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    complaints = Complaints([log])
    complaints.look()
    assert complaints.counts == {}
    with log.open("a") as file:
        file.write("[warning] a 1\n[info] b\n[warning] a")
        file.flush()
        complaints.look()
        assert complaints.counts == complaints.warm_up == {"[warning] a N": 1}
        complaints.warmed_up()
        file.write(" 22\n")
    complaints.look()
    assert complaints.counts == {"[warning] a N": 2}
    assert complaints.warm_up == {"[warning] a N": 1}


def test_a_percentile_is_of_what_came_since() -> None:
    before = {0.1: 100.0, 1.0: 100.0, math.inf: 100.0}
    after = {0.1: 190.0, 1.0: 199.0, math.inf: 200.0}
    assert percentile(before, after, 0.9) == 0.1
    assert percentile(before, after, 0.99) == 1.0
    assert percentile(before, after, 0.999) == math.inf
    assert percentile(after, after, 0.99) == 0.0
