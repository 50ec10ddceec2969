"""What `candlewick train` finds, and does not: `python -m tests.checks.training_evidence`.

Runs the command twice on each data set and prints what its report says: the simulator with a
planted signal (found), the simulator as a martingale (nothing to be found, nothing claimed), the
simulator as it is, and the recorded SPY and IBM days (whatever is true). Exit code 1 where
something is not as it must be.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner

from app.cli import candlewick
from app.cli.common import table_lines
from app.feeds.market import SECOND, MarketOptions
from app.feeds.signal import Signal
from tests.checks.evidence_bars import export_recorded, export_simulated

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
#: Of the simulated markets: symbols, trades a second of all of them, seconds, which are bars too.
SYMBOLS, RATE, BARS = 25, 700.0, 600
#: Of 90 % intervals, on so many predictions at least.
COVERAGE, LEAST = (0.88, 0.92), 3_000
BASELINES = ("zero", "last value", "AR(1)")

#: Writes bars to a file; how many trades they are of.
Make = Callable[[Path], int]


@dataclass(frozen=True)
class Case:
    """A data set, and what must be found in it; None: whatever is true."""

    name: str
    make: Make
    interval: str = "1s"
    calendar: str = "24/7"
    skill: bool | None = None
    signal: bool = False


@dataclass(frozen=True)
class Evidence:
    """What the command said of a case.

    Attributes:
        case: see there.
        trades: that the bars are of.
        there: share of the variance that the signal's own rule explains in the bars; of simulations
            with one.
        report: report.json.
        models: SHA-256 of the model of each run.
        seconds: to make the bars, and for one training.
    """

    case: Case
    trades: int
    there: float | None
    report: dict[str, Any]
    models: tuple[str, ...]
    seconds: tuple[float, float]

    def faults(self) -> list[str]:
        """What is not as it must be."""
        report, found = self.report, []
        coverage = report["coverage"]
        if self.case.skill is not None:
            if report["proven"] is not self.case.skill:
                found.append(report["verdict"])
            if coverage["rows"] < LEAST:
                found.append(f"only {coverage['rows']} intervals")
            if not COVERAGE[0] <= coverage["adaptive"] <= COVERAGE[1]:
                found.append(f"coverage is {coverage['adaptive']:.2%}")
        if set(self.models) != {report["model"]["sha256"]}:
            found.append("two trainings gave two models")
        return [f"{self.case.name}: {each}" for each in found]

    def cells(self) -> list[str]:
        """Its row of the table."""
        report = self.report
        score, coverage, equity = report["score"], report["coverage"], report["equity"]
        return [
            self.case.name,
            f"{self.trades:,}",
            f"{score['rows']:,}",
            "" if self.there is None else f"{self.there:.2%}",
            f"{score['mse'] ** 0.5 * 1e4:.3f}",
            *map(_skill, score["skills"]),
            "yes" if report["proven"] else "no",
            f"{coverage['adaptive']:.2%} of {coverage['rows']:,}",
            f"{equity['net']:+.2%}, {equity['trades']:,} at {equity['cost_bps']:g} bp",
            f"{self.models[0][:12]} x{len(self.models)}",
            f"{self.seconds[0]:.1f} + {self.seconds[1]:.1f}",
        ]


HEADER = [
    *("data", "trades", "tested", "in the bars", "RMSE bp"),
    *(f"skill against {name}" for name in BASELINES),
    *("claimed", "90 % intervals", "after costs", "model sha256", "s"),
]


def _skill(skill: dict[str, Any]) -> str:
    if skill["low"] is None:
        return f"{skill['skill']:+.2%} (too few)"
    return f"{skill['skill']:+.2%} ({skill['low']:+.2%} to {skill['high']:+.2%})"


def simulation(
    seed: int, share: float | None, *, symbols: int = SYMBOLS, rate: float = RATE, bars: int = BARS
) -> Make:
    """Return what simulates one-second bars; the share is the signal's, None: as it is."""
    signal = None if share is None else Signal(share, SECOND)
    options = MarketOptions(symbols, rate, seed=seed, signal=signal)
    return lambda path: export_simulated(options, bars, "1s", path)


def recorded(*symbols: str) -> Make:
    """Return what makes bars of the recorded days."""
    folders = [DATA / "equity" / "tick" / symbol.lower() for symbol in symbols]
    return lambda path: export_recorded(folders, "10s,1m", path)


def gather(case: Case, folder: Path, times: int = 2) -> Evidence:
    """Make the bars of a case and train on them, several times over.

    Raises:
        RuntimeError: the command did not end well.
    """
    begin = time.monotonic()
    bars = folder / "bars.parquet"
    trades = case.make(bars)
    made = time.monotonic()
    models = []
    for number in range(times):
        out = folder / f"model-{number}"
        command = [
            *("train", "--bars", str(bars), "--interval", case.interval, "--out", str(out)),
            *("--calendar", case.calendar),
        ]
        result = CliRunner().invoke(candlewick, command)
        if result.exit_code != 0:
            raise RuntimeError(f"candlewick {' '.join(command)}: {result.output}{result.exception}")
        models.append(hashlib.sha256((out / "model.ubj").read_bytes()).hexdigest())
    report = json.loads((folder / "model-0" / "report.json").read_text())
    spent = (made - begin, (time.monotonic() - made) / times)
    there = explained(bars) if case.signal else None
    return Evidence(case, trades, there, report, tuple(models), spent)


def explained(path: Path) -> float:
    """Return what the rule of app/feeds/signal.py explains of one-second returns, as R2.

    It is told of the bars alone: a heavy one has more than the median volume of its symbol.
    """
    columns = pq.read_table(path, columns=["symbol", "close", "volume"]).to_pydict()
    symbols, close, volume = (np.array(columns[name]) for name in ("symbol", "close", "volume"))
    foretold, came = [], []
    for symbol in sorted(set(symbols.tolist())):
        own = symbols == symbol
        moved = np.diff(np.log(close[own]))
        heavy = (volume[own] > np.median(volume[own]))[1:]
        foretold.append(moved[:-1] * np.where(heavy[:-1], -1, 1))
        came.append(moved[1:])
    return float(np.corrcoef(np.concatenate(foretold), np.concatenate(came))[0, 1] ** 2)


def cases(data: bool) -> Iterator[Case]:
    """Yield all data sets; the recorded days where they are there."""
    for share in (0.2, 0.1, 0.05):
        yield Case(f"simulator, signal {share:.0%}", simulation(1, share), skill=True, signal=True)
    for seed in (1, 2, 3, 4):
        yield Case(f"martingale, seed {seed}", simulation(seed, 0.0), skill=False)
    yield Case("simulator as it is", simulation(1, None))
    if data:
        for symbols in (("SPY",), ("IBM",), ("SPY", "IBM")):
            yield Case(f"{' and '.join(symbols)} 1m", recorded(*symbols), "1m", "XNYS")
        yield Case("SPY and IBM 10s", recorded("SPY", "IBM"), "10s", "XNYS")


def table(found: Sequence[Evidence]) -> str:
    """Return the rows below each other."""
    return "\n".join(table_lines([HEADER, *(each.cells() for each in found)]))


def main() -> None:
    """Print the table; exit code 1 where something is not as it must be."""
    argparse.ArgumentParser(prog="python -m tests.checks.training_evidence").parse_args()
    begin, found = time.monotonic(), []
    for case in cases(DATA.is_dir()):
        with tempfile.TemporaryDirectory() as folder:
            found.append(gather(case, Path(folder)))
    print(table(found))
    print(f"{time.monotonic() - begin:.0f} s")
    faults = [fault for each in found for fault in each.faults()]
    print("\n".join(faults) or "all as it must be")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
