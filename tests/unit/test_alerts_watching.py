"""The agent price_alerts: prices that are reached on closed bars, over restarts, new settings."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agents.price_alerts import make_stage
from app.contracts.batch import RecordBatch
from app.contracts.outputs import RoutedRecord
from app.contracts.wire import BarRecord, encoder
from app.settings import Settings, SettingsError
from app.topics import output_topics
from tables.alerts.records import event_decoder
from tables.alerts.watching import Watch, parse_watches
from tables.partitioning import partition_of
from tests.chaos.deployment import symbol_of

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
LATER = START + 10**6 * SECOND
SYMBOL, OTHER = symbol_of(0, 2), symbol_of(0, 2, 1)


def bar(number: int, close: float, symbol: str = SYMBOL, **more: Any) -> bytes:
    """The number-th bar of 1 s after the start."""
    fields: dict[str, Any] = {
        **{"symbol": symbol, "interval": "1s", "start": START + number * SECOND},
        **dict.fromkeys(("open", "high", "low", "close", "vwap"), close),
        **{"volume": 1.0, "trades": 1, "revision": 0, "is_final": True, "filled": False},
        "sources": (),
    }
    return encoder.encode(BarRecord(**(fields | more)))


class Fed:
    """Partition 0 of the agent, with its rows."""

    def __init__(self, *watches: str) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.events: list[Any] = []
        self.position = 0
        self.restart(*watches)

    def restart(self, *watches: str) -> None:
        """Go on from the rows, perhaps with other watches."""
        chosen: dict[str, Any] = {"price_alerts": {"watch": watches}, "topics": {"partitions": 2}}
        settings = Settings(agents=("price_alerts",), **chosen)
        stage = make_stage(settings)
        rows = [
            (key, row)
            for key, row in sorted(self.rows.items())
            if key[:1] in stage.loaded_prefixes and row is not None
        ]
        state = stage.load(0, "id", lambda key: self.rows.get(key), rows)
        state.begin(self.position)
        self.state, self.source = state, stage.source

    def take(self, *values: bytes) -> list[tuple[str, str]]:
        """Apply bars and take a checkpoint; key and state of what was raised."""
        first, self.position = self.position, self.position + len(values)
        offsets = np.arange(first, self.position, dtype=np.int64)
        times = np.full(len(values), LATER, dtype=np.int64)
        batch = RecordBatch(self.source, 0, first, self.position, list(values), offsets, times)
        self.state.apply(batch)
        taken = self.state.take("id")
        for key, row in taken.rows:
            self.rows[key] = row
        records = taken.outputs.get("alerts", [])
        found = [(each, event_decoder.decode(each.value or b"")) for each in records]
        for record, event in found:
            assert isinstance(record, RoutedRecord)
            assert record.partition == partition_of(event.key.encode(), 2)
        self.events += [event for _, event in found]
        return [(event.key, event.state) for _, event in found]

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.state.progress.counts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SPY>200@1m", ("SPY", 200.0, None, "warning", "1m")),
        ("BTC-USD<0.5@60s:critical", ("BTC-USD", None, 0.5, "critical", "1m")),
        ("ES=F:X>-3@1s:info", ("ES=F:X", -3.0, None, "info", "1s")),
    ],
)
def test_a_watch_is_a_symbol_a_side_a_price_and_a_bar_size(text: str, expected: Any) -> None:
    watch = Watch.parse(text)
    record = watch.record
    found = (record.symbol, record.above, record.below, record.severity, watch.interval)
    assert found == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "SPY", "SPY>200", "SPY>@1m", "SPY>x@1m", "SPY>nan@1m", "SPY>1e13@1m", ">1@1m"),
        *("SPY>1@soon", "SPY>1@1m:bad", "SPY>1@1m:", "S PY>1@1m", "SPY>>1@1m", "SPY>1<2@1m"),
    ],
)
def test_what_is_no_watch_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected SYMBOL>PRICE@INTERVAL"):
        Watch.parse(text)


def test_a_watch_twice_is_refused_also_where_it_is_written_otherwise() -> None:
    with pytest.raises(ValueError, match="there twice"):
        parse_watches(["SPY>200@1m", "SPY>200.0@60s:critical"])


@pytest.mark.parametrize(
    ("watch", "said"), [("", "has nothing to do"), ("SPY>1@7s", "there are no bars of '7s'")]
)
def test_settings_that_leave_nothing_to_do_stop_the_start(watch: str, said: str) -> None:
    chosen: dict[str, Any] = {"price_alerts": {"watch": watch}}
    with pytest.raises(SettingsError, match=said):
        make_stage(Settings(agents=("price_alerts",), **chosen))


def test_a_price_that_is_reached_is_told_once_and_when_it_is_left() -> None:
    fed = Fed(f"{SYMBOL}>100@1s:critical", f"{SYMBOL}<90@1s", f"{SYMBOL}>100@1m")
    assert fed.take(bar(0, 99.0), bar(1, 100.0), bar(2, 101.0)) == [(f"{SYMBOL} >100@1s", "firing")]
    assert fed.take(bar(3, 89.0)) == [
        (f"{SYMBOL} <90@1s", "firing"),
        (f"{SYMBOL} >100@1s", "resolved"),
    ]
    fired = fed.events[0]
    assert (fired.alert_type, fired.severity) == ("price", "critical")
    assert fired.event_time == START + 2 * SECOND
    assert fired.source == f"bars 1s {START + SECOND} r0"


def test_only_the_newest_bar_counts_in_its_last_revision() -> None:
    fed = Fed(f"{SYMBOL}>100@1s")
    assert fed.take(bar(5, 99.0), bar(5, 100.0, revision=1)) == [(f"{SYMBOL} >100@1s", "firing")]
    assert fed.take(bar(4, 50.0, revision=1), bar(6, 50.0, filled=True, trades=0)) == []
    assert fed.take(bar(5, 99.0, revision=2)) == [(f"{SYMBOL} >100@1s", "resolved")]
    assert fed.take(bar(7, 200.0, OTHER), bar(40, 200.0, interval="1m")) == []
    assert fed.counts == {"applied": 3, "older": 1, "ignored": 3, "dead": 0}
    elsewhere = bar(8, 200.0, symbol_of(1, 2))
    between, ahead = bar(8, 200.0, start=START + 1), bar(2 * 10**6, 200.0)
    assert fed.take(b"{}", bar(8, 200.0, interval="7s"), elsewhere, between, ahead) == []
    assert fed.counts["dead"] == 5


def test_watches_may_change_from_start_to_start() -> None:
    fed = Fed(f"{SYMBOL}>100@1s", f"{SYMBOL}>101@1s", f"{OTHER}>100@1s")
    fed.take(bar(0, 105.0), bar(0, 105.0, OTHER))
    fed.restart(f"{SYMBOL}>100@1s", f"{SYMBOL}>101@1s:critical", f"{SYMBOL}>104@1s")
    # The one that is gone and the one that was replaced are over, with the next record of any.
    assert fed.take(b"{}") == [(f"{SYMBOL} >101@1s", "resolved"), (f"{OTHER} >100@1s", "resolved")]
    assert fed.take(bar(1, 105.0)) == [
        (f"{SYMBOL} >101@1s", "firing"),
        (f"{SYMBOL} >104@1s", "firing"),
    ]
    assert {key for key, row in fed.rows.items() if row is not None and key[:1] == b"w"} == {
        b"w" + SYMBOL.encode() + b"\x001s"
    }
    fed.restart(f"{SYMBOL}>100@1s", f"{SYMBOL}>101@1s:critical", f"{SYMBOL}>104@1s")
    assert fed.take(bar(2, 105.0)) == []


@given(seed=st.integers(0, 2**32))
@hypothesis_settings(max_examples=40, deadline=None)
def test_any_split_and_any_restart_raise_the_same(seed: int) -> None:
    chance = random.Random(seed)
    watches = (f"{SYMBOL}>100@1s", f"{SYMBOL}<95@1s", f"{OTHER}<95@1s:info")
    values = [
        bar(
            number // 2 - chance.choice((0, 0, 0, 1)),
            chance.choice((90.0, 95.0, 99.0, 100.0)),
            chance.choice((SYMBOL, OTHER)),
            filled=chance.random() < 0.1,
        )
        for number in range(chance.randrange(1, 80))
    ]
    whole, other = Fed(*watches), Fed(*watches)
    whole.take(*values)
    begin = 0
    while begin < len(values):
        end = begin + chance.choice((1, 3, 20))
        other.take(*values[begin:end])
        begin = end
        if chance.random() < 0.5:
            other.restart(*watches)
    assert other.events == whole.events
    assert other.counts == whole.counts
    assert other.rows.keys() == whole.rows.keys()


def test_the_agent_raises_whatever_the_other_agents_do() -> None:
    chosen: dict[str, Any] = {"raising": {"agents": ""}}
    settings = Settings(agents=("price_alerts",), **chosen)
    assert output_topics(settings, "price_alerts")["alerts"] == "default.alerts.events"
