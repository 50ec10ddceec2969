"""The instrument master: look-ups, and errors that say where."""

from datetime import date
from pathlib import Path

import pytest

from tables.markets import Instruments, InstrumentsError, read_instruments

GOOD = """\
[[instrument]]
symbol = "AAPL"
calendar = "XNYS"
tick_size = 0.01
currency = "USD"
venue = "XNAS"
splits = [{ date = 2014-06-09, ratio = 7 }, { date = 2020-08-31, ratio = 4 }]

[[instrument]]
symbol = "META"
calendar = "XNYS"
formerly = [{ symbol = "FB", until = 2022-06-09 }]

[[instrument]]
symbol = "ES*"
calendar = "CMES"
pauses = ["16:00-17:00"]

[[instrument]]
symbol = "ESX"
"""


def read(tmp_path: Path, text: str) -> Instruments:
    file = tmp_path / "instruments.toml"
    file.write_text(text)
    return read_instruments(file)


def test_an_exact_symbol_wins_over_a_prefix_and_a_stranger_never_closes(tmp_path: Path) -> None:
    instruments = read(tmp_path, GOOD)
    assert instruments.of("AAPL").tick_size == 0.01
    assert instruments.of("ESZ6").calendar == "CMES"
    assert instruments.of("ESX").calendar == "24/7"
    assert instruments.market("BTCUSDT").name == "24/7"
    assert instruments.market("ESZ6").name == "CMES with pauses"


def test_a_longer_prefix_wins() -> None:
    from tables.markets import Instrument

    short, long = Instrument(symbol="E*", currency="EUR"), Instrument(symbol="ES*", currency="USD")
    assert Instruments([short, long]).of("ESZ6") is long
    assert Instruments([long, short]).of("ESZ6") is long
    assert Instruments([long, short]).of("EX") is short


def test_a_former_symbol_is_its_successors(tmp_path: Path) -> None:
    instruments = read(tmp_path, GOOD)
    assert instruments.of("FB").symbol == "META"
    assert instruments.symbol_after("FB", date(2022, 6, 8)) == "META"
    assert instruments.symbol_after("FB", date(2022, 6, 9)) == "FB"


def test_splits_multiply_between_dates(tmp_path: Path) -> None:
    apple = read(tmp_path, GOOD).of("AAPL")
    assert apple.split_ratio(20140606, 20200831) == 28
    assert apple.split_ratio(20140609, 20200830) == 1
    assert apple.split_ratio(20200830, 20200831) == 4


def test_an_empty_file_has_defaults_alone(tmp_path: Path) -> None:
    assert read(tmp_path, "").of("SPY").calendar == "24/7"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ('calendar = "XMAR"', r"toml:7: calendar = 'XMAR': unknown calendar"),
        ("tick_size = 0", r"toml:7: tick_size = 0: Input should be greater than 0"),
        ("tick_size = inf", r"toml:7: tick_size = inf: .*finite"),
        ('colour = "red"', r"toml:7: colour = 'red': Extra inputs"),
        ('pauses = ["17:00-16:00"]', r"toml:7: pauses.0 = '17:00-16:00': .* expected HH:MM-HH:MM"),
        ("splits = [{ date = 2020-01-01, ratio = -1 }]", r"toml:7: splits.0.ratio = -1"),
        ('currency = "dollars"', r"toml:7: currency = 'dollars'"),
    ],
)
def test_a_wrong_entry_is_named_with_its_line(tmp_path: Path, wrong: str, expected: str) -> None:
    text = f'[[instrument]]\nsymbol = "A"\n\n# one\n\n\n[[instrument]]\nsymbol = "B"\n{wrong}\n'
    with pytest.raises(InstrumentsError, match=expected):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[instrument]]\nsymbol = \n", r"not TOML: .*line 2"),
        ("[instruments]\n", r"found instruments; expected entries \[\[instrument\]\]"),
        ("instrument = 1\n", r"expected entries \[\[instrument\]\]"),
        ('instrument = [{symbol = "S P"}]', r"entry 1|toml: entry"),
        ('[[instrument]]\nsymbol = "A"\n[[instrument]]\nsymbol = "A"', "named twice"),
        ('[[instrument]]\nsymbol = "A**"', "neither a symbol nor a prefix"),
    ],
)
def test_a_wrong_file_says_what_is_expected(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InstrumentsError, match=expected):
        read(tmp_path, text)


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InstrumentsError, match="No such file"):
        read_instruments(tmp_path / "none.toml")
