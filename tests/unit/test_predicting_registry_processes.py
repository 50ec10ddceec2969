"""Several writers at once, and writers that are killed: what a reader sees then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.predicting.registry import Registry
from models.predicting.registry_errors import MissingModelError
from tests.command import ROOT, environment
from tests.unit.model_records import FILES, described

SECONDS = 60.0


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.registry_writer", folder, *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
    )


def end(process: subprocess.Popen[bytes]) -> int:
    try:
        process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    return process.returncode


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.at(tmp_path)


@pytest.fixture
def killed(tmp_path: Path) -> Callable[..., None]:
    def run(*arguments: object) -> None:
        assert end(start(tmp_path, "kill", *arguments)) == -signal.SIGKILL

    return run


def test_writers_at_once_have_a_number_each_and_readers_see_whole_versions(
    tmp_path: Path, registry: Registry
) -> None:
    writers = [start(tmp_path, "publish", f"writer{number}", 12) for number in range(3)]
    try:
        seen = 0
        while any(writer.poll() is None for writer in writers):
            for version in registry.versions("returns")[seen:]:
                loaded = registry.load("returns", version)
                assert loaded.files["model.ubj"] == (loaded.manifest.commit or "").encode() * 1_000
    finally:
        codes = [end(writer) for writer in writers]
    assert codes == [0, 0, 0]
    versions = registry.versions("returns")
    assert versions == tuple(range(1, 37))
    found = [registry.verify("returns", version).commit for version in versions]
    assert {writer: found.count(writer) for writer in set(found)} == {
        "writer0": 12,
        "writer1": 12,
        "writer2": 12,
    }


def test_every_move_of_racing_processes_counts_once(tmp_path: Path, registry: Registry) -> None:
    registry.publish(described(), FILES)
    racers = [start(tmp_path, "promote", 10) for _ in range(3)]
    assert [end(racer) for racer in racers] == [0, 0, 0]
    history = registry.history("returns", "champion")
    assert [move.generation for move in history] == list(range(1, 31))
    assert [move.behind for move in history] == [None, *range(1, 30)]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("file", [1, 2, 3])
def test_a_writer_killed_while_publishing_leaves_no_broken_version(
    registry: Registry, killed: Callable[..., None], tmp_path: Path, file: int, moment: str
) -> None:
    registry.publish(described(), FILES)
    # Claim, model, manifest are linked in this order.
    killed("publish", "link", file, moment)
    published = (file, moment) == (3, "after")
    assert registry.versions("returns") == ((1, 2) if published else (1,))
    for version in registry.versions("returns"):
        registry.verify("returns", version)
    assert registry.unfinished("returns") == (() if published else (2,))
    # A number is never given twice, not even one whose claim was not finished.
    following = registry.publish(described(), FILES).version
    assert following == 3
    registry.verify("returns", following)


def test_a_writer_killed_while_writing_the_model_leaves_no_version(
    registry: Registry, killed: Callable[..., None]
) -> None:
    killed("publish", "fsync", 5, "before")
    assert registry.versions("returns") == ()
    assert registry.publish(described(), FILES).version == 2


@pytest.mark.parametrize(("moment", "version"), [("before", 1), ("after", 2)])
def test_a_promotion_is_made_or_not_made(
    registry: Registry, killed: Callable[..., None], moment: str, version: int
) -> None:
    for _ in range(2):
        registry.publish(described(), FILES)
    registry.promote("returns", "champion", 1, reason="first", time=1)
    killed("promote", "link", 1, moment)
    assert registry.resolve("returns", "champion") == version
    assert registry.promote("returns", "champion", 2, reason="on", time=3).version == 2


# What unlink is called for: the mark's draft, the manifest, the model.
@pytest.mark.parametrize(("call", "whole"), [(1, True), (2, True), (3, False)])
def test_a_deletion_that_was_killed_leaves_a_whole_version_or_none_and_can_be_ended(
    registry: Registry, killed: Callable[..., None], tmp_path: Path, call: int, whole: bool
) -> None:
    for _ in range(2):
        registry.publish(described(), FILES)
    killed("delete", "unlink", call, "before")
    assert registry.versions("returns") == ((1, 2) if whole else (1,))
    if whole:
        registry.verify("returns", 2)
    with pytest.raises(MissingModelError):
        registry.promote("returns", "champion", 2, reason="", time=1)
    registry.delete("returns", 2, reason="again", time=1)
    assert registry.versions("returns") == (1,)
    left = sorted(each.name for each in (tmp_path / "returns/versions/000002").glob("[!.]*"))
    assert left[0] == "claim.json"
    assert [each[:8] for each in left[1:]] == ["removal-", "removal-"]
