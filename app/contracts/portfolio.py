"""The records of the portfolio stage: published contracts and their msgspec twins.

In: one topic, partitioned by account, whose records tell themselves apart by `type`: transactions,
portfolio updates, closing prices and progress marks. Out: positions, portfolios and limits.
Times are event times in integer nanoseconds since the epoch, UTC; amounts of money are in the
deployment's one currency. `tests/unit/test_portfolio_contracts.py` holds the twins equal.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from app.contracts import wire
from app.contracts.records import MAX_NOTIONAL, MAX_SIZE, Contract, Nanoseconds, Price, Symbol, Text

#: One unit of the grid that quantities are rounded to (tables/portfolio/money.py).
MIN_QUANTITY: Final = 1e-10
MAX_SPLIT: Final = 1_000_000

Side = Literal["buy", "sell"]
Action = Literal[
    "deposit",
    "withdraw",
    "fee",
    "dividend",
    "transfer_in",
    "transfer_out",
    "split",
    "cancel",
    "set_limit",
]
LimitName = Literal[
    "max_position",
    "max_short",
    "max_gross_exposure",
    "max_leverage",
    "max_concentration",
    "max_session_loss",
]
Quantity = Annotated[float, Field(ge=MIN_QUANTITY, le=MAX_SIZE, strict=True)]
Fee = Annotated[float, Field(ge=-MAX_NOTIONAL, le=MAX_NOTIONAL, strict=True)]
Threshold = Annotated[float, Field(ge=0, le=MAX_NOTIONAL, strict=True)]
SplitPart = Annotated[int, Field(ge=1, le=MAX_SPLIT, strict=True)]
InputPartition = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]

#: Of each action the fields that it must have, and those that it may have; no others.
ACTION_FIELDS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "deposit": (frozenset({"amount"}), frozenset()),
    "withdraw": (frozenset({"amount"}), frozenset()),
    "fee": (frozenset({"amount"}), frozenset({"symbol"})),
    "dividend": (frozenset({"amount"}), frozenset({"symbol"})),
    "transfer_in": (frozenset({"symbol", "quantity", "price"}), frozenset()),
    "transfer_out": (frozenset({"symbol", "quantity", "price"}), frozenset()),
    "split": (frozenset({"symbol", "split_to", "split_from"}), frozenset()),
    "cancel": (frozenset({"transaction_id"}), frozenset()),
    "set_limit": (frozenset({"limit"}), frozenset({"threshold"})),
}
#: What they choose from.
ACTION_PARTS: Final = tuple(
    sorted({name for pair in ACTION_FIELDS.values() for name in pair[0] | pair[1]})
)


class Transaction(Contract):
    """One executed trade of an account. (account, transaction_id) identifies.

    `fee` is what the account pays (negative: a rebate). `partition` is that of the input the
    record was read from: a router fills it in.
    """

    type: Literal["transaction"]
    account: Text
    symbol: Symbol
    side: Side
    quantity: Quantity
    price: Price
    event_time: Nanoseconds
    transaction_id: Text
    fee: Fee = 0.0
    currency: Text | None = None
    source: Text | None = None
    partition: InputPartition | None = None


class PortfolioUpdate(Contract):
    """What changes an account besides its trades. (account, update_id) identifies.

    `ACTION_FIELDS` says which fields an action has. `amount` is money: above 0, but for a dividend,
    which a short pays (below 0). A transfer counts as a trade at `price` whose cash came
    from, or went, outside. A split makes `split_to` of every `split_from`. A cancel undoes a
    transaction by its opposite at the same price, its fee paid back, from the cancel's time on. A
    limit without a `threshold` is the deployment's again.
    """

    type: Literal["portfolio_update"]
    account: Text
    action: Action
    event_time: Nanoseconds
    update_id: Text
    symbol: Symbol | None = None
    amount: Fee | None = None
    quantity: Quantity | None = None
    price: Price | None = None
    split_to: SplitPart | None = None
    split_from: SplitPart | None = None
    transaction_id: Text | None = None
    limit: LimitName | None = None
    threshold: Threshold | None = None
    currency: Text | None = None
    source: Text | None = None
    partition: InputPartition | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        fault = update_fault(self)
        if fault is not None:
            raise ValueError(fault)
        return self


class ClosingPrice(Contract):
    """The close of the bar over `[start, end)`, in every partition; the highest revision holds.

    `partition` is that of the bars it was read from.
    """

    type: Literal["price"]
    symbol: Symbol
    interval: Text
    start: Nanoseconds
    end: Nanoseconds
    close: Price
    revision: Nanoseconds = 0
    partition: InputPartition | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end <= self.start:
            raise ValueError("expected start < end")
        return self


class Progress(Contract):
    """All records of an input partition with an event time below `watermark` have come.

    Of bars the event time is their `end`. An `idle` input partition has nothing more for now and
    is not waited for until its next mark (the end of a replay). How long a `historical` one, which
    is replayed, is silent means nothing.
    """

    type: Literal["progress"]
    input: Text
    partition: InputPartition
    watermark: Nanoseconds
    idle: bool = Field(default=False, strict=True)
    historical: bool = Field(default=False, strict=True)


class Position(Contract):
    """One account's position in one symbol at an event time.

    Identity: (account, symbol, time, cause, cause_id). `cause` is `valuation` at the close of a
    pricing interval, else the transaction or update just taken, and `cause_id` its id.
    `average_price` is cost / quantity; `price` is the close of the last bar that ended at or before
    `time`, at `price_time` (null where the symbol has none: then so are what follows from it).
    `realised` is before fees and income (dividends), which are apart; `exposure` is
    |market value|.
    """

    account: str
    symbol: str
    time: int
    cause: Literal["valuation", "transaction", "update"]
    cause_id: str | None
    quantity: float
    average_price: float | None
    cost: float
    realised: float
    fees: float
    income: float
    price: float | None
    price_time: int | None
    price_age: int | None
    market_value: float | None
    unrealised: float | None
    exposure: float | None


class PortfolioValue(Contract):
    """One account's totals at an event time. Identity: (account, time, cause, cause_id).

    `unpriced` of the `positions` open have no price and count at their cost. `net_contributions`
    are deposits and transfers in less withdrawals and transfers out, so
    equity = cash + market_value = net_contributions + pnl, and
    pnl = realised + unrealised + income - fees. `leverage` is gross exposure / equity, null where
    equity is not above 0. `oldest_price_time` is of the open positions.
    """

    account: str
    time: int
    cause: Literal["valuation", "transaction", "update"]
    cause_id: str | None
    cash: float
    market_value: float
    equity: float
    net_contributions: float
    realised: float
    unrealised: float
    income: float
    fees: float
    pnl: float
    session_pnl: float
    gross_exposure: float
    net_exposure: float
    leverage: float | None
    positions: int
    unpriced: int
    oldest_price_time: int | None


class Limit(Contract):
    """A limit that an account has begun, or ceased, to break.

    Identity: (account, limit, symbol, time, cause, cause_id). `symbol` is null where the limit is
    of the account. `value` is null where it is beyond every number (leverage without equity) or the
    limit is gone.
    """

    account: str
    limit: LimitName
    symbol: str | None
    time: int
    cause: Literal["valuation", "transaction", "update"]
    cause_id: str | None
    state: Literal["breached", "cleared"]
    value: float | None
    threshold: float | None


# --- the twins ------------------------------------------------------------------------------

_Quantity = Annotated[float, msgspec.Meta(ge=MIN_QUANTITY, le=MAX_SIZE)]
_Fee = Annotated[float, msgspec.Meta(ge=-MAX_NOTIONAL, le=MAX_NOTIONAL)]
_Threshold = Annotated[float, msgspec.Meta(ge=0, le=MAX_NOTIONAL)]
_SplitPart = Annotated[int, msgspec.Meta(ge=1, le=MAX_SPLIT)]
_InputPartition = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class TransactionRecord(
    msgspec.Struct, tag_field="type", tag="transaction", forbid_unknown_fields=True, frozen=True
):
    """A `Transaction` as decoded; the symbol's alphabet and NUL are checked after."""

    account: wire.Text
    symbol: wire.Symbol
    side: Side
    quantity: _Quantity
    price: wire.Price
    event_time: wire.Nanoseconds
    transaction_id: wire.Text
    fee: _Fee = 0.0
    currency: wire.Text | None = None
    source: wire.Text | None = None
    partition: _InputPartition | None = None


class PortfolioUpdateRecord(
    msgspec.Struct,
    tag_field="type",
    tag="portfolio_update",
    forbid_unknown_fields=True,
    frozen=True,
):
    """A `PortfolioUpdate` as decoded; `update_fault`, alphabet and NUL are checked after."""

    account: wire.Text
    action: Action
    event_time: wire.Nanoseconds
    update_id: wire.Text
    symbol: wire.Symbol | None = None
    amount: _Fee | None = None
    quantity: _Quantity | None = None
    price: wire.Price | None = None
    split_to: _SplitPart | None = None
    split_from: _SplitPart | None = None
    transaction_id: wire.Text | None = None
    limit: LimitName | None = None
    threshold: _Threshold | None = None
    currency: wire.Text | None = None
    source: wire.Text | None = None
    partition: _InputPartition | None = None


class PriceRecord(
    msgspec.Struct, tag_field="type", tag="price", forbid_unknown_fields=True, frozen=True
):
    """A `ClosingPrice` as decoded."""

    symbol: wire.Symbol
    interval: wire.Text
    start: wire.Nanoseconds
    end: wire.Nanoseconds
    close: wire.Price
    revision: wire.Nanoseconds = 0
    partition: _InputPartition | None = None


class ProgressRecord(
    msgspec.Struct, tag_field="type", tag="progress", forbid_unknown_fields=True, frozen=True
):
    """A `Progress` as decoded."""

    input: wire.Text
    partition: _InputPartition
    watermark: wire.Nanoseconds
    idle: bool = False
    historical: bool = False


class PositionRecord(msgspec.Struct):
    """A `Position` as encoded; the field order is part of the bytes."""

    account: str
    symbol: str
    time: int
    cause: str
    cause_id: str | None
    quantity: float
    average_price: float | None
    cost: float
    realised: float
    fees: float
    income: float
    price: float | None
    price_time: int | None
    price_age: int | None
    market_value: float | None
    unrealised: float | None
    exposure: float | None


class PortfolioRecord(msgspec.Struct):
    """A `PortfolioValue` as encoded; the field order is part of the bytes."""

    account: str
    time: int
    cause: str
    cause_id: str | None
    cash: float
    market_value: float
    equity: float
    net_contributions: float
    realised: float
    unrealised: float
    income: float
    fees: float
    pnl: float
    session_pnl: float
    gross_exposure: float
    net_exposure: float
    leverage: float | None
    positions: int
    unpriced: int
    oldest_price_time: int | None


class LimitRecord(msgspec.Struct):
    """A `Limit` as encoded; the field order is part of the bytes."""

    account: str
    limit: str
    symbol: str | None
    time: int
    cause: str
    cause_id: str | None
    state: str
    value: float | None
    threshold: float | None


PortfolioInput = TransactionRecord | PortfolioUpdateRecord | PriceRecord | ProgressRecord
PortfolioOutput = PositionRecord | PortfolioRecord | LimitRecord

portfolio_decoder = msgspec.json.Decoder(PortfolioInput)


def update_fault(update: PortfolioUpdate | PortfolioUpdateRecord) -> str | None:
    """What is wrong with an update's fields for its action; None where nothing is."""
    required, allowed = ACTION_FIELDS[update.action]
    given: dict[str, Any] = {
        name: value for name in ACTION_PARTS if (value := getattr(update, name)) is not None
    }
    missing = sorted(required - given.keys())
    if missing:
        return f"{update.action} needs {', '.join(missing)}"
    foreign = sorted(given.keys() - required - allowed)
    if foreign:
        return f"{update.action} has no {', '.join(foreign)}"
    if update.amount is not None and update.action != "dividend" and update.amount <= 0:
        return f"{update.action} needs an amount above 0"
    return None
