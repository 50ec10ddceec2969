"""Files as one stream: order, bounded memory, what is found on a path."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.wire import TradeRecord
from app.feeds.columns import TradeColumns, Vocabulary, columns_of, concatenate
from app.feeds.errors import FeedError
from app.feeds.files import Kind, LineTooLongError, facts_of, line_blocks
from app.feeds.merge import merged
from app.feeds.source import MemorySource, open_source

T0 = 1_381_152_600_000_000_000


@dataclass
class ListFile:
    """A file from a list of (event time, sequence), read in small blocks."""

    name: str
    rows: list[tuple[int, int]]
    block: int = 3
    opened: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return Path(self.name)

    @property
    def kind(self) -> Kind:
        return "trades"

    def columns(self, vocabulary: Vocabulary, left_out: Counter[str]) -> Iterator[TradeColumns]:
        self.opened.append(self.name)
        for start in range(0, len(self.rows), self.block):
            part = self.rows[start : start + self.block]
            trades = [TradeRecord(self.name, 1.0, 1.0, time, sequence=seq) for time, seq in part]
            yield columns_of(trades, vocabulary)


def merge(files: list[ListFile]) -> list[tuple[int, int, str]]:
    vocabulary = Vocabulary()
    facts = [facts_of(file, vocabulary) for file in files]
    names = vocabulary.symbols.values
    return [
        (time, sequence, names[symbol])
        for part in merged(files, facts, vocabulary)
        for time, sequence, symbol in zip(
            part.event_time.tolist(), part.sequence.tolist(), part.symbol.tolist(), strict=True
        )
    ]


rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), max_size=15)


@given(st.lists(rows, min_size=1, max_size=5), st.integers(1, 4))
@settings(max_examples=300, deadline=None)
def test_files_are_merged_by_time_sequence_and_their_order(
    contents: list[list[tuple[int, int]]], block: int
) -> None:
    files = [ListFile(f"F{rank}", part, block) for rank, part in enumerate(contents)]
    expected = sorted(
        (time, sequence, rank, place)
        for rank, part in enumerate(contents)
        for place, (time, sequence) in enumerate(part)
    )
    assert merge(files) == [(time, sequence, f"F{rank}") for time, sequence, rank, _ in expected]


@given(rows.map(sorted), st.integers(1, 4))
@settings(deadline=None)
def test_a_file_in_order_is_known_to_be(part: list[tuple[int, int]], block: int) -> None:
    facts = facts_of(ListFile("A", part, block), Vocabulary())
    assert (facts.rows, facts.ordered) == (len(part), True)
    assert facts.first == (part[0][0] if part else 0)


@pytest.mark.parametrize("part", [[(2, 0), (1, 1)], [(1, 0), (2, 0), (3, 1), (3, 0)]])
def test_a_file_out_of_order_is_known_to_be(part: list[tuple[int, int]]) -> None:
    for block in (1, 2, 3, 4):
        assert not facts_of(ListFile("A", part, block), Vocabulary()).ordered


def test_files_are_opened_when_their_time_has_come() -> None:
    opened: list[str] = []
    days = [
        ListFile(f"D{day}", [(day * 100 + k, k) for k in range(9)], 3, opened) for day in range(4)
    ]
    vocabulary = Vocabulary()
    facts = [facts_of(file, vocabulary) for file in days]
    opened.clear()
    stream = merged(days[::-1], facts[::-1], vocabulary)
    next(stream)
    assert opened == ["D0"]
    assert sum(len(part) for part in stream) == 9 * 4 - 2
    assert opened == ["D0", "D1", "D2", "D3"]


class Stream:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, size: int, /) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        return part


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=30))
def test_blocks_are_whole_lines_and_lose_nothing(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    blocks = list(line_blocks(Stream(data), 7))
    assert b"".join(blocks) == data
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert all(blocks)


def test_a_line_without_end_is_not_read_for_ever() -> None:
    with pytest.raises(LineTooLongError):
        list(line_blocks(Stream(b"x" * 200_000), 1_000))


def test_a_list_of_trades_is_a_source() -> None:
    trades = [
        TradeRecord("A", 1.0, 1.0, T0 + k, trade_id=f"t{k}" if k % 2 else None) for k in range(9)
    ]
    source = MemorySource(trades, chunk=4)
    assert source.verify() == 9
    chunks = list(source.chunks())
    assert [len(chunk) for chunk in chunks] == [4, 4, 1]
    whole = concatenate([chunks[0], columns_of(trades[:1], source.vocabulary)])
    assert whole.trade_id is not None
    assert whole.trade_id.tolist() == [None, "t1", None, "t3", None]
    assert whole.sequence.tolist() == [0, 1, 2, 3, 0]


def write(path: Path, *times: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{path.stem.upper()},1,1,{time}\n" for time in times)
    path.write_text("symbol,price,size,event_time\n" + lines)
    return path


def test_a_folder_gives_its_files_and_lists_what_it_skips(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", T0, T0 + 5)
    write(tmp_path / "inner" / "b.csv", T0 + 3)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "other.csv").write_text("date,close\n1,2\n")
    source = open_source([tmp_path])
    assert [file.path.name for file in source.files] == ["a.csv", "b.csv"]
    assert [(skipped.path.name, skipped.reason) for skipped in source.skipped] == [
        ("notes.txt", "neither .zip, .csv, .gz, .parquet"),
        ("other.csv", "no column symbol, price, size, event_time"),
    ]
    assert source.verify() == 3
    times = np.concatenate([chunk.event_time for chunk in source.chunks()])
    assert times.tolist() == [T0, T0 + 3, T0 + 5]


def test_a_file_out_of_order_is_sorted(tmp_path: Path) -> None:
    source = open_source([write(tmp_path / "a.csv", T0 + 9, T0, T0 + 4, T0)])
    chunk = concatenate(list(source.chunks()))
    assert chunk.event_time.tolist() == [T0, T0, T0 + 4, T0 + 9]
    assert chunk.sequence.tolist() == [1, 3, 2, 0]


def test_paths_that_cannot_be_replayed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match=r"missing\.csv: no such file or folder"):
        open_source([tmp_path / "missing.csv"])
    other = tmp_path / "other.csv"
    other.write_text("date,close\n")
    with pytest.raises(FeedError, match=r"other\.csv: cannot be replayed: no column"):
        open_source([other])
    with pytest.raises(FeedError, match=r"no trades to replay \(other\.csv: no column"):
        open_source([tmp_path])
    with pytest.raises(FeedError, match="no trades to replay"):
        open_source([])


def test_one_broken_file_of_many_is_found_before_anything_is_given(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", T0)
    broken = write(tmp_path / "b.csv", T0)
    broken.write_text(broken.read_text() + "B,1\n")
    with pytest.raises(FeedError, match=r"b\.csv:3"):
        open_source([tmp_path]).chunks()


def test_a_feed_error_reads_as_file_line_and_message() -> None:
    assert str(FeedError(Path("a.csv"), 3, "broken")) == "a.csv:3: broken"
    assert str(FeedError(Path("a.zip"), None, "broken", sent=9)) == (
        "a.zip: broken (9 records had been sent)"
    )


@pytest.mark.realdata
def test_recorded_days_are_one_stream_in_order(realdata: Path) -> None:
    tick = realdata / "equity" / "tick"
    source = open_source([tick / "spy", tick / "ibm"])
    assert source.verify() == 1_226_539
    assert sorted(skipped.path.name for skipped in source.skipped) == [
        f"2013100{day}_quote.zip" for day in (7, 8, 9)
    ]
    last, count, largest = 0, 0, 0
    for chunk in source.chunks():
        assert last <= chunk.event_time[0]
        assert not np.any(np.diff(chunk.event_time) < 0)
        last, count, largest = chunk.event_time[-1], count + len(chunk), max(largest, len(chunk))
    assert count == 1_226_539
    assert largest < 100_000
