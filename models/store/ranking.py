"""Which features foretell the target: a ranking that uses no later row, and says when none does.

*Score.* The rows are cut into blocks of time: a first half, then `folds` more (`walk_forward`),
each without the rows whose label is known only in the next block. In each block a feature has a
coefficient, 3 times the mean of two ranks' product, over all symbols: where its value lies among
those of the blocks before, from -1 to 1 (missing: 0), and the signed rank of the target (Wilcoxon,
1945), the sign of the return by the rank of its size, from -1 to 1. That is a rank correlation but
for what it does not do: nothing is centred by the block's own mean. A mean knows the future: past
returns and future ones of one block are negatively correlated about their common mean, in a random
walk too (Stambaugh, "Predictive Regressions", 1999). Spearman's coefficient as it is called
something proven in 10 of 20 random walks; this one in 7 of 180, as 5 % promise. In each block but
the first the coefficient counts with the sign that the feature had in the blocks before: what one
would have had who believed the past. The score is the mean of these; *stability* is the share of
blocks in which it was above 0.

*Chance.* The best of forty useless features looks useful. So the targets are shifted in time
against the features, around the end, by many random offsets, which leaves each series as it is and
cuts what lies between them; the greatest score of all features is noted each time. A feature is
`proven` where its score is above all but 5 % of those (max-statistic: Westfall and Young,
"Resampling-Based Multiple Testing", 1993).

*Redundancy.* From the best score on a feature is left out whose rank correlation with one already
chosen is above `redundant` either way. No target is looked at for that.

This tells of single features and monotone relations: what works only together with another, or
both ways, is not found here, and a model may still use it. Whoever trains on the chosen features
judges the model on rows after these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.predicting.dataset import TrainingSet
from models.predicting.splits import walk_forward

Floats = npt.NDArray[np.float64]

SHIFTS: Final = 200
#: Of the features that are useless: how often one of them may be called proven.
SIGNIFICANCE: Final = 0.05
#: Of a symbol's rows, at either end, that a shift is longer than.
_LEAST_SHIFT: Final = 0.05
#: Of rows in a block.
LEAST_ROWS: Final = 20
_SEED: Final = 20_261_122


@dataclass(frozen=True)
class Ranked:
    """A feature and what it foretold.

    Attributes:
        coefficients: by block, the first half's first.
        score: mean of the later ones, each with the sign of those before it.
        stability: share of them that had this sign.
        proven: whether the score is above what chance gives the best of all features.
        missing: share of rows without a value.
        redundant_with: a better feature that says the same; None where there is none.
        chosen: among the best asked for.
    """

    name: str
    coefficients: tuple[float, ...]
    score: float
    stability: float
    proven: bool
    missing: float
    redundant_with: str | None
    chosen: bool


@dataclass(frozen=True)
class Ranking:
    """Features, best first.

    Attributes:
        threshold: the score that the best of all features has by chance in 5 % of cases.
        rows: that were used.
        blocks: of time, the first half among them.
    """

    features: tuple[Ranked, ...]
    threshold: float
    rows: int
    blocks: int
    horizon: int
    interval: str
    feature_set: str

    @property
    def chosen(self) -> tuple[str, ...]:
        """The best that are not redundant, best first."""
        return tuple(each.name for each in self.features if each.chosen)

    @property
    def proven(self) -> tuple[str, ...]:
        """Those with more than chance gives, best first."""
        return tuple(each.name for each in self.features if each.proven)


def rank(
    rows: TrainingSet,
    best: int = 30,
    *,
    folds: int = 5,
    redundant: float = 0.95,
    shifts: int = SHIFTS,
    seed: int = _SEED,
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Ranking:
    """Rank the features of rows by what they foretold.

    Args:
        best: how many are chosen at most.
        folds: blocks after the first half.
        redundant: rank correlation above which one of two features is left out, up to 1.
        shifts: random ones; at least 100 for the 5 %.
        seed: of the shifts.
        progress: is told how many shifts are done.

    Raises:
        ValueError: a number out of its bounds, or too few rows.
    """
    if best < 1 or folds < 2 or not 0 < redundant <= 1 or shifts < 100:
        raise ValueError(
            f"best {best}, folds {folds}, redundant {redundant}, shifts {shifts}; expected at "
            "least 1, at least 2, above 0 and at most 1, at least 100"
        )
    blocks = _blocks(rows, folds)
    places = _places(rows.features.astype(np.float64), blocks)
    sizes = np.array([len(each) for each in blocks], np.float64)
    target = rows.target
    found = _coefficients(places, blocks, target)
    signed = _signed(found, sizes)
    score = signed.mean(axis=0)
    greatest = np.empty(shifts)
    chance = np.random.default_rng(seed)
    by_symbol = [np.flatnonzero(rows.symbol == each) for each in range(len(rows.symbols))]
    for number in range(shifts):
        moved = _shifted(target, by_symbol, float(chance.uniform()), rows.horizon)
        greatest[number] = _signed(_coefficients(places, blocks, moved), sizes).mean(axis=0).max()
        progress("shifts", number + 1, shifts)
    threshold = float(np.quantile(greatest, 1 - SIGNIFICANCE, method="higher"))
    order = sorted(range(len(score)), key=lambda place: (-score[place], place))
    likeness = _likeness(rows.features)
    chosen: list[int] = []
    listed = []
    for place in order:
        alike = next((each for each in chosen if likeness[each, place] > redundant), None)
        taken = alike is None and len(chosen) < best
        if taken:
            chosen.append(place)
        listed.append(
            Ranked(
                name=rows.names[place],
                coefficients=tuple(found[:, place].tolist()),
                score=float(score[place]),
                stability=float((signed[:, place] > 0).mean()),
                proven=bool(score[place] > threshold),
                missing=float(np.isnan(rows.features[:, place]).mean()),
                redundant_with=None if alike is None else rows.names[alike],
                chosen=taken,
            )
        )
    return Ranking(
        tuple(listed),
        threshold,
        len(rows),
        len(blocks),
        rows.horizon,
        rows.interval,
        rows.feature_set,
    )


def _blocks(rows: TrainingSet, folds: int) -> list[npt.NDArray[np.intp]]:
    """Return the positions of the rows of each block; labels are known before the next one."""
    walk = walk_forward(rows.time, rows.label_time, folds)
    found = [walk[0].training]
    for fold, after in zip(walk, [*walk[1:], None], strict=True):
        positions = fold.testing
        if after is not None:
            first = int(rows.time[after.testing[0]])
            positions = positions[rows.label_time[positions] < first]
        found.append(positions)
    least = min(map(len, found))
    if least < LEAST_ROWS:
        raise ValueError(
            f"{len(rows)} rows make a block of {least}; expected {LEAST_ROWS} or more in each"
        )
    return found


def _ranks(values: Floats) -> Floats:
    """Return ranks from 0, ties by their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[place], dtype=np.float64)


def _standard(values: Floats) -> Floats:
    """Return values of mean 0 and length 1; zeros where they are all the same."""
    centred = values - values.mean()
    length = float(np.sqrt(centred @ centred))
    return centred / length if length > 0 else np.zeros_like(centred)


def _standard_ranks(columns: Floats) -> Floats:
    """Return the ranks of each column, of mean 0 and length 1, 0 where nothing is."""
    found = np.zeros_like(columns)
    for place in range(columns.shape[1]):
        there = ~np.isnan(columns[:, place])
        if there.any():
            found[there, place] = _standard(_ranks(columns[there, place]))
    return found


def _places(features: Floats, blocks: list[npt.NDArray[np.intp]]) -> list[Floats]:
    """Return for each block where its values lie among those before it: -1 to 1, 0 for nothing.

    Of the first block, among its own: it gives signs for those behind it and no score.
    """
    found = []
    for number, block in enumerate(blocks):
        before = np.concatenate(blocks[: max(1, number)])
        own = np.zeros((len(block), features.shape[1]))
        for place in range(features.shape[1]):
            known = np.sort(features[before, place])
            known = known[: len(known) - int(np.isnan(known).sum())]
            values = features[block, place]
            if len(known):
                below = np.searchsorted(known, values, side="left")
                upto = np.searchsorted(known, values, side="right")
                own[:, place] = np.where(np.isnan(values), 0.0, (below + upto) / len(known) - 1)
        found.append(own)
    return found


def _signed_ranks(target: Floats) -> Floats:
    """Return the sign of each value by the rank of its size, from -1 to 1."""
    return np.asarray(np.sign(target) * (_ranks(np.abs(target)) + 0.5) / len(target))


def _coefficients(
    places: list[Floats], blocks: list[npt.NDArray[np.intp]], target: Floats
) -> Floats:
    """Return them in the shape (blocks, features)."""
    return np.array(
        [
            3 * (_signed_ranks(target[block]) @ own) / len(block)
            for block, own in zip(blocks, places, strict=True)
        ]
    )


def _signed(coefficients: Floats, sizes: Floats) -> Floats:
    """Return those after the first block, each with the sign of the mean of those before it."""
    before = np.cumsum(coefficients * sizes[:, None], axis=0)[:-1]
    return np.asarray(np.sign(before) * coefficients[1:], dtype=np.float64)


def _shifted(
    target: Floats, by_symbol: list[npt.NDArray[np.intp]], share: float, horizon: int
) -> Floats:
    """Return the targets of each symbol moved around by the same share of its rows."""
    moved = target.copy()
    for places in by_symbol:
        count = len(places)
        least = max(2 * horizon, round(_LEAST_SHIFT * count))
        offset = least + round(share * max(0, count - 2 * least))
        moved[places] = np.roll(target[places], offset)
    return moved


def _likeness(features: npt.NDArray[np.float32]) -> Floats:
    """Return the rank correlations among features, without their signs."""
    standard = _standard_ranks(features.astype(np.float64))
    return np.asarray(np.abs(standard.T @ standard), dtype=np.float64)
