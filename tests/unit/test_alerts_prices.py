"""Price alerts that a user sets: told when a price gets there, and when it is back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tables.alerts import AlertBook, PriceAlerts, TooManyPriceAlertsError
from tables.alerts.records import PriceAlertRecord, decode, encoder
from tables.learning import StateVersionError
from tests.unit.alerts_log import START, rules

PRICES = st.sampled_from([90.0, 99.5, 100.0, 100.5, 110.0])
BOUNDS = st.none() | PRICES


def record(name: str = "mine", symbol: str = "SPY", **more: Any) -> PriceAlertRecord:
    return PriceAlertRecord(name, symbol, **more)


def states(found: list[Any]) -> list[tuple[str, str]]:
    return [(each.key, each.state) for each in found]


def test_a_price_at_the_bound_fires_once_and_resolves_when_it_is_back() -> None:
    alerts = PriceAlerts()
    assert alerts.set(record(above=100.0), START) == []
    told = [states(alerts.price("SPY", price, START)) for price in (99.0, 100.0, 101.0, 99.0)]
    assert told == [[], [("SPY mine", "firing")], [], [("SPY mine", "resolved")]]
    assert alerts.price("IBM", 200.0, START) == []


def test_two_of_one_symbol_are_two_alerts_and_a_replaced_one_ends() -> None:
    alerts = PriceAlerts()
    alerts.set(record("a", above=100.0), START)
    alerts.set(record("b", below=90.0), START)
    assert states(alerts.price("SPY", 100.0, START)) == [("SPY a", "firing")]
    (end,) = alerts.set(record("a", "IBM", above=1.0), START)
    assert (end.key, end.state) == ("SPY a", "resolved")
    assert alerts.set(record("a", "IBM"), START) == []
    assert len(alerts) == 1


def test_one_too_many_is_refused_and_a_known_one_may_be_replaced() -> None:
    alerts = PriceAlerts(bound=1)
    alerts.set(record(above=1.0), START)
    alerts.set(record(above=2.0), START)
    with pytest.raises(TooManyPriceAlertsError):
        alerts.set(record("another", above=1.0), START)


def test_what_comes_out_is_of_the_contract_and_taken_by_the_book() -> None:
    alerts, book = PriceAlerts(), AlertBook(rules(), 0)
    alerts.set(record("x" * 31, "S" * 32, above=1e15, below=-1e15, severity="critical"), START)
    (event,) = alerts.price("S" * 32, -1e15, START)
    (found,) = book.apply(decode(encoder.encode(event)), START)
    assert (found.severity, found.action) == ("critical", "fire")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("SI"), BOUNDS, BOUNDS, PRICES)))
@hypothesis_settings(deadline=None)
def test_alerts_restored_after_each_record_go_on_as_if_nothing_had_happened(
    log: list[Any],
) -> None:
    whole = restored = PriceAlerts()
    restored = PriceAlerts()
    for number, (name, symbol, above, below, price) in enumerate(log):
        results = []
        for alerts in (whole, restored):
            found = []
            if number % 3 == 0:
                found += alerts.set(record(name, symbol, above=above, below=below), START)
            results.append([*found, *alerts.price(symbol, price, START)])
        assert results[0] == results[1]
        restored = PriceAlerts.from_rows(json.loads(json.dumps(restored.rows())))
    assert restored.rows() == whole.rows()


def test_rows_of_another_version_are_refused() -> None:
    with pytest.raises(StateVersionError):
        PriceAlerts.from_rows([("a", [0, "SPY", 1.0, None, 0, False])])
