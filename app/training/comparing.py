"""A new model beside the champion, on rows that neither has seen; and what follows from it.

    rows of the new model: |-- fitted on ----------|gap|-- its calibration -------|
    rows of the champion:  |-- fitted and calibrated on --|gap|
                                                       |-- compared on ------|

What is scored is the very model that would be published: `train` fits it on the earlier rows,
purged and with an embargo, and takes from the last ones nothing but the width of its intervals. Of
these rows only those count that come after the champion's data end, and after an embargo: what it
has seen it may know by heart. So neither model has an advantage, and nothing is trained twice.

The skill against the champion is judged as all skill is here, by a block bootstrap (`scoring.py`).
Who retrains each night asks the same question each night: of equal models about one in forty is
found better by chance, which does no harm, since they are equal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from app.profile.pages import moment_text
from app.training.document import verdict
from app.training.pages import level, signed_share
from models.predicting.baselines import TITLES, baseline_predictions
from models.predicting.boosting import load_booster
from models.predicting.dataset import TrainingSet
from models.predicting.predictor import make_predictor
from models.predicting.registry_contents import LoadedVersion
from models.predicting.scoring import CONFIDENCE, LEAST_BLOCKS, Score, Skill, score
from models.predicting.training import TrainedModel

#: The champion among the baselines.
CHAMPION: Final = "champion"
When = Literal["better", "never"]


@dataclass(frozen=True)
class Comparison:
    """A new model beside the champion.

    Attributes:
        champion: its version.
        rows: that neither has seen.
        times: different times of these.
        needed: how many there must be for an interval.
        begin, end: of the rows, ns; None without rows.
        score: of the new model; `champion` is one of its baselines. None without rows.
    """

    champion: int
    rows: int
    times: int
    needed: int
    begin: int | None = None
    end: int | None = None
    score: Score | None = None

    def skill(self, name: str) -> Skill | None:
        """Return the skill against the champion or a baseline."""
        skills = self.score.skills if self.score is not None else ()
        return next((each for each in skills if each.baseline == name), None)

    def plain(self) -> dict[str, Any]:
        """Return what the report has of it."""
        return asdict(self)

    def figures(self) -> dict[str, float]:
        """Return what the manifest has of it, beside the scores; empty without rows."""
        against, zero = self.skill(CHAMPION), self.skill("zero")
        if self.score is None or against is None or zero is None:
            return {}
        found = {
            "version": float(self.champion),
            "rows": float(self.rows),
            "mse": self.score.mse,
            "champion_mse": against.mse,
            "skill": against.skill,
            "skill_low": against.low,
            "skill_high": against.high,
            "skill_against_zero": zero.skill,
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Decision:
    """Whether to promote, and why, in a line for people."""

    promote: bool
    reason: str


def compare(rows: TrainingSet, model: TrainedModel, champion: LoadedVersion) -> Comparison:
    """Score a model beside the champion.

    Args:
        rows: that the model was trained on, all of them.
        model: as trained.
        champion: for the same features, bars and horizon.

    Raises:
        ModelError: the champion does not predict.
    """
    known = rows.take(slice(0, model.fitted_rows))
    unseen = unseen_rows(rows, model, champion.manifest.data_to)
    times = len(np.unique(unseen.time))
    # As the bootstrap counts: blocks of two horizons, or of the root of the times.
    needed = max(LEAST_BLOCKS**2, LEAST_BLOCKS * 2 * rows.horizon)
    version = champion.manifest.version
    if not len(unseen):
        return Comparison(version, 0, 0, needed)
    beside = {
        CHAMPION: make_predictor(champion).predict(unseen.features),
        **baseline_predictions(known, unseen),
    }
    predicted = load_booster(model.model).inplace_predict(unseen.features)
    found = score(
        unseen.target, np.asarray(predicted, np.float64), beside, unseen.time, rows.horizon
    )
    begin, end = int(unseen.time[0]), int(unseen.time[-1])
    return Comparison(version, len(unseen), times, needed, begin, end, found)


def unseen_rows(rows: TrainingSet, model: TrainedModel, champion_until: int) -> TrainingSet:
    """Return the rows that neither the model was fitted on nor the champion can have known.

    Args:
        rows: that the model was trained on, all of them.
        model: as trained.
        champion_until: when the last target of the champion was known, ns.
    """
    tail = rows.take(slice(len(rows) - model.calibration_rows, len(rows)))
    return tail.take(tail.time > champion_until + int(model.parameters["embargo"]))


def decide(found: Score, comparison: Comparison | None, when: When, force: str | None) -> Decision:
    """Say whether a model is to be promoted.

    Args:
        found: of the walk, beside the baselines.
        comparison: beside the champion; None where there is none.
        when: `never` promotes nothing.
        force: a reason to promote whatever was found.
    """
    judged = _first(found) if comparison is None else _beside(comparison)
    if force is not None:
        return Decision(True, f"forced: {force}; found: {judged.reason}")
    if when == "never":
        return Decision(False, f"never to be promoted; found: {judged.reason}")
    return judged


def _first(found: Score) -> Decision:
    zero = next(each for each in found.skills if each.baseline == "zero")
    text = f"no champion yet. {verdict(found)} Against zero {_with_interval(zero)}, on "
    return Decision(found.proven, f"{text}{found.rows:,} rows out of sample")


def _beside(comparison: Comparison) -> Decision:
    name = f"version {comparison.champion}"
    against, zero = comparison.skill(CHAMPION), comparison.skill("zero")
    if against is None or zero is None or comparison.times < comparison.needed:
        return Decision(
            False,
            f"too few rows to compare with {name}: {comparison.rows:,} at {comparison.times:,} "
            f"times that neither has seen; at least {comparison.needed:,} times are needed",
        )
    text = (
        f"skill {_with_interval(against)}, against {TITLES['zero']} {signed_share(zero.skill)}, on "
        f"{comparison.rows:,} rows that neither has seen, {moment_text(comparison.begin)} to "
        f"{moment_text(comparison.end)} UTC"
    )
    if not against.proven:
        return Decision(False, f"not better than {name} beyond chance: {text}")
    if zero.skill is None or zero.skill <= 0:
        return Decision(False, f"better than {name}, but not than {TITLES['zero']}: {text}")
    return Decision(True, f"better than {name}: {text}")


def _with_interval(skill: Skill) -> str:
    interval = f"{signed_share(skill.low)} to {signed_share(skill.high)}"
    return f"{signed_share(skill.skill)} ({level(CONFIDENCE)} interval {interval})"
