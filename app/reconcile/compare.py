"""Recomputed bars against published ones: drift by field, missing and extra bars."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.reconcile.batch import FIELDS, Values
from app.reconcile.judging import Key
from app.reconcile.windows import Recomputed

#: A missing or extra bar comes before every difference in a field.
_WHOLE_BAR = float("inf")


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
    """One field of one bar, or with field `bar` a whole one: None where there is none."""

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
        bars: in both places, so compared in every field.
        missing, extra: recomputed, but not published; published, but not recomputed.
        left_out: windows by why (app/reconcile/windows.py).
        worst: whole bars first, then by relative difference.
    """

    agent: str
    records: int = 0
    bars: int = 0
    missing: int = 0
    extra: int = 0
    fields: list[FieldDrift] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    worst: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def share(self, one: FieldDrift) -> float:
        """Share of the bars that are missing, extra or unequal in a field, from 0 to 1."""
        total = self.bars + self.missing + self.extra
        return (one.unequal + self.missing + self.extra) / total if total else 0.0

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
        return {
            "agent": self.agent,
            "records": self.records,
            "bars": self.bars,
            "missing": self.missing,
            "extra": self.extra,
            "left_out": dict(self.left_out),
            "fields": fields,
            "differences": [asdict(each) for each in self.worst],
            "notes": self.notes,
        }


def compare(
    agent: str, recomputed: Recomputed, published: Mapping[Key, Values], worst: int = 0
) -> Drift:
    """Compare what a log says with what was published in the same span.

    Args:
        agent: `bars` or `quotes`.
        recomputed: bars of the log.
        published: fields of the highest revisions; windows that are `moving` are passed over.
        worst: keep so many differences.
    """
    drift = Drift(agent, fields=[FieldDrift(name) for name in FIELDS[agent]])
    drift.left_out.update(recomputed.left_out)
    # The greatest alone are kept, so that a wrong deployment does not fill the memory. Of none,
    # `nlargest` would look at nothing.
    found = _differences(drift, recomputed, published)
    drift.worst = heapq.nlargest(max(worst, 1), found, key=_weight)[:worst]
    return drift


def _weight(difference: Difference) -> float:
    return _WHOLE_BAR if difference.field == "bar" else difference.relative or 0.0


def _differences(
    drift: Drift, recomputed: Recomputed, published: Mapping[Key, Values]
) -> Iterator[Difference]:
    """Yield the differences and count them in `drift`; to be taken to the end."""
    for key, values in recomputed.bars.items():
        found = published.get(key)
        if found is None:
            drift.missing += 1
            yield Difference(*key, "bar", None, values[_close_of(drift)], None)
            continue
        drift.bars += 1
        for one in drift.fields:
            there, here = found[one.name], values[one.name]
            if there == here:
                continue
            one.unequal += 1
            relative = None
            if there is not None and here is not None:
                absolute = abs(there - here)
                relative = absolute / max(abs(there), abs(here))
                one.absolute = max(one.absolute, absolute)
                one.relative = max(one.relative, relative)
            yield Difference(*key, one.name, there, here, relative)
    for key, found in published.items():
        if key not in recomputed.bars and key not in recomputed.moving:
            drift.extra += 1
            yield Difference(*key, "bar", found[_close_of(drift)], None, None)


def _close_of(drift: Drift) -> str:
    """The field that stands for a whole bar in a list."""
    return "close" if drift.agent == "bars" else "mid_close"
