"""The anomalies of one partition of bars: each closed bar in, a record where it is odd.

An entry is the `MarketScorer` of one symbol and interval. A bar is scored by what was learned
before it, and nothing is taken from any other output: an odd bar stays where it is. Of the rules
the price's alone makes a record of its own: at 1 s those of volume and RSI hold all the time. Bars
of sizes that are not scored, and those without trades, are `ignored`; a revision that comes too
late for being learned is `older`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.contracts.wire import AnomalyRecord, BarRecord, QuoteBarRecord, encoder
from models.anomalies.bars import FEATURES, observation_of
from models.anomalies.market import MarketScorer
from tables.alerts.raising import of_anomaly, raise_alerts
from tables.derived import (
    BadRecordError,
    DerivedConfiguration,
    KeyedPartition,
    check_bar_time,
)
from tables.parsing import DECODE_ERRORS
from tables.symbols import SymbolFaults
from tables.windows import Reader

_decode_row = msgspec.msgpack.Decoder(list).decode
_encode_row = msgspec.msgpack.Encoder().encode


class AnomaliesPartition(KeyedPartition[MarketScorer]):
    """State of one partition of an anomalies agent.

    Args:
        decoder: of the source's bars.
        source: what the records call it: `bars` or `quotes.bars`.
        scorers: the parameters of the scorer of each interval (`1s`) that is scored.
        intervals: length (ns) of each interval that bars come in.
        max_ahead: how far (ns) a bar may begin after its append time; no bar of ours does.
        publish_all: a record for each bar that is scored, not only for odd ones.
        critical: of `tables.alerts.raising.of_anomaly`; None: no alerts are raised.
    """

    OUTCOMES = ("applied", "older", "ignored", "dead")
    SETTINGS = "anomalies, raising, bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        read: Reader | None,
        *,
        decoder: msgspec.json.Decoder[Any],
        source: str,
        scorers: Mapping[str, Mapping[str, Any]],
        intervals: Mapping[str, int],
        max_ahead: int,
        publish_all: bool = False,
        critical: float | None = None,
    ) -> None:
        super().__init__(configuration, partition, read)
        self._decoder = decoder
        self._source = source
        self._scorers = scorers
        self._intervals, self._max_ahead = intervals, max_ahead
        self._publish_all = publish_all
        self._critical = critical
        self._faults = SymbolFaults(partition, configuration.partitions)

    def decode(self, key: bytes, row: bytes | None) -> MarketScorer:
        """Make a scorer of its row, or a new one."""
        parameters = self._scorers[key.rpartition(b"\0")[2].decode()]
        if row is None:
            return MarketScorer(**parameters)
        return MarketScorer.from_state(_decode_row(row), **parameters)

    def encode(self, key: bytes, entry: MarketScorer) -> bytes:
        """Make a row of a scorer."""
        return _encode_row(entry.state())

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a bar.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        try:
            bar: BarRecord | QuoteBarRecord = self._decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        fault = self._faults.of(bar.symbol)
        if fault is not None:
            raise BadRecordError(fault)
        length = self._intervals.get(bar.interval)
        if length is None:
            raise BadRecordError("unknown_interval")
        check_bar_time(bar.start, length, append_time + self._max_ahead)
        observation = observation_of(bar) if bar.interval in self._scorers else None
        if observation is None:
            return "ignored"
        symbol = bar.symbol.encode()
        scorer = self.entry(symbol + b"\0" + bar.interval.encode())
        late = scorer.late_revisions
        scorer.update(observation)
        if self.maximum is None or bar.start > self.maximum:
            self.maximum = bar.start
        self._publish(symbol, bar, scorer, append_time)
        return "older" if scorer.late_revisions > late else "applied"

    def _publish(
        self,
        symbol: bytes,
        bar: BarRecord | QuoteBarRecord,
        scorer: MarketScorer,
        append_time: int,
    ) -> None:
        found = scorer.value
        if found is None or not (self._publish_all or found.is_anomaly or "price" in found.rules):
            return
        record = AnomalyRecord(
            symbol=bar.symbol,
            interval=bar.interval,
            start=bar.start,
            revision=bar.revision,
            source=self._source,
            score=found.score,
            threshold=found.threshold,
            is_anomaly=found.is_anomaly,
            reason=found.reason,
            rules=found.rules,
            features=dict(zip(FEATURES, found.features, strict=True)),
            learned=found.learned,
        )
        self.put("anomalies", symbol, encoder.encode(record))
        if self._critical is not None:
            events = of_anomaly(record, scorer.interval, append_time, self._critical)
            raise_alerts(self, self.configuration.partitions, events)
