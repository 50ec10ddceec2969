"""`candlewick train` finds what was planted, claims nothing of a martingale, and says what is true.

The short version of `python -m tests.checks.training_evidence`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.broker import EmbeddedBroker
from app.feeds.market import SECOND, MarketOptions
from app.feeds.signal import Signal
from tests.checks.evidence_bars import START, export_recorded, export_simulated
from tests.checks.training_evidence import Case, Evidence, gather, recorded, simulation, table
from tests.command import candlewick, run
from tests.oracle.vendor import compare, exported_bars, vendor_bars

#: Of each symbol; 5 of 8 bars are tested with an interval, of 25 symbols more than 3,000.
BARS = 400


def gathered(folder: Path, case: Case, times: int = 1) -> Evidence:
    evidence = gather(case, folder, times)
    print(table([evidence]))
    return evidence


def test_the_planted_signal_is_found_by_the_same_model_twice(tmp_path: Path) -> None:
    case = Case("signal 20%", simulation(1, 0.2, bars=BARS), skill=True, signal=True)
    evidence = gathered(tmp_path, case, times=2)
    assert evidence.faults() == []
    assert len(set(evidence.models)) == 1
    zero, last, first_order = evidence.report["score"]["skills"]
    assert evidence.there is not None
    assert 0.12 < evidence.there < 0.2, "bars show most of the signal"
    assert zero["low"] > 0.08, "the model finds most of that"
    assert zero["skill"] < evidence.there, "and not more than there is"
    assert last["low"] > 0.4
    # AR(1) knows no more than nothing does.
    assert first_order["mse"] == pytest.approx(zero["mse"], rel=0.005)
    assert evidence.report["equity"]["cost_bps"] == 2
    assert evidence.report["equity"]["net"] > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_of_a_martingale_no_skill_is_claimed(tmp_path: Path, seed: int) -> None:
    case = Case(f"martingale {seed}", simulation(seed, 0.0, bars=BARS), skill=False)
    evidence = gathered(tmp_path, case)
    assert evidence.faults() == []
    zero, _, first_order = evidence.report["score"]["skills"]
    assert zero["skill"] == pytest.approx(0, abs=0.005)
    assert first_order["skill"] == pytest.approx(0, abs=0.005)


def test_evidence_that_is_not_as_it_must_be_is_named(tmp_path: Path) -> None:
    wrong = Case("too few", simulation(3, 0.0, symbols=5, rate=100.0, bars=250), skill=True)
    evidence = gathered(tmp_path, wrong)
    first, second = evidence.faults()[:2]
    assert first.startswith("too few: No skill: not better than zero")
    assert second.startswith("too few: only ")


@pytest.mark.realdata
def test_recorded_days_are_the_vendors_bars_and_scored_beside_the_baselines(
    realdata: Path, tmp_path: Path
) -> None:
    bars = tmp_path / "minutes.parquet"
    export_recorded([realdata / "equity" / "tick" / "ibm"], "1m", bars)
    compared = compare(
        "1m",
        vendor_bars(realdata / "equity", "1m", ["IBM"]),
        exported_bars(bars, "1m", ["IBM"]),
    )
    assert compared.passes, str(compared)
    evidence = gathered(tmp_path, Case("IBM 1m", recorded("IBM"), "1m", "XNYS"))
    assert evidence.faults() == []
    report = evidence.report
    assert [each["baseline"] for each in report["score"]["skills"]] == ["zero", "last_value", "ar1"]
    assert report["dropped"]["session"] > 0
    # A share of a minute's variance beyond this would be a mistake, not a discovery.
    assert report["score"]["skills"][0]["skill"] < 0.05


@pytest.mark.broker
@pytest.mark.slow
def test_the_command_gives_the_same_bars_through_a_broker(
    kafka: EmbeddedBroker, unique: str, tmp_path: Path
) -> None:
    options = MarketOptions(6, 200.0, seed=9, signal=Signal(0.2, 10 * SECOND))
    ours = tmp_path / "ours.parquet"
    trades = export_simulated(options, 120, "10s", ours)
    settings = {"CANDLEWICK_BROKER__URL": kafka.url, "CANDLEWICK_TOPIC_PREFIX": f"{unique}."}
    sent = candlewick(
        tmp_path,
        *("simulate", "--symbols", "6", "--rate", "200", "--seed", "9", "--unpaced"),
        *("--signal", "20%", "--signal-horizon", "10s"),
        *("--start", f"{START}", "--duration", "120s"),
        settings=settings,
    )
    assert sent.code == 0, sent.errors
    export = tmp_path / "bars.parquet"
    summary = run(
        tmp_path,
        export,
        *("--from-log", unique, "--intervals", "10s"),
        settings={"CANDLEWICK_BROKER__URL": kafka.url},
    )
    assert summary["outcomes"]["counts"]["applied"] == trades
    assert export.read_bytes() == ours.read_bytes()
