"""Files that are not what they should be: one line that names the file, whatever Arrow calls it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.feeds.errors import FeedError
from app.run.featuring import read_entities
from app.run.indicating import arrow_faults, read_bar_table

BARS = "symbol,interval,start_ns,open,high,low,close,volume\nA,1m,0,1,2,0.5,1,10\n"
ENTITIES = "symbol,time_ns\nA,5\n"
READERS = [(read_bar_table, BARS), (read_entities, ENTITIES)]


@pytest.mark.parametrize(("read", "text"), READERS)
def test_bytes_that_are_no_text_are_told(tmp_path: Path, read: object, text: str) -> None:
    path = tmp_path / "bad.csv"
    assert callable(read)
    path.write_text(text)
    read(path)
    for content in (text.encode("utf-16"), b"\xff" + text.encode(), text.encode() + b"\xff\xfe\n"):
        path.write_bytes(content)
        with pytest.raises(FeedError, match=r"bad\.csv: "):
            read(path)


@pytest.mark.parametrize(("read", "text"), READERS)
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, read: object, text: str) -> None:
    path = tmp_path / "bad.csv"
    header, row, _ = text.split("\n")
    path.write_text(f"{header},symbol\n{row},B\n")
    assert callable(read)
    with pytest.raises(FeedError, match=r"bad\.csv: has the column symbol more than once"):
        read(path)


@pytest.mark.parametrize(("read", "text"), READERS)
def test_a_damaged_parquet_file_is_told(tmp_path: Path, read: object, text: str) -> None:
    path = tmp_path / "bad.parquet"
    names = text.split("\n")[0].split(",")
    strings = {"symbol": ["A"] * 1_000, "interval": ["1m"] * 1_000}
    table = pa.table({name: strings.get(name, list(range(1_000))) for name in names})
    pq.write_table(table, path)
    assert callable(read)
    read(path)
    whole = path.read_bytes()
    # Its data, its footer, its end.
    for place, size in ((4, 400), (len(whole) - 8, 4), (len(whole) - 4, 4)):
        path.write_bytes(whole[:place] + b"\xff" * size + whole[place + size :])
        with pytest.raises(FeedError, match=r"bad\.parquet: "):
            read(path)


def test_a_file_that_is_not_there_is_no_fault_of_its_content(tmp_path: Path) -> None:
    for name in ("none.csv", "none.parquet"):
        with pytest.raises(FileNotFoundError):
            read_bar_table(tmp_path / name)


def test_what_is_no_fault_of_the_file_goes_on(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), arrow_faults(tmp_path):
        raise pa.ArrowMemoryError("malloc of size 5 failed")
    with pytest.raises(ZeroDivisionError), arrow_faults(tmp_path):
        raise ZeroDivisionError
