"""Bars of open windows by the compiled module are those that the publisher makes one by one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given

from tables.bars import BarsPartition
from tables.partial import COMPILED
from tables.partition import WindowedPartition, WindowPublisher
from tables.quotes import QuotesPartition
from tests.unit import test_partials_compiled as of_trades
from tests.unit import test_quote_partials_compiled as of_quotes
from tests.unit.bars_log import configuration

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs a C compiler")


def check(partition: WindowedPartition[Any, Any], opened: list[dict[int, dict[int, Any]]]) -> None:
    """Compare the bars of all windows that have one."""
    for name in ("A", "B", "C", "D"):
        partition.symbols.restore(name)
    publisher: WindowPublisher[Any] = partition.publisher
    for interval, windows in enumerate(opened):
        for start, at_start in windows.items():
            chosen = [code for code, held in at_start.items() if held.has_bar]
            # As after a revision, and before the first publication.
            for revision, code in enumerate(chosen, -1):
                at_start[code].revision = revision
            found = publisher.forming(interval, start, chosen, at_start)
            plain = WindowPublisher.forming(publisher, interval, start, chosen, at_start)
            # As JSON: NaN is not equal to itself, and 0.0 is equal to -0.0.
            assert msgspec.json.encode(found) == msgspec.json.encode(plain)
            assert [type(each) for each in found] == [type(each) for each in plain]


@given(of_trades.TRADES)
def test_of_trades(trades: list[tuple[Any, ...]]) -> None:
    sources = [f"s{number}" for number in range(60)]
    partition = BarsPartition(configuration(intervals=of_trades.LENGTHS), 0, None, sources)
    check(partition, of_trades.compiled([of_trades.columns(trades)]))


@given(of_quotes.QUOTES)
def test_of_quotes(quotes: list[tuple[Any, ...]]) -> None:
    sources = [f"s{number}" for number in range(60)]
    lengths = of_quotes.LENGTHS
    partition = QuotesPartition(configuration(intervals=lengths), 0, lambda key: None, sources)
    check(partition, of_quotes.compiled([of_quotes.columns(quotes)]))
