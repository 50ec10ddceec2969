"""How long a checkpoint and a timer wait: as short as is set; more where there is much to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.setting_groups import CheckpointSettings
from app.streaming.pacing import forming_delay, next_time, output_delay

SETTINGS = CheckpointSettings()
SECONDS = st.floats(0, 1e9)


@given(SECONDS)
def test_at_the_end_of_the_log_nothing_is_added(cost: float) -> None:
    assert output_delay(SETTINGS, cost, None) == 0.05


@pytest.mark.parametrize(
    ("cost", "behind", "delay"),
    [
        # What is late by less than half a second is not made later for it.
        (0.001, 0.4, 0.05),
        (0.001, 3.0, 0.3),
        (0.001, 60.0, 1.0),
        # A dear checkpoint waits 20 times what it cost.
        (0.01, 0.4, 0.2),
        (0.2, 0.0, 1.0),
    ],
)
def test_behind_a_backlog_a_checkpoint_waits_by_its_cost_and_the_lateness(
    cost: float, behind: float, delay: float
) -> None:
    assert output_delay(SETTINGS, cost, behind) == pytest.approx(delay)


@given(SECONDS, SECONDS, SECONDS)
def test_more_lateness_never_shortens_it_and_the_setting_bounds_it(
    cost: float, behind: float, more: float
) -> None:
    first = output_delay(SETTINGS, cost, behind)
    assert 0.05 <= first <= output_delay(SETTINGS, cost, behind + more) <= 1.0


@given(
    seconds=st.floats(0.01, 1.0),
    late=st.floats(0.0, 5.0),
    took=st.floats(0.0, 10.0),
)
def test_a_timer_keeps_its_rate_and_lets_others_have_their_turn(
    seconds: float, late: float, took: float
) -> None:
    due = 100.0
    began = due + late
    ended = began + took
    following = next_time(due, began, ended, seconds)
    assert following >= due + seconds
    # As long as it took, but no longer than it would have waited.
    assert following - ended >= min(took, seconds) - 1e-9
    if late + 2 * took <= seconds:
        assert following == due + seconds
    assert following <= max(due, ended) + seconds + 1e-9


@pytest.mark.parametrize(
    ("behind", "delay"), [(None, 0.0), (0.0, 0.0), (0.02, 0.002), (3.0, 0.3), (60.0, 1.0)]
)
def test_forming_bars_that_are_late_already_come_less_often(
    behind: float | None, delay: float
) -> None:
    assert forming_delay(behind) == pytest.approx(delay)
