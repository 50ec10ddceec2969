"""What a partition knows of the versions at work: monitors and learners, by slot and version.

Both are states of the partition, not of a symbol. A monitor publishes what it knows when an hour of
event time is over, before anything of the next hour is taken. One of a version that its alias does
not name any more goes on until an hour brings it nothing new, since labels come a horizon later.

A row is kept as it was stored until its version is at hand: without its manifest a monitor cannot
be read, and a version that is gone has no outcomes to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from models.predicting.drift import Rows
from models.predicting.monitoring import Realised, VersionMonitor
from models.predicting.monitoring_pairs import HOUR
from models.predicting.monitoring_records import MonitoringRecord
from models.predicting.online import Look, Note, OnlinePredictor
from models.predicting.online_version import OnlineVersion
from models.predicting.serving_aliases import Place
from models.predicting.serving_models import Serving, Slot

MONITOR_PREFIX, LEARNER_PREFIX, HOUR_KEY = b"s", b"l", b"h"

#: What predicts in a place; None where it is gone.
Find = Callable[[Place], Serving | None]

_decode = msgspec.msgpack.Decoder(list).decode
_encode = msgspec.msgpack.Encoder().encode


class Monitors:
    """The monitors and learners of a partition.

    Args:
        partition: its number, for the records.
        slots: model and alias by number.
        find: the version of a place.
    """

    def __init__(self, partition: int, slots: tuple[Slot, ...], find: Find) -> None:
        self._partition, self._slots, self._find = partition, slots, find
        #: Number of the hour of event time that was reached.
        self._hour: int | None = None
        self._monitors: dict[Place, VersionMonitor] = {}
        self._learners: dict[Place, OnlinePredictor] = {}
        #: Outcomes of each monitor when its last hour ended.
        self._outcomes: dict[Place, int] = {}
        #: Rows that were not read yet.
        self._stored: dict[bytes, dict[Place, bytes]] = {MONITOR_PREFIX: {}, LEARNER_PREFIX: {}}
        self._changed: set[tuple[bytes, Place]] = set()
        self._gone: set[tuple[bytes, Place]] = set()
        self._hour_changed = False

    # --- time ------------------------------------------------------------------------------

    def is_over(self, time: int) -> bool:
        """Whether an hour is over by an event time (ns), or none was begun."""
        return self._hour is None or time // HOUR > self._hour

    def advance(self, time: int, current: Iterable[Place]) -> list[MonitoringRecord]:
        """End the hour; return what the monitors know.

        Args:
            time: event time, ns, for which `is_over` holds.
            current: places whose alias names them now.
        """
        self._hour, self._hour_changed = time // HOUR, True
        records = []
        kept = set(current)
        for place in [*self._stored[MONITOR_PREFIX]]:
            self._monitor(place)
        for place in sorted(self._monitors):
            monitor = self._monitors[place]
            until = monitor.advance(time)
            self._changed.add((MONITOR_PREFIX, place))
            if until is None:
                continue
            slot, version, _ = place
            record = monitor.record(*self._slots[slot], version, self._partition, until)
            records.append(record)
            outcomes = record.figures.outcomes
            if place not in kept and self._outcomes.get(place) == outcomes:
                self._drop(place)
            else:
                self._outcomes[place] = outcomes
        return records

    def _drop(self, place: Place) -> None:
        self._outcomes.pop(place, None)
        held: Mapping[bytes, dict[Place, Any]] = {
            MONITOR_PREFIX: self._monitors,
            LEARNER_PREFIX: self._learners,
        }
        for prefix, found in held.items():
            if found.pop(place, None) is not None:
                self._changed.discard((prefix, place))
                self._gone.add((prefix, place))

    # --- monitors --------------------------------------------------------------------------

    def _monitor(self, place: Place) -> VersionMonitor | None:
        found = self._monitors.get(place)
        if found is not None:
            return found
        serving = self._find(place)
        if serving is None:
            return None
        parameters = VersionMonitor.parameters(serving.manifest)
        row = self._stored[MONITOR_PREFIX].pop(place, None)
        if row is None:
            found = VersionMonitor(**parameters)
            if self._hour is not None:
                found.advance(self._hour * HOUR)
        else:
            outcomes, state = _decode(row)
            found = VersionMonitor.from_state(state, **parameters)
            if outcomes is not None:
                self._outcomes[place] = outcomes
        self._monitors[place] = found
        return found

    def count(self, place: Place, rows: Rows) -> None:
        """Take rows that were predicted from in this hour."""
        monitor = self._monitor(place) if len(rows) else None
        if monitor is not None:
            monitor.count(rows)
            self._changed.add((MONITOR_PREFIX, place))

    def update(self, place: Place, item: Realised) -> None:
        """Take what became of a prediction."""
        monitor = self._monitor(place)
        if monitor is not None:
            monitor.update(item)
            self._changed.add((MONITOR_PREFIX, place))

    # --- learners --------------------------------------------------------------------------

    def _learner(self, place: Place) -> OnlinePredictor | None:
        found = self._learners.get(place)
        if found is not None:
            return found
        serving = self._find(place)
        if serving is None or not isinstance(serving.predictor, OnlineVersion):
            return None
        row = self._stored[LEARNER_PREFIX].pop(place, None)
        version = serving.predictor
        found = version.start() if row is None else version.resume(_decode(row))
        self._learners[place] = found
        return found

    def look(self, place: Place, row: Iterable[float | None]) -> Look | None:
        """What a version that learns says of a row; None where it is gone."""
        learner = self._learner(place)
        return None if learner is None else learner.look(np.array(tuple(row), dtype=np.float32))

    def learn(self, place: Place, note: Note, target: float) -> None:
        """Let a version that learns take the return that came of a row."""
        learner = self._learner(place)
        if learner is not None:
            learner.learn(note, target)
            self._changed.add((LEARNER_PREFIX, place))

    # --- rows ------------------------------------------------------------------------------

    def _key(self, prefix: bytes, place: Place) -> bytes:
        slot, version, sha256 = place
        model, alias = self._slots[slot]
        return prefix + f"{model}\0{alias}\0{version}\0{sha256}".encode()

    def changed_rows(self) -> list[tuple[bytes, bytes | None]]:
        """Rows that have changed since the last call."""
        rows: list[tuple[bytes, bytes | None]] = []
        for prefix, place in sorted(self._changed):
            if prefix == MONITOR_PREFIX:
                state = self._monitors[place].state()
                row = _encode([self._outcomes.get(place), state])
            else:
                row = _encode(self._learners[place].state())
            rows.append((self._key(prefix, place), row))
        rows += [(self._key(*each), None) for each in sorted(self._gone - self._changed)]
        if self._hour_changed:
            rows.append((HOUR_KEY, _encode([self._hour])))
        self._changed, self._gone, self._hour_changed = set(), set(), False
        return rows

    def restore_row(self, key: bytes, row: bytes) -> None:
        """Take in a row of these prefixes.

        Raises:
            ValueError: of no slot.
        """
        if key == HOUR_KEY:
            (self._hour,) = _decode(row)
            return
        model, alias, version, sha256 = key[1:].decode().split("\0")
        slot = self._slots.index((model, alias))
        self._stored[key[:1]][slot, int(version), sha256] = row
