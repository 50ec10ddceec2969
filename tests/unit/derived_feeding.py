"""A derived agent's partition with a store, as the engine would keep it, fed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from app.contracts.batch import RecordBatch
from app.settings import Settings
from app.topics import AGENT_TOPICS
from tables.derived import ENTRY_PREFIX
from tables.journaled import JOURNAL_PREFIX, JournaledPartition
from tables.rows import MARKER_KEY, decode_marker
from tests.unit.good_records import CHOSEN
from tests.unit.partition_feeding import Kept, loaded_rows

Value = bytes | None
#: A record of a log: its offset, its append time in ns, its value.
Placed = tuple[int, int, Value]
#: Rows that count the dead: agent, key, how to read it, and what to take out of it.
_COUNTED: Mapping[str, tuple[bytes, Any, Any]] = {
    "features": (b"h", msgspec.msgpack.decode, lambda row: row[4].pop("dead")),
    "quote_features": (b"h", msgspec.msgpack.decode, lambda row: row[4].pop("dead")),
    "quality": (b"p", msgspec.json.decode, lambda row: row[0].pop()),
    "quote_quality": (b"p", msgspec.json.decode, lambda row: row[0].pop()),
    # Counts by outcome, and reasons.
    "portfolio": (b"pstage", msgspec.json.decode, lambda row: (row[-5].pop(5), row.pop(-4))),
}


def settings_of(*agents: str) -> Settings:
    """Settings of these agents alone."""
    chosen: dict[str, Any] = {**CHOSEN, "agents": agents}
    return Settings(**chosen)


def stage_of(agent: str, settings: Settings) -> Any:
    """An agent's stage, found by its name as the application finds it."""
    return import_module(f"agents.{agent}").make_stage(settings)


def buries(agent: str) -> bool:
    """The quality agents leave dead letters to the bars and quotes agents."""
    return "dead" in AGENT_TOPICS[agent].outputs


class Fed(Kept):
    """A partition's state, and all that it has stored and published."""

    def __init__(self, agent: str, partition: int, settings: Settings | None = None) -> None:
        super().__init__()
        self.agent, self.partition = agent, partition
        self.stage = stage_of(agent, settings or settings_of(agent))
        self.state = self.stage.load(partition, "topic", self.rows.get, ())
        self.state.begin(0)

    def take(self, records: Sequence[Placed]) -> None:
        """Apply records in one batch; what lies between their offsets was never there."""
        if not records:
            return
        offsets, times, values = zip(*records, strict=True)
        self.state.begin(offsets[0])
        self.state.apply(
            RecordBatch(
                self.stage.source,
                self.partition,
                offsets[0],
                offsets[-1] + 1,
                list(values),
                np.array(offsets, dtype=np.int64),
                np.array(times, dtype=np.int64),
            )
        )

    def is_dead(self, record: Placed) -> bool:
        """Apply one record; whether it counts as dead."""
        before = self.counts["dead"]
        self.take([record])
        return self.counts["dead"] > before

    def restart(self) -> None:
        """Publish, store, lose the memory, and go on from the rows."""
        self.checkpoint()
        rows = loaded_rows(self.rows, self.stage.loaded_prefixes)
        self.state = self.stage.load(self.partition, "topic", self.rows.get, rows)

    @property
    def counts(self) -> dict[str, int]:
        """Records by outcome."""
        return dict(self.state.progress.counts)

    @property
    def content(self) -> dict[bytes, Any]:
        """The rows but for the marker, and but for the numbers of dead records in them."""
        return content_of(self.agent, self.rows)

    @property
    def alive(self) -> dict[str, list[Any]]:
        """All outputs but the dead letters."""
        return {name: found for name, found in self.published.items() if name != "dead"}


def content_of(agent: str, rows: Mapping[bytes, bytes]) -> dict[bytes, Any]:
    """Rows of an agent but for the marker, and but for the numbers of dead records in them."""
    found: dict[bytes, Any] = {key: row for key, row in rows.items() if key != MARKER_KEY}
    if agent in _COUNTED:
        key, decode, forget = _COUNTED[agent]
        found[key] = decode(found[key])
        forget(found[key])
    return found


def restored(
    agent: str, partition: int, rows: Mapping[bytes, bytes], settings: Settings
) -> dict[bytes, Any]:
    """What comes back from rows, which for journals do not depend on where checkpoints were."""
    stage = stage_of(agent, settings)
    loaded = loaded_rows(rows, stage.loaded_prefixes)
    topic_id = decode_marker(rows[MARKER_KEY]).topic_id
    state = stage.load(partition, topic_id, rows.get, loaded)._partition
    if not isinstance(state, JournaledPartition):
        return content_of(agent, rows)
    entries = (ENTRY_PREFIX, JOURNAL_PREFIX)
    # The key of an item ends with a 0 and its number.
    keys = sorted(
        {key[1 : -2 if key[:1] == JOURNAL_PREFIX else None] for key in rows if key[:1] in entries}
    )
    found: dict[bytes, Any] = {
        ENTRY_PREFIX + key: state.encode(key, state.load_entry(key)) for key in keys
    }
    others = content_of(agent, rows)
    return found | {key: row for key, row in others.items() if key[:1] not in entries}
