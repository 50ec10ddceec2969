"""A portfolio stage for tests by example: told records by the second, asked for outputs by kind."""

from __future__ import annotations

from typing import Any

from app.contracts.portfolio import (
    PortfolioUpdateRecord,
    PriceRecord,
    ProgressRecord,
    TransactionRecord,
)
from app.durations import NANOSECONDS
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.partition import Outcome, PortfolioPartition

SECOND, MINUTE, DAY = NANOSECONDS["s"], NANOSECONDS["m"], NANOSECONDS["d"]
#: 2023-11-14 12:00 UTC.
BASE = 1_699_920_000 * SECOND + 12 * 60 * MINUTE
INPUTS = {"bars": 1, "transactions": 1}


class Stage:
    """A stage that is told records at seconds after `BASE`, with one account unless named."""

    def __init__(self, **changes: Any) -> None:
        values: dict[str, Any] = {"inputs": INPUTS, "late_horizon": 10 * MINUTE}
        self.partition = PortfolioPartition(PortfolioConfiguration(**values | changes))
        self._offset = 0

    def take(self, record: Any) -> Outcome:
        """One record, appended a day later."""
        self._offset += 1
        return self.partition.take(record, self._offset, BASE + DAY)

    def trade(
        self, second: float, quantity: float, price: float, symbol: str = "AAA", **fields: Any
    ) -> Outcome:
        """Buy, or sell where the quantity is below 0."""
        values: dict[str, Any] = {
            "account": "one",
            "symbol": symbol,
            "side": "buy" if quantity > 0 else "sell",
            "quantity": abs(quantity),
            "price": price,
            "event_time": BASE + int(second * SECOND),
            "transaction_id": f"t{self._offset}",
        }
        return self.take(TransactionRecord(**values | fields))

    def update(self, second: float, action: str, **fields: Any) -> Outcome:
        """A portfolio update."""
        values: dict[str, Any] = {
            "account": "one",
            "action": action,
            "event_time": BASE + int(second * SECOND),
            "update_id": f"u{self._offset}",
        }
        return self.take(PortfolioUpdateRecord(**values | fields))

    def price(self, second: int, close: float, symbol: str = "AAA", **fields: Any) -> Outcome:
        """The close of the minute that ends at a second."""
        end = BASE + second * SECOND
        values: dict[str, Any] = {"interval": "1m", "start": end - MINUTE, "end": end}
        return self.take(PriceRecord(symbol=symbol, close=close, **values | fields))

    def reach(self, second: float, idle: bool = False) -> None:
        """All inputs are complete up to a second."""
        for name, partitions in self.partition.configuration.inputs.items():
            for partition in range(partitions):
                mark = BASE + int(second * SECOND)
                self.take(ProgressRecord(name, partition, mark, idle))

    def out(self, kind: type[Any]) -> list[Any]:
        """The outputs of a kind so far, all cleared."""
        found = [output for output in self.partition.outputs if isinstance(output, kind)]
        self.partition.outputs.clear()
        return found
