"""All accounts and prices of a partition; takes records in their order, values them at points.

Valuations are at the multiples of the pricing interval, after the prices that ended there and
before what happens from then on; only where a price or an account has changed since the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.contracts.portfolio import PortfolioOutput, PriceRecord, TransactionRecord
from tables.identifiers import SEPARATOR
from tables.learning import State
from tables.portfolio.account import Portfolio, RefusedError
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.held import Holdable, Order
from tables.portfolio.limits import changes
from tables.portfolio.money import to_units
from tables.portfolio.prices import LastPrice, PriceBook
from tables.portfolio.remembered import Remembered, name_of, transaction_name
from tables.portfolio.reporting import Cause, limit_record, portfolio_record, position_record
from tables.portfolio.valuation import priced
from tables.sessions import Sessions


class Refused(NamedTuple):
    """A record that was held and then could not be taken; for the dead letters (RefusedError).

    Its id stays known, so the same record sent again is a duplicate: mended, it needs a new one.
    """

    record: Holdable
    offset: int
    reason: str


VALUED: Final = "valuation"


class PortfolioBook:
    """Accounts by name, and the prices they share.

    Args:
        configuration: of the deployment.
        remembered: transactions that a cancel may name.
    """

    def __init__(self, configuration: PortfolioConfiguration, remembered: Remembered) -> None:
        self.configuration = configuration
        self.accounts: dict[str, Portfolio] = {}
        self.prices = PriceBook()
        self.outputs: list[PortfolioOutput | Refused] = []
        #: When the next valuation is due; None while nothing has changed since the last.
        self.due: int | None = None
        self._remembered = remembered
        self._sessions = Sessions(configuration.timezone, configuration.session_end)
        self._session: int | None = None
        self._changed: set[str] = set()

    def take(self, order: Order, record: Holdable) -> None:
        """Take the next record of the order."""
        if isinstance(record, PriceRecord):
            self._take_price(order, record)
            return
        self._enter_session(order.time)
        account = self.accounts.get(record.account)
        if account is None:
            account = self.accounts[record.account] = self._open(record.account)
            self._changed.add(record.account)
        symbol = record.symbol
        try:
            if isinstance(record, TransactionRecord):
                account.trade(record, order.time)
            elif record.action == "cancel":
                symbol = self._cancel(account, record.transaction_id or "", order)
            else:
                account.update(record, order.time)
        except RefusedError as error:
            # There is nothing for a cancel to undo.
            self._remembered.cancel(name_of(record))
            self.outputs.append(Refused(record, order.offset, error.reason))
            return
        interval = self.configuration.pricing_interval
        self.due = order.time // interval * interval + interval
        self._changed.add(account.name)
        is_transaction = isinstance(record, TransactionRecord)
        self._report(
            account,
            Cause(order.time, "transaction" if is_transaction else "update", order.identifier),
            symbol,
        )

    def _open(self, name: str) -> Portfolio:
        return Portfolio(name, self.configuration.lots, self.configuration.max_positions)

    def _take_price(self, order: Order, record: PriceRecord) -> None:
        # What ends with a session belongs to it.
        self._enter_session(order.time - 1)
        price = LastPrice(record.end, record.revision, to_units(record.close))
        if self.prices.put(record.symbol, price):
            interval = self.configuration.pricing_interval
            self.due = -(-order.time // interval) * interval

    def _cancel(self, account: Portfolio, transaction_id: str, order: Order) -> str:
        """Undo a transaction that was taken before; its symbol."""
        name = transaction_name(account.name, transaction_id)
        known = self._remembered.get(name, order.time)
        if known is None or known.transaction is None or known.cancelled or known.time > order.time:
            raise RefusedError("unknown_transaction")
        account.reverse(known.transaction, order.time)
        self._remembered.cancel(name)
        return known.transaction.symbol

    def _enter_session(self, time: int) -> None:
        """Where a session has begun by this time: every account's losses count from here."""
        session = self._sessions.date_of(time).toordinal()
        session += time >= self._sessions.end_of_date(time)
        if self._session is not None and session > self._session:
            for account in self.accounts.values():
                account.begin_session(self.prices)
                self._changed.add(account.name)
        self._session = max(session, self._session or session)

    # --- what goes out ---------------------------------------------------------------------

    def value_all(self, time: int) -> None:
        """The valuation that is due at `time`: of every account with something open or changed."""
        self._enter_session(time - 1)
        self.due = None
        cause = Cause(time, VALUED)
        for name in sorted(self.accounts):
            account = self.accounts[name]
            if account.touched or account.has_positions:
                account.touched = False
                self._changed.add(name)
                self._report(account, cause, None)

    def _report(self, account: Portfolio, cause: Cause, symbol: str | None) -> None:
        """Positions (one symbol's, or at a valuation all), totals, and what limits have changed."""
        valuation = account.valuate(self.prices)
        if cause.cause == VALUED:
            shown = valuation.positions
        else:
            position = None if symbol is None else account.positions.get(symbol)
            shown = ()
            if symbol is not None and position is not None:
                shown = (priced(symbol, position, self.prices),)
        self.outputs += [position_record(account.name, each, cause) for each in shown]
        self.outputs.append(portfolio_record(account, valuation, cause))
        found = changes(account, valuation, self.configuration.limits)
        self.outputs += [limit_record(account.name, change, cause) for change in found]

    # --- rows ------------------------------------------------------------------------------

    def content(self) -> State:
        """What the stage's row holds of this."""
        return [self.due, self._session]

    def changed_rows(self) -> dict[str, State | None]:
        """Rows of accounts, positions and prices changed since the last call; None deletes."""
        rows: dict[str, State | None] = {}
        for name in sorted(self._changed):
            account = self.accounts[name]
            rows[SEPARATOR.join(("account", name))] = account.state()
            for symbol in sorted(account.changed_positions):
                position = account.positions.get(symbol)
                row = None if position is None else position.content()
                rows[SEPARATOR.join(("position", name, symbol))] = row
            account.changed_positions = set()
        for symbol in sorted(self.prices.changed):
            rows[SEPARATOR.join(("price", symbol))] = self._price_row(symbol)
        self._changed, self.prices.changed = set(), set()
        return rows

    def _price_row(self, symbol: str) -> State:
        end, revision, close = self.prices.prices[symbol]
        return [end, revision, str(close)]

    def restore(self, content: State, rows: Mapping[str, State]) -> None:
        """Take in `content` and all rows; those of other kinds are left out."""
        self.due, self._session = content
        positions: dict[str, dict[str, Any]] = {}
        for name, row in rows.items():
            kind, *parts = name.split(SEPARATOR)
            if kind == "position":
                positions.setdefault(parts[0], {})[parts[1]] = row
            elif kind == "price":
                end, revision, close = row
                self.prices.prices[parts[0]] = LastPrice(end, revision, int(close))
        configuration = self.configuration
        for name in sorted(rows):
            kind, *parts = name.split(SEPARATOR)
            if kind == "account":
                self.accounts[parts[0]] = Portfolio.from_state(
                    parts[0],
                    rows[name],
                    positions.get(parts[0], {}),
                    configuration.lots,
                    configuration.max_positions,
                )
