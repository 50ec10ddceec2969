"""Whether an archive is whole: each kind of damage is told, and nothing that is as it must be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.archive.checking import check
from app.archive.columns import parquet_bytes, read_parquet
from app.archive.compacting import HOUR, clean, compact, retain
from app.archive.inspecting import PartitionFigures, TopicFigures, topic_figures
from app.archive.manifest import Manifest, Part, Span, read_state
from app.archive.writing import ArchiveWriter
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch, trade

MONDAY = FRIDAY + 3 * DAY


class Archive(LocalStore):
    """A folder whose files can be changed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def write(self, path: str, content: bytes) -> None:
        (self.folder / path).write_bytes(content)

    def rewrite(self, number: int, change: Callable[[Manifest], None]) -> None:
        """Change a manifest."""
        path = f"manifests/{number:020d}.json"
        manifest = msgspec.json.decode(self.read(path), type=Manifest)
        change(manifest)
        self.write(path, msgspec.json.encode(manifest))

    def part_of(self, topic: str) -> Part:
        """Return the first file of a topic."""
        parts = [each for each in read_state(self).parts.values() if each.topic == topic]
        return min(parts, key=lambda each: each.path)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive")


def fill(store: LocalStore, flushes: int = 4) -> ArchiveWriter:
    """Write bars of two days, what is none, and trades of another partition, a flush a time."""
    writer = ArchiveWriter(store)
    for turn in range(flushes):
        values = [bar("A", FRIDAY + turn), b"bad", bar("A", FRIDAY + DAY)]
        writer.add("bars", batch(0, 3 * turn, values), 0)
        writer.add("ticks", batch(1, turn, [trade("A", FRIDAY + turn)]), 0)
        writer.flush(FRIDAY + turn)
    return writer


def test_an_archive_is_whole_through_compaction_retention_and_clean_up(archive: Archive) -> None:
    assert check(archive).faults == ()
    fill(archive, 70)
    assert check(archive).faults == ()
    compact(archive, MONDAY)
    assert check(archive).faults == ()
    clean(archive, MONDAY + 2 * HOUR, age=HOUR)
    retain(archive, MONDAY + 2 * HOUR, 2)
    writer = ArchiveWriter(archive)
    writer.add("bars", batch(0, 210, [bar("B", MONDAY)]), 0)
    writer.flush(MONDAY)
    found = check(archive)
    assert found.faults == ()
    assert found.rows == 70 + 1
    assert found.unnamed == 0


def test_files_that_lack_or_are_others_are_told(archive: Archive) -> None:
    fill(archive)
    missing, cut, other = (archive.part_of(topic) for topic in ("bars", "ticks", "raw"))
    archive.remove(missing.path)
    archive.write(cut.path, archive.read(cut.path)[:-1])
    archive.write(other.path, b"x" * other.bytes)
    faults = check(archive).faults
    assert len(faults) == 3
    for part, text in (
        (missing, "the file is missing"),
        (cut, f"{cut.bytes - 1} bytes, its manifest says {cut.bytes}"),
        (other, "not a Parquet file"),
    ):
        assert any(part.path in fault and text in fault for fault in faults)


def test_a_file_with_other_rows_than_its_manifest_says_is_told(archive: Archive) -> None:
    fill(archive)
    part = archive.part_of("ticks")

    def more(manifest: Manifest) -> None:
        manifest.change.added = [
            msgspec.structs.replace(each, rows=each.rows + (each == part))
            for each in manifest.change.added
        ]

    archive.rewrite(1, more)
    assert any(fault.endswith("1 rows, its manifest says 2") for fault in check(archive).faults)


def test_rows_that_are_twice_in_the_files_are_told(archive: Archive) -> None:
    fill(archive)
    part = archive.part_of("ticks")
    twin = msgspec.structs.replace(part, path=part.path.replace("part-", "part-1"))
    archive.create(twin.path, archive.read(part.path))
    archive.rewrite(1, lambda manifest: manifest.change.added.append(twin))
    (fault,) = check(archive).faults
    assert fault.endswith("4 records were taken, 5 rows written")

    def agree(manifest: Manifest) -> None:
        manifest.change.spans = [
            msgspec.structs.replace(each, rows=each.rows + (each.topic == "ticks"))
            for each in manifest.change.spans
        ]

    archive.rewrite(1, agree)
    assert check(archive).faults == ("ticks partition 1: offset 0 is 2 rows",)


@pytest.mark.parametrize(
    ("shift", "text"),
    [
        (1, "bars partition 0: offsets 3 to 3 are missing"),
        (-1, "bars partition 0: offsets 2 to 2 are held twice"),
    ],
)
def test_offsets_that_do_not_follow_are_told(archive: Archive, shift: int, text: str) -> None:
    fill(archive, 2)

    def shifted(span: Span) -> Span:
        return msgspec.structs.replace(span, begin=span.begin + shift * (span.topic == "bars"))

    def change(manifest: Manifest) -> None:
        manifest.change.spans = [shifted(each) for each in manifest.change.spans]

    archive.rewrite(2, change)
    (fault,) = check(archive).faults
    assert fault.endswith(text)


def test_a_compaction_that_has_lost_rows_is_told(archive: Archive) -> None:
    fill(archive)
    compact(archive, MONDAY)

    def fewer(manifest: Manifest) -> None:
        (part,) = manifest.change.added
        content = parquet_bytes(read_parquet(archive.read(part.path)).slice(1))
        archive.write(part.path, content)
        fewer = msgspec.structs.replace(part, rows=part.rows - 1, bytes=len(content))
        manifest.change.added = [fewer]

    archive.rewrite(5, fewer)
    (fault,) = check(archive).faults
    assert fault.endswith("4 rows were put together, 3 rows written")


def test_a_manifest_that_tells_another_state_is_told(archive: Archive) -> None:
    fill(archive, 64)

    def another(manifest: Manifest) -> None:
        assert manifest.whole is not None
        manifest.whole.removed["topic=bars/part-1.parquet"] = 1

    archive.rewrite(64, another)
    assert [fault.rsplit(": ")[-1] for fault in check(archive).faults] == [
        "tells another state than the manifests before it"
    ]


def test_files_that_nobody_names_are_counted_and_no_fault(archive: Archive) -> None:
    fill(archive)
    path = min(read_state(archive).parts)
    archive.create(path.replace("part-", "part-9"), b"half")
    found = check(archive)
    assert (found.faults, found.unnamed, found.files, found.manifests) == ((), 1, 16, 4)


def test_figures_are_by_topic_with_the_positions_of_its_partitions(archive: Archive) -> None:
    writer = fill(archive, 1)
    writer.begin("bars.dead", 2, "an id")
    writer.add("bars.dead", batch(2, 5, [b"{}"]), 0)
    writer.flush(FRIDAY)
    state = read_state(archive)
    sizes = {
        topic: sum(each.bytes for each in state.parts.values() if each.topic == topic)
        for topic in ("bars", "raw", "ticks")
    }
    days = ("2026-11-20", "2026-11-21")
    dead = (PartitionFigures(2, 6, "an id", 0),)
    first, second = (PartitionFigures(0, 3, "", 0),), (PartitionFigures(1, 1, "", 0),)
    assert topic_figures(state) == [
        TopicFigures("bars", 2, *days, 2, 2, sizes["bars"], first),
        TopicFigures("bars.dead", 0, None, None, 0, 0, 0, dead),
        TopicFigures("raw", 1, days[0], days[0], 2, 2, sizes["raw"], ()),
        TopicFigures("ticks", 1, days[0], days[0], 1, 1, sizes["ticks"], second),
    ]
