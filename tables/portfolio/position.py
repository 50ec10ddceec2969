"""One position: lots, their cost, and what closing them has realised. Integers (money.py) only.

Quantities and costs are signed: of a short position both are below 0 (what was sold, and what was
got for it), so the same lines serve both sides. A trade that crosses zero closes all and opens the
rest at its price.

Lots are closed from the oldest (first in, first out). With more lots than the bound, a new one is
merged into the newest; so a bound of one is the average cost method.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tables.portfolio.money import divided

#: Splits remembered, for prices of before them.
MAX_SPLITS = 8


class Split(NamedTuple):
    """At an event time, `new` for each `old`."""

    time: int
    new: int
    old: int


class Position:
    """What an account holds of one symbol, and what it has had from it."""

    __slots__ = (
        "changed_at",
        "cost",
        "fees",
        "income",
        "lots",
        "merged_lots",
        "quantity",
        "realised",
        "splits",
    )

    def __init__(self) -> None:
        self.quantity = 0
        #: Of the open quantity, in money.
        self.cost = 0
        self.realised = 0
        self.fees = 0
        self.income = 0
        #: (quantity, cost), the oldest first; signs as that of the position.
        self.lots: list[tuple[int, int]] = []
        #: How often the bound of lots has merged two.
        self.merged_lots = 0
        self.splits: list[Split] = []
        #: Event time of the last record that was applied.
        self.changed_at = 0

    def trade(self, quantity: int, price: int, max_lots: int) -> int:
        """Buy (quantity above 0) or sell; returns what that realised.

        Args:
            quantity, price: in grid units.
            max_lots: bound of lots, at least 1.
        """
        realised = 0
        if self.quantity and (self.quantity < 0) != (quantity < 0):
            closing = min(abs(quantity), abs(self.quantity)) * (1 if quantity > 0 else -1)
            removed = self._close(abs(closing))
            realised = -closing * price - removed
            self.realised += realised
            quantity -= closing
        if quantity:
            self._open(quantity, quantity * price, max_lots)
        return realised

    def _open(self, quantity: int, cost: int, max_lots: int) -> None:
        self.quantity += quantity
        self.cost += cost
        if len(self.lots) < max_lots:
            self.lots.append((quantity, cost))
            return
        newest = self.lots[-1]
        self.lots[-1] = (newest[0] + quantity, newest[1] + cost)
        self.merged_lots += 1

    def _close(self, amount: int) -> int:
        """Take an amount (above 0, at most what is open) from the oldest lots; its cost."""
        sign = 1 if self.quantity > 0 else -1
        left, removed, whole = amount, 0, 0
        for quantity, cost in self.lots:
            if abs(quantity) > left:
                break
            left -= abs(quantity)
            removed += cost
            whole += 1
        del self.lots[:whole]
        if left:
            quantity, cost = self.lots[0]
            part = divided(cost * left, abs(quantity))
            self.lots[0] = (quantity - sign * left, cost - part)
            removed += part
        self.quantity -= sign * amount
        self.cost -= removed
        return removed

    def split(self, split: Split) -> int:
        """Make `new` of every `old`, each lot rounded to the grid; the cost stays.

        Returns:
            What was realised: the cost (as a loss) of what a reverse split rounds away altogether.
        """
        self.splits = [*self.splits, split][-MAX_SPLITS:]
        lots: list[tuple[int, int]] = []
        carried = 0
        for quantity, cost in self.lots:
            after = divided(quantity * split.new, split.old)
            if after:
                lots.append((after, cost + carried))
                carried = 0
            else:
                carried += cost
        if lots and carried:
            lots[-1] = (lots[-1][0], lots[-1][1] + carried)
            carried = 0
        self.lots = lots
        self.quantity = sum(quantity for quantity, _ in lots)
        self.cost -= carried
        self.realised -= carried
        return -carried

    def adjusted(self, price: int, price_time: int) -> int:
        """A price of `price_time` in terms of the shares of today: of before a split, split."""
        for split in self.splits:
            if price_time <= split.time:
                price = divided(price * split.old, split.new)
        return price

    def content(self) -> list[Any]:
        """Plain values; money as text, for it exceeds 64 bits."""
        return [
            str(self.realised),
            str(self.fees),
            str(self.income),
            [[str(quantity), str(cost)] for quantity, cost in self.lots],
            self.merged_lots,
            [list(split) for split in self.splits],
            self.changed_at,
        ]

    @classmethod
    def from_content(cls, content: list[Any]) -> Position:
        """What `content` was of."""
        position = cls()
        realised, fees, income, lots, position.merged_lots, splits, position.changed_at = content
        position.realised, position.fees, position.income = int(realised), int(fees), int(income)
        position.lots = [(int(quantity), int(cost)) for quantity, cost in lots]
        position.quantity = sum(quantity for quantity, _ in position.lots)
        position.cost = sum(cost for _, cost in position.lots)
        position.splits = [Split(*split) for split in splits]
        return position
