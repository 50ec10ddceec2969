"""Price alerts of a partition of `bars`: closed bars in, `AlertEvent`s out.

A watch is `SYMBOL>PRICE@INTERVAL` or `SYMBOL<PRICE@INTERVAL`, with `:SEVERITY` behind it where it
is not a warning. It fires when a bar of that size closes at the price or beyond, and is over when
one closes short of it: a touch that is gone at the close is not told. The newest bar counts, and
each of its revisions; a revision of an older one does not (`older`), and bars that are filled
forward or withdrawn, or of symbols that nobody watches, are `ignored`.

Watches may change from start to start: those that are new begin then, those that are gone are over.

| key of a row | value |
|---|---|
| `w` symbol NUL interval | start of the newest bar, and the rows of `PriceAlerts` |
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.contracts.records import MAX_PRICE, SYMBOL_PATTERN
from app.contracts.wire import BarRecord, bar_input_decoder
from app.durations import format_duration, parse_duration
from tables.alerts.prices import PriceAlerts
from tables.alerts.raising import raise_alerts
from tables.alerts.records import RANK, PriceAlertRecord
from tables.derived import (
    BadRecordError,
    DerivedConfiguration,
    DerivedPartition,
    check_bar_time,
)
from tables.parsing import DECODE_ERRORS
from tables.partitioning import partition_of
from tables.symbols import SymbolFaults

ROW_PREFIX = b"w"
#: Watches of a deployment.
MAX_WATCHES = 10_000
#: Characters of what tells a symbol's watches apart (`PriceAlertId`).
_MAX_ID = 31
_FORM = re.compile(r"([^<>@]+)([<>])([^<>@:]+)@([0-9a-z]+)(?::([a-z]+))?")
_SYMBOL = re.compile(SYMBOL_PATTERN.removesuffix("$") + r"\Z")

_encode_row = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.msgpack.Decoder(list).decode


@dataclass(frozen=True, slots=True)
class Watch:
    """A price alert on the closes of a symbol's bars; `interval` as bars have it."""

    interval: str
    record: PriceAlertRecord

    @classmethod
    def parse(cls, text: str) -> Watch:
        """Read `SPY>200@1m`, or `SPY<180.5@1s:critical`.

        Raises:
            ValueError: it is not of that form.
        """
        match = _FORM.fullmatch(text)
        expected = f"{text!r}: expected SYMBOL>PRICE@INTERVAL[:SEVERITY], such as SPY>200@1m"
        if match is None or not _SYMBOL.match(match[1]):
            raise ValueError(expected)
        symbol, side, number, length, severity = match.groups(default="warning")
        try:
            price, interval = float(number), format_duration(parse_duration(length))
        except ValueError:
            raise ValueError(expected) from None
        if not math.isfinite(price) or abs(price) > MAX_PRICE or severity not in RANK:
            raise ValueError(expected)
        name = f"{side}{price:.15g}@{interval}"
        if len(name) > _MAX_ID:
            raise ValueError(f"{text!r}: expected a price of fewer digits")
        return cls(
            interval,
            PriceAlertRecord(
                name,
                symbol,
                above=price if side == ">" else None,
                below=price if side == "<" else None,
                severity=severity,
            ),
        )

    @property
    def key(self) -> bytes:
        """Of the bars that it is about."""
        return _key_of(self.record.symbol, self.interval)


def parse_watches(texts: Iterable[str]) -> tuple[Watch, ...]:
    """Read watches.

    Raises:
        ValueError: one is none, is there twice, or they are too many.
    """
    found = {}
    for text in texts:
        watch = Watch.parse(text)
        name = (watch.key, watch.record.id)
        if name in found:
            raise ValueError(f"{text!r} is there twice")
        found[name] = watch
    if len(found) > MAX_WATCHES:
        raise ValueError(f"{len(found)} price alerts; expected at most {MAX_WATCHES}")
    return tuple(found.values())


def _key_of(symbol: str, interval: str) -> bytes:
    return f"{symbol}\0{interval}".encode()


@dataclass(slots=True)
class _Watched:
    """The alerts on a symbol's bars of one size, and the start of the newest bar, ns."""

    alerts: PriceAlerts = field(default_factory=PriceAlerts)
    start: int = -1


class PriceAlertsPartition(DerivedPartition):
    """State of one partition of the agent `price_alerts`.

    Args:
        watches: of all partitions.
        intervals: length (ns) of all bars that there are, by how bars have it.
        max_ahead: how far (ns) a bar may begin after its append time; no bar of ours does.
    """

    OUTCOMES = ("applied", "older", "ignored", "dead")
    SETTINGS = "bars, partitions or bounds"

    def __init__(
        self,
        configuration: DerivedConfiguration,
        partition: int,
        watches: Iterable[Watch],
        intervals: Mapping[str, int],
        max_ahead: int,
    ) -> None:
        super().__init__(configuration, partition)
        self._intervals, self._max_ahead = intervals, max_ahead
        self._faults = SymbolFaults(partition, configuration.partitions)
        self._watched: dict[bytes, _Watched] = {}
        self._changed: set[bytes] = set()
        #: What is asked for, by key and id.
        self._wanted: dict[bytes, dict[str, PriceAlertRecord]] = {}
        for watch in watches:
            symbol = watch.record.symbol.encode()
            if partition_of(symbol, configuration.partitions) == partition:
                self._wanted.setdefault(watch.key, {})[watch.record.id] = watch.record
        for key, records in self._wanted.items():
            self._watched[key] = watched = _Watched()
            for record in records.values():
                watched.alerts.set(record, 0)

    def take_record(self, value: bytes, offset: int, append_time: int) -> str:
        """Take a bar.

        Raises:
            BadRecordError: it is none, or does not belong here.
        """
        try:
            bar: BarRecord = bar_input_decoder.decode(value)
        except DECODE_ERRORS:
            raise BadRecordError("malformed") from None
        fault = self._faults.of(bar.symbol)
        if fault is not None:
            raise BadRecordError(fault)
        length = self._intervals.get(bar.interval)
        if length is None:
            raise BadRecordError("unknown_interval")
        check_bar_time(bar.start, length, append_time + self._max_ahead)
        key = _key_of(bar.symbol, bar.interval)
        watched = self._watched.get(key)
        if watched is None or not bar.is_final or bar.filled:
            return "ignored"
        if bar.start < watched.start:
            return "older"
        end = min(bar.start + length, append_time)
        if self.maximum is None or end > self.maximum:
            self.maximum = end
        watched.start = bar.start
        self._changed.add(key)
        source = f"bars {bar.interval} {bar.start} r{bar.revision}"
        events = watched.alerts.price(bar.symbol, bar.close, end, source)
        raise_alerts(self, self.configuration.partitions, events)
        return "applied"

    @property
    def rows(self) -> int:
        """How many symbols and bar sizes are watched."""
        return len(self._watched)

    def changed_rows(self) -> Iterable[tuple[bytes, bytes | None]]:
        """Rows of the watched bars that have changed since the last call."""
        changed, self._changed = sorted(self._changed), set()
        return [(ROW_PREFIX + key, self._row(key)) for key in changed]

    def _row(self, key: bytes) -> bytes | None:
        watched = self._watched.get(key)
        return None if watched is None else _encode_row([watched.start, watched.alerts.rows()])

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a row; what is not asked for any more is over."""
        name = key[len(ROW_PREFIX) :]
        start, rows = _decode_row(row)
        alerts = PriceAlerts.from_rows((each[0], each[1]) for each in rows)
        wanted, now = self._wanted.get(name, {}), self.maximum or 0
        events = []
        held = {each: _bounds(state) for each, state in alerts.rows()}
        symbol = name.partition(b"\0")[0].decode()
        for each in held.keys() - wanted.keys():
            events += alerts.set(PriceAlertRecord(each, symbol), now)
        for each, record in wanted.items():
            if held.get(each) != (record.above, record.below, RANK[record.severity]):
                events += alerts.set(record, now)
        if wanted:
            self._watched[name] = _Watched(alerts, start)
        else:
            self._changed.add(name)
        events.sort(key=lambda event: event.key)
        raise_alerts(self, self.configuration.partitions, events)


def _bounds(state: list[Any]) -> tuple[float | None, float | None, int]:
    """Of a row of `PriceAlerts`."""
    _, _, above, below, rank, _ = state
    return above, below, rank
