"""A replay of all recorded trades through the whole engine gives the vendor's own bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command import EQUITY, run, tell
from tests.oracle.vendor import compare_export

pytestmark = [pytest.mark.realdata, pytest.mark.broker, pytest.mark.slow]


def test_the_engine_rebuilds_the_vendors_second_and_minute_bars(
    realdata: Path, kafka: Any, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    export = tmp_path / "bars.parquet"
    ticks = realdata / EQUITY
    summary = run(
        tmp_path,
        export,
        *("--replay", ticks / "spy", ticks / "ibm"),
        *("--policy", "algoseek", "--intervals", "1s,1m"),
        settings={"CANDLEWICK_BROKER__URL": kafka.url},
        seconds=240,
    )
    comparisons = compare_export(export, realdata / "equity")
    replayed = f"{summary['replayed']['trades']:,} trades in {summary['seconds']:.1f} s"
    tell(pytestconfig, replayed, *comparisons)
    assert [comparison.interval for comparison in comparisons] == ["1s", "1m"]
    for comparison in comparisons:
        assert comparison.passes, "\n".join(map(str, [comparison, *comparison.differences]))
    assert summary["bars"] == sum(comparison.ours for comparison in comparisons)
    counts = summary["outcomes"]["counts"]
    assert sum(counts.values()) == summary["replayed"]["sent"]
    assert (counts["late"], counts["duplicate"], counts["dead"]) == (0, 0, 0)
    assert summary["restarts"] == 0
