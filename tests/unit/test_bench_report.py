"""The bench's table: ratios, what is asked for, what was not measured."""

from __future__ import annotations

import json

from tests.bench.report import KAFKA_STREAMS, NAMES, Measured, as_json, as_text, ratios, recorded
from tests.bench.ways import Round

MEGABYTE = 1024 * 1024
OURS = [Round(1_000_000, 2.0, 1.6, 400 * MEGABYTE), Round(1_000_000, 1.0, 1.8, 420 * MEGABYTE)]
BARE = [Round(1_000_000, 2.0, 2.0, 100 * MEGABYTE)]
QUIX = [Round(10_000, 0.5, 0.5, 90 * MEGABYTE)]


def measured(symbols: int = 500, **rounds: list[Round]) -> Measured:
    return Measured(symbols, "full", "seeded trades", rounds)


def lines(*inputs: Measured, missing: dict[str, str] | None = None) -> list[str]:
    report = as_json(inputs, "make bench", missing or {}, {"quix": "3.28.1"})
    # What is written to a file says as much as what is printed.
    return as_text(json.loads(json.dumps(report))).splitlines()


def line_of(found: list[str], *words: str) -> str:
    matching = [line for line in found if all(word in line for word in words)]
    assert len(matching) == 1, (words, matching)
    return matching[0]


def test_the_rate_is_that_of_the_best_round_and_the_cost_that_of_the_cheapest() -> None:
    found = ratios({"ours": OURS, "bare": BARE})
    assert found["bare"]["rate"] == 2.0
    assert found["bare"]["cpu"] == 1.25


def test_without_ours_there_are_no_ratios() -> None:
    assert ratios({"bare": BARE}) == {}
    assert recorded({"bare": BARE}, KAFKA_STREAMS) == {}
    assert recorded({"ours": OURS}, KAFKA_STREAMS) == {}


def test_a_recorded_figure_is_compared_by_bare_aiokafka_of_either_run() -> None:
    found = recorded({"ours": OURS, "bare": BARE}, KAFKA_STREAMS)
    assert found["rate"] == round(2.0 / 0.45, 3)
    assert found["cpu"] == round(5.2 / 1.6, 3)


def test_what_is_asked_for_is_judged() -> None:
    found = lines(measured(ours=OURS, bare=BARE, quix=QUIX))
    assert "1.35x asked for by rate: met" in line_of(found, NAMES["bare"], "asked")
    slow = lines(measured(ours=BARE, bare=BARE, quix=QUIX))
    assert "1.35x asked for by rate: NOT met" in line_of(slow, NAMES["bare"], "asked")
    kafka = line_of(found, KAFKA_STREAMS.name)
    assert "3x asked for by rate: met, 3x asked for by CPU: met" in kafka


def test_ratios_come_before_rates() -> None:
    found = lines(measured(ours=OURS, bare=BARE))
    assert found.index(line_of(found, NAMES["bare"], "asked")) < found.index(
        line_of(found, NAMES["ours"], "1,000,000")
    )


def test_a_row_has_the_best_round_and_the_rates_of_all() -> None:
    row = line_of(lines(measured(ours=OURS)), NAMES["ours"])
    assert row.split()[-2:] == ["500,000,", "1,000,000"]
    assert row.removeprefix(NAMES["ours"]).split()[:4] == ["1,000,000", "1.80", "420", "1,000,000"]


def test_another_goes_by_its_version() -> None:
    found = lines(measured(ours=OURS, quix=QUIX))
    assert line_of(found, "Quix Streams, 1 s bars, 3.28.1", "asked")


def test_what_was_not_measured_is_said_with_the_reason() -> None:
    found = lines(measured(ours=OURS), missing={"bytewax": "not installed: make bench-peers"})
    assert "not installed: make bench-peers" in line_of(found, "not measured:", "Bytewax")


def test_the_cost_by_symbols_is_that_of_the_fewest_as_a_multiple() -> None:
    dear = [Round(1_000_000, 2.0, 2.4, 400 * MEGABYTE)]
    found = lines(measured(500, ours=OURS), measured(8, ours=OURS), measured(10_000, ours=dear))
    assert line_of(found, "by symbols").endswith("8 1.00x, 500 1.00x, 10000 1.50x")


def test_stages_have_a_column_an_input_and_their_sum() -> None:
    few = Measured(8, "full", "", {"ours": OURS}, {"decode": 0.25, "publish": 0.125})
    many = Measured(500, "full", "", {"ours": OURS}, {"decode": 0.5})
    found = lines(few, many)
    assert line_of(found, "decode").split() == ["decode", "0.250", "0.500"]
    assert line_of(found, "publish").split() == ["publish", "0.125", "0.000"]
    assert line_of(found, "round of its own").split()[-2:] == ["0.375", "0.500"]


def test_date_machine_versions_and_command_are_there() -> None:
    found = lines(measured(ours=OURS))
    for name in ("date", "machine", "load", "versions", "command"):
        assert line_of(found, f"{name}: ")
    assert line_of(found, "command: ") == "command: make bench"
