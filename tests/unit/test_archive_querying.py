"""SQL over the archive."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.archive.manifest import read_state
from app.archive.querying import QueryError, query
from app.archive.writing import ArchiveWriter
from models.predicting.registry_store import LocalStore, open_store
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch, trade

ON_SATURDAY = "year = 2026 AND month = 11 AND day = 21"


def filled(location: str) -> str:
    """Write an archive of three days: bars with revisions, trades, and a control record."""
    writer = ArchiveWriter(open_store(location))
    values = [bar(symbol, FRIDAY + day * DAY) for day in range(3) for symbol in ("A", "B")]
    values.append(bar("A", FRIDAY + DAY, close=9.0, revision=2))
    values.append(bar("A", FRIDAY + DAY, close=7.0, revision=1))
    writer.add("bars", batch(0, 0, values), 0)
    writer.add("ticks", batch(0, 0, [trade("A", FRIDAY + 5), b'{"type":"flush"}']), 0)
    writer.flush(FRIDAY)
    return location


@pytest.fixture
def location(tmp_path: Path) -> str:
    return filled(str(tmp_path / "a rchive's"))


def scanned(plan: str) -> list[str]:
    return re.findall(r"Scanning Files:\s*(\d+/\d+)", plan)


def test_a_view_has_the_highest_revision_and_another_all(location: str) -> None:
    sql = f"SELECT symbol, close, revision FROM bars WHERE {ON_SATURDAY} ORDER BY symbol"
    assert query(location, sql).to_pylist() == [
        {"symbol": "A", "close": 9.0, "revision": 2},
        {"symbol": "B", "close": 1.5, "revision": 0},
    ]
    counted = query(location, "SELECT count(*) AS n FROM bars_versions").to_pylist()
    assert counted == [{"n": 8}]


@pytest.mark.parametrize("view", ["bars", "bars_versions"])
def test_a_condition_on_the_day_opens_the_files_of_that_day_alone(location: str, view: str) -> None:
    sql = f"EXPLAIN ANALYZE SELECT * FROM {view} WHERE {ON_SATURDAY}"
    plan = query(location, sql).column("explain_value").to_pylist()[0]
    assert scanned(plan) == ["1/3"]
    whole = query(location, f"EXPLAIN ANALYZE SELECT * FROM {view}")
    assert scanned(whole.column("explain_value").to_pylist()[0]) in ([], ["3/3"])


def test_only_files_that_a_manifest_names_are_read(location: str) -> None:
    store = LocalStore(Path(location))
    path = min(read_state(store).parts)
    store.create(path.replace("part-", "part-9"), store.read(path))
    assert query(location, "SELECT count(*) AS n FROM bars_versions").to_pylist() == [{"n": 8}]


def test_every_topic_has_a_view_with_its_columns_also_without_files(tmp_path: Path) -> None:
    names = query(tmp_path, "SHOW TABLES").column(0).to_pylist()
    assert {"ticks", "quotes_bars", "quotes_bars_versions", "predictions_outcomes", "raw"} <= {
        *names
    }
    empty = query(tmp_path, "SELECT symbol, start, close, log_offset, day FROM bars")
    assert empty.num_rows == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_trade_is_found_with_its_bytes(location: str) -> None:
    sql = "SELECT source_topic, log_offset, decode(value)::JSON->>'type' AS type FROM raw"
    assert query(location, sql).to_pylist() == [
        {"source_topic": "ticks", "log_offset": 1, "type": "flush"}
    ]


def test_an_archive_at_an_address_is_queried_like_a_folder(tmp_path: Path) -> None:
    location = filled(f"memory://{tmp_path.name}/archive")
    sql = "SELECT symbol, sum(volume) AS volume FROM bars GROUP BY symbol ORDER BY symbol"
    assert query(location, sql).to_pylist() == [
        {"symbol": "A", "volume": 30.0},
        {"symbol": "B", "volume": 30.0},
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{place}/new.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{place}/new.csv'",
        "/* */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{place}/new.csv'",
        "ATTACH '{place}/new.db'",
        "CREATE TABLE new AS SELECT 1",
        "DROP VIEW bars",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_is_not_one_query_is_refused(location: str, sql: str) -> None:
    before = sorted(Path(location).rglob("*"))
    with pytest.raises(QueryError, match="expected one query"):
        query(location, sql.format(place=location.replace("'", "''")))
    assert sorted(Path(location).rglob("*")) == before


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM glob('{outside}')",
        "SELECT * FROM read_csv('https://example.org/a.csv')",
    ],
)
def test_nothing_outside_of_the_archive_is_read(location: str, sql: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("a,b\n1,2\n")
    with pytest.raises(QueryError, match=r"(?i)permission|disabled"):
        query(location, sql.format(outside=outside))


def test_wrong_sql_is_one_line(location: str) -> None:
    with pytest.raises(QueryError) as caught:
        query(location, "SELECT\nclosing FROM bars")
    assert "closing" in str(caught.value)
    assert "\n" not in str(caught.value)
