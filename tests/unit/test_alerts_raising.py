"""Findings of agents as alert events: type, key, severity, end; the stages that raise them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from agents import anomalies, quality, quote_quality
from app.contracts.batch import RecordBatch
from app.contracts.outputs import RoutedRecord
from app.contracts.portfolio import LimitRecord
from app.contracts.wire import AnomalyRecord, BarRecord, encoder
from app.settings import Settings
from app.topics import output_topics, topic_table
from models.anomalies.bars import FEATURES
from tables.alerts.contracts import AlertEvent
from tables.alerts.raising import (
    QUALITY_KINDS,
    UNTIL_TOLD,
    of_anomaly,
    of_limit,
    of_quality,
    parse_raised,
)
from tables.alerts.records import AlertEventRecord, decode, event_decoder
from tables.alerts.records import encoder as alert_encoder
from tables.partitioning import partition_of
from tables.quality import events as quality_events
from tables.quality.events import QualityEventRecord
from tests.chaos.deployment import symbol_of
from tests.unit.quality_records import SECOND, quotes_of, walk

START = 1_700_000_000 * SECOND
LATER = START + 3_600 * SECOND


def score(**more: Any) -> AnomalyRecord:
    chosen: dict[str, Any] = {
        "symbol": "SPY",
        "interval": "1m",
        "start": START,
        "revision": 2,
        "source": "bars",
        "score": 0.5,
        "threshold": 0.45,
        "is_anomaly": True,
        "reason": "return",
        "rules": ("price", "volume"),
        "features": dict.fromkeys(FEATURES, 1.23456789),
        "learned": True,
    }
    return AnomalyRecord(**(chosen | more))


def finding(kind: Any = "outlier", severity: Any = "critical", **more: Any) -> QualityEventRecord:
    chosen: dict[str, Any] = {
        "symbol": "SPY",
        "kind": kind,
        "event_time": START,
        "offset": 17,
        "session": 20231114,
        "severity": severity,
        "value": 150.0,
        "limit": 101.0,
        "details": {"median": 100.0, "tests": "mean, median", "source": None, "venue": "N"},
        "input": "ticks",
    }
    return QualityEventRecord(**(chosen | more))


def limit(**more: Any) -> LimitRecord:
    chosen: dict[str, Any] = {
        "account": "a",
        "limit": "max_leverage",
        "symbol": None,
        "time": START,
        "cause": "valuation",
        "cause_id": None,
        "state": "breached",
        "value": 3.5,
        "threshold": 3.0,
    }
    return LimitRecord(**(chosen | more))


def of_contract(event: AlertEventRecord) -> AlertEventRecord:
    """Return an event, once it has passed the published contract and its decoder."""
    value = alert_encoder.encode(event)
    AlertEvent.model_validate_json(value)
    assert decode(value) == event
    return event


# --- anomalies -----------------------------------------------------------------------------


def test_an_odd_bar_is_an_alert_of_its_reason_and_symbol_at_the_bars_end() -> None:
    (event,) = map(of_contract, of_anomaly(score(), 60 * SECOND, LATER, 2.0))
    assert (event.alert_type, event.key, event.state) == ("anomaly.bars.return", "SPY", "firing")
    assert (event.severity, event.value) == ("warning", 0.5)
    assert event.event_time == START + 60 * SECOND
    assert event.source == f"bars 1m {START} r2"
    assert event.details["return"] == "1.23457"
    assert event.details["rules"] == "price, volume"


@pytest.mark.parametrize(
    ("found", "threshold", "severity"),
    [(0.64, 0.45, "warning"), (0.651, 0.45, "critical"), (1.0, 0.95, "critical")],
)
def test_what_is_so_many_powers_of_ten_rarer_than_the_threshold_is_critical(
    found: float, threshold: float, severity: str
) -> None:
    (event,) = of_anomaly(score(score=found, threshold=threshold), SECOND, LATER, 2.0)
    assert event.severity == severity


def test_a_bar_that_only_the_price_rule_finds_is_a_warning_and_any_other_none() -> None:
    (event,) = of_anomaly(score(is_anomaly=False, score=0.1), SECOND, LATER, 0.0)
    assert (event.alert_type, event.severity) == ("anomaly.bars.price", "warning")
    assert not of_anomaly(score(is_anomaly=False, rules=("volume",)), SECOND, LATER, 0.0)


def test_quote_bars_have_types_of_their_own_and_no_event_is_after_its_append() -> None:
    (event,) = of_anomaly(score(source="quotes.bars", learned=False), SECOND, START + 5, 2.0)
    assert event.alert_type == "anomaly.quotes.return"
    assert event.event_time == START + 5
    assert "revision" in event.text


# --- quality -------------------------------------------------------------------------------


def test_a_finding_keeps_its_kind_severity_and_measure() -> None:
    (event,) = map(of_contract, of_quality(finding(), LATER, parse_raised(["outlier"])))
    assert (event.alert_type, event.key) == ("quality.ticks.outlier", "SPY")
    assert (event.severity, event.value) == ("critical", 0.5)
    assert event.details == {
        "median": "100",
        "tests": "mean, median",
        "venue": "N",
        "measured": "150",
        "limit": "101",
    }


def test_only_the_chosen_kinds_from_their_severity_on_are_raised() -> None:
    raised = parse_raised(["outlier:critical", "incomplete"])
    assert raised == {"outlier": 2, "incomplete": 0}
    assert not of_quality(finding(severity="warning"), LATER, raised)
    assert not of_quality(finding("crossed"), LATER, raised)
    assert len(of_quality(finding("incomplete", "warning"), LATER, raised)) == 1


def test_the_gap_that_ends_a_silence_resolves_it_and_is_an_alert_of_its_own() -> None:
    raised = parse_raised(["stale", "gap:critical"])
    length = 45 * SECOND
    (stale,) = of_quality(finding("stale", "warning", value=length), LATER, raised)
    assert (stale.state, stale.quiet_time, stale.value) == ("firing", UNTIL_TOLD, 45.0)
    over, gap = map(of_contract, of_quality(finding("gap", value=length), LATER, raised))
    assert (over.alert_type, over.key, over.state) == (stale.alert_type, stale.key, "resolved")
    assert (gap.alert_type, gap.state, gap.value) == ("quality.ticks.gap", "firing", 45.0)
    # One too short to be told itself ends the silence all the same.
    (over,) = of_quality(finding("gap", "warning", value=length), LATER, raised)
    assert over.state == "resolved"


@pytest.mark.parametrize(
    ("kind", "value", "details", "badness"),
    [
        ("incomplete", 0.9, {}, 0.1),
        ("disagreement", 1e300, {}, 1e15),
        ("sequence_gap", 3.0, {}, 3.0),
        ("outlier", 5.0, {"median": 0.0}, None),
        ("outlier", 5.0, {"median": None}, None),
        ("crossed", None, {"bid": 2.0, "ask": 1.0}, None),
    ],
)
def test_the_value_says_how_bad_whatever_was_measured(
    kind: str, value: float | None, details: dict[str, Any], badness: float | None
) -> None:
    record = finding(kind, value=value, details=details)
    (event,) = map(of_contract, of_quality(record, LATER, parse_raised([kind])))
    assert event.value == pytest.approx(badness)


def test_long_texts_and_many_details_stay_within_the_contract() -> None:
    details = {f"name {number}": "x" * 500 for number in range(40)}
    record = finding("disagreement", details=details, value=math.nan, symbol="S" * 32)
    (event,) = map(of_contract, of_quality(record, LATER, parse_raised(["disagreement"])))
    assert (len(event.details), event.value) == (16, None)


@pytest.mark.parametrize("text", ["", "gaps", "gap:bad", "gap:", "gap:info:x", "Gap"])
def test_a_kind_or_severity_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected KIND or KIND:SEVERITY"):
        parse_raised([text])


def test_a_kind_twice_is_refused_and_all_kinds_are_known() -> None:
    with pytest.raises(ValueError, match="named twice"):
        parse_raised(["gap", "gap:critical"])
    assert set(QUALITY_KINDS) == set(quality_events.Kind.__args__)  # type: ignore[attr-defined]


# --- limits --------------------------------------------------------------------------------


def test_a_broken_limit_is_critical_until_it_is_cleared() -> None:
    (broken,) = map(of_contract, of_limit(limit(), LATER))
    assert (broken.alert_type, broken.key) == ("portfolio.max_leverage", "a")
    assert (broken.severity, broken.state, broken.value) == ("critical", "firing", 3.5)
    (over,) = map(of_contract, of_limit(limit(state="cleared", value=None), LATER))
    assert (over.alert_type, over.key, over.state) == (broken.alert_type, "a", "resolved")


def test_limits_of_symbols_are_told_apart_also_where_the_account_has_a_long_name() -> None:
    keys = {
        of_contract(event).key
        for account in ("a", "x" * 64, "x" * 63 + "y")
        for symbol in (None, "SPY", "S" * 32)
        for event in of_limit(limit(account=account, symbol=symbol), LATER)
    }
    assert len(keys) == 9
    assert "a SPY" in keys
    assert max(map(len, keys)) == 64


# --- the stages ----------------------------------------------------------------------------


def settings_of(**raising: Any) -> Settings:
    chosen: dict[str, Any] = {"topics": {"partitions": 2}, "raising": raising}
    return Settings(agents=("anomalies", "quality"), **chosen)


def batch(topic: str, partition: int, values: list[bytes], append_time: int) -> RecordBatch:
    offsets = np.arange(len(values), dtype=np.int64)
    appended = np.full(len(values), append_time, dtype=np.int64)
    return RecordBatch(topic, partition, 0, len(values), values, offsets, appended)


def raised_by(
    agent: Any, settings: Settings, values: list[bytes], split: int
) -> list[tuple[Any, ...]]:
    """What a stage's partition 0 raises, with a restart from its rows after `split` records."""
    stage = agent.make_stage(settings)
    rows: dict[bytes, bytes | None] = {}
    found: list[tuple[Any, ...]] = []
    state = stage.load(0, "id", rows.get, ())
    state.begin(0)
    whole = batch(stage.source, 0, values, LATER)
    for begin, end in ((0, split), (split, len(values))):
        part = whole.since(begin)
        part = RecordBatch(
            part.topic,
            0,
            begin,
            end,
            part.values[: end - begin],
            part.offsets[: end - begin],
            part.append_times[: end - begin],
        )
        state.apply(part)
        taken = state.take("id")
        rows.update(taken.rows)
        found += taken.outputs.get("alerts", [])
        loaded = [
            (key, row) for key, row in sorted(rows.items()) if key[:1] in stage.loaded_prefixes
        ]
        state = stage.load(0, "id", rows.get, loaded)
    return found


def odd_ticks() -> list[bytes]:
    """A walk with a wrong price."""
    trades = walk(600, START, symbol=symbol_of(0, 2))
    trades[500] = msgspec.structs.replace(trades[500], price=trades[500].price * 2)
    return [encoder.encode(each) for each in trades]


def odd_bars() -> list[bytes]:
    """Bars of 1 s of a walk with a jump."""
    closes = [each.price for each in walk(900, START)]
    closes[800] += 20.0
    bars = []
    for number, close in enumerate(closes):
        symbol, begin = symbol_of(0, 2), START + number * SECOND
        prices = (close, close, close, close)
        bars.append(BarRecord(symbol, "1s", begin, *prices, 10.0, close, 5, 0, True, False, ("s",)))
    return [encoder.encode(each) for each in bars]


@pytest.mark.parametrize(
    ("agent", "make", "kind"),
    [(quality, odd_ticks, "quality.ticks.outlier"), (anomalies, odd_bars, "anomaly.bars.return")],
)
def test_a_stage_raises_a_planted_fault_the_same_wherever_it_is_restarted(
    agent: Any, make: Any, kind: str
) -> None:
    values = make()
    found = raised_by(agent, settings_of(), values, len(values))
    events = [event_decoder.decode(each[1]) for each in found]
    assert kind in {event.alert_type for event in events}
    for each, event in zip(found, events, strict=True):
        assert isinstance(each, RoutedRecord)
        key = event.key.encode()
        assert (each.key, each.partition) == (key, partition_of(key, 2))
    for split in (1, 300, 505, len(values) - 1):
        assert raised_by(agent, settings_of(), values, split) == found


def test_quotes_raise_alerts_of_their_own_type() -> None:
    quotes = quotes_of(walk(600, START, symbol=symbol_of(0, 2)))
    quotes[500] = msgspec.structs.replace(quotes[500], bid=quotes[500].ask + 1)
    settings = settings_of(quality="crossed")
    found = raised_by(quote_quality, settings, [encoder.encode(each) for each in quotes], 600)
    assert [event_decoder.decode(each[1]).alert_type for each in found] == [
        "quality.quotes.crossed"
    ]


def test_an_agent_that_is_not_named_raises_nothing_and_has_no_such_output() -> None:
    settings = settings_of(agents="quality")
    assert not raised_by(anomalies, settings, odd_bars(), 900)
    assert "alerts" not in output_topics(settings, "anomalies")
    assert output_topics(settings, "quality")["alerts"] == "default.alerts.events"
    nobody = settings_of(agents="")
    assert "default.alerts.events" not in {each.name for each in topic_table(nobody)}
    assert settings.hash_of("anomalies") != settings_of().hash_of("anomalies")
    assert settings.hash_of("bars") == nobody.hash_of("bars")
