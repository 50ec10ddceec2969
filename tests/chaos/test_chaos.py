"""The chaos run (`make chaos`), short and with few kinds of faults; and that its check can fail."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.checker import TopicVerdict
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import damage_folder, delete_folder
from tests.chaos.load import Market
from tests.chaos.report import Report
from tests.chaos.run import Options, run, schedule
from tests.command import tell
from tests.oracle.compare import Found
from tests.oracle.reference import Reference, Settings

SECOND = 1_000_000_000
#: The rest of `FAULTS` needs more time than a suite has.
SHORT = ("kill", "pause", "folder_damaged", "broker_kill")


@pytest.mark.broker
@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_wrong_under_faults(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    options = Options(seed=1, minutes=0.3, workers=2, kinds=SHORT, folder=tmp_path, faults=4)
    report = await run(options)
    tell(pytestconfig, *report.text().splitlines())
    assert report.passes, report.text()
    assert set(report.by_kind) == set(SHORT)


def _found(start: int, revision: int = 0, body: str = "right", raw: bytes = b"") -> Found:
    return Found(("S", "1s", start, revision), body, (b"S", raw or body.encode()))


EXPECTED = [(_found(start).identity, "right") for start in range(3)]


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        ([_found(0), _found(1), _found(2)], []),
        ([_found(0), _found(2)], ["lost"]),
        ([_found(0), _found(0), _found(1), _found(2)], ["doubled"]),
        ([_found(0), _found(1, body="wrong"), _found(2)], ["differing"]),
        ([_found(0), _found(1), _found(1, body="wrong"), _found(2)], ["two_bodies"]),
        ([_found(0), _found(1), _found(2), _found(3)], ["unexpected"]),
        ([_found(0), _found(1), _found(2), _found(2, revision=1)], ["unexpected"]),
        ([_found(0), _found(2), _found(1)], ["disordered"]),
    ],
)
def test_the_check_tells_each_kind_of_deviation(found: list[Found], kinds: list[str]) -> None:
    verdict = TopicVerdict("topic")
    verdict.add(0, EXPECTED, found)
    assert [kind for kind, lines in verdict.deviations.items() if lines] == kinds
    assert verdict.exact == (not kinds)


def test_a_run_without_faults_or_comparison_does_not_pass() -> None:
    report = Report(1, 1.0, 1, "replay", least_faults=4, least_kinds=3, kinds=())
    assert report.faults_found == [
        "0 faults, at least 4 are demanded",
        "0 kinds of faults, at least 3",
        "nothing was compared",
    ]


def test_the_schedule_is_the_seeds_and_has_every_kind_before_one_comes_again() -> None:
    kinds, count = tuple(FAULTS), len(FAULTS)
    first = list(islice(schedule(Options(seed=1), kinds), 3 * count))
    assert first == list(islice(schedule(Options(seed=1), kinds), 3 * count))
    assert first != list(islice(schedule(Options(seed=2), kinds), 3 * count))
    for round_ in range(3):
        assert sorted(first[round_ * count : (round_ + 1) * count]) == sorted(kinds)


def test_the_load_has_records_of_every_outcome() -> None:
    market = Market("trades", 1, 4, seed=1, large=80_000)
    settings = Settings(intervals=(SECOND, 10 * SECOND), max_message_bytes=128 * 1024)
    reference = Reference(1, 4, settings)
    begin = 1_700_000_000 * SECOND
    for number in range(8_000):
        now = begin + number * SECOND // 50
        reference.feed(number, now // 1_000_000, market.draw(now)[1])
    assert {name for name, count in reference.outcomes.items() if count} >= {
        *("applied", "revised", "late", "duplicate", "dead", "control"),
    }
    assert {each.reason for each in reference.dead} >= {
        *("null", "empty", "malformed", "bad_symbol", "too_large", "wrong_partition"),
        *("event_time_too_early", "event_time_too_late"),
    }


def test_a_folder_is_deleted_but_for_itself_and_damaged_by_the_dice(tmp_path: Path) -> None:
    for name in ("CURRENT", "MANIFEST-000001", "000004.sst", "000005.log"):
        for store in ("bars-0", "bars-1"):
            (tmp_path / store).mkdir(exist_ok=True)
            (tmp_path / store / name).write_bytes(bytes(range(256)))
    assert damage_folder(tmp_path, random.Random(3))
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    untouched = [each for each in files if each.read_bytes() == bytes(range(256))]
    assert 0 < len(untouched) < 8
    assert delete_folder(tmp_path) == len(files)
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())
