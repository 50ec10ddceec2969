"""Trades that venues cancel or correct later: the part of a bars partition that follows them.

At a correction `apply` stops with a `question`, since only the log knows which trade is meant and
what else lies in its windows. Its owner reads a stretch of the log again (tables/recall.py), gives
the `answer`, and applies the rest of the batch, beginning with the correction.
"""

from __future__ import annotations

from app.contracts.batch import RecordBatch
from app.contracts.wire import CorrectionRecord
from tables.anchors import Anchor, Anchors
from tables.columns import Columns
from tables.configuration import BarsConfiguration
from tables.corrections import (
    Answer,
    Correction,
    Override,
    Overrides,
    Question,
    oldest_record,
    oldest_window,
)
from tables.intake import Control, Dead
from tables.partial import Partial
from tables.partition import NO_MAXIMUM, WindowedPartition
from tables.publishing import Publisher
from tables.rows import (
    ANCHOR_PREFIX,
    CORRECTED_PREFIX,
    OVERRIDE_PREFIX,
    anchor_offset,
    decode_anchor,
    decode_override,
    read_corrected_key,
    read_override_key,
)
from tables.windows import Reader


class CorrectablePartition(WindowedPartition[Partial, Columns]):
    """A partition of trades whose windows can be made anew."""

    publisher: Publisher

    def __init__(
        self,
        configuration: BarsConfiguration,
        partition: int,
        read: Reader | None,
        source_names: list[str] | None = None,
    ) -> None:
        super().__init__(configuration, partition, read, source_names)
        self.anchors = Anchors(max(0, configuration.max_ahead - configuration.clock_ahead))
        self.overrides = Overrides()
        #: The correction that the log has to be read for, and what was found.
        self.question: Question | None = None
        self._answer: Answer | None = None

    def begin(self, offset: int) -> None:
        """The log begins at `offset`; nothing of it was taken."""
        super().begin(offset)
        self.anchors.begin(offset)

    def apply(self, batch: RecordBatch) -> None:
        """Take a batch whose `base` is `next`, up to a correction that waits for an answer.

        Raises:
            ValueError: the batch does not begin where the state ends.
        """
        if not len(self.anchors):
            self.anchors.begin(batch.base)
        super().apply(batch)
        if self.next is None or self.maximum == NO_MAXIMUM:
            return
        if self.anchors.note(self.next, self.maximum):
            self._forget_corrected()

    def _correction(self, step: Control, batch: RecordBatch, dead: Dead) -> bool:
        """Take a correction; false where the log before it has to be read first."""
        record, offset = step.record, int(batch.offsets[step.position])
        if not isinstance(record, CorrectionRecord):
            raise TypeError(f"{record!r} is no correction")
        question = Question(offset, record, self.watermark - self.configuration.recall_horizon)
        reason = self._refused(question)
        if reason is None:
            answer, self._answer = self._answer, None
            if answer is None or answer.offset != offset:
                self.question = question
                return False
            if answer.correction is not None:
                self._correct(record.symbol, answer.correction)
                self.counts["control"] += 1
                return True
            reason = answer.reason
        dead.append((step.position, reason))
        return True

    def _refused(self, question: Question) -> str | None:
        """Why a correction is dead, as far as that can be said without the log."""
        record, configuration = question.record, self.configuration
        if configuration.policy.amends or configuration.fill_forward:
            return "policy_without_corrections"
        fault = self.symbols.fault_of(record.symbol)
        if fault is not None:
            return fault
        time = record.original_event_time
        nameless = record.trade_id is None and time is None
        early = time is not None and time < question.earliest
        if nameless or early or self.symbols.code_of(record.symbol) is None:
            return "unknown_trade"
        return None

    def answer(self, answer: Answer) -> None:
        """Let `apply` go on from the correction that it stopped at."""
        self.question, self._answer = None, answer

    def _correct(self, name: str, correction: Correction) -> None:
        """Put what the log says into the windows of a corrected trade; publish the closed ones."""
        symbol = self.symbols.code_of(name)
        if symbol is None:
            raise ValueError(f"{name} is not known")
        self.publisher.watermark = self.watermark
        flushed = self.windows.flushed.get(symbol, ())
        for interval, length in enumerate(self.configuration.intervals):
            start, content = correction.contents[interval]
            if start + length <= self.watermark or (interval, start) in flushed:
                former = self._former(interval, symbol, start, correction.former[interval])
                content = content or Partial.empty()
                self.windows.keep_corrected(interval, symbol, start, content)
                self.publisher.correct(interval, symbol, start, former, content)
            else:
                self.windows.replace_open(interval, symbol, start, content)
                # Nothing of it is published yet; known as corrected it is kept once it closes.
                self.windows.keep_corrected(interval, symbol, start, Partial.empty())
        self.overrides.set(name, correction.target, correction.override)
        self.changed.add(symbol)
        self.touched.add(symbol)

    def _former(
        self, interval: int, symbol: int, start: int, uncorrected: Partial | None
    ) -> Partial:
        """A closed window as it was published last: from the state, or else as the log has it."""
        former = self.windows.closed(interval, symbol, start)
        if former is None and (interval, symbol, start) not in self.windows.corrected:
            former = uncorrected
        return former or Partial.empty()

    def _forget_corrected(self) -> None:
        """Release what only trades that are too old to be corrected have need of."""
        oldest = oldest_window(self.configuration, self.watermark)
        self.overrides.forget(oldest)
        self.windows.forget_corrected(oldest)
        anchor = self.anchors.before(oldest)
        if anchor.maximum is not None:
            oldest = min(oldest, oldest_record(self.configuration, anchor.maximum))
        self.anchors.forget(oldest)

    def more_rows(self) -> list[tuple[bytes, bytes | None]]:
        """Anchors and overrides changed since the last call."""
        return self.anchors.take_changes() + self.overrides.take_changes()

    def restore_row(self, key: bytes, value: bytes) -> None:
        """Take in a stored anchor, override or corrected window."""
        prefix = key[:1]
        if prefix == ANCHOR_PREFIX:
            self.anchors.restore(Anchor(anchor_offset(key), decode_anchor(value)))
        elif prefix == OVERRIDE_PREFIX:
            name, offset = read_override_key(key)
            self.overrides.restore(name, offset, Override(*decode_override(value)))
        elif prefix == CORRECTED_PREFIX:
            name, length, start = read_corrected_key(key)
            interval = self.windows.lengths.index(length)
            self.windows.corrected.add((interval, self.symbols.restore(name), start))
        else:
            super().restore_row(key, value)

    def restored(self, version: int) -> None:
        """All rows are taken in; they are of this row version.

        Version 1 has no anchors, so the first one is the log's beginning: where the broker has that
        no more, a correction finds the log gone.
        """
        if version == 1:
            self.anchors.begin(0)
