"""Positions, values and limits recomputed straight from a whole log, with fractions.

Written from the statement of the semantics (the docstring of the package that it judges), not from
its code, and with nothing incremental about order: the log is judged once, sorted once, and gone
through once. Numbers are fractions of the decimals as they are written. Sessions are days of UTC.
The log must end with every input partition idle, so that all of it counts.

Readings: a lot is a (quantity, unit price) pair, a position of the average method one pair; a
split's fractions are kept, where the stage rounds to its grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

DAY = 86_400_000_000_000
ZERO = Fraction(0)
#: Rank at one time; a valuation stands between prices and updates.
RANKS = {"price": 0, "update": 2, "transaction": 3, "cancel": 4}

Row = dict[str, Any]


def exact(number: float | int) -> Fraction:
    """The decimal number as written."""
    return Fraction(Decimal(repr(number)))


@dataclass
class Rules:
    """What the reference needs to know of a deployment; times in ns."""

    inputs: Mapping[str, int]
    interval: int
    label: str
    average: bool
    late_horizon: int
    identifier_horizon: int
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Holding:
    """One account's lots of one symbol: (signed quantity, unit price), the oldest first."""

    lots: list[tuple[Fraction, Fraction]] = field(default_factory=list)
    realised: Fraction = ZERO
    fees: Fraction = ZERO
    income: Fraction = ZERO
    splits: list[tuple[int, Fraction]] = field(default_factory=list)

    @property
    def quantity(self) -> Fraction:
        return sum((quantity for quantity, _ in self.lots), ZERO)

    @property
    def cost(self) -> Fraction:
        return sum((quantity * price for quantity, price in self.lots), ZERO)

    def trade(self, quantity: Fraction, price: Fraction, average: bool) -> None:
        """Close the oldest lots of the other side, one after the other, then open the rest."""
        while quantity and self.lots and self.lots[0][0] * quantity < 0:
            held, paid = self.lots.pop(0)
            closed = min(abs(held), abs(quantity)) * (1 if held > 0 else -1)
            self.realised += closed * (price - paid)
            quantity += closed
            if held != closed:
                self.lots.insert(0, (held - closed, paid))
        if quantity:
            self.lots.append((quantity, price))
        if average and len(self.lots) > 1:
            total, cost = self.quantity, self.cost
            self.lots = [(total, cost / total)]


@dataclass
class Account:
    """One account."""

    cash: Fraction = ZERO
    contributions: Fraction = ZERO
    fees: Fraction = ZERO
    income: Fraction = ZERO
    holdings: dict[str, Holding] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)
    base: Fraction = ZERO
    changed: bool = False

    def exchange(self, symbol: str, quantity: Fraction, price: Fraction, average: bool) -> None:
        """Cash for a quantity."""
        self.cash -= quantity * price
        self.holdings.setdefault(symbol, Holding()).trade(quantity, price, average)

    def charge(self, symbol: str | None, amount: Fraction) -> None:
        """A fee."""
        self.cash -= amount
        self.fees += amount
        if symbol is not None and symbol in self.holdings:
            self.holdings[symbol].fees += amount


class Reference:
    """`rows` are the outputs, as plain values, in order; counts as of the judging."""

    def __init__(self, rules: Rules, log: Iterable[Row]) -> None:
        self.rules = rules
        self.rows: list[Row] = []
        self.outcomes: list[str] = []
        self.accounts: dict[str, Account] = {}
        self.prices: dict[str, tuple[int, int, Fraction]] = {}
        self.taken: dict[tuple[str, str], Row] = {}
        self.undone: set[tuple[str, str]] = set()
        self.day: int | None = None
        #: Whether the last record has changed anything.
        self.moved = False
        for time, rank, record in self._with_valuations(sorted(self._judged(log), key=_place)):
            self._enter(time - 1 if rank < 2 else time)
            if rank == 0:
                self._price(record)
            elif rank == 1:
                self._value(time)
            else:
                self._happen(time, record)

    # --- judging and order -----------------------------------------------------------------

    def _judged(self, log: Iterable[Row]) -> Iterator[tuple[int, int, Row]]:
        """(time, rank, record) of what counts."""
        marks: dict[tuple[str, int], int] = {}
        seen: dict[tuple[str, str, str], int] = {}
        updates = "portfolio_updates"
        names = {"price": "bars", "transaction": "transactions"}
        names["portfolio_update"] = updates if updates in self.rules.inputs else "transactions"
        for record in log:
            kind = record["type"]
            if kind == "progress":
                where = record["input"], record["partition"]
                marks[where] = max(marks.get(where, 0), record["watermark"])
                self.outcomes.append("control")
                continue
            time = record["end"] if kind == "price" else record["event_time"]
            mark = marks.get((names[kind], record["partition"]), 0)
            if kind == "price" and record["interval"] != self.rules.label:
                self.outcomes.append("ignored")
                continue
            if time < mark - self.rules.late_horizon:
                self.outcomes.append("late")
                continue
            if kind != "price":
                own = record["transaction_id" if kind == "transaction" else "update_id"]
                identity = kind, record["account"], own
                known = seen.get(identity)
                if known is not None and known + self.rules.identifier_horizon >= mark:
                    self.outcomes.append("duplicate")
                    continue
                seen[identity] = time
            rank = "update" if kind == "portfolio_update" else kind
            rank = "cancel" if record.get("action") == "cancel" else rank
            self.outcomes.append("revised" if time < mark else "applied")
            yield max(time, mark), RANKS[rank], record

    def _with_valuations(
        self, records: Iterable[tuple[int, int, Row]]
    ) -> Iterator[tuple[int, int, Row]]:
        """The records with a valuation (rank 1) after each interval in which something changed."""
        due: int | None = None
        interval = self.rules.interval
        for time, rank, record in records:
            if due is not None and (due, 1) < (time, rank):
                yield due, 1, {}
                due = None
            yield time, rank, record
            if self.moved:
                due = -(-time // interval) * interval
                if rank > 0:
                    due = (time // interval + 1) * interval
        if due is not None:
            yield due, 1, {}

    # --- what happens ----------------------------------------------------------------------

    def _enter(self, time: int) -> None:
        day = time // DAY
        if self.day is not None and day > self.day:
            for account in self.accounts.values():
                account.base = self._profit(account)
        self.day = max(day, self.day or day)

    def _price(self, record: Row) -> None:
        new = record["end"], record["revision"], exact(record["close"])
        old = self.prices.get(record["symbol"])
        self.moved = old is None or new[:2] > old[:2]
        if self.moved:
            self.prices[record["symbol"]] = new

    def _happen(self, time: int, record: Row) -> None:
        self.moved = True
        account = self.accounts.setdefault(record["account"], Account())
        average, symbol = self.rules.average, record.get("symbol")
        if record["type"] == "transaction":
            cause = "transaction", record["transaction_id"]
            self.taken[record["account"], record["transaction_id"]] = record
            _trade(account, record, 1, average)
        else:
            cause = "update", record["update_id"]
            action = record["action"]
            amount = exact(record.get("amount", 0))
            if action in ("deposit", "withdraw"):
                signed = amount if action == "deposit" else -amount
                account.cash += signed
                account.contributions += signed
            elif action == "fee":
                account.charge(symbol, amount)
            elif action == "dividend":
                account.cash += amount
                account.income += amount
                if symbol in account.holdings:
                    account.holdings[symbol].income += amount
            elif action in ("transfer_in", "transfer_out"):
                quantity = exact(record["quantity"]) * (1 if action == "transfer_in" else -1)
                price = exact(record["price"])
                account.exchange(record["symbol"], quantity, price, average)
                account.cash += quantity * price
                account.contributions += quantity * price
            elif action == "split":
                ratio = Fraction(record["split_to"], record["split_from"])
                holding = account.holdings.get(record["symbol"])
                if holding is not None:
                    holding.lots = [(held * ratio, paid / ratio) for held, paid in holding.lots]
                    holding.splits.append((record["event_time"], ratio))
            elif action == "set_limit":
                account.limits.pop(record["limit"], None)
                if record.get("threshold") is not None:
                    account.limits[record["limit"]] = record["threshold"]
            elif action == "cancel":
                key = record["account"], record["transaction_id"]
                original = self.taken.get(key)
                oldest = time - self.rules.identifier_horizon
                if original is None or key in self.undone or original["event_time"] < oldest:
                    self.moved = False
                    self.rows.append({"refused": record["update_id"]})
                    return
                self.undone.add(key)
                symbol = original["symbol"]
                _trade(account, original, -1, average)
        account.changed = True
        shown = [symbol] if symbol in account.holdings else []
        self._report(record["account"], time, *cause, shown)

    def _value(self, time: int) -> None:
        for name in sorted(self.accounts):
            account = self.accounts[name]
            opened = [symbol for symbol in sorted(account.holdings) if self._open(account, symbol)]
            if opened or account.changed:
                account.changed = False
                self._report(name, time, "valuation", None, opened)

    # --- what goes out ---------------------------------------------------------------------

    def _open(self, account: Account, symbol: str) -> bool:
        return account.holdings[symbol].quantity != 0

    def _price_of(self, account: Account, symbol: str) -> Fraction | None:
        if symbol not in self.prices:
            return None
        end, _, price = self.prices[symbol]
        for time, ratio in account.holdings[symbol].splits:
            if end <= time:
                price /= ratio
        return price

    def _worth(self, account: Account, symbol: str) -> Fraction:
        holding, price = account.holdings[symbol], self._price_of(account, symbol)
        return holding.cost if price is None else holding.quantity * price

    def _unrealised(self, account: Account) -> Fraction:
        return sum(
            (
                self._worth(account, symbol) - account.holdings[symbol].cost
                for symbol in account.holdings
            ),
            ZERO,
        )

    def _realised(self, account: Account) -> Fraction:
        return sum((holding.realised for holding in account.holdings.values()), ZERO)

    def _profit(self, account: Account) -> Fraction:
        return self._realised(account) + self._unrealised(account) + account.income - account.fees

    def _report(
        self, name: str, time: int, cause: str, identifier: str | None, shown: list[Any]
    ) -> None:
        account = self.accounts[name]
        head = {"account": name, "time": time, "cause": cause, "cause_id": identifier}
        for symbol in shown:
            holding, price = account.holdings[symbol], self._price_of(account, symbol)
            worth = None if price is None else holding.quantity * price
            end = None if price is None else self.prices[symbol][0]
            self.rows.append(
                head
                | {
                    "symbol": symbol,
                    "quantity": holding.quantity,
                    "average_price": holding.cost / holding.quantity if holding.quantity else None,
                    "cost": holding.cost,
                    "realised": holding.realised,
                    "fees": holding.fees,
                    "income": holding.income,
                    "price": price,
                    "price_time": end,
                    "price_age": None if end is None else time - end,
                    "market_value": worth,
                    "unrealised": None if worth is None else worth - holding.cost,
                    "exposure": None if worth is None else abs(worth),
                }
            )
        opened = [symbol for symbol in account.holdings if self._open(account, symbol)]
        worths = {symbol: self._worth(account, symbol) for symbol in opened}
        ends = [self.prices[symbol][0] for symbol in opened if symbol in self.prices]
        value, gross = sum(worths.values(), ZERO), sum(map(abs, worths.values()), ZERO)
        equity, profit = account.cash + value, self._profit(account)
        self.rows.append(
            head
            | {
                "cash": account.cash,
                "market_value": value,
                "equity": equity,
                "net_contributions": account.contributions,
                "realised": self._realised(account),
                "unrealised": self._unrealised(account),
                "income": account.income,
                "fees": account.fees,
                "pnl": profit,
                "session_pnl": profit - account.base,
                "gross_exposure": gross,
                "net_exposure": value,
                "leverage": gross / equity if equity > 0 else None,
                "positions": len(opened),
                "unpriced": len(opened) - len(ends),
                "oldest_price_time": min(ends, default=None),
            }
        )
        self._limits(account, head, worths, equity, profit)

    def _limits(
        self,
        account: Account,
        head: Row,
        worths: dict[str, Fraction],
        equity: Fraction,
        profit: Fraction,
    ) -> None:
        gross = sum(map(abs, worths.values()), ZERO)
        limits = {**self.rules.limits, **account.limits}
        values: dict[str, dict[str, Fraction | None]] = {
            "max_position": {s: max(ZERO, h.quantity) for s, h in account.holdings.items()},
            "max_short": {s: max(ZERO, -h.quantity) for s, h in account.holdings.items()},
            "max_gross_exposure": {"": gross},
            "max_leverage": {"": gross / equity if equity > 0 else None},
            "max_concentration": {s: abs(w) / gross if gross else ZERO for s, w in worths.items()},
            "max_session_loss": {"": max(ZERO, account.base - profit)},
        }
        for limit, measured in values.items():
            threshold = limits.get(limit)
            known = {symbol for name, symbol in account.broken if name == limit}
            for symbol in sorted(known | measured.keys()):
                value = measured.get(symbol)
                broken = threshold is not None and symbol in measured
                if broken and value is not None and threshold is not None:
                    broken = value > exact(threshold)
                elif broken:
                    broken = gross > 0
                if broken == (symbol in known):
                    continue
                (account.broken.add if broken else account.broken.discard)((limit, symbol))
                self.rows.append(
                    head
                    | {
                        "limit": limit,
                        "symbol": symbol or None,
                        "state": "breached" if broken else "cleared",
                        "value": None if threshold is None else value,
                        "threshold": threshold,
                    }
                )


def _place(entry: tuple[int, int, Row]) -> tuple[Any, ...]:
    time, rank, record = entry
    if rank == 0:
        return time, rank, record["end"], record["symbol"], "", record["revision"]
    identifier = record["transaction_id" if rank == 3 else "update_id"]
    return time, rank, record["event_time"], record["account"], identifier, 0


def _trade(account: Account, record: Row, sign: int, average: bool) -> None:
    """A transaction, or (`sign` -1) its opposite."""
    quantity = exact(record["quantity"]) * sign * (1 if record["side"] == "buy" else -1)
    account.exchange(record["symbol"], quantity, exact(record["price"]), average)
    account.charge(record["symbol"], sign * exact(record.get("fee", 0)))
