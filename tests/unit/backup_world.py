"""Registries and an archive with a bit of everything; stores in which things happen meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.archive.manifest import read_state
from app.archive.writing import ArchiveWriter
from app.backup.contents import SECTIONS, SectionName
from models.predicting.registry import Registry
from models.predicting.registry_errors import ModelError
from models.predicting.registry_store import Store
from models.store.registry import FeatureRegistry
from tests.unit.archive_feeding import FRIDAY, MemoryStore, bar, batch, held
from tests.unit.feature_sets import recorded
from tests.unit.model_records import FILES, described

MINUTE = 60_000_000_000


@dataclass
class World:
    """The stores of a deployment, by section."""

    stores: dict[SectionName, Store]

    @property
    def models(self) -> Registry:
        return Registry(self.stores["models"])

    @property
    def features(self) -> FeatureRegistry:
        return FeatureRegistry(self.stores["features"])

    @property
    def archive(self) -> Store:
        return self.stores["archive"]


def empty() -> World:
    return World({section: MemoryStore() for section in SECTIONS})


def publish(models: Registry, *, alias: str | None = None) -> int:
    """Publish a version, and let an alias name it."""
    version = models.publish(described(), FILES).version
    if alias is not None:
        models.promote("returns", alias, version, reason="a test", time=version)
    return version


def flush(store: Store, count: int, begin: int = 0) -> None:
    """Flush bars of one day one by one; the offsets go on at `begin`."""
    writer = ArchiveWriter(store)
    for number in range(begin, begin + count):
        writer.add("bars", batch(0, number, [bar("A", FRIDAY + number * MINUTE)]), 0)
        writer.flush(FRIDAY)


def filled(flushes: int = 3) -> World:
    """Three versions (one deleted), a number that is taken, two aliases, a feature set, bars."""
    world = empty()
    first = publish(world.models, alias="champion")
    gone = publish(world.models)
    publish(world.models, alias="challenger")
    publish(world.models, alias="champion")
    world.models.delete("returns", gone, reason="a test", time=9)
    assert first == 1
    world.stores["models"].create("returns/versions/000009/claim.json", b"{}")
    world.stores["models"].create("returns/versions/000009/model.ubj", b"half")
    record, _ = world.features.register(recorded())
    world.features.promote(record.name, record.version, reason="a test", by="ada", time=5)
    flush(world.archive, flushes)
    return world


class BusyStore(MemoryStore):
    """Shares the files of a store; something happens just before its `step`-th look or read."""

    def __init__(self, files: dict[str, bytes], step: int, happens: Callable[[], None]) -> None:
        super().__init__()
        self.files = files
        self._step, self._happens = step, happens
        self.steps = 0

    def read(self, path: str) -> bytes:
        self._count()
        return super().read(path)

    def names(self, path: str) -> tuple[str, ...]:
        self._count()
        return super().names(path)

    def _count(self) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._happens()


def files_of(store: Store) -> dict[str, bytes]:
    assert isinstance(store, MemoryStore)
    return store.files


def faults(world: World) -> list[str]:
    """What is wrong with the registries and the archive: versions, aliases, files of manifests."""
    found = []
    for name in world.models.names():
        versions = set(world.models.versions(name))
        for version in versions:
            try:
                world.models.verify(name, version)
            except ModelError as error:
                found.append(str(error))
        found += [
            f"{alias} names {move.version}"
            for alias, move in world.models.aliases(name).items()
            if move.version not in versions
        ]
    state = read_state(world.archive)
    found += [path for path in state.parts if path not in files_of(world.archive)]
    offsets = held(world.archive, "bars") if not found else {}
    if any(count != 1 for count in offsets.values()):
        found.append(f"offsets {offsets}")
    expected = {(0, offset) for offset in range(len(offsets))}
    if set(offsets) != expected:
        found.append(f"holes: {sorted(offsets)}")
    return found
