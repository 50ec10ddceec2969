"""From an account's integers to the records that go out, each number rounded once."""

from __future__ import annotations

from typing import NamedTuple

from app.contracts.portfolio import LimitRecord, PortfolioRecord, PositionRecord
from tables.portfolio.account import Portfolio
from tables.portfolio.limits import Change
from tables.portfolio.money import MONEY, UNIT, amount_of, quantity_of
from tables.portfolio.valuation import Valuation, Valued


class Cause(NamedTuple):
    """Why a record goes out: `valuation`, or the `transaction` or `update` of an id."""

    time: int
    cause: str
    identifier: str | None = None


def position_record(account: str, valued: Valued, cause: Cause) -> PositionRecord:
    """One position, open or just closed."""
    position = valued.position
    value = valued.market_value
    open_ = position.quantity != 0
    return PositionRecord(
        account=account,
        symbol=valued.symbol,
        time=cause.time,
        cause=cause.cause,
        cause_id=cause.identifier,
        quantity=quantity_of(position.quantity),
        average_price=position.cost * UNIT / (position.quantity * MONEY) if open_ else None,
        cost=amount_of(position.cost),
        realised=amount_of(position.realised),
        fees=amount_of(position.fees),
        income=amount_of(position.income),
        price=None if valued.price is None else quantity_of(valued.price),
        price_time=valued.price_time,
        price_age=None if valued.price_time is None else cause.time - valued.price_time,
        market_value=None if value is None else amount_of(value),
        unrealised=None if value is None else amount_of(value - position.cost),
        exposure=None if value is None else amount_of(abs(value)),
    )


def portfolio_record(account: Portfolio, valuation: Valuation, cause: Cause) -> PortfolioRecord:
    """An account's totals."""
    equity = account.cash + valuation.value
    profit = account.profit(valuation)
    return PortfolioRecord(
        account=account.name,
        time=cause.time,
        cause=cause.cause,
        cause_id=cause.identifier,
        cash=amount_of(account.cash),
        market_value=amount_of(valuation.value),
        equity=amount_of(equity),
        net_contributions=amount_of(account.contributions),
        realised=amount_of(account.realised),
        unrealised=amount_of(valuation.unrealised),
        income=amount_of(account.income),
        fees=amount_of(account.fees),
        pnl=amount_of(profit),
        session_pnl=amount_of(profit - account.session_base),
        gross_exposure=amount_of(valuation.gross),
        net_exposure=amount_of(valuation.value),
        leverage=valuation.gross / equity if equity > 0 else None,
        positions=len(valuation.positions),
        unpriced=valuation.unpriced,
        oldest_price_time=valuation.oldest_price_time,
    )


def limit_record(account: str, change: Change, cause: Cause) -> LimitRecord:
    """A limit broken, or no longer."""
    return LimitRecord(
        account=account,
        limit=change.limit,
        symbol=change.symbol or None,
        time=cause.time,
        cause=cause.cause,
        cause_id=cause.identifier,
        state=change.state,
        value=change.value,
        threshold=change.threshold,
    )
