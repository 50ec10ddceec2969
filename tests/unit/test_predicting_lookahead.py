"""The look-ahead checker: planted ones are caught and named, ours are clean."""

from __future__ import annotations

import csv
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from app import exits
from app.cli import candlewick
from app.contracts.wire import BarRecord
from app.run.export import LAYOUTS, write_export
from models.predicting.features_plan import Feature
from models.predicting.features_returns import Returns
from models.predicting.features_terms import Change, Computed, Node, Reading, Step, Term
from models.predicting.featuresets import FeatureItem, FeatureSet
from models.predicting.lookahead import CHECKS, Lookahead, check_lookahead, made_up_bars
from tables.learning import State

CLOSE = Reading("CLOSE")
BARS = made_up_bars(1, 80)
CLEAN = Feature("clean", Change(CLOSE, 3))

MEAN = {"close": 100.0}
CACHE: dict[tuple[str, int], float] = {}
LAST: dict[str, float] = {}


@dataclass(frozen=True)
class Centred(Term):
    """Less a mean that someone else puts there."""

    of: Node

    def bind(self, *places: int) -> Step:
        (of,) = places
        return lambda now, past: now[of] - MEAN["close"]


class OfAColumn(FeatureSet):
    """Normalises by the mean of the whole column."""

    NAME = "of_a_column"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (CLEAN, Feature("centred", Centred(CLOSE)))

    def prepare(self, bars: Sequence[BarRecord]) -> None:
        MEAN["close"] = statistics.fmean(bar.close for bar in bars) if bars else 100.0


class Untold(OfAColumn):
    """Fails where it is told of no bars."""

    NAME = "untold"

    def prepare(self, bars: Sequence[BarRecord]) -> None:
        MEAN["close"] = statistics.fmean(bar.close for bar in bars)


class Remembering(FeatureSet):
    """Caches the closes it is told of, and gives that of the next bar."""

    NAME = "remembering"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (CLEAN, Feature("cached", CLOSE))

    def prepare(self, bars: Sequence[BarRecord]) -> None:
        for bar, following in itertools.pairwise(bars):
            CACHE.setdefault((bar.symbol, bar.start), following.close)
        self.symbol = bars[0].symbol if bars else ""

    def update(self, item: FeatureItem) -> None:
        super().update(item)
        if self.value is not None:
            self.value = (self.value[0], CACHE.get((self.symbol, item[0]), self.value[1]))


class Early(FeatureSet):
    """Fits a constant to the first bars it is told of: no look-ahead, and yet not what is live."""

    NAME = "early"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (CLEAN, Feature("centred", Centred(CLOSE)))

    def prepare(self, bars: Sequence[BarRecord]) -> None:
        MEAN["close"] = statistics.fmean([bar.close for bar in bars[:5]] or [100.0])


def other_symbols(closes: list[float]) -> float:
    """Count the calls: what was asked for before decides, in whatever order that was."""
    LAST["calls"] = LAST.get("calls", 0.0) + 1
    return LAST["calls"]


class Shared(FeatureSet):
    """Symbols share what they write."""

    NAME = "shared"

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (CLEAN, Feature("calls", Computed(other_symbols, (CLOSE,))))


class Forgetful(FeatureSet):
    """Counts bars, and does not store how many."""

    NAME = "forgetful"
    count = 0

    @classmethod
    def declare(cls) -> Sequence[Feature]:
        return (CLEAN, Feature("count", CLOSE))

    def update(self, item: FeatureItem) -> None:
        super().update(item)
        self.count += 1
        if self.value is not None:
            self.value = (self.value[0], float(self.count))


class Thorough(Forgetful):
    """Stores it, and takes it back when a bar is undone."""

    NAME = "thorough"

    def revert(self) -> None:
        super().revert()
        self.count -= 1

    def _content(self) -> State:
        return [self.count, *super()._content()]

    def _restore(self, content: State) -> None:
        self.count, *rest = content
        super()._restore(rest)


def differing(found: Lookahead) -> dict[str, list[str]]:
    by_check: dict[str, list[str]] = {}
    for each in found.differences:
        by_check.setdefault(each.check, []).append(each.feature)
    return by_check


def check(kind: type[FeatureSet], points: int = 5) -> Lookahead:
    return check_lookahead(BARS, kind, points=points)


def test_our_sets_are_clean() -> None:
    found = check_lookahead(made_up_bars(2, 130), Returns, points=4)
    assert found.clean
    assert found.feature_set == Returns.plan().label
    assert set(found.rows) == set(CHECKS)
    assert min(found.rows.values()) > 100
    assert len(found.points) == 4


def test_a_mean_of_the_whole_column_is_caught_at_the_rows_and_features_it_is_in() -> None:
    found = check(OfAColumn)
    assert differing(found) == {"batch": ["centred"], "cut": ["centred"], "other": ["centred"]}
    cut = next(each for each in found.differences if each.check == "cut")
    assert cut.rows == found.rows["cut"]
    starts = {name: [bar.start for bar in BARS if bar.symbol == name] for name in ("AAA", "BBB")}
    # Both begin with their fourth bar.
    assert (cut.start, cut.symbol) == min((own[3], name) for name, own in starts.items())
    assert cut.live is not None
    assert cut.live != cut.found


def test_what_a_set_caches_of_the_bars_it_is_told_of_is_caught() -> None:
    CACHE.clear()
    found = differing(check(Remembering))
    assert found["batch"] == found["cut"] == found["other"] == ["cached"]


def test_what_is_computed_otherwise_live_is_caught_although_nothing_is_ahead() -> None:
    found = differing(check(Early))
    assert found["batch"] == ["centred"]


def test_a_set_that_cannot_begin_without_bars_is_told_so_and_still_compared() -> None:
    found = check(Untold)
    live = found.differences[0]
    assert (live.check, live.feature) == ("live", "")
    assert "StatisticsError" in live.error
    assert differing(found)["cut"] == ["centred"]


def test_symbols_that_share_are_caught() -> None:
    LAST.clear()
    assert "calls" in differing(check(Shared))["batch"]


def test_state_that_is_not_stored_or_not_undone_is_caught() -> None:
    assert differing(check(Forgetful)) == {"state": ["count"], "revised": ["count"]}
    assert check(Thorough).clean


def test_too_few_bars_are_refused() -> None:
    with pytest.raises(ValueError, match=r"47 bars.*at least 51 bars, as returns@1:\w+ begins"):
        check_lookahead(made_up_bars(1, 49), Returns)


def test_the_same_seed_checks_the_same_points() -> None:
    one, two, three = (check_lookahead(BARS, Thorough, points=3, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.points != three.points


# --- the command

PEEKING = '''
"""A set of a user's: z divides by the deviation of the whole column."""

import statistics
from dataclasses import dataclass

from models.predicting.features_plan import Feature
from models.predicting.features_terms import Change, Node, Reading, Term
from models.predicting.featuresets import FeatureSet

SCALE = {"z": 1.0}


@dataclass(frozen=True)
class Scaled(Term):
    of: Node

    def bind(self, *places):
        (of,) = places
        return lambda now, past: now[of] / SCALE["z"]


class Peeking(FeatureSet):
    NAME = "peeking"

    @classmethod
    def declare(cls):
        change = Change(Reading("CLOSE"), 1)
        return Feature("plain", change), Feature("z", Scaled(change))

    def prepare(self, bars):
        SCALE["z"] = statistics.pstdev([bar.close for bar in bars]) if bars else 1.0


class Calm(FeatureSet):
    NAME = "calm"
    VERSION = 2

    @classmethod
    def declare(cls):
        return (Feature("plain", Change(Reading("CLOSE"), 1)),)
'''


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(candlewick, ["models", "check-lookahead", *map(str, arguments)])


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with a set that peeks and one that does not."""
    (tmp_path / "features_of_a_user.py").write_text(PEEKING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "features_of_a_user", raising=False)
    return "features_of_a_user"


def export(path: Path, bars: Sequence[BarRecord]) -> Path:
    write_export(path, [LAYOUTS["bars"].row(each) for each in bars], LAYOUTS["bars"].schema)
    return path


def test_the_command_names_what_peeks_and_ends_with_one(tmp_path: Path, module: str) -> None:
    source = export(tmp_path / "bars.csv", made_up_bars(3, 60))
    result = run("--features", f"{module}:peeking@1", "--bars", source, "--points", 3)
    assert result.exit_code == exits.FAILURE, result.output
    assert "not clean: z change with what comes later" in result.stdout
    listed = [line.split() for line in result.stdout.splitlines() if line.startswith("cut ")]
    assert [cells[1] for cells in listed if not cells[1].replace(",", "").isdecimal()] == ["z"]
    with source.open(newline="") as file:
        assert listed[-1][4] in {row["start_ns"] for row in csv.DictReader(file)}


def test_the_command_says_clean_and_ends_with_zero(module: str) -> None:
    result = run("--features", f"{module}:calm", "--points", 2)
    assert result.exit_code == exits.OK, result.output
    assert "calm@2:" in result.stdout
    assert "clean: every row is the same whatever comes later" in result.stdout
    assert "no --bars: checked with made-up bars" in result.stderr


def test_the_command_prints_json(tmp_path: Path, module: str) -> None:
    source = export(tmp_path / "bars.parquet", made_up_bars(3, 60))
    result = run("--features", f"{module}:peeking", "--bars", source, "--points", 2, "--json")
    assert result.exit_code == exits.FAILURE
    found = json.loads(result.stdout)
    assert found["clean"] is False
    assert {each["feature"] for each in found["differences"]} == {"z"}
    assert {each["check"] for each in found["differences"]} == {"batch", "cut", "other"}


def test_what_is_wrong_is_one_line(tmp_path: Path, module: str) -> None:
    short = export(tmp_path / "short.csv", made_up_bars(3, 2))
    mixed = export(
        tmp_path / "mixed.csv",
        [msgspec.structs.replace(bar, interval=size) for bar in BARS for size in ("1m", "5m")],
    )
    for arguments, code, text in (
        (("--features", "nothing"), exits.USAGE, "no feature set 'nothing'"),
        (("--features", "no_such:calm"), exits.USAGE, "'no_such' cannot be imported"),
        (("--features", f"{module}:calm", "--bars", short), exits.FAILURE, "expected at least 3"),
        (("--features", f"{module}:calm", "--bars", mixed), exits.FAILURE, "expected one interval"),
    ):
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert text in result.stderr
        assert "Traceback" not in result.output
    arguments = ("--features", f"{module}:calm", "--bars", mixed, "--interval", "5m")
    assert run(*arguments, "--points", 1).exit_code == exits.OK
