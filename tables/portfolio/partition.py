"""One partition of the portfolio stage: records in, one by one; outputs and state rows out.

`take` judges a record by the log before it and holds it until the watermark of all inputs has
passed its time; what is released is taken in `Order` (held.py), so the order of arrival between
the inputs changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.contracts.portfolio import (
    PortfolioInput,
    PortfolioOutput,
    PortfolioUpdateRecord,
    PriceRecord,
    ProgressRecord,
    TransactionRecord,
)
from tables.identifiers import SEPARATOR
from tables.learning import State, StateVersionError
from tables.partitioning import partition_of
from tables.portfolio.book import PortfolioBook, Refused
from tables.portfolio.configuration import BARS, TRANSACTIONS, UPDATES, PortfolioConfiguration
from tables.portfolio.held import VALUATION, Held, Holdable, order_of
from tables.portfolio.marks import Marks
from tables.portfolio.remembered import Known, Remembered, name_of

VERSION: Final = 1
OUTCOMES: Final = ("applied", "revised", "late", "duplicate", "ignored", "dead", "control")


class Outcome(NamedTuple):
    """What became of a record, one of `OUTCOMES`; `late` and `dead` have a reason."""

    name: str
    reason: str | None = None


APPLIED: Final = Outcome("applied")
REVISED: Final = Outcome("revised")
IGNORED: Final = Outcome("ignored")
CONTROL: Final = Outcome("control")


class PortfolioPartition:
    """State of one partition. `outputs` collects in order; who takes them, clears the list.

    Args:
        configuration: of the deployment.
        partition: of the stage's input.
    """

    def __init__(self, configuration: PortfolioConfiguration, partition: int = 0) -> None:
        self.configuration = configuration
        self.partition = partition
        self.counts = dict.fromkeys(OUTCOMES, 0)
        #: Dead, late and refused records by reason.
        self.reasons: dict[str, int] = {}
        self.marks = Marks(
            configuration.inputs, configuration.own_inputs, partition, configuration.patience
        )
        self.held = Held()
        self.remembered = Remembered(
            configuration.identifier_horizon, configuration.max_identifiers
        )
        self.book = PortfolioBook(configuration, self.remembered)
        #: All records with an earlier time are taken; None before the first.
        self.released: int | None = None
        #: The latest event time of a clock record, and the append time of the last record.
        self.clock: int | None = None
        self.appended: int | None = None
        self._accounts: set[str] = set()
        self._symbols: set[str] = set()
        self._updates = UPDATES if UPDATES in configuration.inputs else TRANSACTIONS

    @property
    def outputs(self) -> list[PortfolioOutput | Refused]:
        """What has come out and was not yet cleared."""
        return self.book.outputs

    def take(self, record: PortfolioInput, offset: int, append_time: int) -> Outcome:
        """Take the next record of the log.

        Args:
            record: as decoded (intake.py).
            offset: its place, above that of the record before.
            append_time: when the broker took it, ns.
        """
        if isinstance(record, ProgressRecord):
            outcome = self._progress(record, append_time)
        else:
            outcome = self._judge(record, offset, append_time)
        return self._taken(outcome, append_time, self._was_silent(append_time))

    def take_clock(self, event_time: int, append_time: int) -> Outcome:
        """Take a clock record: the log is silent, and the data's clock has reached `event_time`.

        Where no input partition is waited for any more, what is before that time is taken.
        """
        outcome = CONTROL
        if event_time > self._latest(append_time):
            outcome = Outcome("dead", "event_time_too_late")
        else:
            self.clock = max(event_time, self.clock or event_time)
            self._release_complete()
        return self._taken(outcome, append_time)

    def _taken(self, outcome: Outcome, append_time: int, was_silent: bool = False) -> Outcome:
        """Count an outcome, and see what the record's append time means for those who wait."""
        self.counts[outcome.name] += 1
        if outcome.reason is not None:
            self._note(outcome.reason)
        if outcome.name == "dead":
            return outcome
        self.appended = append_time
        if was_silent and self.marks.waiting_since is not None:
            # Nothing was running: nobody was silent while something waited.
            self.marks.waiting_since = append_time
        if self.marks.give_up_silent(append_time):
            self._release_complete()
        if not self._waits:
            self.marks.waiting_since = None
        elif self.marks.waiting_since is None:
            self.marks.waiting_since = append_time
        return outcome

    def _was_silent(self, append_time: int) -> bool:
        """Whether the log was for longer than the patience, although nobody wrote a clock."""
        patience, before = self.configuration.patience, self.appended
        return patience is not None and before is not None and append_time - before > patience

    @property
    def _waits(self) -> bool:
        """Whether anything is held or due."""
        return len(self.held) > 0 or self.book.due is not None

    @property
    def reached(self) -> int | None:
        """The latest event time that an input partition, or a clock record, has told of."""
        times = [time for time in (self.marks.latest, self.clock) if time is not None]
        return max(times, default=None)

    def clock_due(self, idle: int) -> int | None:
        """Event time of the clock record that would let something go on, if any.

        Args:
            idle: ns since the log last moved.
        """
        first = self.held.first()
        waiting = [time for time in (first and first.time, self.book.due) if time is not None]
        if not waiting or self.appended is None or self.marks.historical:
            return None
        reached = self.reached
        clock = min(waiting) + 1 if reached is None else reached + idle
        if self.marks.waits:
            return clock if self.appended + idle >= self.marks.patience_ends else None
        return clock if clock > min(waiting) else None

    def _note(self, reason: str) -> None:
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    # --- judging ---------------------------------------------------------------------------

    def _judge(self, record: Holdable, offset: int, append_time: int) -> Outcome:
        """Judge a record by the marks before it, and hold it if it counts."""
        configuration = self.configuration
        is_price = isinstance(record, PriceRecord)
        name, time = self._origin(record)
        if record.partition is not None and not self.marks.knows(name, record.partition):
            return Outcome("dead", "unknown_input")
        if is_price and BARS not in configuration.inputs:
            return Outcome("dead", "unknown_input")
        if isinstance(record, PriceRecord):
            if record.interval != configuration.pricing_label:
                return IGNORED
        else:
            reason = self._misplaced(record)
            if reason is not None:
                return Outcome("dead", reason)
        if time < configuration.earliest_event_time:
            return Outcome("dead", "event_time_too_early")
        if time > self._latest(append_time):
            return Outcome("dead", "event_time_too_late")
        mark = self.marks.of(name, record.partition)
        if mark is not None and time < mark - configuration.late_horizon:
            return Outcome("late", "beyond_horizon")
        known = None if isinstance(record, PriceRecord) else name_of(record)
        if known is not None and self.remembered.get(known, mark) is not None:
            return Outcome("duplicate")
        reason = self._too_many(record)
        if reason is not None:
            return Outcome("dead", reason)
        # A late record counts from its input's mark on: no order of arrival changes that. Behind
        # what is released a mark is only after an idle input has spoken again.
        taken = max(time, time if mark is None else mark, self.released or time)
        if known is not None:
            transaction = record if isinstance(record, TransactionRecord) else None
            self.remembered.add(known, Known(time, taken, transaction))
        self.held.add(order_of(record, taken, offset), record)
        return APPLIED if taken == time else REVISED

    def _origin(self, record: Holdable) -> tuple[str, int]:
        """The input and the event time of a record."""
        if isinstance(record, PriceRecord):
            return BARS, record.end
        if isinstance(record, TransactionRecord):
            return TRANSACTIONS, record.event_time
        return self._updates, record.event_time

    def _misplaced(self, record: TransactionRecord | PortfolioUpdateRecord) -> str | None:
        partitions = self.configuration.partitions
        if (
            record.account not in self._accounts
            and partition_of(record.account.encode(), partitions) != self.partition
        ):
            return "wrong_partition"
        if record.currency is not None and record.currency != self.configuration.currency:
            return "other_currency"
        return None

    def _latest(self, append_time: int) -> int:
        """The latest event time at an append time; a flushed bar may end an interval ahead."""
        configuration = self.configuration
        return append_time + configuration.max_ahead + configuration.pricing_interval

    def _too_many(self, record: Holdable) -> str | None:
        """The bound that a record would exceed; else its account or symbol is known from now."""
        while len(self.held) >= self.configuration.max_held:
            if not self.marks.give_up_slowest():
                return "too_many_held"
            self._release_complete()
        if isinstance(record, PriceRecord):
            name, names, limit = record.symbol, self._symbols, self.configuration.max_symbols
            reason = "too_many_symbols"
        else:
            name, names, limit = record.account, self._accounts, self.configuration.max_accounts
            reason = "too_many_accounts"
        if name not in names:
            if len(names) >= limit:
                return reason
            names.add(name)
        return None

    # --- releasing -------------------------------------------------------------------------

    def _progress(self, record: ProgressRecord, append_time: int) -> Outcome:
        if not self.marks.knows(record.input, record.partition):
            return Outcome("dead", "unknown_input")
        if record.watermark > self._latest(append_time):
            return Outcome("dead", "event_time_too_late")
        self.marks.advance(record, append_time)
        self._release_complete()
        return CONTROL

    def _release_complete(self) -> None:
        """Take what nothing that is still to come can precede."""
        if self.marks.all_idle:
            self._release_all()
            return
        watermark = self.marks.watermark if self.marks.waits else self.reached
        if watermark is not None:
            self._release(watermark)

    def _release_all(self) -> None:
        """Nothing is waited for: take all that is held, and the valuation after it."""
        last = self.held.last_time()
        if last is not None:
            self._release(last + 1)
        if self.book.due is not None:
            self._release(self.book.due + 1)

    def _release(self, watermark: int) -> None:
        """Take what comes before the watermark, and the valuations among it."""
        if self.released is not None and watermark <= self.released:
            return
        self.released = watermark
        before = len(self.book.outputs)
        while True:
            first, due = self.held.first(), self.book.due
            if due is not None and (first is None or (due, VALUATION) < first[:2]):
                if due >= watermark:
                    break
                self.book.value_all(due)
            elif first is not None and first.time < watermark:
                self.book.take(*self.held.pop())
            else:
                break
        for output in self.book.outputs[before:]:
            if isinstance(output, Refused):
                self._note(output.reason)
        self.remembered.forget(watermark)

    # --- rows ------------------------------------------------------------------------------

    def changed_rows(self) -> dict[str, State | None]:
        """Rows changed since the last call, by name (parts joined by NUL); None deletes.

        Call it once a checkpoint, and only with one: what it returns is not returned again.
        """
        rows: dict[str, State | None] = {
            "stage": [
                VERSION,
                self.released,
                self.clock,
                self.appended,
                self.marks.content(),
                [self.counts[name] for name in OUTCOMES],
                [[reason, self.reasons[reason]] for reason in sorted(self.reasons)],
                self.remembered.forgotten_early,
                *self.book.content(),
            ]
        }
        rows |= self.book.changed_rows()
        for kind, part in (
            ("held", self.held.changed_rows()),
            ("known", self.remembered.changed_rows()),
        ):
            rows |= {f"{kind}{SEPARATOR}{name}": row for name, row in part.items()}
        return rows

    @classmethod
    def from_rows(
        cls, configuration: PortfolioConfiguration, partition: int, rows: Mapping[str, State]
    ) -> PortfolioPartition:
        """The partition whose rows these are, all of them.

        Raises:
            StateVersionError: they are of another version.
        """
        restored = cls(configuration, partition)
        if not rows:
            return restored
        version, restored.released, restored.clock, restored.appended, *parts = rows["stage"]
        if version != VERSION:
            raise StateVersionError(f"rows of version {version}, this code reads {VERSION}")
        marks, counts, reasons, early, *book = parts
        restored.marks.restore(marks)
        restored.counts = dict(zip(OUTCOMES, counts, strict=True))
        restored.reasons = {reason: count for reason, count in reasons}
        restored.remembered.forgotten_early = early
        for name in sorted(rows):
            kind, _, rest = name.partition(SEPARATOR)
            if kind == "held":
                restored.held.restore(rest, rows[name])
            elif kind == "known":
                restored.remembered.restore(rest, rows[name])
        restored.book.restore(book, rows)
        restored._symbols = set(restored.book.prices.prices)
        restored._accounts = set(restored.book.accounts)
        for record in restored.held.records():
            if isinstance(record, PriceRecord):
                restored._symbols.add(record.symbol)
            else:
                restored._accounts.add(record.account)
        return restored
