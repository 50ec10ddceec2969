"""Model files that are broken or for something else: named, and the old champion goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from models.predicting.manifest import File, Manifest, digest, seal, unseal
from tests.unit.serving_feeding import Served, bars, indicators_of, promote, publish, trees

Change = Callable[[Path], None]


def flipped(folder: Path) -> None:
    content = bytearray((folder / "model.ubj").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.ubj").write_bytes(bytes(content))


def truncated(folder: Path) -> None:
    content = (folder / "model.ubj").read_bytes()
    (folder / "model.ubj").write_bytes(content[: len(content) // 2])


def missing(folder: Path) -> None:
    (folder / "model.ubj").unlink()


def other_model(folder: Path) -> None:
    (folder / "model.ubj").write_bytes(trees(1))


def truncated_manifest(folder: Path) -> None:
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content[:-20])


def changed_figure(folder: Path) -> None:
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content.replace(b'"horizon": 2', b'"horizon": 3'))


def newer_format(folder: Path) -> None:
    content = (folder / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content.replace(b'"format": 1', b'"format": 2'))


def of_version_one(folder: Path) -> None:
    content = (folder.parent / "000001" / "manifest.json").read_bytes()
    (folder / "manifest.json").write_bytes(content)


def fewer_features(folder: Path) -> None:
    """A model for one feature, with a manifest whose hashes are right."""
    content = trees(2, 1)
    (folder / "model.ubj").write_bytes(content)
    path = folder / "manifest.json"
    manifest = unseal(path.read_bytes(), Manifest, "here")
    files = (File("model.ubj", digest(content), len(content)),)
    path.write_bytes(seal(msgspec.structs.replace(manifest, files=files)))


@pytest.mark.parametrize(
    ("change", "file", "said"),
    [
        (flipped, "model.ubj", "SHA-256"),
        (truncated, "model.ubj", "bytes; expected"),
        (missing, "model.ubj", "no file"),
        (other_model, "model.ubj", "; expected "),
        (truncated_manifest, "manifest.json", "not JSON"),
        (changed_figure, "manifest.json", "checksum"),
        (newer_format, "manifest.json", "format 2; expected format 1"),
        (of_version_one, "manifest.json", "the manifest of returns 1"),
        (fewer_features, "model.ubj", "1 features; expected 2 features"),
    ],
)
def test_what_is_broken_is_named_and_the_old_champion_goes_on(
    tmp_path: Path, change: Change, file: str, said: str
) -> None:
    first = Served(tmp_path)
    promote(first.registry, publish(first.registry, 1).version)
    promote(first.registry, publish(first.registry, 2).version)
    served = Served(tmp_path)
    # Promoted whole, broken since.
    change(tmp_path / "returns" / "versions" / "000002")
    first.registry.rollback("returns", "champion", reason="a test", time=2)
    served.catalog.refresh()
    (move,) = served.state.announcements()
    assert json.loads(move)["version"] == 1
    values = indicators_of(bars(20, ("AAA",)))
    served.feed([move, *values[:10]])
    # Somebody else's tool moves the alias without looking.
    moves = served.registry._moves("returns")
    moves.promote(
        "champion", 2, reason="a test", by=None, time=3, current=moves.current("champion")
    )
    served.catalog.refresh()
    assert served.state.announcements() == []
    fault = served.catalog.faults()["returns", "champion"]
    assert f"{file}: " in fault
    assert said in fault
    served.feed(values[10:])
    served.checkpoint()
    found = [json.loads(each) for each in served.values()]
    assert len(found) == 17
    assert {each["version"] for each in found} == {1}
