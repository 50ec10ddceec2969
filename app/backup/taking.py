"""Copying registries and archive into a backup, while their writers go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from app import __version__
from app.archive.manifest import WHOLE_EVERY, path_of, read_state
from app.backup.contents import (
    BackupError,
    Contents,
    Entry,
    Section,
    SectionName,
    loose_aliases,
    registry_paths,
)
from app.backup.places import Target
from app.observe.masking import mask_addresses
from models.predicting.manifest import digest, seal
from models.predicting.registry_store import Store

#: How often a section is read again because something vanished while it was copied.
ATTEMPTS: Final = 5

Progress = Callable[[SectionName, int, int], None]


@dataclass
class _Copy:
    """A section on its way: files that are in the target, by their path in the section."""

    section: SectionName
    store: Store
    target: Target
    copied: dict[str, Entry] = field(default_factory=dict)

    def take(self, path: str, size: int | None = None) -> bytes | None:
        """Copy a file, once; return its content, None where it was copied before.

        Raises:
            FileNotFoundError: it is not there any more.
            BackupError: it has not the size that it should have.
        """
        if path in self.copied:
            return None
        content = self.store.read(path)
        if size is not None and len(content) != size:
            raise BackupError(
                f"{self.store.where(path)}: {len(content):,} bytes, its manifest says {size:,}"
            )
        name = f"{self.section}/{path}"
        self.target.create(name, content)
        self.copied[path] = Entry(name, len(content), digest(content))
        return content


def take_backup(
    target: Target,
    stores: Mapping[SectionName, Store],
    documents: Mapping[str, Any],
    *,
    deployment: str,
    now: int,
    notes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Contents:
    """Copy everything, and name it; what is in the target is taken back where that fails.

    Args:
        stores: by section; one that holds nothing is a section without files.
        documents: JSON values by file name.
        now: the present, ns.
        notes: to be kept with it.

    Raises:
        BackupError: something cannot be copied, or vanishes again and again.
        ArchiveError: a manifest of the archive cannot be read.
        OSError: of a store.
    """
    try:
        files: list[Entry] = []
        sections: dict[SectionName, Section] = {}
        lines = list(notes)
        for section, store in stores.items():
            copy = _Copy(section, store, target)
            found, more = (
                (_archive(copy, progress), []) if section == "archive" else _registry(copy)
            )
            lines += more
            files += found
            size = sum(each.size for each in found)
            place = mask_addresses(store.where("").rstrip("/"))
            sections[section] = Section(place, len(found), size)
        for name, value in documents.items():
            content = msgspec.json.format(msgspec.json.encode(value), indent=1)
            target.create(name, content)
            files.append(Entry(name, len(content), digest(content)))
        files.sort(key=lambda each: each.path)
        contents = Contents(now, __version__, deployment, sections, tuple(files), tuple(lines))
        target.finish(seal(contents))
    except BaseException:
        # Whatever ends it, an interrupt among it, goes on up: half a backup must not stay behind.
        target.abort()
        raise
    return contents


def _registry(copy: _Copy) -> tuple[list[Entry], list[str]]:
    """Copy a registry; return its files, and what is wrong with it."""
    moves: dict[str, bytes] = {}
    before: list[str] | None = None
    for _ in range(ATTEMPTS):
        paths = []
        try:
            for path in registry_paths(copy.section, copy.store.names):
                content = copy.take(path)
                paths.append(path)
                if content is not None and path.split("/")[1] == "aliases":
                    moves[path] = content
        except FileNotFoundError:
            # A version is being deleted.
            continue
        loose = loose_aliases(copy.section, moves, paths)
        # What is loose twice was so before.
        if not loose or loose == before:
            return [copy.copied[path] for path in paths], loose
        before = loose
    raise _restless(copy)


def _archive(copy: _Copy, progress: Progress | None) -> list[Entry]:
    """Copy an archive as it is at one manifest: the manifests first, then the files they name."""
    for _ in range(ATTEMPTS):
        state = read_state(copy.store)
        # Older ones are told again by this one; of the first there are none.
        first = max(1, state.number - state.number % WHOLE_EVERY)
        paths = [path_of(number) for number in range(first, state.number + 1)]
        parts = sorted(state.parts.values(), key=lambda part: part.path)
        try:
            for path in paths:
                copy.take(path)
            for done, part in enumerate(parts, 1):
                copy.take(part.path, part.bytes)
                if progress is not None:
                    progress(copy.section, done, len(parts))
        except FileNotFoundError as error:
            if read_state(copy.store).number == state.number:
                raise BackupError(
                    f"{copy.store.where('')}: a file is missing although a manifest names it: "
                    f"{error}"
                ) from None
            continue
        return [copy.copied[path] for path in (*paths, *(part.path for part in parts))]
    raise _restless(copy)


def _restless(copy: _Copy) -> BackupError:
    return BackupError(
        f"{copy.store.where('')}: files vanished while they were copied, {ATTEMPTS} times; again?"
    )
