"""Recomputed bars against published ones: drift by field, missing, extra and doubled bars."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.reconcile.batch import FIELDS, Values
from app.reconcile.judging import Key
from app.reconcile.windows import Recomputed

#: A missing, extra or doubled bar comes before every difference in a field.
_WHOLE_BAR = float("inf")
#: Names of a `Difference` that are no field: a whole bar; how often a store has one.
BAR, COPIES = "bar", "copies"


@dataclass(slots=True)
class FieldDrift:
    """How one field of the bars in both places differs.

    Attributes:
        unequal: bars whose values are not the same double.
        absolute: the greatest difference.
        relative: the greatest difference, as a share of the greater of the two magnitudes.
    """

    name: str
    unequal: int = 0
    absolute: float = 0.0
    relative: float = 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one bar; with field `bar` a whole one, None where there is none; with field
    `copies` how often it is there, and how often it should be."""

    symbol: str
    interval: str
    start: int
    field: str
    published: float | None
    recomputed: float | None
    relative: float | None


@dataclass(slots=True)
class Drift:
    """What a comparison of one agent's bars has found.

    Attributes:
        against: the store whose bars were compared; None: the topic's.
        bars: in both places, so compared in every field.
        missing, extra: recomputed, but not published; published, but not recomputed.
        doubled: rows or points that repeat one of a bar that is there.
        left_out: windows by why (app/reconcile/windows.py); of a store also `unwritten`.
        worst: whole bars first, then by relative difference.
        first_missing, first_extra: the earliest start of such a bar in ns, None: there is none.
    """

    agent: str
    against: str | None = None
    records: int = 0
    bars: int = 0
    missing: int = 0
    extra: int = 0
    doubled: int = 0
    fields: list[FieldDrift] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    worst: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_missing: int | None = None
    first_extra: int | None = None

    def share(self, one: FieldDrift) -> float:
        """Share of the bars that are missing, extra, doubled or unequal in a field, 0 to 1."""
        whole = self.missing + self.extra + self.doubled
        total = self.bars + whole
        return (one.unequal + whole) / total if total else 0.0

    def above(self, threshold: float) -> list[FieldDrift]:
        """Return the fields that drift by more than a share."""
        return [one for one in self.fields if self.share(one) > threshold]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON; shares are from 0 to 1."""
        fields = {
            one.name: {
                "compared": self.bars,
                "unequal": one.unequal,
                "drift": self.share(one),
                "largest_absolute": one.absolute,
                "largest_relative": one.relative,
            }
            for one in self.fields
        }
        store = {} if self.against is None else {"against": self.against, "doubled": self.doubled}
        return {
            "agent": self.agent,
            **store,
            "records": self.records,
            "bars": self.bars,
            "missing": self.missing,
            "extra": self.extra,
            "left_out": dict(self.left_out),
            "fields": fields,
            "differences": [asdict(each) for each in self.worst],
            "notes": self.notes,
        }


class Comparison:
    """Published bars held against recomputed ones, part by part in any order, each bar once.

    What is equal is let go of at once; what differs is kept until `result`, when it is known
    which bars have changed meanwhile.

    Args:
        agent: `bars` or `quotes`.
        recomputed: bars of the log; not changed.
    """

    def __init__(self, agent: str, recomputed: Recomputed) -> None:
        self._agent, self._recomputed = agent, recomputed
        self._left = dict(recomputed.bars)
        self._differing: dict[Key, Values] = {}
        self._copies: dict[Key, int] = {}
        self._equal = 0

    def take(self, published: Mapping[Key, Values]) -> None:
        """Take bars: the fields of the highest revisions."""
        for key, values in published.items():
            if self._left.pop(key, None) == values:
                self._equal += 1
            else:
                self._differing[key] = values

    def take_copies(self, copies: Mapping[Key, int]) -> None:
        """Take how many rows or points repeat one of a bar."""
        self._copies.update(copies)

    def result(self, worst: int = 0, unwritten: Collection[Key] | None = None) -> Drift:
        """Return what was found; windows that are `moving` are passed over.

        Args:
            worst: keep so many differences.
            unwritten: bars that a store need not have as they are now: left out and counted where
                they differ. None: there is no store.
        """
        drift = Drift(self._agent, fields=[FieldDrift(name) for name in FIELDS[self._agent]])
        drift.left_out.update(self._recomputed.left_out)
        if unwritten is not None:
            drift.left_out["unwritten"] = 0
        drift.bars = self._equal
        # The greatest alone are kept, so that a wrong deployment does not fill the memory. Of none,
        # `nlargest` would look at nothing.
        found = self._differences(drift, unwritten or ())
        drift.worst = heapq.nlargest(max(worst, 1), found, key=_weight)[:worst]
        return drift

    def _differences(self, drift: Drift, unwritten: Collection[Key]) -> Iterator[Difference]:
        """Yield the differences and count them in `drift`; to be taken to the end."""
        close = "close" if drift.agent == "bars" else "mid_close"
        bars, moving = self._recomputed.bars, self._recomputed.moving
        for key, values in self._left.items():
            if key in unwritten:
                drift.left_out["unwritten"] += 1
                continue
            drift.missing += 1
            drift.first_missing = _earlier(drift.first_missing, key)
            yield Difference(*key, BAR, None, values[close], None)
        for key, found in self._differing.items():
            here = bars.get(key)
            if key in unwritten:
                drift.left_out["unwritten"] += here is not None
            elif here is not None:
                drift.bars += 1
                yield from _unequal(drift, key, found, here)
            elif key not in moving:
                drift.extra += 1
                drift.first_extra = _earlier(drift.first_extra, key)
                yield Difference(*key, BAR, found[close], None, None)
        for key, copies in self._copies.items():
            drift.doubled += copies
            yield Difference(*key, COPIES, 1 + copies, 1, None)


def compare(
    agent: str, recomputed: Recomputed, published: Mapping[Key, Values], worst: int = 0
) -> Drift:
    """Compare what a log says with what was published in the same span, taken at once.

    Args:
        agent, recomputed, published, worst: as of `Comparison`.
    """
    comparison = Comparison(agent, recomputed)
    comparison.take(published)
    return comparison.result(worst)


def _unequal(drift: Drift, key: Key, found: Values, here: Values) -> Iterator[Difference]:
    """Yield the fields of a bar that differ, and count them."""
    for one in drift.fields:
        there, recomputed = found[one.name], here[one.name]
        if there == recomputed:
            continue
        one.unequal += 1
        relative = None
        if there is not None and recomputed is not None:
            absolute = abs(there - recomputed)
            relative = absolute / max(abs(there), abs(recomputed))
            one.absolute = max(one.absolute, absolute)
            one.relative = max(one.relative, relative)
        yield Difference(*key, one.name, there, recomputed, relative)


def _earlier(first: int | None, key: Key) -> int:
    return key[2] if first is None else min(first, key[2])


def _weight(difference: Difference) -> float:
    whole = difference.field in (BAR, COPIES)
    return _WHOLE_BAR if whole else difference.relative or 0.0
