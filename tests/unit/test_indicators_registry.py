"""Indicators by name: how they are written, what is said of wrong ones, and those of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from tables.indicators.base import Context, ParameterError, sample_bars
from tables.indicators.registry import DEFAULT_INDICATORS, indicators, parse_indicators


def test_an_indicator_is_named_as_it_was_asked_for() -> None:
    requests = parse_indicators(" rsi( 14 ) ,MACD(12, 26,9),Ema(12,seed=first), SESSION_VWAP")
    assert [each.names for each in requests] == [
        ("rsi(14)",),
        ("MACD(12,26,9)", "MACD(12,26,9).signal", "MACD(12,26,9).histogram"),
        ("Ema(12,seed=first)",),
        ("SESSION_VWAP",),
    ]
    assert dict(requests[2].parameters) == {"length": 12, "seed": "first"}


def test_what_is_left_out_has_its_default() -> None:
    short, long, bare = parse_indicators("BOLLINGER(21),BOLLINGER(20,2.0),BOLLINGER(22,factor=1)")
    assert [dict(each.parameters) for each in (short, long, bare)] == [
        {"length": 21, "factor": 2.0},
        {"length": 20, "factor": 2.0},
        {"length": 22, "factor": 1.0},
    ]
    assert parse_indicators("RSI")[0].warm_up == parse_indicators("RSI()")[0].warm_up == 15


def test_the_default_set_has_twelve() -> None:
    assert len(parse_indicators(DEFAULT_INDICATORS)) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read ''"),
        ("EMA(12", "cannot read 'EMA(12'"),
        ("EMA(12),,RSI", "cannot read ',RSI'"),
        ("EMA(12) RSI(14)", "cannot read 'EMA(12) RSI(14)'"),
        ("FOO(3)", "there is no 'FOO'; expected one of AD, ADX, "),
        ("EMA(0)", "EMA: length is '0'; expected int >= 1"),
        ("EMA(2001)", "EMA: length is '2001'; expected int <= 2000"),
        ("EMA(twelve)", "EMA: length is 'twelve'; expected int"),
        ("EMA(12.5)", "EMA: length is '12.5'; expected int"),
        ("EMA(12,seed=last)", "EMA: seed is 'last'; expected sma or first"),
        ("EMA(12,sma,3)", "cannot place the parameter '3'; expected length=14, seed=sma"),
        ("EMA(seed=first,12)", "cannot place the parameter '12'"),
        ("EMA(12,length=13)", "'length' is not a parameter, or given twice"),
        ("EMA(12,colour=red)", "'colour' is not a parameter, or given twice"),
        ("BOLLINGER(20,nan)", "BOLLINGER: factor is 'nan'"),
        ("BOLLINGER(20,inf)", "BOLLINGER: factor is 'inf'"),
        ("BOLLINGER(20,-2)", "BOLLINGER: factor is '-2'; expected float > 0"),
        ("MACD(26,12,9)", "MACD: fast is 26, slow 12; expected fast < slow"),
        ("RSI(14),SMA(3),RSI(14)", r"RSI(14) asked for more than once"),
        ("RSI(14),rsi", "RSI(14), rsi asked for more than once"),
        ("SESSION_VWAP(3)", "cannot place the parameter '3'; expected none"),
        ("SESSION_VWAP(context=3)", "'context' is not a parameter"),
    ],
)
def test_a_wrong_text_is_refused_with_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_indicators(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


OWN = '''
from app.contracts.wire import BarRecord
from tables.indicators.base import Indicator, Length
from tables.indicators.windows import Mean


class Range(Indicator):
    """Mean range of the last bars."""

    NAME = "{name}"
    TITLE = "Mean range of the last bars"
    SOURCE = "ours"

    def __init__(self, length: Length = 14) -> None:
        self._mean = Mean(length)
        super().__init__(self._mean, warm_up=length)

    def _step(self, bar: BarRecord) -> float | None:
        return self._mean.push(bar.high - bar.low)
'''


def test_a_user_adds_an_indicator_in_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ranges_of_mine.py").write_text(OWN.format(name="RANGE"))
    (tmp_path / "ranges_again.py").write_text(OWN.format(name="Atr"))
    (tmp_path / "nothing_in_it.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    request = parse_indicators("RSI(14),RANGE(3)", ["ranges_of_mine"])[1]
    made = request.create(Context())
    bars = sample_bars(1, 3)
    for each in bars:
        made.update(each)
    assert made.value == pytest.approx(sum(each.high - each.low for each in bars) / 3)
    assert request.restore(made.state()).value == made.value
    assert "RANGE" not in indicators()
    with pytest.raises(ParameterError, match="two indicators are named Atr"):
        parse_indicators("ATR(14)", ["ranges_again"])
    with pytest.raises(ParameterError, match="'nothing_in_it' defines no indicator"):
        parse_indicators("ATR(14)", ["nothing_in_it"])
    with pytest.raises(ParameterError, match="'no_such_module' cannot be imported"):
        parse_indicators("ATR(14)", ["no_such_module"])
