"""Records of one topic to lines, in log order: what is skipped, ordinals, revisions.

**Ordinals.** InfluxDB keeps one point a series and time, and many trades of a symbol share their
time. So the time of such a point is its event time, cut to a `room` of R ns (1,000: a microsecond),
plus `offset mod R`, in ns: a function of the record alone. Two points of a series are the same only
if their event times fall in one cut and their offsets differ by a multiple of R. In a log whose
times do not jump back that takes R records of a partition within the cut: a thousand in one
microsecond; where a feed has milliseconds, a room of 1,000,000 keeps a million apart.

No bounded tag and no time of 64 bits could tell any number of records apart without a state that
grows. What does not fit into the cut is not lost: it is the field `remainder`. Offset order within
a cut is that of the field `offset`; the points' times wrap within it.

**Two ways** give the same bytes. The compiled one (`compiled.py`) takes flat records as the engine
writes them; what it leaves is decoded and encoded here, a column at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.contracts.in_json import all_in_json
from app.contracts.predictions import PredictionRecord
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import QuoteRecord, TradeRecord
from app.sinks import compiled, lines
from app.sinks.line_bodies import Lines, merged
from app.sinks.lines import Column, Kind, UnwritableError
from app.sinks.measurements import (
    DECODERS,
    NULLS,
    OFFSET,
    REMAINDER,
    RESERVED,
    AlternativePoint,
    Measurement,
    alternatives,
    measurements_of,
)
from app.sinks.plans import plan_of
from tables.symbols import SymbolFaults

#: Records that say nothing of their own: clocks, moves of aliases and the like.
CONTROLS: Final = frozenset({"clock", "historical", "flush", "correction", "alias", "progress"})
#: Room of an ordinal, in ns: times of whole microseconds keep all of theirs.
MICROSECOND: Final = 1_000
#: Records that are taken at a time: few enough for their columns to stay in the processor's cache.
PIECE: Final = 4_000


class _Typed(msgspec.Struct):
    type: str


_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_typed_decoder = msgspec.json.Decoder(_Typed)


@dataclass(frozen=True)
class Inputs:
    """What makes a record of an input topic dead, as the agents judge it (app/README.md, *Parse*).

    Of their rules those that need no state: not the numbers of symbols and sources.
    """

    partition: int
    partitions: int
    earliest_event_time: int
    max_ahead: int


class Refusals:
    """Tells of the records of an input's partition which its agents refuse."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self.faults = SymbolFaults(inputs.partition, inputs.partitions)

    def has(self, record: TradeRecord | QuoteRecord, append_time: int) -> bool:
        """Whether it is dead; the broker's append time in ns."""
        earliest, ahead = self._inputs.earliest_event_time, self._inputs.max_ahead
        return (
            self.faults.of(record.symbol) is not None
            or not earliest <= record.event_time <= append_time + ahead
            or (isinstance(record, TradeRecord) and abs(record.price * record.size) > MAX_NOTIONAL)
        )


@dataclass(frozen=True, slots=True)
class Encoded:
    """The lines of a fetch, each with its record's offset, and what became of the records.

    `counts`, of records: `control`; `dead` (they are in the agent's dead topic); `malformed`, which
    on an output topic is a fault. Of points, of which a record may have several: `written`;
    `unwritable`, for a tag, time or field name that InfluxDB cannot take; `empty`, without a field.
    """

    lines: Lines
    offsets: Sequence[int]
    next: int
    counts: Counter[str]


class PointEncoder:
    """Turns the records of one topic into lines."""

    def __init__(
        self,
        topic: str,
        inputs: Inputs | None = None,
        room: int = MICROSECOND,
        *,
        left_out: Collection[str] = (),
        use_compiled: bool = True,
    ) -> None:
        """Begin.

        Args:
            topic: without prefix and deployment, such as `bars` or `ticks`.
            inputs: of an input topic, what is dead; all that can be read is alive without.
            room: ns that an ordinal has, the resolution of the feed's times (1 us, 1 ms, 1 s).
            left_out: fields that points shall not have; see `measurements_of`.
            use_compiled: false leaves the compiled way out; the lines are the same.

        Raises:
            ValueError: a topic whose records are not for InfluxDB, or no room.
        """
        if room < 1:
            raise ValueError(f"room={room}: expected nanoseconds, at least 1")
        self._topic = topic
        self._measurements = {each.record: each for each in measurements_of(topic, left_out)}
        self._decode = DECODERS[topic].decode
        self._inputs, self._room = inputs, room
        self._refusals = None if inputs is None else Refusals(inputs)
        #: By measurement and tags; empty where they cannot be written.
        self._heads: dict[str, dict[tuple[Any, ...], str]] = {
            each.name: {} for each in self._measurements.values()
        }
        self._keys: dict[tuple[str, tuple[str, ...]], list[str] | None] = {}
        self._compiled = self._compiled_lines() if use_compiled else None

    def _compiled_lines(self) -> compiled.CompiledLines | None:
        if compiled.compiled_encoder is None or len(self._measurements) != 1:
            return None
        (measurement,) = self._measurements.values()
        inputs = self._inputs
        plan = (
            plan_of(measurement, self._room)
            if inputs is None
            else plan_of(measurement, self._room, inputs.earliest_event_time, inputs.max_ahead)
        )
        if plan is None:
            return None

        def key_of(name: str) -> str | None:
            keys = self._keys_of(measurement, (name,))
            return None if keys is None else keys[0]

        def head_of(tags: tuple[str, ...]) -> str:
            if self._refusals is not None:
                symbol = tags[measurement.tags.index("symbol")]
                if self._refusals.faults.of(symbol) is not None:
                    return ""
            return _head(measurement, tags)

        return compiled.CompiledLines(plan, measurement, head_of, key_of)

    def take(self, batch: RecordBatch) -> Encoded:
        """Return the lines of a fetch."""
        values = all_in_json(self._topic, batch.values)
        if values is not batch.values:
            batch = replace(batch, values=values)
        counts: Counter[str] = Counter()
        if self._compiled is None:
            texts, places = self._take(batch, counts)
            return Encoded(Lines.of(texts), places, batch.next, counts)
        found, left = self._compiled.take(batch)
        if len(found):
            counts["written"] = len(found)
        if not len(left):
            return Encoded(found, batch.offsets.tolist(), batch.next, counts)
        rest = RecordBatch(
            batch.topic,
            batch.partition,
            batch.base,
            batch.next,
            [batch.values[row] for row in left.tolist()],
            batch.offsets[left],
            batch.append_times[left],
        )
        texts, places = self._take(rest, counts)
        both, offsets = merged(
            found, np.delete(batch.offsets, left), Lines.of(texts), np.array(places, np.int64)
        )
        return Encoded(both, offsets.tolist(), batch.next, counts)

    def _take(self, batch: RecordBatch, counts: Counter[str]) -> tuple[list[str], list[int]]:
        """Return lines and their offsets, by Python."""
        texts: list[str] = []
        places: list[int] = []
        for piece in batch.pieces(PIECE):
            own_texts, own_places = self._take_piece(piece, counts)
            texts += own_texts
            places += own_places
        return texts, places

    def _take_piece(self, batch: RecordBatch, counts: Counter[str]) -> tuple[list[str], list[int]]:
        found: dict[type, tuple[list[Any], list[int]]] = {
            record: ([], []) for record in self._measurements
        }
        records, offsets = self._decoded(batch, counts)
        if len(found) == 1:
            found = dict.fromkeys(found, (records, offsets))
        else:
            for record, offset in zip(records, offsets, strict=True):
                found[type(record)][0].append(record)
                found[type(record)][1].append(offset)
                if isinstance(record, PredictionRecord):
                    others = alternatives(record)
                    found[AlternativePoint][0].extend(others)
                    found[AlternativePoint][1].extend([offset] * len(others))
        made = [
            self._lines(self._measurements[kind], *rows, counts)
            for kind, rows in found.items()
            if rows[0]
        ]
        if len(made) == 1:
            return made[0]
        merged = sorted(
            (pair for texts, places in made for pair in zip(places, texts, strict=True)),
            key=lambda pair: pair[0],
        )
        return [text for _, text in merged], [place for place, _ in merged]

    def _decoded(self, batch: RecordBatch, counts: Counter[str]) -> tuple[list[Any], list[int]]:
        decode, refusals = self._decode, self._refusals
        if refusals is None and None not in batch.values:
            # One bad record, and all are taken one by one below.
            with suppress(*_DECODE_ERRORS):
                return list(map(decode, batch.values)), batch.offsets.tolist()  # type: ignore[arg-type]
        records: list[Any] = []
        offsets: list[int] = []
        for row, (value, offset) in enumerate(
            zip(batch.values, batch.offsets.tolist(), strict=True)
        ):
            try:
                record = decode(value or b"")
            except _DECODE_ERRORS:
                counts["control" if _is_control(value) else "malformed"] += 1
                continue
            if refusals is not None and refusals.has(record, int(batch.append_times[row])):
                counts["dead"] += 1
                continue
            records.append(record)
            offsets.append(offset)
        return records, offsets

    def _lines(
        self,
        measurement: Measurement,
        records: list[Any],
        offsets: list[int],
        counts: Counter[str],
    ) -> tuple[list[str], list[int]]:
        """Return the lines of records of one kind, at least one, and their offsets."""
        names = measurement.record.__struct_fields__
        # One by one: tuples of whole records would be the garbage collector's work.
        values: dict[str, Sequence[Any]] = {
            name: list(map(attrgetter(name), records)) for name in names
        }
        values.setdefault(OFFSET, offsets)
        heads = self._heads_of(measurement, values)
        times: Sequence[int] = values[measurement.time]
        columns: list[Column] = []
        if measurement.ordinal is not None:
            room = self._room
            rests = [time % room or None for time in times]
            columns.append(lines.column(REMAINDER, Kind.INTEGER, rests))
            times = [
                time // room * room + ordinal % room
                for time, ordinal in zip(times, values[measurement.ordinal], strict=True)
            ]
        columns[:0] = [
            lines.column(name, kind, _unusual(measurement, name, values))
            for name, kind in measurement.fields.items()
        ]
        more = self._more(measurement, values, columns, heads)
        if max(times) > lines.MAX_TIME or min(times) < lines.MIN_TIME:
            inside = [lines.MIN_TIME <= time <= lines.MAX_TIME for time in times]
            heads = [head if fits else "" for head, fits in zip(heads, inside, strict=True)]
        texts = lines.encode_lines(heads, columns, times, more)
        if all(heads) and all(texts):
            counts["written"] += len(records)
            return texts, offsets
        chosen: list[str] = []
        places: list[int] = []
        for head, text, offset in zip(heads, texts, offsets, strict=True):
            if not head or not text:
                counts["empty" if head else "unwritable"] += 1
                continue
            counts["written"] += 1
            chosen.append(text)
            places.append(offset)
        return chosen, places

    def _heads_of(self, measurement: Measurement, values: dict[str, Sequence[Any]]) -> list[str]:
        """Return measurement and tags of each record, empty where they cannot be written."""
        known = self._heads[measurement.name]
        tags = [values[tag] for tag in measurement.tags]
        found = list(map(known.get, zip(*tags, strict=True)))
        if None not in found:
            return found  # type: ignore[return-value]
        if len(known) > compiled.MAX_REMEMBERED:
            known.clear()
        keys = list(zip(*tags, strict=True))
        for key in set(keys) - known.keys():
            known[key] = _head(measurement, key)
        return [known[key] for key in keys]

    def _more(
        self,
        measurement: Measurement,
        values: dict[str, Sequence[Any]],
        columns: Sequence[Column],
        heads: list[str],
    ) -> list[str] | None:
        """Return what no column has: fields of a mapping, and names of a revision's nulls."""
        revisions = values["revision"] if measurement.revised else ()
        name = measurement.mapping
        if name is None and not any(revisions):
            return None
        count = len(heads)
        more = [""] * count
        nulls: list[list[str]] = [[] for _ in range(count)] if any(revisions) else []
        if name is not None:
            for row, mapping in enumerate(values[name]):
                keys = self._keys_of(measurement, tuple(mapping))
                if keys is None:
                    heads[row] = ""
                    continue
                more[row] = lines.mapped(keys, measurement.mapping_kind, [*mapping.values()])
                if nulls and revisions[row]:
                    texts = lines.numbers([*mapping.values()])
                    nulls[row] = lines.absent([measurement.prefix + key for key in mapping], texts)
        for row, revision in enumerate(revisions):
            if revision:
                own = [each.name for each in columns if each.texts[row] == lines.NULL]
                more[row] += f",{NULLS}={lines.quote(','.join([*own, *nulls[row]]))}"
        return more

    def _keys_of(self, measurement: Measurement, names: tuple[str, ...]) -> list[str] | None:
        """Return the fields' keys of a mapping; what has a meaning already gets an underscore."""
        known = self._keys.get((measurement.name, names))
        if known is None and (measurement.name, names) not in self._keys:
            if len(self._keys) > compiled.MAX_REMEMBERED:
                self._keys.clear()
            taken = RESERVED.union(measurement.fields, measurement.tags)
            full = [measurement.prefix + name for name in names]
            try:
                known = [lines.escape_key(f"{each}_" if each in taken else each) for each in full]
            except UnwritableError:
                known = None
            self._keys[measurement.name, names] = known
        return known


def _unusual(
    measurement: Measurement, name: str, values: Mapping[str, Sequence[Any]]
) -> Sequence[Any]:
    """Return the values of a field, None for the usual one of a first version."""
    if name not in measurement.usual:
        return values[name]
    usual = measurement.usual[name]
    return [
        value if revision or value != usual else None
        for value, revision in zip(values[name], values["revision"], strict=True)
    ]


def _head(measurement: Measurement, tags: tuple[Any, ...]) -> str:
    """Return measurement and tags, empty where they cannot be written."""
    # An empty tag would be left out, and the point be one of another series.
    if not all(tags):
        return ""
    try:
        return lines.series(measurement.name, dict(zip(measurement.tags, tags, strict=True)))
    except UnwritableError:
        return ""


def _is_control(value: bytes | None) -> bool:
    try:
        return value is not None and _typed_decoder.decode(value).type in CONTROLS
    except _DECODE_ERRORS:
        return False
