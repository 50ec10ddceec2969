"""Counts of look-ups: which version, past or online, by whom, when first and last.

A `Usage` counts in memory, in a bounded number of cells. `flush` adds what was counted to the
totals in the store: `usage/000042.json` holds the totals of all processes, and the next one is
made by creating the next number, which one writer alone can do; the others read it and add theirs
to that. So nothing is counted twice or lost, but what a process had counted when it died. Of the
older files some stay: a writer that was slow finds out by them.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterable
from typing import Literal

import msgspec

from models.predicting.manifest import FORMAT, seal, unseal
from models.predicting.registry_moves import numbered
from models.predicting.registry_store import Store

Verb = Literal["online", "historical"]

FOLDER = "usage"
#: Where a cell more would be too many.
OTHER = "(other)"
CELLS = 1_000
#: Files of totals that are kept.
KEPT = 16
GREATEST_LABEL = 200
_FILE = re.compile(r"(\d{6,18})\.json")


class Use(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one caller asked of one version.

    Attributes:
        feature_set: `returns@1:0123456789abcdef`.
        caller: as it calls itself.
        lookups: calls.
        rows: rows that were asked for.
        served: rows that had features.
        first, last: ns.
    """

    feature_set: str
    verb: Verb
    caller: str
    lookups: int
    rows: int
    served: int
    first: int
    last: int


class Totals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All uses until a flush.

    Attributes:
        uses: sorted by version, verb and caller.
        flushed: ns, given.
        token: of the writer, so that no other takes an equal file for its own.
    """

    uses: tuple[Use, ...]
    flushed: int
    token: str
    format: int = FORMAT


class Usage:
    """Counts look-ups; any thread may."""

    def __init__(self, cells: int = CELLS) -> None:
        """Begin; beyond `cells` different ones all is counted as of the caller `(other)`.

        Raises:
            ValueError: fewer than 1 cell.
        """
        if cells < 1:
            raise ValueError(f"{cells} cells; expected 1 or more")
        self._cells = cells
        self._counts: dict[tuple[str, Verb, str], list[int]] = {}
        self._lock = threading.Lock()

    def count(
        self, feature_set: str, verb: Verb, caller: str, *, rows: int, served: int, time: int
    ) -> None:
        """Count a look-up; `time` is ns."""
        key = feature_set, verb, caller
        with self._lock:
            found = self._counts.get(key)
            if found is None:
                found = self._cell(key, time)
            found[0] += 1
            found[1] += rows
            found[2] += served
            if time < found[3]:
                found[3] = time
            if time > found[4]:
                found[4] = time

    def _cell(self, key: tuple[str, Verb, str], time: int) -> list[int]:
        feature_set, verb, caller = key
        key = feature_set[:GREATEST_LABEL], verb, caller[:GREATEST_LABEL]
        if key not in self._counts and len(self._counts) >= self._cells:
            key = OTHER, verb, OTHER
        return self._counts.setdefault(key, [0, 0, 0, time, time])

    def uses(self) -> tuple[Use, ...]:
        """Return what was counted since the last flush."""
        with self._lock:
            return _sorted(Use(*key, *counts) for key, counts in self._counts.items())

    def flush(self, store: Store, time: int) -> Totals:
        """Add what was counted to the totals in the store; the totals.

        Where the store fails the counts stay for the next flush. Blocks for as long as it takes.

        Args:
            time: ns.

        Raises:
            OSError: of the store.
            ModelError: the totals there are broken.
        """
        with self._lock:
            taken, self._counts = self._counts, {}
        try:
            added = [Use(*key, *counts) for key, counts in taken.items()]
            return _add(store, added, time, self._cells)
        except BaseException:
            with self._lock:
                for key, counts in taken.items():
                    _put(self._counts, key, counts)
            raise


def read_usage(store: Store) -> Totals:
    """Return the totals of all processes; none yet is an empty one.

    Raises:
        ModelError: they are broken.
    """
    return _newest(store)[1]


def merge(uses: Iterable[Use], cells: int = CELLS) -> tuple[Use, ...]:
    """Return uses with one cell a version, verb and caller; the least lately used beyond `cells`
    are counted as of `(other)`.
    """
    counts: dict[tuple[str, Verb, str], list[int]] = {}
    for each in uses:
        key = each.feature_set, each.verb, each.caller
        _put(counts, key, [each.lookups, each.rows, each.served, each.first, each.last])
    if len(counts) > cells:
        newest = sorted(counts, key=lambda key: (key[0] == OTHER, -counts[key][4], key))
        for key in newest[cells:]:
            _put(counts, (OTHER, key[1], OTHER), counts.pop(key))
    return _sorted(Use(*key, *found) for key, found in counts.items())


def _put(
    counts: dict[tuple[str, Verb, str], list[int]], key: tuple[str, Verb, str], more: list[int]
) -> None:
    held = counts.get(key)
    if held is None:
        counts[key] = list(more)
        return
    for place in range(3):
        held[place] += more[place]
    held[3], held[4] = min(held[3], more[3]), max(held[4], more[4])


def _sorted(uses: Iterable[Use]) -> tuple[Use, ...]:
    return tuple(sorted(uses, key=lambda each: (each.feature_set, each.verb, each.caller)))


def _numbers(store: Store) -> list[int]:
    matches = (_FILE.fullmatch(each) for each in store.names(FOLDER))
    return sorted(int(each[1]) for each in matches if each is not None)


def _path(number: int) -> str:
    return f"{FOLDER}/{numbered(number)}.json"


def _newest(store: Store) -> tuple[int, Totals]:
    """Return the highest number and its totals; 0 and empty ones where there is none."""
    while True:
        numbers = _numbers(store)
        if not numbers:
            return 0, Totals((), 0, "")
        path = _path(numbers[-1])
        try:
            content = store.read(path)
        except FileNotFoundError:
            # Others have flushed so often since that it is gone: there is a newer one.
            if numbers == _numbers(store):
                raise
            continue
        return numbers[-1], unseal(content, Totals, store.where(path))


def _add(store: Store, added: list[Use], time: int, cells: int) -> Totals:
    while True:
        number, totals = _newest(store)
        if not added:
            return totals
        uses = merge((*totals.uses, *added), cells)
        made = Totals(uses, max(time, totals.flushed), secrets.token_hex(8))
        try:
            store.create(_path(number + 1), seal(made))
        except FileExistsError:
            # Another's flush; a failure here is a success there, so this ends.
            continue
        left = _numbers(store)
        if left[-1] > number + KEPT:
            # Ours may have been another's that is gone already, and then nobody reads it. If we
            # were first after all and so many flushed since, these few counts are there twice.
            store.remove(_path(number + 1))
            continue
        for old in left:
            if old <= number + 1 - KEPT:
                store.remove(_path(old))
        return made
