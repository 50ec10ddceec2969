"""What the topics of a run hold, as tables: ticks, bars, indicators, and all other records.

Read by confluent-kafka as a `read_committed` reader has it; no code of the engine or of a sink. Of
each first version of a bar the reference in `tests/oracle` tells which record has closed it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pyarrow as pa
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from app.topics import INPUTS, SINKS_DEAD
from tests.chaos.sinks_culprits import POINTS, Culprits
from tests.chaos.sinks_latency import SECOND, Delay
from tests.oracle.log import (
    POLL_TIMEOUT,
    SILENT_POLLS,
    LogRecord,
    UnreadableTopicError,
    _consumer,
    _headers,
    read_partition,
)
from tests.oracle.reference import Reference
from tests.oracle.reference import Settings as OracleSettings

AVERAGES: Final = ("SMA(3)", "EMA(3)")
_KEY = {"symbol": pa.string(), "interval": pa.string(), "start": pa.int64()}
#: Where a record stands in its topic, and when it was appended (ns).
PLACE = dict.fromkeys(("log_partition", "log_offset", "append_time"), pa.int64())
_FLOATS = dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), pa.float64())
#: Fields of the records by topic; `sources` joined by commas, null where there are none.
FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "ticks": {
        "symbol": pa.string(),
        **dict.fromkeys(("price", "size"), pa.float64()),
        "event_time": pa.int64(),
        "trade_id": pa.string(),
        "sequence": pa.int64(),
        **dict.fromkeys(("venue", "source"), pa.string()),
    },
    "bars": {
        **_KEY,
        **_FLOATS,
        **dict.fromkeys(("trades", "revision"), pa.int64()),
        **dict.fromkeys(("is_final", "filled"), pa.bool_()),
        "sources": pa.string(),
    },
    "indicators": {
        **_KEY,
        "revision": pa.int64(),
        "exact": pa.bool_(),
        **dict.fromkeys(AVERAGES, pa.float64()),
    },
}
#: Topics whose records are none of these, and records of other kinds on the three.
RAW: Final = {"source_topic": pa.string(), "value": pa.binary()}
OTHERS: Final = ("bars.late", "bars.dead", "indicators.dead")
#: Whether a store refuses the point of a record, a column by sink.
REFUSED: Final = {f"{sink}_refuses": pa.bool_() for sink in POINTS}
#: Records of a table that are held as Python's objects.
_PIECE: Final = 50_000
_MILLISECOND: Final = 1_000_000
#: Sink, topic, partition, offset.
LetterKey = tuple[str, str, int, int]


class _Rows:
    """Collects a table row by row."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._schema = pa.schema(list(columns.items()))
        self._rows: list[tuple[Any, ...]] = []
        self._pieces: list[Any] = []

    def add(self, *values: object) -> None:
        self._rows.append(values)
        if len(self._rows) >= _PIECE:
            self._cut()

    def _cut(self) -> None:
        columns = list(zip(*self._rows, strict=True)) or [()] * len(self._schema)
        arrays = [
            pa.array(values, each.type) for values, each in zip(columns, self._schema, strict=True)
        ]
        self._pieces.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def table(self) -> Any:
        self._cut()
        return pa.Table.from_batches(self._pieces, schema=self._schema)


@dataclass
class Log:
    """All of it.

    Attributes:
        tables: `FIELDS` with `PLACE` and `REFUSED`, by topic; `RAW` with `PLACE` as `raw`.
        refused: the value of each record whose point a store refuses.
        letters: how often each is among the sinks' dead letters, and the values that are there.
        delays: of bars and their indicators after the record that has closed the bar.
    """

    tables: dict[str, Any] = field(default_factory=dict)
    refused: dict[LetterKey, bytes | None] = field(default_factory=dict)
    letters: Counter[LetterKey] = field(default_factory=Counter)
    letter_values: dict[LetterKey, bytes | None] = field(default_factory=dict)
    delays: dict[str, list[Delay]] = field(default_factory=dict)


def read_topics(
    broker: str, topics: Sequence[str], partitions: int, ended: threading.Event
) -> Iterator[tuple[str, int, LogRecord]]:
    """Give the committed records of all partitions, each partition's in order.

    As `read_partition` does of one; with one consumer, as making a dozen takes its time.

    Args:
        ended: once it is set nobody waits for the rest.

    Raises:
        UnreadableTopicError: the broker does not answer.
    """
    left = {(topic, number) for topic in topics for number in range(partitions)}
    consumer = _consumer(broker)
    try:
        consumer.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in sorted(left)])
        silent = 0
        while left and not ended.is_set():
            messages = consumer.consume(num_messages=10_000, timeout=POLL_TIMEOUT)
            silent = 0 if messages else silent + 1
            if silent == SILENT_POLLS:
                raise UnreadableTopicError(f"{sorted(left)}: silence, and no end")
            for message in messages:
                topic, number, fault = message.topic(), message.partition(), message.error()
                if fault is not None:
                    if fault.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(fault)
                    left.discard((topic, number))
                    continue
                offset = message.offset()
                assert topic is not None
                assert number is not None
                assert offset is not None
                yield (
                    topic,
                    number,
                    LogRecord(
                        offset=offset,
                        append_time=message.timestamp()[1],
                        key=message.key(),
                        value=message.value(),
                        headers=_headers(message),
                    ),
                )
    finally:
        consumer.close()


class LogReader:
    """Reads the topics of one deployment.

    Args:
        prefix, deployment: of the topics' names.
        culprits: by sink.
        moments: when the records of bars and indicators could be read (`Arrivals`), by their full
            names.
    """

    def __init__(
        self,
        broker: str,
        prefix: str,
        deployment: str,
        partitions: int,
        oracle: OracleSettings,
        culprits: Mapping[str, Culprits],
        moments: Mapping[tuple[str, int], Mapping[int, int]],
    ) -> None:
        self._broker, self._stem = broker, f"{prefix}{deployment}."
        self._prefix, self._partitions = prefix, partitions
        self._oracle, self._culprits, self._moments = oracle, culprits, moments
        self._rows = {
            topic: _Rows({**fields, **PLACE, **REFUSED}) for topic, fields in FIELDS.items()
        }
        self._raw = _Rows({**RAW, **PLACE})
        self._log = Log(delays={"bars": [], "indicators": []})
        #: Symbol, interval, start -> when (s) the record was appended that closed the bar.
        self._closed: dict[tuple[str, str, int], float] = {}

    def full_name(self, topic: str) -> str:
        """The broker's name of a topic."""
        return f"{self._prefix}{topic}" if topic in INPUTS else f"{self._stem}{topic}"

    def read(self, ended: threading.Event) -> Log:
        """Read everything.

        Args:
            ended: once it is set nobody waits for the result any more.

        Raises:
            UnreadableTopicError: a topic cannot be read.
        """
        for partition in range(self._partitions):
            reference = Reference(partition, self._partitions, self._oracle)
            for record in read_partition(self._broker, self.full_name("ticks"), partition):
                if ended.is_set():
                    return self._log
                before = len(reference.bars)
                reference.feed(record.offset, record.append_time, record.value)
                for bar in reference.bars[before:]:
                    if not bar.revision:
                        self._closed[bar.identity[:3]] = record.append_time / 1e3
                self._take("ticks", partition, record)
        names = {self.full_name(each): each for each in ("bars", "indicators", *OTHERS, SINKS_DEAD)}
        for name, partition, record in read_topics(
            self._broker, list(names), self._partitions, ended
        ):
            if names[name] == SINKS_DEAD:
                self._take_letter(record)
            else:
                self._take(names[name], partition, record)
        self._log.tables = {topic: rows.table() for topic, rows in self._rows.items()}
        self._log.tables["raw"] = self._raw.table()
        return self._log

    def _take(self, topic: str, partition: int, record: LogRecord) -> None:
        place = (partition, record.offset, record.append_time * _MILLISECOND)
        row = _decoded(topic, record.value)
        if row is None:
            self._raw.add(topic, record.value, *place)
            return
        refused = []
        for sink, point in POINTS.items():
            culprits = self._culprits.get(sink)
            name, time = point(topic, row, record.offset)
            refused.append(culprits is not None and culprits.has(name, time))
            if refused[-1]:
                key = (sink, self.full_name(topic), partition, record.offset)
                self._log.refused[key] = record.value
        self._rows[topic].add(*(row.get(name) for name in FIELDS[topic]), *place, *refused)
        if topic != "ticks" and row["revision"] == 0:
            self._note_delay(topic, partition, record.offset, row)

    def _note_delay(self, topic: str, partition: int, offset: int, row: Mapping[str, Any]) -> None:
        closed = self._closed.get((row["symbol"], row["interval"], row["start"]))
        read = self._moments.get((self.full_name(topic), partition), {}).get(offset)
        if closed is not None and read is not None:
            self._log.delays[topic].append(Delay(closed, read / SECOND - closed))

    def _take_letter(self, record: LogRecord) -> None:
        sink, topic, partition, offset = (
            (record.headers[name] or b"").decode()
            for name in ("sink", "topic", "partition", "offset")
        )
        key = (sink, topic, int(partition), int(offset))
        self._log.letters[key] += 1
        self._log.letter_values[key] = record.value


def _decoded(topic: str, value: bytes | None) -> dict[str, Any] | None:
    """A record of its topic's own kind as a mapping; None of another kind."""
    if topic not in FIELDS:
        return None
    try:
        row = msgspec.json.decode(value or b"")
    except msgspec.DecodeError:
        return None
    if not isinstance(row, dict) or row.get("type", "trade") != "trade":
        return None
    if topic == "indicators":
        row |= {name: row["values"].get(name) for name in AVERAGES}
    elif topic == "bars":
        row["sources"] = ",".join(row["sources"]) or None
    return row


@dataclass
class LetterVerdict:
    """The sinks' dead letters against the log; a line for each that is not as it must be.

    Attributes:
        expected: records whose points a store refuses.
        found: different ones among the letters.
        repeated: written again, as after a kill between the letter and its offset.
    """

    expected: int = 0
    found: int = 0
    repeated: int = 0
    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    differing: Sequence[str] = ()


def judge_letters(log: Log) -> LetterVerdict:
    """Compare what must be dead with what is."""
    found = log.letters.keys()
    return LetterVerdict(
        expected=len(log.refused),
        found=len(found),
        repeated=log.letters.total() - len(found),
        missing=[str(each) for each in sorted(log.refused.keys() - found)],
        unexpected=[str(each) for each in sorted(found - log.refused.keys())],
        differing=[
            json.dumps([*key, str(log.letter_values[key])])
            for key in sorted(found & log.refused.keys())
            if log.letter_values[key] != log.refused[key]
        ],
    )
