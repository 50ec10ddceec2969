"""`python -m tests.bench.inference`: how long a prediction takes, on one thread, without Kafka.

A model of 200 trees of depth 6 on 20 features; rows with some missing values, another batch each
time. Latency by the wall clock and by the processor's: where other processes take turns with this
one, only the second says what the code needs. Goals: one row P95 under 1 ms, 1,000 rows under 5 ms.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from models.predicting.conformal import Calibration
from models.predicting.manifest import Member, draft_manifest
from models.predicting.predictor import (
    SHARED_ROWS,
    THREADS,
    Predictor,
    make_predictor,
    predict_interval,
)
from models.predicting.registry_contents import LoadedVersion
from tests.unit.model_records import described, sample_rows

TREES, DEPTH, FEATURES = 200, 6, 20
#: Goals of P95 in ms, by rows.
GOALS = {1: 1.0, 1_000: 5.0}
WARM = 20


def trained(seed: int, columns: int = FEATURES) -> bytes:
    """Return a model that has grown all its trees to their depth, as UBJ."""
    import xgboost

    chance = np.random.default_rng(seed)
    rows = sample_rows(8_000, columns, seed)
    target = np.nan_to_num(rows[:, 0]) + chance.standard_normal(len(rows))
    settings = {"nthread": 1, "seed": seed, "max_depth": DEPTH, "eta": 0.05}
    made = xgboost.train(settings, xgboost.DMatrix(rows, target, nthread=1), TREES)
    return bytes(made.save_raw("ubj"))


def predictors() -> tuple[Predictor, Predictor, int]:
    """Return a model, an ensemble of two, and the bytes of a model."""
    names = tuple(f"f{number}" for number in range(FEATURES))
    calibration = Calibration(tuple(number / 100 for number in range(1, 1_000)), 1e-3)
    members = []
    for seed in (1, 2):
        files = {"model.ubj": trained(seed)}
        told = described(feature_names=names, calibration=calibration)
        members.append(LoadedVersion(draft_manifest(told, files), files, "here"))
    parts = tuple(Member(number, 1.0, "0" * 64) for number in (1, 2))
    whole = described(feature_names=names, kind="ensemble", members=parts)
    both = LoadedVersion(draft_manifest(whole, {}), {}, "here", tuple(members))
    return make_predictor(members[0]), make_predictor(both), members[0].size


def measure(predictor: Predictor, count: int, rounds: int, intervals: bool) -> dict[str, float]:
    """Return p50 and p95 in ms by both clocks."""
    batches = [sample_rows(count, FEATURES, seed) for seed in range(50)]
    wall, processor = np.empty(rounds), np.empty(rounds)
    for number in range(-WARM, rounds):
        rows = batches[number % len(batches)]
        begin, used = time.perf_counter_ns(), time.thread_time_ns()
        if intervals:
            predict_interval(predictor, rows, 0.1)
        else:
            predictor.predict(rows)
        taken, spent = time.perf_counter_ns() - begin, time.thread_time_ns() - used
        if number >= 0:
            wall[number], processor[number] = taken / 1e6, spent / 1e6
    return {
        f"{clock} p{share}": float(np.percentile(values, share))
        for clock, values in (("wall", wall), ("processor", processor))
        for share in (50, 95)
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.inference", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="of one row; fewer of more rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    chosen = parser.parse_args()
    model, both, size = predictors()
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, xgboost-cpu "
        f"{version('xgboost-cpu')}: {TREES} trees, depth {DEPTH}, {FEATURES} features, "
        f"{size:,} bytes, {THREADS} threads from {SHARED_ROWS} rows on, ms"
    )
    figures = {}
    gc.disable()
    for name, predictor, intervals in (
        ("model", model, False),
        ("model with intervals", model, True),
        ("ensemble of two", both, False),
    ):
        for count, goal in GOALS.items():
            rounds = max(20, chosen.rounds // (1 if count == 1 else 5))
            found = measure(predictor, count, rounds, intervals)
            figures[f"{name}, {count} rows"] = found
            text = "  ".join(f"{key} {figure:7.3f}" for key, figure in found.items())
            verdict = "met" if found["wall p95"] < goal else f"above {goal} ms"
            print(f"{name:<21} {count:>5,} rows  {text}  goal {verdict}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
