"""Which trades the corrections of a log name, and what has become of those.

A log with corrections is read again, from its beginning: only then is it known which of its trades
are worth keeping. A few are: those with an id, or a time, that any correction gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import CorrectionRecord, trade_decoder
from app.reconcile.judging import Correction, Judge
from tables.columns import NO_SEQUENCE, Columns
from tables.configuration import BarsConfiguration
from tables.identifiers import join_identity
from tables.policies import LAST

#: Symbol, venue, event time, sequence.
_Place = tuple[str, str | None, int, int]


@dataclass(slots=True, eq=False)
class Change:
    """A trade that a correction may name.

    Attributes:
        offset, symbol, time: of the trade.
        sets: whether it may set open and close.
        price, size: as corrected so far.
        corrected_at: offset of the newest correction, -1 where there is none.
        cancelled_at: offset of the cancel, None where it stands.
        watermark: by which the newest correction was judged.
    """

    offset: int
    symbol: str
    time: int
    sets: bool
    price: float
    size: float
    corrected_at: int = -1
    cancelled_at: int | None = None
    watermark: int = 0


class Naming:
    """One partition's log, taken a second time for what its corrections name.

    Args:
        configuration: of the deployment.
        partition: its number.
        corrections: all of the log, without those that were refused because of a log that is
            gone, in order.
    """

    def __init__(
        self, configuration: BarsConfiguration, partition: int, corrections: Sequence[Correction]
    ) -> None:
        self._configuration = configuration
        self._judge = Judge(configuration, "bars", partition)
        self._wanted = {each.offset for each in corrections}
        records = [each.record for each in corrections]
        self._identities = {identity for each in records if (identity := _identity(each))}
        times = {place[2] for each in records if (place := _place(each))}
        self._times = np.array(sorted(times), dtype=np.int64)
        self._by_identity: dict[str, list[Change]] = {}
        self._by_place: dict[_Place, list[Change]] = {}

    @property
    def changes(self) -> dict[int, Change]:
        """The trades that were corrected or cancelled, by offset."""
        found = (each for changes in self._by_place.values() for each in changes)
        return {each.offset: each for each in found if each.corrected_at >= 0}

    def mark(self) -> None:
        """Nothing: which windows are moving is seen by the offsets of the corrections."""

    def take(self, batch: RecordBatch) -> None:
        """Take the next chunk, at most `MAX_BATCH_RECORDS` records."""
        for step in self._judge.take(batch):
            if isinstance(step, Columns):
                self._keep(step, batch)
            elif isinstance(step, Correction) and step.offset in self._wanted:
                self._correct(step)

    def _keep(self, trades: Columns, batch: RecordBatch) -> None:
        """Remember the trades that may be named."""
        candidates = np.isin(trades.time, self._times)
        identities: list[str | None] = []
        if trades.identifiers is not None:
            known, identities = self._identities, trades.identifiers.texts()
            candidates |= np.array([each in known for each in identities], dtype=np.bool_)
        if not candidates.any():
            return
        flags = self._judge.flags(trades)
        for index in np.flatnonzero(candidates).tolist():
            value = batch.values[int(trades.position[index])]
            assert value is not None
            # Columns have no venue.
            venue = trade_decoder.decode(value).venue
            change = Change(
                int(trades.offset[index]),
                self._judge.symbols[int(trades.symbol[index])],
                int(trades.time[index]),
                bool(flags[index] & LAST),
                float(trades.price[index]),
                float(trades.size[index]),
            )
            place = (change.symbol, venue, change.time, int(trades.sequence[index]))
            self._by_place.setdefault(place, []).append(change)
            identity = identities[index] if identities else None
            if identity is not None:
                self._by_identity.setdefault(identity, []).append(change)

    def _correct(self, correction: Correction) -> None:
        record = correction.record
        change = self._named(correction)
        if change is None:
            return
        if record.action == "cancel":
            change.cancelled_at = correction.offset
        else:
            # As a trade's are: 0.0 of -0.0.
            price = change.price if record.new_price is None else record.new_price + 0.0
            size = change.size if record.new_size is None else record.new_size + 0.0
            if abs(price * size) > MAX_NOTIONAL:
                return
            change.price, change.size = price, size
        change.corrected_at, change.watermark = correction.offset, correction.watermark

    def _named(self, correction: Correction) -> Change | None:
        """Return the last trade that a correction names, None where there is none."""
        record = correction.record
        candidates: Iterable[Change]
        if (identity := _identity(record)) is not None:
            candidates = self._by_identity.get(identity, ())
            given = record.original_event_time
            candidates = [each for each in candidates if given in (None, each.time)]
        elif (place := _place(record)) is not None:
            candidates = self._by_place.get(place, ())
        else:
            return None
        oldest = correction.watermark - self._configuration.recall_horizon
        fitting = (
            each
            for each in candidates
            if each.cancelled_at is None
            and each.time >= oldest
            and record.original_price in (None, each.price)
            and record.original_size in (None, each.size)
        )
        return max(fitting, key=lambda each: each.offset, default=None)


def _identity(record: CorrectionRecord) -> str | None:
    if record.trade_id is None:
        return None
    return join_identity(record.symbol, record.venue, record.trade_id)


def _place(record: CorrectionRecord) -> _Place | None:
    """Return what names a trade in a correction without an id."""
    if record.trade_id is not None or record.original_event_time is None:
        return None
    sequence = NO_SEQUENCE if record.original_sequence is None else record.original_sequence
    return record.symbol, record.venue, record.original_event_time, sequence
