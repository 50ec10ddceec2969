"""What `candlewick replay` says of files and records that it did not send."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.feeds import NAMED_SKIPPED, replay, say_left_out
from app.feeds.files import Skipped
from app.feeds.replayer import ReplaySummary


def summary(skipped: int) -> ReplaySummary:
    return ReplaySummary(
        sent=1,
        trades=1,
        corrupt=0,
        seconds=1.0,
        reading_seconds=0.0,
        skipped=tuple(Skipped(Path(f"{n}.zip"), "trades, not quotes") for n in range(skipped)),
        partitions=(1,),
        kind="quotes",
        left_out={"suspicious quotes": 2_000},
    )


def test_skipped_files_are_named_and_records_counted(capsys: pytest.CaptureFixture[str]) -> None:
    say_left_out(summary(2))
    assert capsys.readouterr().err.splitlines() == [
        "skipped 0.zip: trades, not quotes",
        "skipped 1.zip: trades, not quotes",
        "left out 2,000 records: suspicious quotes",
    ]


def test_a_long_list_of_skipped_files_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    say_left_out(summary(NAMED_SKIPPED + 7))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == NAMED_SKIPPED + 2
    assert lines[NAMED_SKIPPED] == "skipped 7 more files"


def test_the_kind_is_one_of_two() -> None:
    result = CliRunner().invoke(replay, ["--kind", "bars", "."])
    assert result.exit_code == 2
    assert "'bars' is not one of 'trades', 'quotes'" in result.output
