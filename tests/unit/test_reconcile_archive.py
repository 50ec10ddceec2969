"""Reconciling with the archive: its bars, its ticks as a log, and what is wrong with either."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiokafka import TopicPartition

from app.archive.columns import parquet_bytes, read_parquet
from app.archive.compacting import compact, retain
from app.archive.manifest import read_state
from app.archive.writing import ArchiveWriter
from app.reconcile.archived import ArchivedBars
from app.reconcile.archived_log import ArchivedLog, Row
from app.reconcile.batch import FIELDS, Values
from app.reconcile.compare import Comparison, Drift, compare
from app.reconcile.judging import Key, Span
from app.reconcile.reading import _batch, _cuts, _parts
from app.reconcile.windows import LogPartition, Recomputed
from app.run.errors import RunError
from app.settings import Settings
from app.sinks.archive_logs import Log
from app.sinks.driver import Place
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch, trade
from tests.unit.bars_log import SECOND, START, configuration, random_log
from tests.unit.bars_log import batch as fetch

LOG_ID = "one"
#: Values of `archive_feeding.bar`.
USUAL = dict(zip(FIELDS["bars"], (1.0, 2.0, 0.5, 1.5, 10.0, None, 3), strict=True))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate({"data_dir": tmp_path, "topics": {"partitions": 1}})


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "a rchive's")


@pytest.fixture(autouse=True)
def kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that says of each topic that it has one partition."""

    async def logs(settings: Settings, topics: Collection[str]) -> Mapping[Place, Log]:
        return {Place(topic, 0): Log(LOG_ID, 0, 1_000) for topic in topics}

    for module in ("archived", "archived_log"):
        monkeypatch.setattr(f"app.reconcile.{module}.topic_logs", logs)


def write(location: str, topic: str, values: Sequence[bytes | None], log: str = LOG_ID) -> None:
    """Archive the records of a partition from where it is held."""
    writer = ArchiveWriter(LocalStore(Path(location)))
    writer.begin(topic, 0, log)
    base = writer.next_offset(topic, 0) or 0
    writer.add(topic, batch(0, base, values), 0)
    writer.flush(FRIDAY)


def rewrite(location: str, topic: str, change: Any) -> None:
    """Change the rows of each file of a topic, as no writer does; manifests stay as they are."""
    store = LocalStore(Path(location))
    for part in read_state(store).parts.values():
        if part.topic == topic:
            path = Path(store.where(part.path))
            path.write_bytes(parquet_bytes(change(read_parquet(path.read_bytes()))))


# --- bars --------------------------------------------------------------------------------------


async def held(
    settings: Settings, location: str, span: Span | None = None
) -> tuple[dict[Key, Values], dict[Key, int]]:
    """All bars of an archive, and those that are there too often."""
    store = ArchivedBars(settings, "bars", location)
    assert await store.positions()
    bars: dict[Key, Values] = {}
    copies: dict[Key, int] = {}
    async for part in store.bars(span or Span(), []):
        assert not part.bars.keys() & bars.keys()
        bars.update(part.bars)
        copies.update(part.copies)
    return bars, copies


async def test_the_archive_s_bars_are_the_highest_revisions(
    settings: Settings, location: str
) -> None:
    values = [bar("A", FRIDAY), bar("A", FRIDAY, close=9.0, revision=2)]
    write(location, "bars", [*values, bar("A", FRIDAY, close=7.0, revision=1)])
    write(location, "bars", [bar("B", FRIDAY + 3 * DAY)])
    bars, copies = await held(settings, location)
    assert bars == {
        ("A", "1m", FRIDAY): USUAL | {"close": 9.0},
        ("B", "1m", FRIDAY + 3 * DAY): USUAL,
    }
    assert isinstance(bars["B", "1m", FRIDAY + 3 * DAY]["trades"], int)
    assert copies == {}
    assert await ArchivedBars(settings, "bars", location).positions() == {0: 4}


async def test_a_span_opens_the_files_of_its_days_alone(settings: Settings, location: str) -> None:
    starts = [FRIDAY + number * DAY // 2 for number in range(6)]
    write(location, "bars", [bar("A", start) for start in starts])
    store = LocalStore(Path(location))
    for part in read_state(store).parts.values():
        if part.day != "2026-11-21":
            store.remove(part.path)
    bars, _ = await held(settings, location, Span(FRIDAY + DAY + 1, FRIDAY + 2 * DAY))
    assert [start for _, _, start in bars] == [FRIDAY + DAY + DAY // 2]
    with pytest.raises(RunError, match=r"part-.*\.parquet"):
        await held(settings, location)


async def test_a_row_that_is_there_again_is_told_and_a_revision_is_not(
    settings: Settings, location: str
) -> None:
    write(location, "bars", [bar("A", FRIDAY), bar("B", FRIDAY)])
    rewrite(location, "bars", lambda rows: pa.concat_tables([rows, rows.slice(1), rows.slice(1)]))
    write(location, "bars", [bar("A", FRIDAY, revision=1)])
    bars, copies = await held(settings, location)
    assert len(bars) == 2
    assert copies == {("B", "1m", FRIDAY): 2}


async def test_positions_of_a_topic_that_was_made_anew_are_not_believed(
    settings: Settings, location: str
) -> None:
    write(location, "bars", [bar("A", FRIDAY)], log="another")
    assert await ArchivedBars(settings, "bars", location).positions() == {}


async def test_no_archive_is_one_line(settings: Settings, location: str) -> None:
    with pytest.raises(RunError, match="there is no archive; expected what the sink archive"):
        await ArchivedBars(settings, "bars", location).positions()
    with pytest.raises(RunError, match="nonsense"):
        ArchivedBars(settings, "bars", "nonsense://place")


async def test_days_that_were_dropped_are_told_where_bars_are_missing(
    settings: Settings, location: str
) -> None:
    write(location, "bars", [bar("A", FRIDAY), bar("A", FRIDAY + 2 * DAY)])
    retain(LocalStore(Path(location)), FRIDAY + 3 * DAY, 2)
    store = ArchivedBars(settings, "bars", location)
    await store.positions()
    (note,) = store.notes(Drift("bars", first_missing=FRIDAY))
    assert "its first day of bars is 2026-11-22" in note
    assert store.notes(Drift("bars", first_missing=FRIDAY + 2 * DAY)) == []
    assert store.notes(Drift("bars")) == []


# --- comparing in parts ------------------------------------------------------------------------


def recomputed(*starts: int) -> Recomputed:
    return Recomputed({("A", "1m", start): USUAL for start in starts})


def test_what_a_store_need_not_have_is_left_out_where_it_differs() -> None:
    log = recomputed(1, 2, 3, 4)
    log.moving.add(("A", "1m", 9))
    comparison = Comparison("bars", log)
    comparison.take({("A", "1m", 1): USUAL, ("A", "1m", 2): USUAL | {"close": 2.0}})
    comparison.take({("A", "1m", start): USUAL for start in (8, 9)})
    unwritten = {("A", "1m", start) for start in (1, 2, 3, 8)}
    drift = comparison.result(9, unwritten)
    assert (drift.bars, drift.missing, drift.extra) == (1, 1, 0)
    assert drift.left_out == {"open": 0, "moving": 0, "cut": 0, "unwritten": 2}
    assert [(each.start, each.field) for each in drift.worst] == [(4, "bar")]
    drift = comparison.result(9, set())
    assert (drift.bars, drift.missing, drift.extra) == (2, 2, 1)
    assert (drift.first_missing, drift.first_extra) == (3, 8)


def test_parts_give_what_the_whole_gives() -> None:
    rng = random.Random(5)
    log = recomputed(*range(200))
    published = {("A", "1m", start): USUAL for start in range(100, 300)}
    for key in list(published)[::7]:
        published[key] = USUAL | {"low": rng.random()}
    comparison = Comparison("bars", log)
    keys = list(published)
    rng.shuffle(keys)
    for begin in range(0, len(keys), 30):
        comparison.take({key: published[key] for key in keys[begin : begin + 30]})
    assert comparison.result().to_json() == compare("bars", log, published).to_json()


def test_a_doubled_bar_is_drift_of_every_field() -> None:
    comparison = Comparison("bars", recomputed(*range(99)))
    comparison.take({("A", "1m", start): USUAL for start in range(99)})
    comparison.take_copies({("A", "1m", 5): 1})
    drift = comparison.result(1, set())
    drift.against = "archive"
    assert (drift.bars, drift.missing, drift.extra, drift.doubled) == (99, 0, 0, 1)
    assert {drift.share(one) for one in drift.fields} == {0.01}
    assert drift.to_json()["doubled"] == 1
    (worst,) = drift.worst
    assert (worst.start, worst.field, worst.published, worst.recomputed) == (5, "copies", 2, 1)


def test_cuts_lie_between_so_many_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.reconcile.reading.PART_BARS", 10)
    log = recomputed(*range(30), 99)
    log.bars.update({("B", "1m", 5): USUAL})
    assert list(_cuts(log)) == [9, 19, 29]
    assert list(_cuts(Recomputed())) == []


# --- ticks as a log ----------------------------------------------------------------------------

TICKS = TopicPartition("ticks", 0)


class FakeKafka:
    """What Kafka has left of the ticks: records from an offset on."""

    def __init__(self, log: Sequence[tuple[bytes | None, int]], first: int) -> None:
        self.log, self.first = log, first

    async def ranges(self) -> dict[TopicPartition, tuple[int, int]]:
        return {TICKS: (self.first, len(self.log))}

    async def read(
        self, ranges: Mapping[TopicPartition, tuple[int, int]]
    ) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        for place, (first, end) in ranges.items():
            assert first >= self.first or first >= end
            if first < end:
                yield place, records(self.log, first, end)


def records(log: Sequence[tuple[bytes | None, int]], first: int, end: int) -> list[Any]:
    return [Row(each, log[each][1] // 1_000_000, log[each][0]) for each in range(first, end)]


def archive_log(location: str, log: Sequence[tuple[bytes | None, int]], *cuts: int) -> None:
    """Archive a log, with a flush at each cut."""
    writer = ArchiveWriter(LocalStore(Path(location)))
    writer.begin("ticks", 0, LOG_ID)
    for begin, end in zip((0, *cuts), cuts, strict=False):
        writer.add("ticks", fetch(log, begin, end), 0)
        writer.flush(FRIDAY)


def archived_log(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str, kafka: FakeKafka
) -> ArchivedLog:
    monkeypatch.setattr("app.reconcile.archived_log.KafkaLog", lambda settings, agent: kafka)
    return ArchivedLog(settings, "bars", location)


@pytest.mark.parametrize("seed", range(8))
async def test_bars_from_the_archive_s_ticks_are_those_from_kafka_s(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str, seed: int
) -> None:
    monkeypatch.setattr("app.reconcile.archived_log.ROWS", 70)
    config = configuration()
    log = random_log(seed, 400, historical=seed % 2 == 1, corrections=0.02 * (seed % 3))
    archive_log(location, log, 100, 250, 300)
    compact(LocalStore(Path(location)), START + 30_000 * DAY)
    # Kafka has the end alone.
    source = archived_log(monkeypatch, settings, location, FakeKafka(log, 280))
    ranges = await source.ranges()
    assert ranges == {TICKS: (0, 400)}
    found, expected = (
        LogPartition(config, "bars", 0, Span()),
        LogPartition(config, "bars", 0, Span()),
    )
    count = 0
    async for place, rows in source.read(ranges):
        count += len(rows)
        for part, _ in _parts(rows, 0):
            found.take(_batch(place, part))
    expected.take(fetch(log, 0, len(log)))
    assert count == len(log)
    assert found.corrections == expected.corrections
    assert found.result() == expected.result()
    assert len(found.result().bars) > 20
    assert source.notes() == []


async def test_a_log_is_read_from_any_offset_to_any_other(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str
) -> None:
    log = random_log(1, 60)
    archive_log(location, log, 40)
    source = archived_log(monkeypatch, settings, location, FakeKafka(log, 20))
    await source.ranges()
    for first, end in ((0, 60), (5, 30), (30, 55), (45, 60), (10, 10)):
        parts = [rows async for _, rows in source.read({TICKS: (first, end)})]
        found = [each.offset for rows in parts for each in rows]
        assert found == list(range(first, end))


async def test_what_neither_the_archive_nor_kafka_has_is_told(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str
) -> None:
    log = random_log(1, 60)
    archive_log(location, log, 40)
    source = archived_log(monkeypatch, settings, location, FakeKafka(log, 41))
    with pytest.raises(RunError, match="up to offset 40, Kafka from 41 on: what is between"):
        await source.ranges()


async def test_two_logs_of_one_name_are_not_one(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str
) -> None:
    write(location, "ticks", [trade("A", FRIDAY)], log="another")
    kafka = FakeKafka([(trade("A", FRIDAY), FRIDAY + SECOND)], 0)
    source = archived_log(monkeypatch, settings, location, kafka)
    with pytest.raises(RunError, match="holds another log of ticks"):
        await source.ranges()
    # Both are there, and the newer is what the position is of.
    write(location, "ticks", [trade("A", FRIDAY)])
    with pytest.raises(RunError, match="ticks partition 0 offset 0 more than once"):
        async for _ in source.read(await source.ranges()):
            pass


async def test_without_archived_ticks_all_is_kafka_s(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, location: str
) -> None:
    write(location, "bars", [bar("A", FRIDAY)])
    log = random_log(1, 30)
    source = archived_log(monkeypatch, settings, location, FakeKafka(log, 10))
    ranges = await source.ranges()
    assert ranges == {TICKS: (10, 30)}
    found = [each.offset async for _, rows in source.read(ranges) for each in rows]
    assert found == list(range(10, 30))
