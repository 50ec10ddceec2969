"""Limits of an account: what is broken now, and what has begun or ceased to be.

A transaction has happened, so nothing is refused: a limit that is broken is reported once, and
once more when it holds again. Comparisons are between integers (money.py), so exact.

| limit | of | broken where |
|---|---|---|
| `max_position` | each symbol | quantity above it (a long position) |
| `max_short` | each symbol | quantity below minus it; 0: no shorts |
| `max_gross_exposure` | the account | sum of market values' magnitudes above it |
| `max_leverage` | the account | gross exposure above it times equity; or equity not above 0 |
| `max_concentration` | each symbol | its exposure above this share of the gross exposure |
| `max_session_loss` | the account | loss since the session's begin above it |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tables.portfolio.account import Portfolio
from tables.portfolio.configuration import LIMITS
from tables.portfolio.money import UNIT, amount_of, quantity_of, to_money, to_units
from tables.portfolio.valuation import Valuation


class Change(NamedTuple):
    """A limit broken, or no longer; `symbol` is '' where it is of the account."""

    limit: str
    symbol: str
    state: str
    value: float | None
    threshold: float | None


class _Measured(NamedTuple):
    symbol: str
    broken: bool
    value: float | None


def changes(
    account: Portfolio, valuation: Valuation, defaults: Mapping[str, float]
) -> list[Change]:
    """Compare an account with its limits, and remember in it what is broken.

    Returns:
        What has changed since the last call, in the order of the limits, then of the symbols.
    """
    found: list[Change] = []
    for limit in LIMITS:
        threshold = account.limits.get(limit, defaults.get(limit))
        before = {symbol for name, symbol in account.breached if name == limit}
        measured: dict[str, _Measured] = {}
        if threshold is not None:
            measured = {
                each.symbol: each for each in _measure(limit, threshold, account, valuation)
            }
        for symbol in sorted(before | measured.keys()):
            now = measured.get(symbol)
            broken = now is not None and now.broken
            if broken == (symbol in before):
                continue
            state = "breached" if broken else "cleared"
            found.append(Change(limit, symbol, state, now and now.value, threshold))
            if broken:
                account.breached.add((limit, symbol))
            else:
                account.breached.discard((limit, symbol))
    return found


def _measure(
    limit: str, threshold: float, account: Portfolio, valuation: Valuation
) -> Iterator[_Measured]:
    gross = valuation.gross
    match limit:
        case "max_position" | "max_short":
            sign = 1 if limit == "max_position" else -1
            for symbol, position in account.positions.items():
                quantity = max(0, sign * position.quantity)
                yield _Measured(symbol, quantity > to_units(threshold), quantity_of(quantity))
        case "max_gross_exposure":
            yield _Measured("", gross > to_money(threshold), amount_of(gross))
        case "max_leverage":
            equity = account.cash + valuation.value
            value = gross / equity if equity > 0 else None
            broken = gross * UNIT > to_units(threshold) * equity if equity > 0 else gross > 0
            yield _Measured("", broken, value)
        case "max_concentration":
            for each in valuation.positions:
                exposure = abs(each.value)
                broken = exposure * UNIT > to_units(threshold) * gross
                yield _Measured(each.symbol, broken, exposure / gross if gross else 0.0)
        case "max_session_loss":
            loss = account.session_base - account.profit(valuation)
            yield _Measured("", loss > to_money(threshold), amount_of(max(0, loss)))
        case _:
            raise ValueError(f"no such limit: {limit}")
