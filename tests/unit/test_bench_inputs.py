"""The bench's input, its oracle of other libraries' bars, and its command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tables.partitioning import partition_of
from tests.bench.__main__ import main_symbols, parse, ways_of
from tests.bench.expected import PEER_FIELDS, expected_bars, peer_differences
from tests.bench.inputs import rate_of
from tests.bench.peers import place
from tests.bench.peers.bars import add, begin
from tests.bench.peers.counting import Counter
from tests.bench.ticks import FOUR, FULL, chunks, first_of, keyed_chunks, make_ticks, values_of

TICKS = make_ticks(4_000, 20, 0, rate=400)
EXPECTED = expected_bars(TICKS, {"1s": 1})


def published() -> list[dict[str, Any]]:
    """What a peer sends that is right."""
    return [
        {"symbol": symbol, "start": start, **{name: bar[name] for name in PEER_FIELDS}}
        for (symbol, _, start), bar in EXPECTED.items()
    ]


def faults(bars: list[dict[str, Any]], *, updates: bool = False) -> list[str]:
    values = (json.dumps(bar).encode() for bar in bars)
    return list(peer_differences(EXPECTED, values, updates=updates))


def last_of(symbol: str) -> int:
    return max(start for name, _, start in EXPECTED if name == symbol)


def test_right_bars_have_no_fault() -> None:
    assert faults(published()) == []


@pytest.mark.parametrize("name", PEER_FIELDS)
def test_a_wrong_field_is_a_fault(name: str) -> None:
    bars = published()
    bars[3][name] += 1
    (fault,) = faults(bars)
    assert f"{name} is" in fault


def test_the_last_bar_of_a_symbol_may_be_missing_and_no_other() -> None:
    symbol = published()[0]["symbol"]
    bars = [
        bar for bar in published() if (bar["symbol"], bar["start"]) != (symbol, last_of(symbol))
    ]
    assert faults(bars) == []
    missing = bars.pop(0)
    assert faults(bars) == [f"{(missing['symbol'], missing['start'])}: missing"]


def test_a_bar_that_nothing_was_traded_in_is_a_fault() -> None:
    bars = published()
    bars.append({**bars[0], "start": bars[0]["start"] + 10**15})
    (fault,) = faults(bars)
    assert "not expected" in fault


def test_a_bar_may_be_published_twice_only_by_who_publishes_updates() -> None:
    bars = published()
    older = {**bars[0], "trades": 0}
    assert faults([older, *bars], updates=True) == []
    assert any("published twice" in fault for fault in faults([bars[0], *bars]))
    assert faults([*bars, older], updates=True) != []


def test_to_publish_nothing_is_a_fault() -> None:
    few = expected_bars(first_of(TICKS, 1), {"1s": 1})
    assert list(peer_differences(few, [])) == ["no bar was published"]


def test_four_fields_are_four_and_the_bars_name_no_source() -> None:
    four = [json.loads(value) for value in values_of(TICKS, FOUR)]
    full = [json.loads(value) for value in values_of(TICKS, FULL)]
    names = {"symbol", "price", "size", "event_time"}
    assert all(trade.keys() == names for trade in four)
    assert four == [{name: trade[name] for name in trade if name in names} for trade in full]
    bars = expected_bars(TICKS, {"1s": 1}, sources=False)
    assert all(bar["sources"] == [] for bar in bars.values())
    assert any(bar["sources"] for bar in EXPECTED.values())


@pytest.mark.parametrize("record", [FULL, FOUR])
def test_keyed_records_are_the_same_in_the_same_partitions(record: str) -> None:
    for values, pairs in zip(
        chunks(TICKS, 3, 1_000, record=record),
        keyed_chunks(TICKS, 3, 1_000, record=record),
        strict=True,
    ):
        assert [[value for _, value in part] for part in pairs] == values
        for number, part in enumerate(pairs):
            assert {partition_of(key, 3) for key, _ in part} <= {number}
            assert all(json.loads(value)["symbol"].encode() == key for key, value in part)


def test_the_arithmetic_of_the_peers_is_that_of_the_oracle() -> None:
    bars: dict[tuple[str, int], dict[str, Any]] = {}
    for value in values_of(TICKS, FULL):
        trade = json.loads(value)
        where = (trade["symbol"], trade["event_time"] // 10**9 * 10**9)
        bars[where] = add(bars[where], trade) if where in bars else begin(trade)
    assert faults([{"symbol": name, "start": at, **bar} for (name, at), bar in bars.items()]) == []


def test_a_peer_is_measured_from_the_end_of_its_warm_up_to_its_last_record() -> None:
    noted: list[tuple[str, int]] = []
    count = Counter({"skip": 2, "records": 5}, lambda name: noted.append((name, done)))
    for done in range(1, 8):  # noqa: B007 - what is noted names it
        count()
    assert noted == [("first", 2), ("last", 5)]


def test_a_bar_holds_about_as_many_trades_with_more_symbols() -> None:
    assert rate_of(8) == rate_of(500) == 20_000
    assert rate_of(10_000) == 400_000


def test_all_ways_are_measured_with_one_number_of_symbols_and_ours_with_all() -> None:
    chosen = parse(["--symbols", "8,500,10000"])
    main = main_symbols(chosen.symbols)
    assert main == 500
    assert ways_of(500, main, chosen.only, {"quix": "not installed"}) == [
        way for way in chosen.only if way != "quix"
    ]
    assert set(ways_of(10_000, main, chosen.only, {})) == {"ours", "bare"}
    assert main_symbols(parse(["--symbols", "8,100"]).symbols) == 8


@pytest.mark.parametrize(
    "given",
    [
        ["--only", "ours,nobody"],
        ["--peer-records", "nobody=3"],
        ["--disorder-ms", "100"],
        ["--record", "five"],
    ],
)
def test_what_makes_no_sense_is_refused(given: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(given)


def test_the_records_of_another_may_be_chosen() -> None:
    assert parse(["--peer-records", "faust=10,quix=20"]).peer_records == {"faust": 10, "quix": 20}


def test_what_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = place.missing()
    assert missing.keys() == {"quix", "bytewax", "streams"}
    assert all("make bench-peers" in how for how in missing.values())
    place.ready().parent.mkdir(parents=True)
    place.ready().touch()
    assert place.missing().keys() == {"streams"}


def test_the_requirements_are_pinned_and_name_no_registry() -> None:
    assert place.versions()["quix"].startswith("3.28.")
    assert place.versions()["bytewax"].startswith("0.21.")
    text = place.REQUIREMENTS.read_text(encoding="utf-8")
    assert "--index-url" not in text
    assert "://" not in text
    pinned = [line for line in text.splitlines() if line[:1].isalnum()]
    assert pinned
    assert all("==" in line for line in pinned)
