"""Which records are the newest of their key, for a store that keeps one value a key: no network.

| topic | key, behind `PREFIX:DEPLOYMENT:TOPIC:` | order |
|---|---|---|
| `ticks`, `quotes` | `SYMBOL` | event time, offset |
| `bars`, `quotes.bars`, `indicators` | `SYMBOL:INTERVAL` | start, revision |
| `predictions` | `SYMBOL:INTERVAL:MODEL` | start, revision |
| `anomalies` | `SYMBOL:INTERVAL:SOURCE`, the source a topic of bars | start, revision |

The value is the record's JSON as it lay in the topic; where that was MessagePack, the JSON of the
same. Of two records with the same order the one that was read later holds: in one log that is the
same record.

Invariants: the newest of a log is the same however it is cut into batches; each record is either
the value of its key or counted by the reason why not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import msgspec

from app.contracts.batch import RecordBatch
from app.contracts.in_json import in_json
from app.contracts.wire import Count, Nanoseconds, quote_decoder, trade_decoder
from app.sinks.points import CONTROLS, Inputs, Refusals

#: Event time and offset, or start and revision; times in ns.
Order = tuple[int, int]
#: Order and value.
Entry = tuple[Order, bytes]

_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)


class _Revised(msgspec.Struct, gc=False):
    """What is read of a bar, or of what comes from one."""

    symbol: str
    interval: str
    start: Nanoseconds
    revision: Count


class _Predicted(_Revised, gc=False):
    model: str


class _Scored(_Revised, gc=False):
    source: str


class _Typed(msgspec.Struct):
    type: str


@dataclass(frozen=True)
class Subject:
    """What is read of the records of a topic.

    Attributes:
        parts: the fields that the key ends with.
        order: the fields of the order; None: event time and offset.
    """

    decode: Callable[[bytes], Any]
    parts: tuple[str, ...]
    order: tuple[str, str] | None = ("start", "revision")


_BAR: Final = ("symbol", "interval")
_revised = Subject(msgspec.json.Decoder(_Revised).decode, _BAR)
SUBJECTS: Final[Mapping[str, Subject]] = {
    "ticks": Subject(trade_decoder.decode, ("symbol",), None),
    "quotes": Subject(quote_decoder.decode, ("symbol",), None),
    "bars": _revised,
    "quotes.bars": _revised,
    "indicators": _revised,
    "predictions": Subject(msgspec.json.Decoder(_Predicted).decode, (*_BAR, "model")),
    "anomalies": Subject(msgspec.json.Decoder(_Scored).decode, (*_BAR, "source")),
}

_decode_typed = msgspec.json.Decoder(_Typed).decode


def key_of(namespace: str, topic: str, parts: Sequence[str]) -> bytes:
    """Return the key of a value; `namespace` is `PREFIX:DEPLOYMENT`."""
    return ":".join((namespace, topic, *parts)).encode()


@dataclass
class Newest:
    """The newest records of a part of a partition's log.

    Attributes:
        next: the offset behind that part.
        entries: by key.
        passed: the other records, by reason: `superseded` by a newer one of their key, `control`,
            `dead` (as the agents judge it), `malformed`.
    """

    next: int
    entries: dict[bytes, Entry] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)

    def merge(self, later: Newest) -> None:
        """Take what follows in the log."""
        for key, entry in later.entries.items():
            held = self.entries.get(key)
            if held is not None:
                self.passed["superseded"] += 1
                if held[0] > entry[0]:
                    continue
            self.entries[key] = entry
        self.passed.update(later.passed)
        self.next = later.next


class NewestReader:
    """Reads one partition of a topic."""

    def __init__(self, topic: str, namespace: str, inputs: Inputs | None = None) -> None:
        """Begin.

        Args:
            inputs: of an input topic, what is dead.

        Raises:
            ValueError: a topic of which no latest values are kept.
        """
        if topic not in SUBJECTS:
            known = ", ".join(sorted(SUBJECTS))
            raise ValueError(f"no latest values of {topic!r} are kept: expected one of {known}")
        self._topic, self._namespace = topic, namespace
        self._refusals = None if inputs is None else Refusals(inputs)
        self._subject = SUBJECTS[topic]

    def take(self, batch: RecordBatch) -> Newest:
        """Return the newest records of a batch."""
        subject, refusals, passed = self._subject, self._refusals, Counter[str]()
        decode, parts_of = subject.decode, attrgetter(*subject.parts)
        order_of = None if subject.order is None else attrgetter(*subject.order)
        #: By the one part of the key, or by all of them.
        newest: dict[Any, Entry] = {}
        for row, (value, offset) in enumerate(
            zip(batch.values, batch.offsets.tolist(), strict=True)
        ):
            try:
                record = decode(value or b"")
            except _DECODE_ERRORS:
                passed[self._fault(value)] += 1
                continue
            # A time far ahead would hide all that follow.
            if refusals is not None and refusals.has(record, int(batch.append_times[row])):
                passed["dead"] += 1
                continue
            parts = parts_of(record)
            order = (record.event_time, offset) if order_of is None else order_of(record)
            held = newest.get(parts)
            if held is not None:
                passed["superseded"] += 1
                if held[0] > order:
                    continue
            newest[parts] = (order, bytes(value or b""))
        entries = {
            key_of(self._namespace, self._topic, parts if isinstance(parts, tuple) else (parts,)): (
                order,
                in_json(self._topic, value),
            )
            for parts, (order, value) in newest.items()
        }
        return Newest(batch.next, entries, passed)

    def _fault(self, value: bytes | None) -> str:
        """Why a record is none of the topic's."""
        with suppress(*_DECODE_ERRORS):
            # Of inputs also in MessagePack.
            if value is not None and _decode_typed(in_json(self._topic, value)).type in CONTROLS:
                return "control"
        # Of an input it is in its agent's dead topic.
        return "malformed" if self._subject.order is not None else "dead"
