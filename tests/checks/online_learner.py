"""What the online learner is worth where that is known: `python -m tests.checks.online_learner`.

Rows and bars with a signal that was put there, and without; each row is predicted first and learned
from then. `trust 1` is the same without trust: what a learner loses to its own noise. Times are of
the processor, of rows of 40 features.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from models.predicting.building import build
from models.predicting.dataset import TrainingSet
from models.predicting.features_registry import find_feature_set
from models.predicting.online import OnlinePredictor
from models.predicting.online_training import play, run_online
from models.predicting.planted import planted_bars, planted_rows, white_noise

ROWS = 12_000
SEEDS = (1, 2, 3)


class Trusting(OnlinePredictor):
    """One that believes itself whatever comes of it."""

    @property
    def trust(self) -> float:
        """1."""
        return 1.0


def bars(strength: float, horizon: int, seed: int) -> TrainingSet:
    """Return rows of the built-in features from bars of a random walk, with a signal or without."""
    kind = find_feature_set("returns@1")
    return build(planted_bars(ROWS // 2, strength, seed=seed), kind, horizon)


#: Name, rows of a seed, whether there is something to find.
CASES: tuple[tuple[str, Callable[[int], TrainingSet], bool], ...] = (
    ("rows, signal 20 %, 1 bar", lambda seed: planted_rows(ROWS, 0.2, seed=seed), True),
    ("rows, signal 20 %, 5 bars", lambda seed: planted_rows(ROWS, 0.2, horizon=5, seed=seed), True),
    ("rows, noise, 1 bar", lambda seed: white_noise(ROWS, seed=seed), False),
    ("rows, noise, 5 bars", lambda seed: white_noise(ROWS, horizon=5, seed=seed), False),
    ("bars, signal, 1 bar", lambda seed: bars(0.5, 1, seed), True),
    ("bars, signal, 5 bars", lambda seed: bars(0.5, 5, seed), True),
    ("bars, random walk, 1 bar", lambda seed: bars(0.0, 1, seed), False),
    ("bars, random walk, 5 bars", lambda seed: bars(0.0, 5, seed), False),
)


def skill_without_trust(rows: TrainingSet, first: int) -> float:
    """Return the skill against zero of the raw predictions from a row on."""
    found = play(Trusting(rows.names), rows)[first:]
    target = rows.target[first:]
    return 1 - float(((target - found) ** 2).sum() / (target**2).sum())


def speed(rows: TrainingSet) -> tuple[float, float]:
    """Return the median microseconds of a look and of learning."""
    learner = OnlinePredictor(rows.names)
    looks, learns = [], []
    for row, target in zip(rows.features, rows.target.tolist(), strict=True):
        begin = time.perf_counter()
        _, note = learner.look(row)
        between = time.perf_counter()
        assert note is not None
        learner.learn(note, target)
        looks.append(between - begin)
        learns.append(time.perf_counter() - between)
    return float(np.median(looks)) * 1e6, float(np.median(learns)) * 1e6


def main() -> None:
    """Print skill against zero, and how quick it is."""
    print(f"{'':27}{'seed':>4}{'skill':>9}{'95% interval':>20}{'trust 1':>10}{'coverage':>10}")
    for name, make, _ in CASES:
        for seed in SEEDS:
            rows = make(seed)
            run = run_online(rows)
            zero = run.score.skills[0]
            alone = skill_without_trust(rows, len(rows) - len(run.scored))
            assert zero.skill is not None
            span = f"{zero.low:+.3%} to {zero.high:+.3%}"
            print(
                f"{name:27}{seed:4}{zero.skill:+9.3%}{span:>20}{alone:+10.2%}"
                f"{run.intervals.coverage:10.1%}",
                flush=True,
            )
    look, learn = speed(bars(0.0, 1, 1))
    print(f"40 features: look {look:.1f} us, learn {learn:.1f} us")


if __name__ == "__main__":
    main()
