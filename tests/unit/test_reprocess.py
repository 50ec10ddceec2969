"""`docs/backup.md`, reprocess: what its query gives is what a replay sends."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import msgspec
from click.testing import CliRunner

from app.archive.writing import ArchiveWriter
from app.cli import candlewick
from app.contracts.wire import TradeRecord, encoder
from app.feeds.source import open_source
from app.profile.reading import records
from models.predicting.registry_store import LocalStore
from tests.unit.archive_feeding import DAY, FRIDAY, batch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backup.md"


def documented() -> list[str]:
    """The words of the page's query, with its file taken off."""
    found = re.search(r"^    (candlewick query .*?) > \S+\.csv$", PAGE.read_text(), re.M | re.S)
    assert found is not None
    return shlex.split(found[1])[1:]


def test_the_query_of_the_page_gives_a_file_that_a_replay_reads(tmp_path: Path) -> None:
    wednesday = FRIDAY - 2 * DAY
    trades = [
        TradeRecord("A", 1.1, 5.0, wednesday - 1, "before"),
        TradeRecord("A", 10.25, 5.0, wednesday, "t1", 7, "XNAS", ("odd_lot", "regular"), "sip"),
        TradeRecord("BTC/USD", 0.1, 0.25, wednesday + DAY + 1),
        TradeRecord("A", 10.5, 1.0, wednesday + 5, "t2", 8, None, (), None),
    ]
    place = tmp_path / "data" / "archive" / "default"
    writer = ArchiveWriter(LocalStore(place))
    values = [encoder.encode(each) for each in trades]
    writer.add("ticks", batch(0, 0, [*values, b'{"type":"flush"}']), 0)
    writer.flush(FRIDAY)
    environment = {"CANDLEWICK_DATA_DIR": str(tmp_path / "data")}
    result = CliRunner().invoke(candlewick, documented(), env=environment)
    assert result.exit_code == 0, result.output
    file = tmp_path / "since.csv"
    file.write_text(result.stdout, encoding="utf-8")
    source = open_source([file])
    assert source.verify() == 3
    found = list(records(source))
    # In the order of event times; what had no sequence has its place in the file.
    assert found == [
        trades[1],
        msgspec.structs.replace(trades[3], sequence=8),
        msgspec.structs.replace(trades[2], sequence=2),
    ]
