"""Markets: sessions, days and open times, also against exchange_calendars itself."""

import sys
import warnings
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.markets import AlwaysOpen, Market, SessionMarket, UnknownCalendarError, load_market

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
NEW_YORK = ZoneInfo("America/New_York")
#: The range that the properties draw from: two daylight-saving days a year, and all holidays.
FIRST, LAST = datetime(2012, 1, 1, tzinfo=UTC), datetime(2027, 12, 31, tzinfo=UTC)
times = st.integers(int(FIRST.timestamp()) * SECOND, int(LAST.timestamp()) * SECOND)


def at(text: str, zone: ZoneInfo = NEW_YORK) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()) * SECOND


@pytest.fixture(scope="module")
def nyse() -> Market:
    return load_market("XNYS")


@pytest.fixture(scope="module")
def globex() -> Market:
    return load_market("CMES")


def test_a_half_day_closes_at_one(nyse: Market) -> None:
    noon = at("2026-11-27T12:00")
    assert nyse.session(noon) == (at("2026-11-27T09:30"), at("2026-11-27T13:00"))
    assert nyse.is_open(at("2026-11-27T13:00") - 1)
    assert not nyse.is_open(at("2026-11-27T13:00"))
    assert nyse.open_between(noon, at("2026-11-27T16:00")) == HOUR


def test_thanksgiving_has_a_day_but_no_session(nyse: Market) -> None:
    day = nyse.day_of(at("2026-11-26T12:00"))
    assert (day.identifier, day.open, day.close) == (20261126, None, None)
    assert (day.start, day.end) == (at("2026-11-26T00:00"), at("2026-11-27T00:00"))
    assert nyse.session(at("2026-11-26T12:00")) is None


def test_a_weekend_has_no_open_time(nyse: Market) -> None:
    friday, monday = at("2026-11-20T15:59:30"), at("2026-11-23T09:31")
    assert nyse.open_between(friday, monday) == 90 * SECOND
    assert nyse.session_of(at("2026-11-21T12:00")) == 20261121


@pytest.mark.parametrize("day", ["2026-03-09", "2026-11-02", "2026-03-06", "2026-10-30"])
def test_the_session_keeps_its_wall_clock_over_daylight_saving(nyse: Market, day: str) -> None:
    session = (at(f"{day}T09:30"), at(f"{day}T16:00"))
    assert nyse.session(at(f"{day}T10:00")) == session
    assert session[1] - session[0] == 6.5 * HOUR


def test_a_day_over_the_change_of_clocks_has_23_hours(nyse: Market) -> None:
    day = nyse.day_of(at("2026-03-08T12:00"))
    assert day.end - day.start == 23 * HOUR


def test_trades_before_the_open_and_after_the_close_belong_to_the_session(nyse: Market) -> None:
    for clock in ("00:00", "04:00", "09:29:59", "12:00", "16:00", "20:00", "23:59:59"):
        assert nyse.session_of(at(f"2026-11-20T{clock}")) == 20261120


def test_a_futures_session_opens_the_evening_before(globex: Market) -> None:
    chicago = ZoneInfo("America/Chicago")
    sunday = at("2026-11-22T17:30", chicago)
    assert globex.session_of(sunday) == 20261123
    assert globex.session_of(at("2026-11-22T12:00", chicago)) == 20261122
    assert globex.is_open(sunday)
    assert not globex.is_open(at("2026-11-22T12:00", chicago))


def test_a_pause_is_taken_out_of_each_day() -> None:
    chicago = ZoneInfo("America/Chicago")
    market = load_market("CMES", ((16 * 3600, 17 * 3600),))
    begin, end = at("2026-11-18T15:00", chicago), at("2026-11-18T18:00", chicago)
    assert market.open_between(begin, end) == 2 * HOUR
    assert not market.is_open(at("2026-11-18T16:30", chicago))
    # In summer the same wall clock is another hour of UTC.
    assert market.open_between(
        at("2026-07-15T15:00", chicago), at("2026-07-15T18:00", chicago)
    ) == (2 * HOUR)


def test_a_lunch_break_is_closed_and_belongs_to_the_session() -> None:
    tokyo = ZoneInfo("Asia/Tokyo")
    market = load_market("XTKS")
    lunch = at("2026-11-20T12:00", tokyo)
    assert not market.is_open(lunch)
    assert market.session(lunch) is not None
    assert market.session_of(lunch) == 20261120
    assert (
        market.open_between(at("2026-11-20T11:29", tokyo), at("2026-11-20T12:31", tokyo))
        == 120 * SECOND
    )


def test_crypto_never_closes() -> None:
    market = load_market("24/7")
    assert isinstance(market, AlwaysOpen)
    time = at("2026-12-25T03:00", ZoneInfo("UTC"))
    assert market.session_of(time) == 20261225
    assert market.is_open(time)
    assert market.open_between(time, time + 100 * HOUR) == 100 * HOUR
    assert market.open_between(time, time - 1) == 0


@pytest.mark.parametrize("year", [1971, 1989, 2041, 2199])
def test_beyond_its_bounds_a_market_is_closed(nyse: Market, year: int) -> None:
    time = at(f"{year}-06-15T12:00")
    assert not nyse.is_open(time)
    assert nyse.open_between(time, time + 24 * HOUR) == 0
    assert nyse.session_of(time) == year * 10_000 + 615
    assert nyse.day_of(time).open is None
    assert nyse.bounds is not None
    assert not nyse.bounds[0] <= time < nyse.bounds[1]


def test_after_the_last_session_no_open_time_passes(nyse: Market) -> None:
    assert nyse.after_open(at("2041-06-15T12:00"), 1) is None


def test_an_unknown_calendar_is_named_with_the_known_ones() -> None:
    with pytest.raises(UnknownCalendarError, match=r"'XMAR'; expected one of .*XNYS"):
        load_market("XMAR")


def test_the_fingerprint_is_of_the_sessions_alone() -> None:
    sessions = [(date(2026, 1, 5), [(10, 20)]), (date(2026, 1, 6), [(30, 35), (36, 40)])]
    one = SessionMarket("A", "UTC", sessions)
    assert one.fingerprint == SessionMarket("B", "UTC", sessions).fingerprint
    other = SessionMarket("A", "UTC", [*sessions[:1], (date(2026, 1, 6), [(30, 40)])])
    assert one.fingerprint != other.fingerprint


def test_sessions_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        SessionMarket("A", "UTC", [(date(2026, 1, 5), [(10, 20)]), (date(2026, 1, 6), [(19, 40)])])


@settings(max_examples=300, deadline=None)
@given(times, st.sampled_from(["XNYS", "CMES", "XTKS", "24/7"]))
def test_days_hold_their_times_and_follow_each_other(time: int, name: str) -> None:
    market = load_market(name)
    day = market.day_of(time)
    assert day.start <= time < day.end
    assert market.day_of(day.start) == day == market.day_of(day.end - 1)
    following = market.day_of(day.end)
    assert following.start == day.end
    assert following.identifier > day.identifier
    if day.open is not None and day.close is not None:
        assert day.start <= day.open < day.close <= day.end
    else:
        assert market.open_between(day.start, day.end) == 0


@settings(max_examples=300, deadline=None)
@given(times, st.integers(1, 40 * 24 * HOUR), st.sampled_from(["XNYS", "XTKS", "CMES", "24/7"]))
def test_open_time_adds_up_and_can_be_turned_round(time: int, length: int, name: str) -> None:
    market = load_market(name)
    middle, end = time + length // 3, time + length
    whole = market.open_between(time, end)
    assert whole == market.open_between(time, middle) + market.open_between(middle, end)
    moment = market.after_open(time, length)
    assert moment is not None
    assert market.open_between(time, moment) == length
    assert market.open_between(time, moment - 1) == length - 1


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            name: exchange_calendars.get_calendar(name, start="2011-12-01", end="2028-01-31")
            for name in ("XNYS", "XTKS", "CMES")
        }


@settings(max_examples=300, deadline=None)
@given(times, st.sampled_from(["XNYS", "XTKS", "CMES"]))
def test_markets_agree_with_exchange_calendars(
    theirs: dict[str, Any], time: int, name: str
) -> None:
    import pandas

    market, calendar = load_market(name), theirs[name]
    minute = time // (60 * SECOND) * 60 * SECOND
    stamp = pandas.Timestamp(minute, tz="UTC")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert market.is_open(minute) == calendar.is_open_on_minute(stamp, ignore_breaks=False)
        if market.session(minute) is not None:
            session = calendar.minute_to_session(stamp, direction="none")
            assert market.session_of(minute) == int(session.strftime("%Y%m%d"))
            assert market.session(minute) == (
                calendar.session_open(session).value,
                calendar.session_close(session).value,
            )


def test_a_calendar_without_its_package_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    load_market.cache_clear()
    try:
        with pytest.raises(UnknownCalendarError, match=r"pip install 'candlewick\[markets\]'"):
            load_market("XNYS")
    finally:
        load_market.cache_clear()
