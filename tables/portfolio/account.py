"""One account: cash, contributions, positions, and the totals over all it ever held.

Invariant, exact at any moment:
cash + cost of what is open = contributions + realised + income - fees.
Fees are an expense at once, never part of a cost; dividends are income, never less cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.contracts.portfolio import PortfolioUpdateRecord, TransactionRecord
from tables.learning import State, StateVersionError
from tables.portfolio.money import UNIT, to_money, to_units
from tables.portfolio.position import Position, Split
from tables.portfolio.prices import PriceBook
from tables.portfolio.valuation import Valuation, valuate

VERSION: Final = 1


#: Bound of a position's magnitude, in grid units: beyond it splits could grow without end.
MAX_QUANTITY: Final = 10**18 * UNIT


class RefusedError(ValueError):
    """A record that the account cannot take; it has changed nothing. `reason` is for the dead.

    `too_many_positions`: as many are open as the deployment allows. `quantity_too_large`: a
    position would exceed `MAX_QUANTITY`. `unknown_transaction`: a cancel names none that was taken
    before it and still counts.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Portfolio:
    """An account; amounts are in money units, quantities and prices in grid units (money.py).

    Args:
        name: of the account.
        max_lots, max_positions: bounds (configuration.py).
    """

    def __init__(self, name: str, max_lots: int, max_positions: int) -> None:
        self.name = name
        self.max_lots = max_lots
        self.max_positions = max_positions
        self.cash = 0
        #: Deposits and transfers in, less withdrawals and transfers out.
        self.contributions = 0
        self.realised = 0
        self.fees = 0
        self.income = 0
        self.positions: dict[str, Position] = {}
        #: Thresholds of its own, by limit.
        self.limits: dict[str, float] = {}
        #: (limit, symbol or '') of what is broken now.
        self.breached: set[tuple[str, str]] = set()
        #: Profit and loss at the begin of the session.
        self.session_base = 0
        #: Whether something was applied since the last valuation.
        self.touched = False
        #: Symbols whose rows have changed since they were last taken.
        self.changed_positions: set[str] = set()

    # --- records ---------------------------------------------------------------------------

    def trade(self, record: TransactionRecord, time: int) -> None:
        """Take a transaction; `time` is that of its place in the order.

        Raises:
            RefusedError: nothing was changed.
        """
        quantity = to_units(record.quantity) * (1 if record.side == "buy" else -1)
        self._exchange(record.symbol, quantity, to_units(record.price), time)
        self._charge(to_money(record.fee), record.symbol)

    def reverse(self, record: TransactionRecord, time: int) -> None:
        """Undo a transaction by its opposite at its price, with its fee.

        Raises:
            RefusedError: nothing was changed.
        """
        quantity = to_units(record.quantity) * (-1 if record.side == "buy" else 1)
        self._exchange(record.symbol, quantity, to_units(record.price), time)
        self._charge(-to_money(record.fee), record.symbol)

    def update(self, record: PortfolioUpdateRecord, time: int) -> None:
        """Take an update that names no transaction.

        Raises:
            RefusedError: nothing was changed.
        """
        amount = 0 if record.amount is None else to_money(record.amount)
        symbol = record.symbol
        match record.action:
            case "deposit":
                self._contribute(amount)
            case "withdraw":
                self._contribute(-amount)
            case "fee":
                self._charge(amount, symbol)
            case "dividend":
                self._earn(amount, symbol)
            case "transfer_in" | "transfer_out":
                if symbol is None or record.quantity is None or record.price is None:
                    raise ValueError(f"{record.action} without symbol, quantity or price")
                sign = 1 if record.action == "transfer_in" else -1
                quantity, price = sign * to_units(record.quantity), to_units(record.price)
                self._exchange(symbol, quantity, price, time)
                self._contribute(quantity * price)
            case "split":
                self._split(record, time)
            case "set_limit":
                if record.limit is None:
                    raise ValueError("set_limit without limit")
                self.limits.pop(record.limit, None)
                if record.threshold is not None:
                    self.limits[record.limit] = record.threshold
            case "cancel":
                raise ValueError("a cancel is taken by `reverse`")
        self.touched = True

    def _exchange(self, symbol: str, quantity: int, price: int, time: int) -> None:
        """Cash for a quantity, or a quantity for cash."""
        position = self.positions.get(symbol)
        if position is not None and abs(position.quantity + quantity) > MAX_QUANTITY:
            raise RefusedError("quantity_too_large")
        if position is None:
            self._make_room()
            position = self.positions[symbol] = Position()
        self.cash -= quantity * price
        self.realised += position.trade(quantity, price, self.max_lots)
        position.changed_at = time
        self._change(symbol)

    def _make_room(self) -> None:
        """Forget the position that has been closed for longest; the totals keep what it was."""
        if len(self.positions) < self.max_positions:
            return
        closed = [
            (position.changed_at, symbol)
            for symbol, position in self.positions.items()
            if not position.quantity
        ]
        if not closed:
            raise RefusedError("too_many_positions")
        _, symbol = min(closed)
        del self.positions[symbol]
        self._change(symbol)

    def _contribute(self, amount: int) -> None:
        self.cash += amount
        self.contributions += amount

    def _charge(self, amount: int, symbol: str | None) -> None:
        self.cash -= amount
        self.fees += amount
        position = self._held(symbol)
        if position is not None:
            position.fees += amount

    def _earn(self, amount: int, symbol: str | None) -> None:
        self.cash += amount
        self.income += amount
        position = self._held(symbol)
        if position is not None:
            position.income += amount

    def _held(self, symbol: str | None) -> Position | None:
        """The position of a symbol, as far as the account knows it; its row will change."""
        position = None if symbol is None else self.positions.get(symbol)
        if position is not None and symbol is not None:
            self._change(symbol)
        return position

    def _split(self, record: PortfolioUpdateRecord, time: int) -> None:
        if record.split_to is None or record.split_from is None:
            raise ValueError("split without split_to or split_from")
        position = self._held(record.symbol)
        if position is None:
            return
        if abs(position.quantity) * record.split_to > MAX_QUANTITY * record.split_from:
            raise RefusedError("quantity_too_large")
        # Prices are of before it or not by the split's own time, however late it is known.
        split = Split(record.event_time, record.split_to, record.split_from)
        self.realised += position.split(split)
        position.changed_at = time

    def _change(self, symbol: str) -> None:
        self.changed_positions.add(symbol)
        self.touched = True

    # --- values ----------------------------------------------------------------------------

    @property
    def has_positions(self) -> bool:
        """Whether anything is open."""
        return any(position.quantity for position in self.positions.values())

    def valuate(self, prices: PriceBook) -> Valuation:
        """The open positions at the last prices."""
        return valuate(self.positions, prices)

    def profit(self, valuation: Valuation) -> int:
        """Profit and loss since the account's begin: realised, unrealised, income less fees."""
        return self.realised + valuation.unrealised + self.income - self.fees

    def begin_session(self, prices: PriceBook) -> None:
        """A session begins: losses count from here."""
        self.session_base = self.profit(self.valuate(prices))

    # --- state -----------------------------------------------------------------------------

    def state(self) -> State:
        """The account without its positions, which have rows of their own (`Position.content`)."""
        return [
            VERSION,
            *map(str, (self.cash, self.contributions, self.realised, self.fees, self.income)),
            str(self.session_base),
            [[name, self.limits[name]] for name in sorted(self.limits)],
            [list(each) for each in sorted(self.breached)],
            self.touched,
        ]

    @classmethod
    def from_state(
        cls,
        name: str,
        state: State,
        positions: Mapping[str, Any],
        max_lots: int,
        max_positions: int,
    ) -> Portfolio:
        """The account of a state and its positions' contents, by symbol.

        Raises:
            StateVersionError: the state is of another version.
        """
        if state[0] != VERSION:
            raise StateVersionError(f"{name}: version {state[0]}, this code reads {VERSION}")
        account = cls(name, max_lots, max_positions)
        amounts = map(int, state[1:7])
        account.cash, account.contributions, account.realised, account.fees = (
            next(amounts) for _ in range(4)
        )
        account.income, account.session_base = amounts
        account.limits = {limit: threshold for limit, threshold in state[7]}
        account.breached = {(limit, symbol) for limit, symbol in state[8]}
        account.touched = state[9]
        account.positions = {
            symbol: Position.from_content(positions[symbol]) for symbol in sorted(positions)
        }
        return account
