"""Registered feature sets, in a folder or an object store, beside the models or elsewhere.

    NAME/versions/000001/record.json     what is registered; never written again
                         retired-*.json  nobody may begin to serve it
    NAME/aliases/active/000001.json      the moves of the alias; the last one counts
    usage/                               counts, see `usage.py`

The version is the one that the set declares; `Store.create` lets one writer register it. Aliases
are those of the models (`registry_moves.py`): a move is a compare-and-swap, the history is kept.
The history of all of it, who did what when, is `history`. Calls block.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import msgspec

from models.predicting.features_plan import FeatureSetError
from models.predicting.features_registry import find_feature_set
from models.predicting.featuresets import FeatureSet
from models.predicting.manifest import NAME as ALIAS
from models.predicting.manifest import seal, unseal
from models.predicting.registry_contents import claimed_versions, version_folder
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    MissingModelError,
    ModelError,
    UsedModelError,
)
from models.predicting.registry_moves import Move, Moves
from models.predicting.registry_store import Store, open_store
from models.store.records import FeatureSetRecord, differences

ACTIVE = "active"
#: Not a feature set's folder.
USAGE = "usage"
RECORD = "record.json"
#: More differences than these are no help.
_DIFFERENCES = 5
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")


class ConflictingFeatureSetError(ModelError):
    """The name and version are registered with another hash; raise the version."""


class RetiredFeatureSetError(ModelError):
    """The version is retired; it is not registered or promoted again."""


class Retirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nobody may begin to serve the version."""

    reason: str
    by: str | None
    time: int
    format: int = 1


@dataclass(frozen=True)
class Event:
    """Who did what when.

    Attributes:
        time: ns, as given.
        verb: register, retire, promote, rollback, withdraw.
        version: what it was done to; None for a rollback to nothing.
        alias: that moved.
        generation: of the alias.
    """

    time: int
    verb: str
    name: str
    version: int | None
    by: str | None
    reason: str
    alias: str | None = None
    generation: int | None = None


class FeatureRegistry:
    """The verbs. Times are ns, given by the caller.

    All raise `ModelError`s where something is missing or broken, and `OSError`s of the store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def at(cls, location: str | Path) -> FeatureRegistry:
        """Return the registry in a folder or at an address: `data/features`, `s3://bucket/sets`."""
        return cls(open_store(location))

    def _moves(self, name: str) -> Moves:
        return Moves(self.store, _checked(name))

    def names(self) -> tuple[str, ...]:
        """Return the feature sets that are registered."""
        return tuple(
            each for each in self.store.names("") if _NAME.fullmatch(each) and each != USAGE
        )

    # --- versions

    def register(self, record: FeatureSetRecord) -> tuple[FeatureSetRecord, bool]:
        """Keep a record, unless it is there; the one that is held, and whether it is new.

        The same hash again is no fault: what is held stays, with its owner, tags and description.

        Raises:
            ConflictingFeatureSetError: held with another hash; the message names the differences.
            RetiredFeatureSetError: held and retired.
            ValueError: the name is none.
        """
        path = f"{version_folder(_checked(record.name), record.version)}/{RECORD}"
        try:
            self.store.create(path, seal(record))
        except FileExistsError:
            held = self.record(record.name, record.version)
        else:
            return record, True
        if held.hash != record.hash:
            found = list(islice(differences(held, record), _DIFFERENCES + 1))
            more = ", ..." if len(found) > _DIFFERENCES else ""
            raise ConflictingFeatureSetError(
                self.store.where(path),
                f"{held.label} is registered, not {record.label}: "
                f"{', '.join(found[:_DIFFERENCES])}{more}",
                "a higher VERSION",
            )
        self._refuse_retired(record.name, record.version)
        return held, False

    def versions(self, name: str) -> tuple[int, ...]:
        """Return the versions there are, ascending."""
        return tuple(
            each
            for each in claimed_versions(self.store, _checked(name))
            if RECORD in self.store.names(version_folder(name, each))
        )

    def record(self, name: str, version: int) -> FeatureSetRecord:
        """Return what is registered of a version.

        Raises:
            MissingModelError: there is no such version.
        """
        path = f"{version_folder(_checked(name), version)}/{RECORD}"
        where = self.store.where(path)
        try:
            content = self.store.read(path)
        except FileNotFoundError:
            raise MissingModelError(
                where, "no file", f"version {version} of the feature set {name}"
            ) from None
        held = unseal(content, FeatureSetRecord, where)
        if (held.name, held.version) != (name, version):
            found = f"the record of {held.name}@{held.version}"
            raise CorruptModelError(where, found, f"that of {name}@{version}")
        return held

    def kind(
        self, name: str, version: int | None = None, modules: Sequence[str] = ()
    ) -> type[FeatureSet]:
        """Return the class of a registered version, if this code makes what is registered.

        Args:
            version: None for the one that the alias `active` names.
            modules: import paths of users' sets, beside the one that the record names.

        Raises:
            MismatchedModelError: the code is not here, or makes other features.
        """
        held = self.record(name, self.resolve(name) if version is None else version)
        wanted = f"{held.name}@{held.version}"
        known = (*modules, held.module)
        try:
            # The built-in ones are found without their module.
            found = find_feature_set(wanted, tuple(dict.fromkeys(known)))
        except FeatureSetError as error:
            raise MismatchedModelError(wanted, str(error), f"{held.label} in the code") from error
        if found.plan().hash != held.hash:
            raise MismatchedModelError(
                f"{found.__module__}.{found.__qualname__}", found.plan().label, held.label
            )
        return found

    # --- aliases

    def aliases(self, name: str) -> dict[str, Move]:
        """Return the moves in force, by alias; one that names no version is left out."""
        return self._moves(name).in_force()

    def resolve(self, name: str, alias: str = ACTIVE) -> int:
        """Return the version that an alias names.

        Raises:
            MissingModelError: it names none.
        """
        return self._moves(name).resolve(_alias(alias))

    def promote(
        self,
        name: str,
        version: int,
        *,
        reason: str,
        time: int,
        by: str | None = None,
        alias: str = ACTIVE,
        expected: int | None = None,
    ) -> Move:
        """Let an alias name a version.

        Args:
            expected: the generation that the caller has seen, 0 for none; None moves the alias
                from wherever it is when the call begins.

        Raises:
            RetiredFeatureSetError: the version is retired.
            MovedAliasError: the alias was moved meanwhile.
        """
        moves = self._moves(name)
        current = moves.expect(_alias(alias), expected)
        self.record(name, version)
        self._refuse_retired(name, version)
        move = moves.promote(alias, version, reason=reason, by=by, time=time, current=current)
        return self._unless_retired(moves, name, move, current)

    def rollback(
        self,
        name: str,
        *,
        reason: str,
        time: int,
        by: str | None = None,
        alias: str = ACTIVE,
        expected: int | None = None,
    ) -> Move:
        """Let an alias name again what it named before its last promotion.

        Raises:
            MissingModelError: it named nothing before.
            RetiredFeatureSetError: that is retired.
            MovedAliasError: the alias was moved meanwhile.
        """
        moves = self._moves(name)
        current, target = moves.before(_alias(alias), expected)
        if target.version is not None:
            self.record(name, target.version)
        self._refuse_retired(name, target.version)
        move = moves.back(current, target, verb="rollback", reason=reason, by=by, time=time)
        return self._unless_retired(moves, name, move, current)

    def _unless_retired(self, moves: Moves, name: str, move: Move, before: Move | None) -> Move:
        """Take a move back if its version is being retired."""
        refuse = partial(self._refuse_retired, name)
        return moves.unless(refuse, RetiredFeatureSetError, move, before, reason="retired")

    # --- retirement

    def retire(
        self, name: str, version: int, *, reason: str, time: int, by: str | None = None
    ) -> Retirement:
        """Let nobody begin to serve a version; its record stays, for models trained on it.

        Raises:
            UsedModelError: an alias names it.
            RetiredFeatureSetError: it is retired already.
        """
        self.record(name, version)
        self._refuse_retired(name, version)
        folder = version_folder(name, version)
        made = Retirement(reason, by, time)
        mark = f"{folder}/retired-{secrets.token_hex(8)}.json"
        self.store.create(mark, seal(made))
        try:
            for alias, move in self.aliases(name).items():
                if move.version == version:
                    where = self.store.where(folder)
                    found = f"named by the alias {alias}"
                    raise UsedModelError(where, found, "a version without one")
        except BaseException:
            self.store.remove(mark)
            raise
        return made

    def retirements(self, name: str, version: int) -> tuple[Retirement, ...]:
        """Return the marks of a version, oldest first; none while it may be served."""
        folder = version_folder(_checked(name), version)
        found = []
        for each in self.store.names(folder):
            if each.startswith("retired-"):
                path = f"{folder}/{each}"
                # A mark that is gone again was given up: the retirement has met an alias.
                with contextlib.suppress(FileNotFoundError):
                    found.append(unseal(self.store.read(path), Retirement, self.store.where(path)))
        return tuple(sorted(found, key=lambda each: each.time))

    def _refuse_retired(self, name: str, version: int | None) -> None:
        for mark in () if version is None else self.retirements(name, version):
            where = self.store.where(version_folder(name, version or 0))
            raise RetiredFeatureSetError(where, f"retired: {mark.reason}", "a version that is not")

    # --- audit

    def history(self, name: str) -> tuple[Event, ...]:
        """Return all that was done to a feature set, by time."""
        events = []
        for version in self.versions(name):
            held = self.record(name, version)
            events.append(Event(held.time, "register", name, version, held.by, held.label))
            for mark in self.retirements(name, version):
                events.append(Event(mark.time, "retire", name, version, mark.by, mark.reason))
        moves = self._moves(name)
        for alias in moves.names():
            for move in reversed(tuple(moves.history(alias))):
                events.append(
                    Event(
                        *(move.time, move.verb, name, move.version, move.by, move.reason),
                        *(alias, move.generation),
                    )
                )
        return tuple(sorted(events, key=lambda each: each.time))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name == USAGE:
        raise ValueError(
            f"{name!r}: expected a name of a-z, 0-9, _, . and -, at most 128 characters, not "
            f"{USAGE!r}"
        )
    return name


def _alias(alias: str) -> str:
    if not ALIAS.fullmatch(alias):
        raise ValueError(f"{alias!r}: expected an alias of a-z, 0-9, _ and -")
    return alias
