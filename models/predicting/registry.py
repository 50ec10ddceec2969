"""Versions of models and the aliases that name them, in a folder or an object store.

    NAME/versions/000001/claim.json      the number is taken; it is never given again
                         model.ubj       the files
                         manifest.json   last: what has none is no version, and nobody sees it
                         removal-*.json  it is being deleted, or was
    NAME/aliases/champion/000001.json    the moves of an alias; the last one counts

Writers need nothing of each other but `Store.create`, which says what each kind of store gives.
A writer that dies leaves a claim without a manifest (`unfinished`), or everything. Calls block: an
event loop runs them in a thread.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from models.predicting.manifest import (
    NAME,
    Description,
    Manifest,
    Member,
    draft_manifest,
    seal,
    unseal,
)
from models.predicting.registry_contents import (
    MANIFEST,
    LoadedVersion,
    check_members,
    claimed_versions,
    read_manifest,
    read_version,
    version_folder,
)
from models.predicting.registry_errors import MissingModelError, ModelError, UsedModelError
from models.predicting.registry_moves import Move, Moves
from models.predicting.registry_store import Store, open_store

CHAMPION, CHALLENGER = "champion", "challenger"
_OWN = re.compile(r"manifest\.json|claim\.json|removal-.*")


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number is taken; the token tells one writer's claim from another's."""

    token: str
    time: int
    format: int = 1


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version is being deleted or is deleted."""

    reason: str
    by: str | None
    time: int
    format: int = 1


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from and what it was used for.

    Attributes:
        manifest: data, features, libraries, commit, scores.
        moves: that named it, by time.
        ensembles: versions it is a member of.
    """

    manifest: Manifest
    moves: tuple[Move, ...]
    ensembles: tuple[int, ...]


class Registry:
    """The verbs. Times are ns, given by the caller.

    All raise `ModelError`s where something is missing or broken, and `OSError`s of the store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def at(cls, location: str | Path) -> Registry:
        """Return the registry in a folder or at an address: `data/models`, `s3://bucket/models`."""
        return cls(open_store(location))

    def _moves(self, name: str) -> Moves:
        return Moves(self._store, _checked(name))

    def names(self) -> tuple[str, ...]:
        """Return the models that have a version, or had one."""
        return tuple(each for each in self._store.names("") if NAME.fullmatch(each))

    # --- versions

    def publish(self, description: Description, files: Mapping[str, bytes]) -> Manifest:
        """Store a new version and return its manifest.

        Args:
            files: contents by name; none for an ensemble.

        Raises:
            ValueError: names or the description are not as they should be.
            ModelError: an ensemble's members do not fit.
        """
        for file in files:
            if _OWN.fullmatch(file):
                raise ValueError(f"{file!r} is the registry's own name")
        # All is checked before a number is taken; an ensemble's members before they are named.
        draft = draft_manifest(description, files)
        check_members(self._store, draft, f"the description of {draft.name}")
        manifest = msgspec.structs.replace(draft, version=self._claim(description))
        folder = version_folder(manifest.name, manifest.version)
        for row in manifest.files:
            self._store.create(f"{folder}/{row.name}", files[row.name])
        self._store.create(f"{folder}/{MANIFEST}", seal(manifest))
        return manifest

    def _claim(self, description: Description) -> int:
        claim = seal(Claim(secrets.token_hex(8), description.created))
        name = description.name
        version = max(claimed_versions(self._store, name), default=0) + 1
        while True:
            try:
                self._store.create(f"{version_folder(name, version)}/claim.json", claim)
            except FileExistsError:
                # Another writer's; a failure here is a success there, so this ends.
                version += 1
            else:
                return version

    def member(self, name: str, version: int, weight: float) -> Member:
        """Return a version as a member of an ensemble."""
        return Member(version, weight, read_manifest(self._store, _checked(name), version)[1])

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions there are, ascending; whether they are whole is `verify`'s to say."""
        claimed = claimed_versions(self._store, _checked(name))
        return tuple(each for each in claimed if self._published(name, each))

    def unfinished(self, name: str) -> tuple[int, ...]:
        """Return numbers without a version: being written right now, or given up by a dead writer.

        Deleted versions are not among them.
        """
        claimed = claimed_versions(self._store, _checked(name))
        return tuple(
            each
            for each in claimed
            if not self._published(name, each) and not self._removals(name, each)
        )

    def _published(self, name: str, version: int) -> bool:
        return MANIFEST in self._store.names(version_folder(name, version))

    def manifest(self, name: str, version: int) -> Manifest:
        """Return a version's manifest, checked by its own checksum."""
        return read_manifest(self._store, _checked(name), version)[0]

    def load(self, name: str, version: int) -> LoadedVersion:
        """Return a version, each file checked by size and SHA-256; an ensemble with its members."""
        return read_version(self._store, _checked(name), version)

    def verify(self, name: str, version: int) -> Manifest:
        """Read a version with all its files, and return its manifest if all is as published."""
        return self.load(name, version).manifest

    # --- aliases

    def aliases(self, name: str) -> dict[str, Move]:
        """Return the moves in force, by alias; one that names no version is left out."""
        return self._moves(name).in_force()

    def resolve(self, name: str, alias: str) -> int:
        """Return the version that an alias names.

        Raises:
            MissingModelError: it names none.
        """
        return self._moves(name).resolve(_checked(alias))

    def current(self, name: str, alias: str) -> Move | None:
        """Return the move in force, also one that names no version; None where there was none."""
        return self._moves(name).current(_checked(alias))

    def history(self, name: str, alias: str) -> tuple[Move, ...]:
        """Return all moves of an alias, oldest first."""
        return tuple(self._moves(name).history(_checked(alias)))[::-1]

    def promote(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        reason: str,
        time: int,
        by: str | None = None,
        expected: int | None = None,
    ) -> Move:
        """Let an alias name a version, after reading all of it.

        Args:
            expected: the generation that the caller has seen, 0 for none; None moves the alias
                from wherever it is when the call begins.

        Raises:
            MovedAliasError: it was moved meanwhile.
        """
        moves = self._moves(name)
        current = moves.expect(_checked(alias), expected)
        self.verify(name, version)
        self._refuse_removed(name, version)
        move = moves.promote(alias, version, reason=reason, by=by, time=time, current=current)
        return self._unless_removed(moves, name, move, current)

    def _unless_removed(self, moves: Moves, name: str, move: Move, before: Move | None) -> Move:
        """Take a move back if its version is being deleted."""
        refuse = partial(self._refuse_removed, name)
        return moves.unless(refuse, MissingModelError, move, before, reason="deleted")

    def rollback(
        self,
        name: str,
        alias: str,
        *,
        reason: str,
        time: int,
        by: str | None = None,
        expected: int | None = None,
    ) -> Move:
        """Let an alias name again what it named before its last promotion.

        Raises:
            MissingModelError: it named nothing before, or that is gone.
            MovedAliasError: it was moved meanwhile.
        """
        moves = self._moves(name)
        current, target = moves.before(_checked(alias), expected)
        if target.version is not None:
            self.verify(name, target.version)
        self._refuse_removed(name, target.version)
        move = moves.back(current, target, verb="rollback", reason=reason, by=by, time=time)
        return self._unless_removed(moves, name, move, current)

    def lineage(self, name: str, version: int) -> Lineage:
        """Return where a version comes from and what named it."""
        manifest = self.manifest(name, version)
        moves = self._moves(name)
        found = [
            move
            for alias in moves.names()
            for move in moves.history(alias)
            if move.version == version
        ]
        found.sort(key=lambda each: (each.time, each.alias, each.generation))
        return Lineage(manifest, tuple(found), self._ensembles_of(name, version))

    # --- deletion

    def delete(
        self,
        name: str,
        version: int,
        *,
        reason: str,
        time: int,
        by: str | None = None,
        unnamed_since: int | None = None,
    ) -> None:
        """Delete a version. Its number stays taken, with the reason.

        After a crash in between it is whole or gone, and a second call ends what was begun.

        Args:
            unnamed_since: refuse also if an alias has named it at or after this time, in ns: a log
                that is kept for so long may name it still.

        Raises:
            UsedModelError: an alias or an ensemble names it, or did so too lately.
            MissingModelError: there is no such version.
        """
        folder = version_folder(_checked(name), version)
        left = [each for each in self._store.names(folder) if not _OWN.fullmatch(each)]
        if not self._published(name, version) and not (left and self._removals(name, version)):
            where = self._store.where(f"{folder}/{MANIFEST}")
            raise MissingModelError(where, "no file", f"version {version} of {name}")
        mark = f"{folder}/removal-{secrets.token_hex(8)}.json"
        self._store.create(mark, seal(Removal(reason, by, time)))
        try:
            self._refuse_used(name, version, unnamed_since)
        except BaseException:
            self._store.remove(mark)
            raise
        # The manifest first: what has none is no version.
        self._store.remove(f"{folder}/{MANIFEST}")
        for each in left:
            self._store.remove(f"{folder}/{each}")

    def _removals(self, name: str, version: int) -> tuple[str, ...]:
        found = self._store.names(version_folder(name, version))
        return tuple(each for each in found if each.startswith("removal-"))

    def _refuse_removed(self, name: str, version: int | None) -> None:
        if version is None:
            return
        for mark in self._removals(name, version):
            path = f"{version_folder(name, version)}/{mark}"
            where = self._store.where(path)
            try:
                removal = unseal(self._store.read(path), Removal, where)
            except FileNotFoundError:
                # Given up: the deletion has met an alias.
                continue
            found = f"deleted, or being deleted: {removal.reason}"
            raise MissingModelError(where, found, f"version {version} of {name}")

    def _refuse_used(self, name: str, version: int, unnamed_since: int | None) -> None:
        where = self._store.where(version_folder(name, version))
        for alias, move in self.aliases(name).items():
            if move.version == version:
                raise UsedModelError(where, f"named by the alias {alias}", "a version without one")
        for ensemble in self._ensembles_of(name, version):
            raise UsedModelError(where, f"a member of version {ensemble}", "a version of none")
        if unnamed_since is not None:
            self._refuse_named_since(name, version, unnamed_since, where)

    def _refuse_named_since(self, name: str, version: int, since: int, where: str) -> None:
        moves = self._moves(name)
        for alias in moves.names():
            until: int | None = None
            for move in moves.history(alias):
                if move.version == version and until is not None and until >= since:
                    found = f"named by the alias {alias} until {until}"
                    raise UsedModelError(where, found, f"not since {since}")
                until = move.time

    def _ensembles_of(self, name: str, version: int) -> tuple[int, ...]:
        found = []
        for each in self.versions(name):
            try:
                members = self.manifest(name, each).members
            except ModelError:
                # What cannot be read cannot be loaded either, so it needs no members.
                continue
            if any(one.version == version for one in members):
                found.append(each)
        return tuple(found)


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: expected a name of a-z, 0-9, _ and -, at most 64 characters")
    return name
