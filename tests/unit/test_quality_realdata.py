"""The checks on recorded markets: few findings, and those are real."""

from collections import Counter
from pathlib import Path

import pytest

from app.feeds.files import Kind
from app.feeds.source import open_source
from app.profile.collect import DayProfile
from app.profile.profiling import profiles
from app.profile.reading import records
from tables.markets import Instrument, Instruments
from tables.quality import QualityConfiguration
from tests.unit.quality_records import STOCKS

pytestmark = pytest.mark.realdata


def days(path: Path, instruments: Instruments, kind: Kind = "trades") -> list[DayProfile]:
    if not path.exists():
        pytest.skip(f"{path.name} is not among the recorded data")
    source = open_source([path], kind)
    source.verify()
    return list(profiles(records(source), kind == "quotes", instruments, QualityConfiguration()))


def completeness(found: list[DayProfile]) -> list[float | None]:
    return [each.summary.completeness for each in found if each.summary is not None]


def findings(found: list[DayProfile]) -> dict[str, int]:
    return dict(sum((each.event_counts for each in found), Counter()))


@pytest.mark.slow
def test_a_day_of_spy_has_nine_prints_far_from_the_market_and_no_gap(realdata: Path) -> None:
    found = days(realdata / "equity/tick/spy/20131008_trade.zip", STOCKS)
    assert findings(found) == {"outlier": 9}
    (day,) = found
    assert completeness(found) == [1.0]
    for event in day.worst(20):
        median = event.details["median"]
        assert isinstance(median, float)
        assert event.value is not None
        assert abs(event.value / median - 1) > 0.005
        # Reported late over the counter: the trade reporting facility's letter.
        assert event.details["venue"] == "D"


def test_three_days_of_ibm_are_complete(realdata: Path) -> None:
    found = days(realdata / "equity/tick/ibm", STOCKS)
    assert findings(found) == {"outlier": 2, "gap": 1}
    shares = completeness(found)
    assert [share is not None and share > 0.998 for share in shares] == [True] * 3


def test_the_taq_stock_has_one_correction_and_no_gap(realdata: Path) -> None:
    found = days(realdata / "taq/xxx_trades_20180102_03.csv.gz", STOCKS)
    assert [each.day.identifier for each in found] == [20180102, 20180103]
    assert findings(found) == {"outlier": 3}
    counts = [each.summary.counts for each in found if each.summary is not None]
    assert sum(each["corrections"] for each in counts) == 1
    assert sum(each["records"] for each in counts) == 77_262
    assert found[0].conditions["odd_lot"] > 10_000


def test_taq_quotes_of_single_venues_are_wide_not_wrong(realdata: Path) -> None:
    found = days(realdata / "taq/xxx_quotes_20180102_03.csv.gz", STOCKS, "quotes")
    events = findings(found)
    assert events.pop("zero_quote") == 90
    assert events == {"gap": 1}
    counts = [each.summary.counts for each in found if each.summary is not None]
    assert [each["crossed"] for each in counts] == [0, 0]


@pytest.mark.parametrize(("name", "dates"), [("spot", [20240808, 20240809]), ("usdm", [20240808])])
def test_minutes_of_binance_trades_have_no_findings(
    realdata: Path, name: str, dates: list[int]
) -> None:
    found = days(realdata / f"binance_raw/{name}_btcusdt_20240808.gz", Instruments())
    assert [each.day.identifier for each in found] == dates
    assert findings(found) == {}
    assert completeness(found)[0] == 1.0


def test_gold_has_its_hour_of_maintenance_and_no_other_gap(realdata: Path) -> None:
    path = realdata / "future/tick/gc"
    whole = Instruments(default=Instrument(symbol="*", calendar="us_futures"))
    front = [each for each in days(path, whole) if each.symbol == "GC-201312"]
    assert findings(front)["gap"] == 1
    pause = Instrument.model_validate(
        {"symbol": "GC*", "calendar": "us_futures", "pauses": ["17:15-18:00"]}
    )
    front = [each for each in days(path, Instruments([pause])) if each.symbol == "GC-201312"]
    assert findings(front) == {}
    assert completeness(front)[0] == 1.0
