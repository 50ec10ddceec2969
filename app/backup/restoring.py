"""Putting a backup back: all of it verified first, nothing overwritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from app.backup.contents import (
    CONTENTS,
    BackupError,
    Contents,
    Entry,
    SectionName,
    check_paths,
    in_order,
    paths_in,
)
from app.backup.places import Source
from models.predicting.manifest import digest, unseal
from models.predicting.registry_errors import ModelError
from models.predicting.registry_store import Store

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Step:
    """What a restore does to a section: files to create in their order; those there already."""

    section: SectionName
    create: tuple[str, ...]
    there: tuple[str, ...]


def read_contents(source: Source, location: str) -> Contents:
    """Return what a backup says that it holds.

    Raises:
        BackupError: there is none, it is damaged, or of another format.
    """
    try:
        data = source.read(CONTENTS)
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(
            f"{location}: no backup, or one that was not finished: there is no {CONTENTS}"
        ) from None
    try:
        contents = unseal(data, Contents, f"{location}/{CONTENTS}")
    except ModelError as error:
        raise BackupError(str(error)) from None
    check_paths(contents.files)
    return contents


def verify(
    source: Source, contents: Contents, location: str, progress: Progress | None = None
) -> None:
    """Read every file of a backup, and compare it with what it should be.

    Raises:
        BackupError: one is missing or damaged; nothing has been changed.
    """
    for done, entry in enumerate(contents.files, 1):
        read_entry(source, entry, location)
        if progress is not None:
            progress("verified", done, len(contents.files))


def read_entry(source: Source, entry: Entry, location: str) -> bytes:
    """Return the content of a file if it is what was backed up.

    Raises:
        BackupError: it is not.
    """
    try:
        content = source.read(entry.path)
    except FileNotFoundError:
        raise BackupError(f"{location}: {entry.path} is missing from the backup") from None
    if len(content) != entry.size or digest(content) != entry.sha256:
        raise BackupError(f"{location}: {entry.path} is damaged: not the bytes that were backed up")
    return content


def plan_restore(contents: Contents, targets: Mapping[SectionName, Store]) -> list[Step]:
    """Return what to do, if every target is empty or holds a part of the same files.

    Raises:
        BackupError: the backup lacks a section, or a target holds something else; nothing has
            been changed.
    """
    steps = []
    for section, store in targets.items():
        if section not in contents.sections:
            raise BackupError(
                f"the backup has no {section}; it has {', '.join(contents.sections) or 'nothing'}"
            )
        files = contents.of(section)
        there = []
        for path in paths_in(section, store.names):
            entry = files.get(path)
            if entry is None or not _same(store, path, entry):
                raise BackupError(
                    f"{store.where(path)} is there and not the backup's; nothing is overwritten: "
                    "move what is there away, or name another place"
                )
            there.append(path)
        missing = in_order(section, files.keys() - set(there))
        steps.append(Step(section, tuple(missing), tuple(there)))
    return steps


def _same(store: Store, path: str, entry: Entry) -> bool:
    try:
        # The size first: what is too large is not read.
        return store.size(path) == entry.size and digest(store.read(path)) == entry.sha256
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return False


def restore(
    source: Source,
    contents: Contents,
    steps: Sequence[Step],
    targets: Mapping[SectionName, Store],
    location: str,
    progress: Progress | None = None,
) -> None:
    """Create the files of a plan. What was created stays when it fails; the same call goes on.

    Raises:
        BackupError: the backup has changed meanwhile, or somebody writes to a target.
        OSError: of a store.
    """
    for step in steps:
        files, store = contents.of(step.section), targets[step.section]
        for done, path in enumerate(step.create, 1):
            content = read_entry(source, files[path], location)
            try:
                store.create(path, content)
            except FileExistsError:
                raise BackupError(
                    f"{store.where(path)} appeared meanwhile: somebody writes there; stop the "
                    "workers of this deployment"
                ) from None
            if progress is not None:
                progress(step.section, done, len(step.create))
