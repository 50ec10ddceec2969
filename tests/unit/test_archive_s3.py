"""The archive in S3, by its real protocol: each record a row once, whatever request is lost."""

from __future__ import annotations

import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.archive.checking import check
from app.archive.compacting import compact
from app.archive.manifest import ArchiveConflictError, read_state
from app.archive.querying import query
from app.archive.upkeep import Duties, upkeep
from app.archive.writing import ArchiveWriter
from app.sinks.archive import ArchiveDriver
from app.sinks.driver import SinkRefusesError, SinkUnavailableError
from models.predicting.registry_store import RemoteStore, Store, must_be_exclusive, open_store
from tests.s3_server import Loss, S3Server, s3_server
from tests.unit.archive_feeding import DAY, FRIDAY, bar, batch, held, trade
from tests.unit.archive_sink import TICKS, Kafka, settings_of

MONDAY = FRIDAY + 3 * DAY
ALL = Duties(compacts=lambda topic: True, rest=lambda: True)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def s3(server: S3Server) -> Iterator[S3Server]:
    yield server
    server.gate.clear()


def market(server: S3Server) -> RemoteStore:
    """Return a place in a bucket of its own."""
    store = open_store(f"{server.bucket(secrets.token_hex(8))}/market")
    assert isinstance(store, RemoteStore)
    return store


def write(store: Store, turns: int = 3, begin: int = 0) -> ArchiveWriter:
    """Write a file a flush into each of two days."""
    writer = ArchiveWriter(store)
    for turn in range(begin, begin + turns):
        values = [bar(f"S{turn}", FRIDAY), bar(f"S{turn}", FRIDAY + DAY)]
        writer.add("bars", batch(0, 2 * turn, values), 0)
        writer.flush(FRIDAY + turn)
    return writer


def lose(server: S3Server, step: int, loss: Loss) -> None:
    """Lose the change that is so many from now on."""
    left = [step]

    def decide(method: str, path: str) -> Loss | None:
        left[0] -= 1
        return loss if left[0] == 0 else None

    server.gate.lose = decide


def test_a_name_is_created_once_and_whole(s3: S3Server) -> None:
    store = market(s3)
    assert store.names("") == ()
    contents = [bytes([number]) * 100_000 for number in range(8)]

    def create(content: bytes) -> bytes | None:
        try:
            store.create("topic=bars/one", content)
        except FileExistsError:
            return None
        return content

    with ThreadPoolExecutor(8) as pool:
        won = [each for each in pool.map(create, contents) if each is not None]
    assert won == [store.read("topic=bars/one")]
    assert store.size("topic=bars/one") == 100_000
    assert (store.names(""), store.names("topic=bars")) == (("topic=bars",), ("one",))
    must_be_exclusive(store)
    assert store.names("") == ("topic=bars",)
    for _ in range(2):
        store.remove("topic=bars/one")
    with pytest.raises(FileNotFoundError):
        store.read("topic=bars/one")


def test_an_archive_in_a_bucket_is_queried_compacted_and_whole(s3: S3Server) -> None:
    store = market(s3)
    write(store)
    sql = "SELECT symbol, day FROM bars WHERE year = 2026 AND month = 11 AND day = 20 ORDER BY 1"
    expected = [{"symbol": f"S{turn}", "day": 20} for turn in range(3)]
    assert query(store, sql).to_pylist() == expected
    assert [len(old) for _, old in compact(store, MONDAY)] == [3, 3]
    assert query(store.where(""), sql).to_pylist() == expected
    found = check(store)
    assert (found.faults, found.rows, found.files) == ((), 6, 2)


@settings(max_examples=6, deadline=None)
@given(
    losses=st.lists(
        st.tuples(st.integers(1, 8), st.sampled_from(["request", "answer"]), st.booleans()),
        max_size=3,
    ),
    again=st.integers(0, 3),
)
def test_whatever_request_or_answer_is_lost_each_record_is_a_row_once(
    server: S3Server, losses: list[tuple[int, Loss, bool]], again: int
) -> None:
    store = market(server)
    values = [trade("A", FRIDAY + 1), b"not json", trade("B", FRIDAY + DAY), None]
    writer: ArchiveWriter | None = None
    for step, loss, crash in [*losses, (0, "request", False)]:
        lose(server, step, loss)
        if writer is None or crash:
            writer = ArchiveWriter(store)
        with suppress(OSError):
            begin = max(0, (writer.next_offset("ticks", 0) or 0) - again)
            for base in range(begin, len(values), 2):
                writer.add("ticks", batch(0, base, values[base : base + 2]), 0)
                writer.flush(FRIDAY)
    server.gate.clear()
    assert held(store, "ticks") == Counter([(0, 0), (0, 2)])
    assert held(store, "raw") == Counter([(0, 1), (0, 3)])
    assert read_state(store).positions["ticks", 0].next == 4


@pytest.mark.parametrize("loss", ["request", "answer"])
def test_upkeep_that_loses_any_request_changes_no_row(s3: S3Server, loss: Loss) -> None:
    store = market(s3)
    write(store)
    before = held(store, "bars")
    broken = 0
    for step in range(1, 30):
        lose(s3, step, loss)
        now = MONDAY + 2 * step * DAY
        try:
            list(upkeep(store, lambda n=now: n, ALL, rows=100, retention=0, collects=True))
        except OSError:
            broken += 1
        else:
            break
        finally:
            s3.gate.clear()
        assert held(store, "bars") == before
    assert broken > 3
    assert held(store, "bars") == before
    assert len(read_state(store).parts) == 2
    assert check(store).faults == ()


def test_an_answer_that_was_lost_and_asked_for_again_is_ones_own_success() -> None:
    with s3_server(attempts=3) as server:
        store = market(server)
        for step in (1, 2):
            lose(server, step, "answer")
            write(store, 1, begin=step - 1)
        assert held(store, "bars") == Counter((0, offset) for offset in range(4))
        assert read_state(store).number == 2
        assert len(read_state(store).parts) == 4


@pytest.mark.parametrize("telling", [True, False])
def test_of_two_writers_one_loses_whether_or_not_the_server_says_why(
    s3: S3Server, telling: bool
) -> None:
    s3.gate.telling = telling
    store = market(s3)
    zombie = ArchiveWriter(store)
    zombie.add("bars", batch(0, 0, [bar("A", FRIDAY)]), 0)
    # Its look at the manifests is over when the other one commits.
    zombie._settle = lambda: None  # type: ignore[method-assign]
    owner = ArchiveWriter(store)
    owner.add("bars", batch(0, 0, [bar("A", FRIDAY), bar("B", FRIDAY)]), 0)
    owner.flush(FRIDAY)
    with pytest.raises(ArchiveConflictError, match="only one may run"):
        zombie.flush(FRIDAY)
    assert held(store, "bars") == Counter([(0, 0), (0, 1)])


def driver_at(address: str, tmp_path: Path) -> ArchiveDriver:
    settings = settings_of(tmp_path, archive={"location": address})
    return ArchiveDriver(settings, logs=Kafka(TICKS))


async def test_a_server_that_writes_over_files_is_refused(s3: S3Server, tmp_path: Path) -> None:
    address = s3.bucket(secrets.token_hex(8))
    s3.gate.conditional = False
    driver = driver_at(address, tmp_path)
    with pytest.raises(SinkRefusesError, match=r"writes over files .* knows the condition"):
        await driver.open()
    s3.gate.conditional = True
    await driver.open()
    await driver.close()
    assert open_store(address).names("mine") == ()


async def test_a_server_that_is_away_is_waited_for(s3: S3Server, tmp_path: Path) -> None:
    address = s3.bucket(secrets.token_hex(8))
    driver = driver_at(address, tmp_path)
    await driver.open()
    await driver.assign([TICKS])
    driver.add("ticks", batch(0, 0, [trade("A", FRIDAY)]))
    s3.gate.lose = lambda method, path: "request"
    for _ in range(2):
        with pytest.raises(SinkUnavailableError, match="Kafka keeps the records meanwhile"):
            await driver.flush(FRIDAY)
    s3.gate.clear()
    assert (await driver.flush(FRIDAY)).rows == 1
    await driver.close()
    assert held(open_store(f"{address}/mine"), "ticks") == Counter([(0, 0)])


async def test_a_bucket_that_is_not_there_is_told(s3: S3Server, tmp_path: Path) -> None:
    with pytest.raises(SinkUnavailableError, match="bucket does not exist"):
        await driver_at("s3://nowhere-at-all", tmp_path).open()


def test_without_its_package_the_command_that_installs_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(ImportError, match=r"s3://bucket: needs .* pip install 'candlewick\[s3\]'"):
        open_store("s3://bucket")
