"""Accounts that trade on the simulated market: seeded transactions and portfolio updates.

For demonstrations, load and tests; no strategy is behind them. Each block of the market
(market.py) gives the records of the same event time: about a share of its trades is some account's,
at the trade's price, and now and then an account gets a dividend, pays a fee, moves cash or sets a
limit. Every account begins with a deposit. The same options and the same blocks give the same
records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from app.contracts.portfolio import PortfolioUpdateRecord, TransactionRecord
from app.feeds.columns import TradeColumns, Vocabulary
from app.feeds.market import SECOND, SOURCE

#: Fee of a transaction: so much a share, at least the minimum.
FEE_PER_SHARE: Final = 0.005
MINIMUM_FEE: Final = 1.0
#: Dividend of one share.
DIVIDEND: Final = 0.25
#: Updates besides the first deposits, with their weights.
ACTIONS: Final = ("deposit", "withdraw", "dividend", "fee", "set_limit")
WEIGHTS: Final = (0.3, 0.2, 0.3, 0.1, 0.1)


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """What the accounts do.

    Attributes:
        accounts: ACC-01, ACC-02, ...; at most 100,000.
        share: part of the market's trades (0 to 1) that is some account's.
        update_every: seconds between updates of all accounts together, in the mean.
        deposit: what each account begins with.
        seed: of all random choices.
    """

    accounts: int = 10
    share: float = 0.05
    update_every: float = 10.0
    deposit: float = 1_000_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.accounts <= 100_000:
            raise ValueError(f"{self.accounts} accounts; expected 1 to 100,000")
        if not 0 <= self.share <= 1:
            raise ValueError(f"a share of {self.share}; expected 0 to 1")
        if self.update_every <= 0 or self.deposit <= 0:
            raise ValueError("expected update_every and deposit above 0")


class AccountRecord(NamedTuple):
    """One record for the topic, keyed by its account."""

    account: str
    event_time: int
    value: bytes


@dataclass(frozen=True, slots=True)
class AccountColumns:
    """`AccountRecord`s as columns: `event_time` int64 ns, `account` str and `value` bytes.

    They are delayed and repeated by the same code as trades (mangle.py, market.py).
    """

    account: npt.NDArray[np.object_]
    event_time: npt.NDArray[np.int64]
    value: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.event_time)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> AccountColumns:
        """These rows, in this order."""
        return AccountColumns(self.account[rows], self.event_time[rows], self.value[rows])

    @classmethod
    def of(cls, records: Iterable[AccountRecord]) -> AccountColumns:
        """The records, in their order."""
        rows = list(records)
        account = np.empty(len(rows), dtype=object)
        account[:] = [row.account for row in rows]
        value = np.empty(len(rows), dtype=object)
        value[:] = [row.value for row in rows]
        return cls(account, np.array([row.event_time for row in rows], dtype=np.int64), value)


class Transactions:
    """The accounts of some options; `block` after `block`, in step with a market's.

    Args:
        options: what they do.
        start: event time of the first deposits, ns.
        vocabulary: the market's symbols.
    """

    def __init__(self, options: TransactionOptions, start: int, vocabulary: Vocabulary) -> None:
        self.options = options
        self._start = start
        self._reached = start
        self._vocabulary = vocabulary
        self._random = np.random.default_rng((options.seed, 11))
        width = max(2, len(str(options.accounts)))
        self.accounts = [f"ACC-{each:0{width}}" for each in range(1, options.accounts + 1)]
        self._transactions = 0
        self._updates = 0
        #: Shares by account and symbol, for dividends.
        self._held: dict[tuple[str, str], float] = {}

    def block(self, trades: TradeColumns, reached: int) -> list[AccountRecord]:
        """The records of the time from the last block to `reached`, by event time.

        Args:
            trades: of the market in that time, in order of event time.
            reached: end of the block, ns.
        """
        records: list[AccountRecord] = []
        if self._updates == 0:
            for account in self.accounts:
                fields = {"amount": self.options.deposit}
                records.append(self._update(account, "deposit", self._start, fields))
        begin, self._reached = self._reached, reached
        seconds = (reached - begin) / SECOND
        for _ in range(int(self._random.poisson(seconds / self.options.update_every))):
            records.append(self._any_update(begin + int(self._random.random() * (reached - begin))))
        for row in np.flatnonzero(self._random.random(len(trades)) < self.options.share).tolist():
            records.append(self._transaction(trades, row))
        records.sort(key=lambda record: record.event_time)
        return records

    def _transaction(self, trades: TradeColumns, row: int) -> AccountRecord:
        account, symbol = self._account(), self._vocabulary.symbols.values[int(trades.symbol[row])]
        quantity = float(self._random.integers(1, max(2, int(trades.size[row]))))
        held = self._held.get((account, symbol), 0.0)
        # Rather back to nothing than ever farther away; the other way often enough to cross zero.
        buys = bool(self._random.random() < (0.5 if held == 0 else 0.3 if held > 0 else 0.7))
        self._held[account, symbol] = held + (quantity if buys else -quantity)
        self._transactions += 1
        record = TransactionRecord(
            account=account,
            symbol=symbol,
            side="buy" if buys else "sell",
            quantity=quantity,
            price=float(trades.price[row]),
            event_time=int(trades.event_time[row]),
            transaction_id=f"T-{self._transactions}",
            fee=round(max(MINIMUM_FEE, FEE_PER_SHARE * quantity), 4),
            source=SOURCE,
        )
        return AccountRecord(account, record.event_time, _encoded(record))

    def _any_update(self, time: int) -> AccountRecord:
        account = self._account()
        action = str(self._random.choice(ACTIONS, p=WEIGHTS))
        amount = round(float(self._random.uniform(0.001, 0.02)) * self.options.deposit, 2)
        if action == "set_limit":
            limits: dict[str, float | str] = {
                "limit": "max_gross_exposure",
                "threshold": amount * 10,
            }
            return self._update(account, action, time, limits)
        if action == "fee":
            return self._update(
                account, action, time, {"amount": max(0.01, round(amount / 100, 2))}
            )
        if action == "dividend":
            mine = sorted(
                (symbol, held) for (name, symbol), held in self._held.items() if name == account
            )
            mine = [(symbol, held) for symbol, held in mine if held]
            if mine:
                symbol, held = mine[int(self._random.integers(len(mine)))]
                paid: dict[str, float | str] = {"amount": round(held * DIVIDEND, 2)}
                return self._update(account, action, time, {**paid, "symbol": symbol})
            action = "deposit"
        return self._update(account, action, time, {"amount": max(0.01, amount)})

    def _update(
        self, account: str, action: str, time: int, fields: Mapping[str, float | str]
    ) -> AccountRecord:
        self._updates += 1
        record = msgspec.convert(
            {
                "type": "portfolio_update",
                "account": account,
                "action": action,
                "event_time": time,
                "update_id": f"U-{self._updates}",
                "source": SOURCE,
                **fields,
            },
            PortfolioUpdateRecord,
        )
        return AccountRecord(account, time, _encoded(record))

    def _account(self) -> str:
        return self.accounts[int(self._random.integers(len(self.accounts)))]


def _encoded(record: TransactionRecord | PortfolioUpdateRecord) -> bytes:
    """As JSON, without what is absent."""
    fields = msgspec.to_builtins(record)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
