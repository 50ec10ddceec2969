"""Price alerts that a user sets: `AlertEvent`s when a price reaches a bound, and when it is back.

For the stage that sees prices: it takes `PriceAlert` control records and (symbol, price) pairs in
log order. What comes out goes into `alerts.events` like any other alert; its key is the symbol and
the price alert's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tables.alerts.records import RANK, SEVERITIES, AlertEventRecord, PriceAlertRecord
from tables.learning import State, StateVersionError

VERSION = 1
ALERT_TYPE = "price"
#: It lasts until the price is back, not until it is quiet: the longest that a contract allows.
QUIET_TIME = 7 * 86_400_000_000_000


@dataclass(slots=True)
class _Watch:
    id: str
    symbol: str
    above: float | None
    below: float | None
    rank: int
    firing: bool = False

    def reached(self, price: float) -> bool:
        """Whether the price is at a bound or beyond."""
        return (self.above is not None and price >= self.above) or (
            self.below is not None and price <= self.below
        )


class TooManyPriceAlertsError(ValueError):
    """A partition holds no more price alerts; nothing has changed."""


class PriceAlerts:
    """The price alerts of a partition: at most `bound` of them."""

    def __init__(self, bound: int = 10_000) -> None:
        self.bound = bound
        self._by_symbol: dict[str, dict[str, _Watch]] = {}
        self._symbols: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._symbols)

    def set(self, record: PriceAlertRecord, event_time: int) -> list[AlertEventRecord]:
        """Set, replace or remove an alert; what fired by it before is over.

        Args:
            event_time: of the partition's clock, in ns.

        Raises:
            TooManyPriceAlertsError: there is no room.
        """
        removal = record.above is None and record.below is None
        if not removal and record.id not in self._symbols and len(self) >= self.bound:
            raise TooManyPriceAlertsError(f"{self.bound} price alerts are set; expected no more")
        events = []
        symbol = self._symbols.pop(record.id, None)
        if symbol is not None:
            held = self._by_symbol[symbol].pop(record.id)
            if not self._by_symbol[symbol]:
                del self._by_symbol[symbol]
            if held.firing:
                held.firing = False
                events.append(_event(held, None, event_time, ""))
        if not removal:
            watch = _Watch(
                record.id, record.symbol, record.above, record.below, RANK[record.severity]
            )
            self._symbols[record.id] = record.symbol
            self._by_symbol.setdefault(record.symbol, {})[record.id] = watch
        return events

    def price(
        self, symbol: str, price: float, event_time: int, source: str = ""
    ) -> list[AlertEventRecord]:
        """Take a price; return the alerts that it reaches or leaves, by id."""
        events = []
        watches = self._by_symbol.get(symbol, {})
        for name in sorted(watches):
            watch = watches[name]
            if watch.reached(price) != watch.firing:
                watch.firing = not watch.firing
                events.append(_event(watch, price, event_time, source))
        return events

    def rows(self) -> list[tuple[str, State]]:
        """Return the state, one row an alert, by id."""
        found = [watch for watches in self._by_symbol.values() for watch in watches.values()]
        return [
            (each.id, [VERSION, each.symbol, each.above, each.below, each.rank, each.firing])
            for each in sorted(found, key=lambda watch: watch.id)
        ]

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[str, State]], bound: int = 10_000) -> PriceAlerts:
        """Build price alerts that go on from rows.

        Raises:
            StateVersionError: a row is of another version.
        """
        found = cls(bound)
        for name, (version, symbol, *rest) in rows:
            if version != VERSION:
                raise StateVersionError(
                    f"PriceAlerts: a row has version {version}, this code reads {VERSION}"
                )
            found._symbols[name] = symbol
            found._by_symbol.setdefault(symbol, {})[name] = _Watch(name, symbol, *rest)
        return found


def _event(watch: _Watch, price: float | None, event_time: int, source: str) -> AlertEventRecord:
    bounds = [
        f"{word} {bound!r}"
        for word, bound in (("above", watch.above), ("below", watch.below))
        if bound is not None
    ]
    wanted = " or ".join(bounds)
    if watch.firing:
        title = f"{watch.symbol} at {price!r} is {wanted}"
    elif price is not None:
        title = f"{watch.symbol} at {price!r} is no longer {wanted}"
    else:
        title = f"The alert for {watch.symbol} {wanted} was removed or replaced"
    return AlertEventRecord(
        alert_type=ALERT_TYPE,
        # Two of one symbol are two alerts: the end of one does not end the other.
        key=f"{watch.symbol} {watch.id}",
        severity=SEVERITIES[watch.rank],
        title=title,
        event_time=event_time,
        state="firing" if watch.firing else "resolved",
        details={"price_alert": watch.id},
        source=source,
        quiet_time=QUIET_TIME,
    )
