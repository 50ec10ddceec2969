"""What is found on a path, by kind: the other kind is skipped, what is left out is counted."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from app.contracts.wire import TradeRecord
from app.feeds.columns import TickColumns, TradeColumns, Vocabulary, columns_of, concatenate
from app.feeds.errors import FeedError
from app.feeds.files import FeedFile, Kind, facts_of
from app.feeds.source import Source, open_source

T0 = 1_381_152_600_000_000_000
TRADES = f"symbol,price,size,event_time\nA,1,1,{T0}\n"
QUOTES = f"symbol,bid,ask,event_time\nA,1,2,{T0}\nB,1,2,{T0 + 1}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trades.csv").write_text(TRADES)
    (tmp_path / "quotes.csv").write_text(QUOTES)
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


def test_each_kind_takes_its_files_and_tells_of_the_others(folder: Path) -> None:
    trades = open_source([folder])
    assert (trades.kind, trades.verify()) == ("trades", 1)
    assert {each.path.name: each.reason for each in trades.skipped}["quotes.csv"] == (
        "quotes, not trades"
    )
    quotes = open_source([folder], "quotes")
    assert (quotes.kind, quotes.verify()) == ("quotes", 2)
    assert {each.path.name: each.reason for each in quotes.skipped}["trades.csv"] == (
        "trades, not quotes"
    )


def test_a_named_file_of_the_other_kind_is_skipped_beside_good_ones(folder: Path) -> None:
    source = open_source([folder / "trades.csv", folder / "quotes.csv"], "quotes")
    assert [file.path.name for file in source.files] == ["quotes.csv"]
    assert [each.path.name for each in source.skipped] == ["trades.csv"]


def test_nothing_left_to_replay_says_what_was_skipped(folder: Path) -> None:
    with pytest.raises(FeedError) as caught:
        open_source([folder / "trades.csv"], "quotes")
    assert caught.value.message == ("no quotes to replay (trades.csv: trades, not quotes)")
    many = folder / "many"
    many.mkdir()
    for number in range(9):
        (many / f"{number}.csv").write_text(TRADES)
    with pytest.raises(FeedError, match=r"4\.csv: trades, not quotes; and 4 more\)$"):
        open_source([many], "quotes")


@dataclass
class Counting:
    """A file of three records: one trade, one that is left out, one that nobody can read."""

    path: Path
    kind: Kind = "trades"

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TickColumns]:
        left_out["depthUpdate"] += 1
        whole = columns_of([TradeRecord("A", 1.0, 1.0, T0 + k) for k in range(2)], vocabulary)
        value = np.array([None, b"not JSON"], dtype=object)
        yield TradeColumns(
            whole.symbol,
            whole.price,
            whole.size,
            whole.event_time,
            whole.sequence,
            whole.origin,
            value=value,
        )


def test_what_is_left_out_or_sent_as_it_is_is_counted_once() -> None:
    files: list[FeedFile] = [Counting(Path("a")), Counting(Path("b"))]
    facts = facts_of(files[0], Vocabulary())
    assert (facts.rows, facts.raw, facts.left_out) == (2, 1, {"depthUpdate": 1})
    source = Source(files, [])
    assert source.verify() == 4
    chunk = concatenate(list(source.chunks()))
    assert len(chunk) == 4
    assert source.left_out == {"depthUpdate": 2}


class Reader:
    """A mapping that takes every table for quotes of another file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.asked: list[str] = []

    def open(self, path: Path) -> FeedFile | str:
        self.asked.append(path.name)
        return Counting(path, "quotes") if path == self.file else "no column of the mapping"


def test_a_mapping_reads_the_tables_and_nothing_else(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    mapping = Reader(folder / "trades.csv")
    source = open_source([folder], "quotes", mapping)
    assert [name for name in mapping.asked if name != "notes.txt"] == ["quotes.csv", "trades.csv"]
    assert [file.path.name for file in source.files] == ["trades.csv"]
    assert {each.path.name: each.reason for each in source.skipped}["quotes.csv"] == (
        "no column of the mapping"
    )


@pytest.mark.realdata
def test_recorded_folders_are_told_apart(realdata: Path) -> None:
    source = open_source([realdata / "forex", realdata / "future", realdata / "equity"], "quotes")
    assert source.verify() == 25_177 + 54_531 + 62_873 + 67_744
    assert sum(source.left_out.values()) == 370_309 - 185_148
    reasons = Counter(each.reason for each in source.skipped)
    assert reasons == {
        "second bars, not ticks": 13,
        "minute bars, not ticks": 14,
        "trades, not quotes": 7,
    }
