"""How closely our indicators agree with others': `python -m tests.checks.indicators_agreement`.

Prints, for each indicator and oracle, the worst relative difference, and with `--write FILE` makes
the documentation's table. Against libraries and formulas a difference is relative to their value,
or to the median size of their column where that is greater (an oscillator crosses zero). Against
tables it is in half units of the last digit that they print.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from app.contracts.wire import BarRecord
from tables.indicators.base import DAY, MINUTE
from tables.indicators.registry import parse_indicators
from tests.checks.indicators_printed import PRINTED, Printed
from tests.oracle import indicators_formulas as formulas
from tests.oracle import indicators_libraries as libraries
from tests.oracle.indicators_tables import read_table

Series = Sequence[float | None]
#: Against formulas and libraries.
BOUND = 1e-9
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "indicators"


@dataclass(frozen=True)
class Agreement:
    """One output against one oracle."""

    request: str
    output: str
    oracle: str
    #: Rows where both have a value.
    compared: int
    #: Relative; or in half units of the last printed digit.
    worst: float
    bound: float

    @property
    def name(self) -> str:
        """Our name of the output."""
        return f"{self.request}.{self.output}" if self.output else self.request

    @property
    def holds(self) -> bool:
        """Whether something was compared and is within the bound."""
        return self.compared > 0 and self.worst <= self.bound


def bars_of(columns: Mapping[str, Series], vwap: Series | None = None) -> list[BarRecord]:
    """Return a bar a row and minute; a missing open, high or low is the close."""
    close = [0.0 if each is None else each for each in columns["close"]]
    filled = {
        name: [
            instead if each is None else each
            for each, instead in zip(columns.get(name, close), close, strict=True)
        ]
        for name in ("open", "high", "low")
    }
    volume = columns.get("volume", [1.0] * len(close))
    return [
        BarRecord(
            "X", "1m", number * MINUTE,
            filled["open"][number], filled["high"][number], filled["low"][number], last,
            volume[number] or 0.0, None if vwap is None else vwap[number],
            1, 0, True, False, (),
        )
        for number, last in enumerate(close)
    ]  # fmt: skip


def ours(request: str, bars: Iterable[BarRecord]) -> tuple[dict[str, list[float | None]], int]:
    """Return each output of an indicator, a value a bar, and its warm-up."""
    indicator = parse_indicators(request)[0].create()
    outputs = indicator.OUTPUTS
    answers: dict[str, list[float | None]] = {name: [] for name in outputs}
    for bar in bars:
        indicator.update(bar)
        value = indicator.value
        values = value if isinstance(value, tuple) else (value,) * len(outputs)
        for name, each in zip(outputs, values, strict=True):
            answers[name].append(each)
    return answers, indicator.warm_up


def relative(mine: Series, theirs: Series, first: int = 0) -> tuple[int, float]:
    """Return how many were compared from row `first` on, and the worst relative difference.

    A row that one of them has and the other has not, after the warm-up, is infinitely different.
    """
    known = [abs(each) for each in theirs[first:] if each is not None]
    floor = median(known) if known else 0.0
    worst, compared = 0.0, 0
    for one, two in zip(mine[first:], theirs[first:], strict=True):
        if one is None and two is None:
            continue
        if one is None or two is None:
            return compared, math.inf
        compared += 1
        if one != two:
            worst = max(worst, abs(one - two) / max(abs(two), floor))
    return compared, worst


def against_libraries() -> Iterator[Agreement]:
    """Compare with TA-Lib and ta, on a random walk of 2,000 bars."""
    columns = libraries.random_columns(1, 2_000)
    bars = bars_of({name: [*map(float, getattr(columns, name))] for name in columns.__dict__})
    for oracle, asked in (("TA-Lib", libraries.TALIB), ("ta", libraries.TA)):
        for request, ask in asked.items():
            mine, warm_up = ours(request, bars)
            cut = libraries.TA_LAST.get(request, 0) if oracle == "ta" else 0
            for output, answer in ask(columns).items():
                theirs = [None if math.isnan(each) else float(each) for each in answer]
                end = len(theirs) - cut
                first = max(warm_up - 1, libraries.TA_FIRST.get(request, 0) if cut else 0)
                compared, worst = relative(mine[output][:end], theirs[:end], first)
                yield Agreement(request, output, oracle, compared, worst, BOUND)


def against_formulas() -> Iterator[Agreement]:
    """Compare with formulas, on a random walk of 600 bars in several sessions."""
    columns = libraries.random_columns(2, 600)
    close, volume = [*map(float, columns.close)], [*map(float, columns.volume)]
    volume[100:130] = [0.0] * 30
    prices: list[float | None] = [
        None if not size else round((price + high) / 2, 3)
        for price, high, size in zip(close, map(float, columns.high), volume, strict=True)
    ]
    named = {name: [*map(float, getattr(columns, name))] for name in columns.__dict__}
    bars = bars_of({**named, "volume": volume}, prices)
    for number, bar in enumerate(bars):
        bar.start = number * (DAY // 150)
    answers = {
        "VWAP(14)": formulas.mean_weighted(prices, volume, 14),
        "VWMA(20)": formulas.mean_weighted(close, volume, 20),
        "SESSION_VWAP": formulas.session_mean(prices, volume, [each.start // DAY for each in bars]),
        "VOLATILITY(20)": formulas.volatility(close, 20),
        "RMA(14)": formulas.wilder(close, 14),
        "CLOSE": close,
        "VOLUME": volume,
        "NVI": formulas.negative_volume_index(close, volume),
    }
    for request, theirs in answers.items():
        mine, warm_up = ours(request, bars)
        compared, worst = relative(mine[""], theirs, warm_up - 1)
        yield Agreement(request, "", "formula", compared, worst, BOUND)


def against_tables(folder: Path = DATA) -> Iterator[Agreement]:
    """Compare with the tables of third parties; nothing where they are not there."""
    if folder.is_dir():
        for each in PRINTED:
            yield from against_table(folder, each)


def against_table(folder: Path, printed: Printed) -> Iterator[Agreement]:
    """Compare with one table, where both have a value."""
    table = read_table(folder / printed.file)
    columns = {name: table.columns[column] for name, column in printed.inputs.items()}
    begin = next(row for row, each in enumerate(columns["close"]) if each is not None)
    bars = bars_of({name: column[begin:] for name, column in columns.items()})
    if printed.mean_as_vwap:
        for bar in bars:
            bar.vwap = (bar.open + bar.high + bar.low + bar.close) / 4
    mine, warm_up = ours(printed.request, bars)
    first, end = begin + max(warm_up - 1, printed.first), len(table) - printed.last
    for output, column in printed.outputs.items():
        theirs, halves = table.columns[column], table.precision[column]
        # Beyond the last digit, the doubles of both are rounded.
        slack = 1e-12 * median(abs(each) for each in theirs if each is not None)
        compared, worst = 0, 0.0
        for row in range(first, end):
            one, two, half = mine[output][row - begin], theirs[row], printed.half or halves[row]
            if one is not None and two is not None and half is not None:
                compared += 1
                beyond = abs(one * printed.factor - two) - slack - 1e-12 * abs(two)
                worst = max(worst, beyond / half)
        yield Agreement(printed.request, output, printed.file, compared, worst, printed.bound)


def main() -> None:
    """Print all agreements; exit code 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.checks.indicators_agreement")
    parser.add_argument("--write", type=Path, metavar="FILE", help="make the documentation's table")
    chosen = parser.parse_args()
    found = [*against_libraries(), *against_formulas(), *against_tables()]
    for each in found:
        unit = "half units of the last digit" if each.oracle.endswith((".csv", ".txt")) else ""
        mark = "" if each.holds else f"   ABOVE {each.bound:g}"
        print(
            f"{each.name:<44} {each.oracle:<30} {each.compared:>5} {each.worst:9.2e} {unit}{mark}"
        )
    if chosen.write is not None:
        from tests.checks.indicators_page import page

        chosen.write.write_text(page(found), encoding="utf-8")
    raise SystemExit(0 if all(each.holds for each in found) else 1)


if __name__ == "__main__":
    main()
