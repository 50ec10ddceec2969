"""The newest features: what is answered, how fresh it is, which version, who asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.predicting.building import LiveSeries
from models.predicting.features_plan import Feature
from models.predicting.features_terms import Change
from models.predicting.registry_errors import MissingModelError
from models.store.online import InProcessRows, OnlineRow, TableRow, TableSource, row_of
from models.store.registry import FeatureRegistry
from models.store.serving import FeatureService
from tables.indicators.base import MINUTE
from tests.unit.feature_sets import CLOSE, Small, bar, recorded, small

#: The close of the sixth bar.
NOW = 6 * MINUTE
NEXT = small(Feature("one", Change(CLOSE, 2)), version=2)


def fed(count: int = 6) -> InProcessRows:
    rows = InProcessRows(Small)
    for minute in range(count):
        rows.take(bar(minute, 10.0 + minute))
    return rows


def test_the_newest_row_comes_with_its_age() -> None:
    series = LiveSeries(Small)
    for minute in range(6):
        row = series.take(bar(minute, 10.0 + minute))
    found = TableSource(Small, fed()).latest(["AAA"], "1m", now=NOW + 250)
    assert row is not None
    assert found.rows == (OnlineRow("AAA", "served", row, NOW, 250, True),)
    assert (found.feature_set, found.names) == (Small.plan().label, ("return_1", "to_mean", "rsi"))
    assert (found.interval, found.served) == ("1m", 1)


def test_answers_come_in_the_order_of_the_symbols_and_say_why_there_is_none() -> None:
    rows = fed()
    rows.take(bar(0, 1.0, "NEW"))
    rows.take(bar(1, 1.0, "OLD", interval="5m"))
    found = TableSource(Small, rows).latest(["OLD", "NEW", "AAA", "AAA"], "1m", now=NOW + 9)
    assert [each.status for each in found.rows] == ["missing", "warm_up", "served", "served"]
    assert [each.values == () for each in found.rows] == [True, True, False, False]
    assert [each.age for each in found.rows] == [None, 5 * MINUTE + 9, 9, 9]
    assert found.served == 2


def test_some_features_come_in_the_order_asked_for() -> None:
    source = TableSource(Small, fed())
    whole = source.latest(["AAA"], "1m", now=NOW).rows[0].values
    found = source.latest(["AAA"], "1m", now=NOW, features=("rsi", "return_1"))
    assert found.names == ("rsi", "return_1")
    assert found.rows[0].values == (whole[2], whole[0])
    with pytest.raises(ValueError, match=r"no feature volume; it has return_1, to_mean, rsi"):
        source.latest(["AAA"], "1m", now=NOW, features=("volume",))


def test_older_rows_than_allowed_are_stale() -> None:
    source = TableSource(Small, fed())
    for age, status in ((90, "served"), (91, "stale")):
        (row,) = source.latest(["AAA"], "1m", now=NOW + age, max_age=90).rows
        assert (row.status, row.age) == (status, age)


def test_a_table_that_is_not_exact_says_so() -> None:
    source = TableSource(Small, lambda symbol, interval: TableRow(0, (1.0, None, 2.0), False))
    (row,) = source.latest(["AAA"], "1m", now=MINUTE).rows
    assert (row.exact, row.values) == (False, (1.0, None, 2.0))


def test_an_emptied_bar_has_no_row_and_no_features() -> None:
    rows = fed()
    rows.take(bar(5, 15.0, revision=1, filled=True, trades=0))
    (row,) = TableSource(Small, rows).latest(["AAA"], "1m", now=NOW).rows
    assert (row.status, row.feature_time) == ("warm_up", NOW)


def test_a_series_without_a_bar_is_nothing() -> None:
    assert row_of(LiveSeries(Small).features) is None


@pytest.fixture
def registry(tmp_path: Path) -> FeatureRegistry:
    made = FeatureRegistry.at(tmp_path)
    made.register(recorded(Small))
    made.register(recorded(NEXT))
    return made


def test_the_active_version_is_served_after_a_refresh_and_not_before(
    registry: FeatureRegistry,
) -> None:
    service = FeatureService(registry, [TableSource(Small, fed()), TableSource(NEXT, fed())])
    with pytest.raises(MissingModelError, match="no version is served"):
        service.online("small", ["AAA"], "1m", now=NOW, caller="a")
    assert "names no version" in service.refresh().faults["small"]
    for version, kind in ((1, Small), (2, NEXT)):
        registry.promote("small", version, reason="", time=version)
        assert service.refresh().served == {"small": kind.plan().label}
        found = service.online("small", ["AAA"], "1m", now=NOW, caller="a")
        assert found.feature_set == kind.plan().label


def test_a_version_that_does_not_run_here_is_named_and_the_old_one_goes_on(
    registry: FeatureRegistry,
) -> None:
    service = FeatureService(registry, [TableSource(Small, fed())])
    registry.promote("small", 1, reason="", time=1)
    service.refresh()
    registry.promote("small", 2, reason="", time=2)
    found = service.refresh()
    assert NEXT.plan().label in found.faults["small"]
    assert found.served == {"small": Small.plan().label}
    assert service.online("small", ["AAA"], "1m", now=NOW, caller="a").served == 1


def test_look_ups_are_counted_by_version_and_caller(registry: FeatureRegistry) -> None:
    service = FeatureService(registry, [TableSource(Small, fed())])
    registry.promote("small", 1, reason="", time=1)
    service.refresh()
    service.online("small", ["AAA", "BBB"], "1m", now=NOW, caller="desk")
    service.online("small", ["AAA"], "1m", now=NOW + 5, caller="desk")
    with pytest.raises(ValueError, match="no feature"):
        service.online("small", ["AAA"], "1m", now=NOW, caller="desk", features=["none"])
    (use,) = service.usage.uses()
    assert (use.feature_set, use.verb, use.caller) == (Small.plan().label, "online", "desk")
    assert (use.lookups, use.rows, use.served, use.first, use.last) == (2, 3, 2, NOW, NOW + 5)
