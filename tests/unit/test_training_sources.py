"""Where bars to train on come from: files, and the newest days of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.contracts.wire import BarRecord
from app.feeds.errors import FeedError
from app.training.sources import DAY, Files, NewestDays
from models.predicting.planted import MINUTE, planted_bars
from tests.unit.training_bars import write_bars

BARS = planted_bars(6, 0.0)


def moved(bars: list[BarRecord], by: int, **changes: object) -> list[BarRecord]:
    return [msgspec.structs.replace(bar, start=bar.start + by, **changes) for bar in bars]


def by_start(bars: list[BarRecord]) -> list[BarRecord]:
    return sorted(bars, key=lambda bar: (bar.start, bar.symbol))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_all_bars_of_an_interval_are_read_from_files(tmp_path: Path, suffix: str) -> None:
    one = write_bars(tmp_path / f"one{suffix}", BARS)
    hours = moved(BARS, 0, interval="1h")
    two = write_bars(tmp_path / f"two{suffix}", [*moved(BARS, DAY), *hours])
    found = Files([one, two]).read("1m")
    assert found.names == (one.name, two.name)
    assert by_start(found.bars) == by_start([*BARS, *moved(BARS, DAY)])
    with pytest.raises(FeedError, match=r"one.*: no bars of 5m; there are bars of 1h, 1m only"):
        Files([one, two]).read("5m")


def test_a_folder_gives_its_newest_days_and_each_bar_once(tmp_path: Path) -> None:
    write_bars(tmp_path / "b.csv", [*BARS, *moved(BARS, DAY)])
    write_bars(tmp_path / "a.parquet", [*moved(BARS, DAY), *moved(BARS, 2 * DAY)])
    write_bars(tmp_path / "old.csv", moved(BARS, -9 * DAY))
    (tmp_path / "notes.txt").write_text("no bars")
    (tmp_path / ".draft.csv").write_text("half")
    (tmp_path / "more.csv").mkdir()
    found = NewestDays(tmp_path, 1).read("1m")
    last = 5 * MINUTE
    newest = [*moved(BARS, DAY), *moved(BARS, 2 * DAY)]
    kept = [bar for bar in newest if bar.start > BARS[0].start + last + DAY]
    assert by_start(found.bars) == by_start(kept)
    assert len(kept) == len(BARS)
    assert found.names == ("a.parquet",)
    assert len(NewestDays(tmp_path, 2).read("1m").bars) == 2 * len(BARS)
    assert len(NewestDays(tmp_path).read("1m").bars) == 4 * len(BARS)


def test_two_files_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    write_bars(tmp_path / "a.csv", BARS)
    write_bars(tmp_path / "b.csv", moved(BARS, 0, volume=1.0))
    with pytest.raises(FeedError, match=r"b\.csv: another bar of AAA at \d+, revision 0"):
        NewestDays(tmp_path).read("1m")


def test_a_later_revision_is_another_bar(tmp_path: Path) -> None:
    write_bars(tmp_path / "a.csv", BARS)
    write_bars(tmp_path / "b.csv", moved(BARS, 0, volume=1.0, revision=1))
    assert len(NewestDays(tmp_path).read("1m").bars) == 2 * len(BARS)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _empty_cell(path: Path) -> None:
    path.write_text(path.read_text().replace("1m,", ",", 3).replace(",,", ",1m,", 2))


def _words(path: Path) -> None:
    path.write_text("hello\n")


@pytest.mark.parametrize(
    ("name", "break_it", "said"),
    [
        ("b.parquet", _truncate, r"b\.parquet: "),
        ("b.csv", _words, r"b\.csv: has no column symbol"),
        ("b.csv", _empty_cell, r"b\.csv:4: interval is empty"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, name: str, break_it: Callable[[Path], None], said: str
) -> None:
    write_bars(tmp_path / "a.csv", BARS)
    break_it(write_bars(tmp_path / name, moved(BARS, DAY)))
    for source in (NewestDays(tmp_path, 1), Files(sorted(tmp_path.iterdir()))):
        with pytest.raises(FeedError, match=said):
            source.read("1m")


def test_a_line_is_that_of_the_file_also_where_older_ones_were_left_out(tmp_path: Path) -> None:
    path = write_bars(tmp_path / "a.csv", [*BARS, *moved(BARS, 3 * DAY)])
    lines = path.read_text().splitlines()
    broken = lines[-1].split(",")
    broken[7] = "-5"
    path.write_text("\n".join([*lines[:-1], ",".join(broken)]) + "\n")
    with pytest.raises(FeedError, match=rf"a\.csv:{len(lines)}: volume is -5"):
        NewestDays(tmp_path, 1).read("1m")


def test_a_folder_without_bars_says_so(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"no bars of 1m; there are bars of no interval"):
        NewestDays(tmp_path).read("1m")
