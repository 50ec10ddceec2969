"""The portfolio as a stage: one partition's log, record by record, to records and state rows.

| key of a row | value |
|---|---|
| `p` and the name of a row of `PortfolioPartition.changed_rows` | that row, as JSON |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from app.contracts.batch import RecordBatch
from app.contracts.outputs import OutputRecord
from app.contracts.portfolio import LimitRecord, PortfolioRecord, PositionRecord
from app.contracts.wire import ClockRecord, encoder
from tables.alerts.raising import of_limit, raise_alerts
from tables.derived import BadRecordError, DerivedConfiguration, DerivedPartition
from tables.portfolio.book import Refused
from tables.portfolio.configuration import PortfolioConfiguration
from tables.portfolio.intake import decode_staged
from tables.portfolio.partition import OUTCOMES, PortfolioPartition
from tables.rows import Marker

ROW_PREFIX: Final = b"p"
#: Where each kind of record goes.
OUTPUTS: Final[dict[type[msgspec.Struct], str]] = {
    PositionRecord: "positions",
    PortfolioRecord: "values",
    LimitRecord: "limits",
}


class AccountsPartition(DerivedPartition):
    """State of one partition of the portfolio agent: its `PortfolioPartition`.

    Records that were held and then refused are letters in `dead` as well, with the place that they
    came from, as this stage writes them; they are counted in `details`, as `refused`.
    """

    OUTCOMES = OUTCOMES
    SETTINGS = "portfolio, raising, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        portfolio: PortfolioConfiguration,
        *,
        raises: bool = False,
    ) -> None:
        """Begin without accounts; `raises`: limits are alert events, too."""
        super().__init__(configuration, partition)
        self._portfolio = PortfolioPartition(portfolio, partition)
        self._topic = ""
        self._raises = raises

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch, as every derived partition does."""
        self._topic = batch.topic
        super().apply(batch)

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a record.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        record = decode_staged(value)
        if isinstance(record, ClockRecord):
            outcome = self._portfolio.take_clock(record.event_time, append_time)
        else:
            outcome = self._portfolio.take(record, offset, append_time)
        self._publish(append_time)
        self.maximum = self._portfolio.reached
        if outcome.name == "dead":
            raise BadRecordError(outcome.reason)
        if outcome.name == "late":
            self._set_aside("late", value, outcome.reason or "late", offset)
        return outcome.name

    def _publish(self, append_time: int) -> None:
        outputs = self._portfolio.outputs
        for output in outputs:
            if isinstance(output, Refused):
                self.details["refused"] = self.details.get("refused", 0) + 1
                self.dead_reasons[output.reason] = self.dead_reasons.get(output.reason, 0) + 1
                value = encoder.encode(output.record)
                self._set_aside("dead", value, output.reason, output.offset)
            else:
                self.put(OUTPUTS[type(output)], output.account.encode(), encoder.encode(output))
                if self._raises and isinstance(output, LimitRecord):
                    partitions = self.configuration.partitions
                    raise_alerts(self, partitions, of_limit(output, append_time))
        outputs.clear()

    def _set_aside(self, output: str, value: bytes, reason: str, offset: int) -> None:
        """Like a dead letter: why, and where the record was."""
        headers = [
            ("reason", reason.encode()),
            ("topic", self._topic.encode()),
            ("partition", str(self.partition).encode()),
            ("offset", str(offset).encode()),
        ]
        self._outputs.setdefault(output, []).append(OutputRecord(None, value, headers))
        self.pending_bytes += len(value) + 100

    def clock_due(self, idle: int) -> int | None:
        """What waits for time to pass, or for an input partition to be given up."""
        return self._portfolio.clock_due(idle)

    # --- rows ------------------------------------------------------------------------------

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows that have changed since the last call."""
        return [
            (ROW_PREFIX + name.encode(), None if row is None else encoder.encode(row))
            for name, row in self._portfolio.changed_rows().items()
        ]

    def restore(self, marker: Marker, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Go on from a marker and all rows.

        Raises:
            ValueError: a row is of another stage.
            StateVersionError: rows are of another version.
        """
        super().restore(marker, ())
        found: dict[str, Any] = {}
        for key, row in rows:
            if not key.startswith(ROW_PREFIX):
                raise ValueError(f"unknown row {key!r}")
            found[key.removeprefix(ROW_PREFIX).decode()] = msgspec.json.decode(row)
        configuration = self._portfolio.configuration
        self._portfolio = PortfolioPartition.from_rows(configuration, self.partition, found)

    @property
    def rows(self) -> int:
        """How many accounts, prices, ids and held records are in memory."""
        book, portfolio = self._portfolio.book, self._portfolio
        known = len(book.accounts) + len(book.prices.prices)
        return known + len(portfolio.remembered) + len(portfolio.held)


def row_bytes(portfolio: PortfolioConfiguration) -> int:
    """The most that one row takes, in bytes of JSON: a position's, an account's or the stage's.

    A lot is two integers of up to 30 and 60 digits as text, for 1e18 of a thing at 1e12 on their
    grids (money.py). An account remembers broken limits of each symbol: three limits at most.
    """
    lots = portfolio.lots * (30 + 60 + 10)
    breached = 3 * portfolio.max_positions * (32 * 2 + 30)
    marks = sum(portfolio.inputs.values()) * 120
    # Totals, splits, names, reasons.
    return max(lots, breached, marks) + 4096
