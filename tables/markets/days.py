"""The day of an event time, looked up once a day."""

from __future__ import annotations

from tables.markets.market import Day, Market


class TradingDays:
    """`Market.session_of`, which remembers a day: records come in the order of their times."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._day = Day(0, 0, 0, None, None)

    def __call__(self, time: int) -> int:
        """Return the day (yyyymmdd) that holds an event time in ns."""
        if not self._day.start <= time < self._day.end:
            self._day = self._market.day_of(time)
        return self._day.identifier
