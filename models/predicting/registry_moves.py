"""Aliases: which version is the champion, which was it before, and why.

Layout: `NAME/aliases/ALIAS/000001.json`, one file a move, numbered by generation; the highest is in
force. A move is made by creating the next number, which succeeds for one writer alone: a
compare-and-swap on the generation, on every store that can create exclusively, also where a file
cannot be replaced on a condition. Nothing is ever overwritten, so a crash leaves the old or the new
move, and the history is the folder.

A move remembers the generation that a rollback returns to. After two promotions two rollbacks lead
back to the first version, and a promotion after a rollback does not return to what was given up.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from models.predicting.manifest import FORMAT, NAME, seal, unseal
from models.predicting.registry_errors import MissingModelError, ModelError, MovedAliasError
from models.predicting.registry_store import Store

NUMBER = re.compile(r"\d{6,18}")


class Move(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An alias names a version from now on.

    Attributes:
        alias: champion, challenger or another.
        generation: 1 for the first move of the alias, then one more each time.
        verb: what was asked for; `withdraw` takes back a promotion that met a deletion.
        version: None: the alias names nothing.
        behind: the generation that a rollback returns to.
        reason, by: for people.
        time: ns, given.
        token: of its own, so that no writer takes an equal move of another for its own.
    """

    format: int = FORMAT
    alias: str
    generation: int
    verb: Literal["promote", "rollback", "withdraw"]
    version: int | None
    behind: int | None
    reason: str
    by: str | None
    time: int
    token: str


def numbered(number: int) -> str:
    """Return a version or generation as its files are called: `000001`."""
    return f"{number:06}"


class Moves:
    """The moves of the aliases of one model."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self._folder = f"{name}/aliases"

    def _path(self, alias: str, generation: int) -> str:
        return f"{self._folder}/{alias}/{numbered(generation)}.json"

    def names(self) -> tuple[str, ...]:
        """Return the aliases that have ever been moved."""
        found = self._store.names(self._folder)
        return tuple(each for each in found if NAME.fullmatch(each))

    def read(self, alias: str, generation: int) -> Move:
        """Return a move.

        Raises:
            MissingModelError: there is no such generation.
            ModelError: see `unseal`.
        """
        path = self._path(alias, generation)
        try:
            content = self._store.read(path)
        except FileNotFoundError:
            raise MissingModelError(self._store.where(path), "no file", "a move") from None
        return unseal(content, Move, self._store.where(path))

    def current(self, alias: str) -> Move | None:
        """Return the move in force; None where the alias was never moved."""
        stems = [
            each.removesuffix(".json") for each in self._store.names(f"{self._folder}/{alias}")
        ]
        numbers = [int(each) for each in stems if NUMBER.fullmatch(each)]
        return self.read(alias, max(numbers)) if numbers else None

    def history(self, alias: str) -> Iterator[Move]:
        """Yield the moves of an alias, newest first."""
        move = self.current(alias)
        while move is not None:
            yield move
            move = self.read(alias, move.generation - 1) if move.generation > 1 else None

    def in_force(self) -> dict[str, Move]:
        """Return the moves in force, by alias; one that names no version is left out."""
        found = {alias: self.current(alias) for alias in self.names()}
        return {
            alias: move
            for alias, move in found.items()
            if move is not None and move.version is not None
        }

    def resolve(self, alias: str) -> int:
        """Return the version that an alias names.

        Raises:
            MissingModelError: it names none.
        """
        move = self.current(alias)
        if move is None or move.version is None:
            where = self._store.where(f"{self._folder}/{alias}")
            raise MissingModelError(where, "names no version", f"a version of {self._name}")
        return move.version

    def expect(self, alias: str, expected: int | None) -> Move | None:
        """Return the move in force, if it is of a generation, 0 for none; None expects nothing.

        Raises:
            MovedAliasError: it is of another.
        """
        current = self.current(alias)
        found = 0 if current is None else current.generation
        if expected is not None and found != expected:
            raise self._moved(alias, f"at generation {found}", expected)
        return current

    def before(self, alias: str, expected: int | None) -> tuple[Move, Move]:
        """Return the move in force, as `expect`, and the one that a rollback returns to.

        Raises:
            MissingModelError: it named nothing before.
            MovedAliasError: see `expect`.
        """
        current = self.expect(alias, expected)
        if current is None or current.behind is None:
            where = self._store.where(f"{self._folder}/{alias}")
            raise MissingModelError(where, "no version before this one", "one to return to")
        return current, self.read(alias, current.behind)

    def _moved(self, alias: str, found: str, expected: int) -> MovedAliasError:
        where = self._store.where(f"{self._folder}/{alias}")
        return MovedAliasError(where, found, f"generation {expected}")

    def promote(
        self,
        alias: str,
        version: int,
        *,
        reason: str,
        by: str | None,
        time: int,
        current: Move | None,
    ) -> Move:
        """Let the alias name a version, if `current` is still in force.

        Raises:
            MovedAliasError: it is not.
        """
        return self._append(
            current,
            Move(
                alias=alias,
                generation=1 if current is None else current.generation + 1,
                verb="promote",
                version=version,
                behind=None if current is None or current.version is None else current.generation,
                reason=reason,
                by=by,
                time=time,
                token=secrets.token_hex(8),
            ),
        )

    def back(
        self,
        current: Move,
        target: Move | None,
        *,
        verb: Literal["rollback", "withdraw"],
        reason: str,
        by: str | None,
        time: int,
    ) -> Move:
        """Return to what was named before, if `current` is still in force.

        Raises:
            MovedAliasError: it is not.
        """
        return self._append(
            current,
            Move(
                alias=current.alias,
                generation=current.generation + 1,
                verb=verb,
                version=None if target is None else target.version,
                behind=None if target is None else target.behind,
                reason=reason,
                by=by,
                time=time,
                token=secrets.token_hex(8),
            ),
        )

    def unless(
        self,
        refuse: Callable[[int | None], None],
        refusal: type[ModelError],
        move: Move,
        before: Move | None,
        *,
        reason: str,
    ) -> Move:
        """Return a move that was just made; take it back if its version is refused by now.

        Who takes a version away marks it first and looks at the aliases then; a move names first
        and looks for a mark then. So one of the two sees the other, whoever is first.

        Args:
            refuse: raises `refusal` where a version is marked.
            before: what was in force before.
            reason: of the withdrawal.
        """
        try:
            refuse(move.version)
        except refusal:
            # Where it is not in force any more there is nothing to take back.
            with contextlib.suppress(MovedAliasError):
                self.back(move, before, verb="withdraw", reason=reason, by=move.by, time=move.time)
            raise
        return move

    def _append(self, current: Move | None, move: Move) -> Move:
        try:
            self._store.create(self._path(move.alias, move.generation), seal(move))
        except FileExistsError:
            expected = 0 if current is None else current.generation
            raise self._moved(move.alias, "moved meanwhile", expected) from None
        return move
