"""Backups: all of it or none, whatever goes on meanwhile, and back to the same bytes."""

from __future__ import annotations

import io
import re
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.archive.compacting import clean, compact
from app.archive.manifest import WHOLE_EVERY, read_state
from app.backup.contents import CONTENTS, BackupError, Contents, Entry, SectionName
from app.backup.places import Source, open_source, open_target
from app.backup.restoring import Step, plan_restore, read_contents, restore, verify
from app.backup.taking import take_backup
from models.predicting.manifest import seal
from models.predicting.registry_store import Store, open_store
from tests.unit.archive_feeding import DAY, FRIDAY, BreakingStore, MemoryStore, held
from tests.unit.backup_world import (
    BusyStore,
    World,
    empty,
    faults,
    files_of,
    filled,
    flush,
    publish,
)

DOCUMENTS = {"settings.json": {"CANDLEWICK_DEPLOYMENT": "mine"}, "positions.json": None}


def take(world: World, place: str, **documents: object) -> Contents:
    return take_backup(
        open_target(place, FRIDAY),
        world.stores,
        documents or DOCUMENTS,
        deployment="mine",
        now=FRIDAY,
    )


def put_back(place: str, world: World, only: tuple[SectionName, ...] = ()) -> list[Step]:
    source = open_source(place)
    contents = read_contents(source, place)
    targets = {name: store for name, store in world.stores.items() if not only or name in only}
    verify(source, contents, place)
    steps = plan_restore(contents, targets)
    restore(source, contents, steps, targets, place)
    return steps


@pytest.fixture(autouse=True)
def disk_that_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """No power fails here, and a busy disk would take a minute for some hundred files."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture(params=["folder", "address", "tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a backup may be."""
    if request.param == "address":
        return f"memory://{secrets.token_hex(8)}/friday"
    return str(tmp_path / ("friday.tar" if request.param == "tar" else "friday"))


# --- there and back ----------------------------------------------------------------------------


def test_what_is_restored_is_what_was_there(place: str) -> None:
    world, other = filled(), empty()
    contents = take(world, place)
    steps = put_back(place, other)
    assert faults(other) == []
    for section, store in other.stores.items():
        before, after = files_of(world.stores[section]), files_of(store)
        left_out = {"returns/versions/000009/model.ubj"} if section == "models" else set()
        assert after == {path: content for path, content in before.items() if path not in left_out}
        assert contents.sections[section].files == len(after)
    assert [step.there for step in steps] == [(), (), ()]
    assert other.models.versions("returns") == (1, 3, 4)
    assert {name: move.version for name, move in other.models.aliases("returns").items()} == {
        **{"champion": 4, "challenger": 3},
    }
    # No number is given again: neither the deleted one's nor the one that was being written.
    assert publish(other.models) == 10
    assert other.features.names() == world.features.names()
    flush(other.archive, 2, begin=3)
    assert held(other.archive, "bars").keys() == {(0, offset) for offset in range(5)}


def test_a_backup_begins_at_the_manifest_that_tells_the_whole_state(tmp_path: Path) -> None:
    place, other = str(tmp_path / "friday"), empty()
    world = filled(flushes=WHOLE_EVERY + 3)
    take(world, place)
    put_back(place, other)
    assert len(other.archive.names("manifests")) == 4
    assert held(other.archive, "bars") == held(world.archive, "bars")
    assert read_state(other.archive).positions == read_state(world.archive).positions


def test_files_that_no_manifest_names_stay_where_they_are(tmp_path: Path) -> None:
    place, other, world = str(tmp_path / "friday"), empty(), filled(flushes=4)
    compact(world.archive, FRIDAY + 10 * DAY)
    world.archive.create("topic=bars/year=2026/month=11/day=20/part-1-x.parquet", b"garbage")
    take(world, place)
    put_back(place, other)
    named = read_state(world.archive).parts.keys()
    stored = {path for path in files_of(other.archive) if path.startswith("topic=")}
    assert stored == named
    assert faults(other) == []


def test_a_section_alone_can_be_restored(place: str) -> None:
    other = empty()
    take(filled(), place)
    put_back(place, other, only=("models",))
    assert other.models.versions("returns") == (1, 3, 4)
    assert files_of(other.archive) == {}


def test_nothing_is_a_backup_too(place: str) -> None:
    contents, other = take(empty(), place), empty()
    assert [each.files for each in contents.sections.values()] == [0, 0, 0]
    assert [step.create for step in put_back(place, other)] == [(), (), ()]


# --- while others write ------------------------------------------------------------------------


def move_and_delete(world: World) -> None:
    """The champion becomes another, and what it was is deleted."""
    publish(world.models, alias="champion")
    world.models.delete("returns", 4, reason="a test", time=9)


def compact_and_clean(world: World) -> None:
    """Two days later everything is in one file, and the old ones are gone."""
    flush(world.archive, 3, begin=3)
    compact(world.archive, FRIDAY + 30 * DAY)
    clean(world.archive, FRIDAY + 40 * DAY)


@pytest.mark.parametrize(
    ("section", "happens"),
    [
        ("models", lambda world: publish(world.models, alias="champion")),
        ("models", move_and_delete),
        ("archive", lambda world: flush(world.archive, 2, begin=3)),
        ("archive", compact_and_clean),
    ],
)
def test_a_backup_is_consistent_whenever_others_write(
    section: SectionName, happens: Callable[[World], None], tmp_path: Path
) -> None:
    step, steps = 0, 1
    while step <= steps:
        step += 1
        world = filled()
        unwatched = MemoryStore()
        unwatched.files = files_of(world.stores[section])
        quiet = World({**world.stores, section: unwatched})
        busy = BusyStore(unwatched.files, step, lambda quiet=quiet: happens(quiet))  # type: ignore[misc]
        world.stores[section] = busy
        place, other = str(tmp_path / f"at-{step}.tar"), empty()
        contents = take(world, place)
        steps = busy.steps
        put_back(place, other)
        assert (contents.notes, faults(other)) == ((), []), f"before step {step}"
    assert step > 10


def test_an_alias_that_names_nothing_is_told_and_copied(tmp_path: Path) -> None:
    world = filled()
    files = files_of(world.stores["models"])
    del files["returns/versions/000003/manifest.json"]
    contents = take(world, str(tmp_path / "friday"))
    assert contents.notes == ("models: challenger of returns names version 3, which is not there",)


def test_a_file_that_a_manifest_names_and_that_is_gone_ends_the_backup(tmp_path: Path) -> None:
    world, place = filled(), tmp_path / "friday"
    part = next(iter(read_state(world.archive).parts))
    files_of(world.archive)[part] += b"more"
    with pytest.raises(BackupError, match="its manifest says"):
        take(world, str(place))
    del files_of(world.archive)[part]
    with pytest.raises(BackupError, match="missing although a manifest names it"):
        take(world, str(place))
    assert not list(place.rglob("*.json"))


# --- the other side ----------------------------------------------------------------------------


def test_a_place_that_holds_something_is_refused(place: str) -> None:
    take(empty(), place)
    with pytest.raises(BackupError, match=r"already|is there"):
        take(empty(), place)


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BackupError, match=r"holds notes.txt, and no backup already"):
        take(empty(), str(tmp_path))
    with pytest.raises(BackupError, match="a tar file is a local one"):
        take(empty(), "memory://a/b.tar")


class FailingStore(MemoryStore):
    """Cannot be read."""

    def read(self, path: str) -> bytes:
        raise OSError("the disk is gone")


def test_a_backup_that_fails_leaves_nothing(place: str) -> None:
    world = filled()
    broken = FailingStore()
    broken.files = files_of(world.archive)
    world.stores["archive"] = broken
    with pytest.raises(OSError, match="the disk is gone"):
        take(world, place)
    with pytest.raises(BackupError):
        read_contents(open_source(place), place)
    assert take(filled(), place).sections["models"].files > 0


def everything(place: str) -> list[str]:
    source = open_source(place)
    return [*(each.path for each in read_contents(source, place).files), CONTENTS]


def test_a_byte_that_has_changed_is_found_before_anything_is_restored(tmp_path: Path) -> None:
    folder = tmp_path / "friday"
    take(filled(), str(folder))
    for path in everything(str(folder)):
        file = folder / path
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for broken in (flipped, content + b"\n ", None):
            if broken is None:
                file.unlink()
            else:
                file.write_bytes(broken)
            other = empty()
            harmless = path == CONTENTS and broken is not None and broken.strip() == content.strip()
            if not harmless:
                with pytest.raises(BackupError, match=re.escape(path)):
                    put_back(str(folder), other)
            assert harmless or all(files_of(store) == {} for store in other.stores.values())
            file.write_bytes(content)
    put_back(str(folder), empty())


def test_a_tar_file_that_ends_early_is_no_backup(tmp_path: Path) -> None:
    place = tmp_path / "friday.tar"
    take(filled(), str(place))
    whole = place.read_bytes()
    # Behind the last member there is padding.
    for size in range(0, len(whole) - 20 * 512, 4_000):
        place.write_bytes(whole[:size])
        with pytest.raises(BackupError):
            put_back(str(place), empty())
    with pytest.raises(BackupError, match="no such file"):
        open_source(str(tmp_path / "other.tar"))


@pytest.mark.parametrize(
    "path",
    [
        *("models/../../etc/passwd", "/etc/passwd", "models", "other/file", "models//x"),
        *("models/.hidden", "models/a\\b", "models/a\0b", "backup.json"),
    ],
)
def test_a_backup_that_names_a_path_outside_is_refused(path: str, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    entry = Entry(path, 0, "")
    contents = Contents(FRIDAY, "0", "mine", {}, (entry,))
    store.create(CONTENTS, seal(contents))
    with pytest.raises(BackupError, match="which it must not"):
        read_contents(open_source(str(tmp_path)), str(tmp_path))


def test_a_link_in_a_tar_file_is_not_followed(tmp_path: Path) -> None:
    place = tmp_path / "friday.tar"
    content = seal(Contents(FRIDAY, "0", "mine", {}, (Entry("models/x", 4, ""),)))
    with tarfile.open(place, "w") as tar:
        link = tarfile.TarInfo("models/x")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
        member = tarfile.TarInfo(CONTENTS)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    source: Source = open_source(str(place))
    with pytest.raises(BackupError, match="models/x is missing"):
        verify(source, read_contents(source, "x"), "x")


# --- targets that hold something ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("models", "returns/versions/000001/model.ubj"),
        ("models", "other/versions/000001/claim.json"),
        ("models", "README"),
        ("features", "usage/000001.json"),
        ("archive", "manifests/00000000000000000009.json"),
        ("archive", "topic=bars/year=2026/month=11/day=20/part-1-x.parquet"),
        ("archive", "topic=bars/here"),
    ],
)
def test_a_target_that_holds_something_else_is_refused_untouched(
    section: SectionName, path: str, tmp_path: Path
) -> None:
    place, other = str(tmp_path / "friday"), empty()
    take(filled(), place)
    other.stores[section].create(path, b"mine")
    with pytest.raises(BackupError, match="is there and not the backup's"):
        put_back(place, other)
    assert files_of(other.stores[section]) == {path: b"mine"}
    assert sum(len(files_of(store)) for store in other.stores.values()) == 1


@pytest.mark.parametrize("section", ["models", "features", "archive"])
def test_a_restore_that_breaks_shows_nothing_half_done_and_can_be_repeated(
    section: SectionName, tmp_path: Path
) -> None:
    place, world = str(tmp_path / "friday"), filled()
    take(world, place)
    step = 0
    while True:
        step += 1
        for after in (False, True):
            other = empty()
            kept = other.stores[section]
            other.stores[section] = BreakingStore(files_of(kept), step, after=after)
            try:
                put_back(place, other)
            except OSError:
                broken = True
            else:
                broken = False
            other.stores[section] = kept
            assert faults(other) == []
            put_back(place, other)
            assert all(not each.create for each in put_back(place, other))
            assert faults(other) == []
        if not broken:
            break
    assert step > 2


def test_somebody_who_writes_to_the_target_meanwhile_ends_the_restore(tmp_path: Path) -> None:
    place, other = str(tmp_path / "friday"), empty()
    take(filled(), place)
    source = open_source(place)
    contents = read_contents(source, place)
    targets: dict[SectionName, Store] = {"archive": other.archive}
    steps = plan_restore(contents, targets)
    flush(other.archive, 1)
    with pytest.raises(BackupError, match="appeared meanwhile: somebody writes there"):
        restore(source, contents, steps, targets, place)
