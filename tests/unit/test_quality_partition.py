"""The quality agents' state: the bars agent's judgement, the pure checks' findings, any restart."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contracts.batch import RecordBatch
from app.contracts.quality import QualityEvent, QualitySummary
from app.contracts.records import Contract
from app.contracts.wire import FlushRecord, QuoteRecord, TradeRecord, encoder
from tables.bars import BarsPartition
from tables.derived import DerivedConfiguration, load
from tables.partitioning import partition_of
from tables.quality import events
from tables.quality.checking import (
    LOADED_PREFIXES,
    PARTITION_KEY,
    CheckedPartition,
    CheckedQuotes,
    CheckedTrades,
)
from tables.quality.intake import Bounds
from tables.quotes import QuotesPartition
from tables.rows import MARKER_KEY, decode_marker
from tables.snapshot import StateRefusedError
from tests.unit.bars_log import START
from tests.unit.bars_log import configuration as bars_configuration
from tests.unit.quality_records import (
    MILLISECOND,
    SECOND,
    STOCKS,
    at,
    feed,
    partition,
    quotes_of,
    walk,
)
from tests.unit.test_quality_splits import CONFIGURATION, faulty

DERIVED = DerivedConfiguration(
    partitions=1, results_hash="test", max_value_bytes=4096, max_entries=100
)
BOUNDS = Bounds(631_152_000 * SECOND, 10 * SECOND, 100_000)
BROKEN = b"{broken"
Value = bytes | None
Log = Sequence[tuple[Value, int]]
Checked = CheckedPartition[Any]


def made(
    quotes: bool, configuration: DerivedConfiguration = DERIVED, bounds: Bounds = BOUNDS
) -> Checked:
    """An empty state."""
    quality: Any = partition(
        [QuoteRecord("A", 1.0, 2.0, 0)] if quotes else [], STOCKS, CONFIGURATION
    )
    return (CheckedQuotes if quotes else CheckedTrades)(configuration, 0, bounds, quality)


def log_of(seed: int, quotes: bool) -> Log:
    """Records with every fault, as values with their append times, and broken ones between."""
    chance = random.Random(seed)
    log: list[tuple[Value, int]] = []
    now = at("2026-11-25T12:00")
    for record in faulty(seed, quotes):
        now = max(now, getattr(record, "event_time", 0))
        log.append((encoder.encode(record), now + 3 * MILLISECOND))
        if chance.random() < 0.02:
            log.append((chance.choice((None, b"", BROKEN)), now))
    return log


def batch(log: Log, begin: int, end: int) -> RecordBatch:
    """Records `[begin, end)` as a fetch."""
    return RecordBatch(
        "topic",
        0,
        begin,
        end,
        [value for value, _ in log[begin:end]],
        np.arange(begin, end, dtype=np.int64),
        np.array([append_time for _, append_time in log[begin:end]], dtype=np.int64),
    )


class Run:
    """A state with its store and what it has published."""

    def __init__(self, quotes: bool) -> None:
        self.quotes = quotes
        self.store: dict[bytes, bytes] = {}
        self.published: dict[str, list[tuple[bytes | None, bytes | None]]] = {}
        self.restart()
        self.state.begin(0)

    def restart(self) -> None:
        """Lose what is not in the store."""
        rows = [(key, row) for key, row in self.store.items() if key[:1] in LOADED_PREFIXES]
        self.state = load(made(self.quotes), "topic", self.store.get, rows)

    def checkpoint(self) -> None:
        """Publish and store."""
        taken = self.state.take("topic")
        for name, records in taken.outputs.items():
            assert not any(each.headers for each in records)
            held = self.published.setdefault(name, [])
            held += [(each.key, each.value) for each in records]
        for key, row in taken.rows:
            assert row is not None
            self.store[key] = row
        self.state.stored()


def run_whole(log: Log, quotes: bool) -> Run:
    run = Run(quotes)
    run.state.apply(batch(log, 0, len(log)))
    run.checkpoint()
    return run


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.booleans(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 2)))
)
def test_any_split_checkpoint_and_restart_gives_the_same_bytes(
    seed: int, quotes: bool, cuts: list[tuple[float, int]]
) -> None:
    log = log_of(seed, quotes)
    whole = run_whole(log, quotes)
    part = Run(quotes)
    places = sorted((int(share * len(log)), what) for share, what in cuts)
    for (begin, what), (end, _) in pairwise([(0, 0), *places, (len(log), 0)]):
        if what:
            part.checkpoint()
        if what == 2:
            part.restart()
        part.state.apply(batch(log, begin, end))
    part.checkpoint()
    assert part.published == whole.published
    assert part.store == whole.store
    part.restart()
    assert (part.state.counts, part.state.details) == (whole.state.counts, whole.state.details)
    assert (part.state.next, part.state.maximum) == (len(log), whole.state.maximum)


def test_what_was_lost_since_the_checkpoint_is_found_again_once() -> None:
    log = log_of(5, False)
    whole, part = run_whole(log, False), Run(False)
    third = len(log) // 3
    part.state.apply(batch(log, 0, third))
    part.checkpoint()
    part.state.apply(batch(log, third, 2 * third))
    assert part.state.pending_outputs
    part.restart()
    part.state.apply(batch(log, third, len(log)))
    part.checkpoint()
    assert part.published == whole.published


@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_findings_and_the_cleaned_data_are_those_of_the_pure_checks(
    seed: int, quotes: bool
) -> None:
    records = faulty(seed, quotes)
    log = [(encoder.encode(e), getattr(e, "event_time", 0) + 3 * MILLISECOND) for e in records]
    run = run_whole(log, quotes)
    pure = partition(records, STOCKS, CONFIGURATION)
    flags = feed(pure, records)
    found = [json.loads(value or b"") for _, value in run.published["quality"]]
    tags = [(each.pop("type"), each.pop("input")) for each in found]
    outputs = pure.take_outputs()
    assert found == json.loads(msgspec.json.encode(outputs))
    topic = "quotes" if quotes else "ticks"
    kinds = ["event" if isinstance(each, events.QualityEvent) else "summary" for each in outputs]
    assert tags == [(kind, topic) for kind in kinds]
    keys = [key for key, _ in run.published["quality"]]
    assert keys == [each.symbol.encode() for each in outputs]
    kept = [
        (record.symbol.encode(), log[place][0])
        for place, record in enumerate(records)
        if isinstance(record, TradeRecord | QuoteRecord) and not flags[place]
    ]
    assert run.published["clean"] == kept
    counts = run.state.counts
    assert sum(counts.values()) == len(log)
    assert counts["clean"] == len(kept)
    assert counts["flagged"] == sum(map(bool, flags)) == sum(run.state.details.values())
    marker = decode_marker(run.store[MARKER_KEY])
    assert (marker.counts, marker.details) == (counts, run.state.details)


def test_the_cleaned_data_are_the_bytes_that_came() -> None:
    values = [
        b'{ "size": 1, "symbol": "A", "price": 1.50e0, "event_time": %d }' % (START + number)
        for number in range(3)
    ]
    run = run_whole([(value, START) for value in values], False)
    assert run.published["clean"] == [(b"A", value) for value in values]


def test_a_replay_is_one_over_a_restart() -> None:
    trades = walk(20, at("2026-11-25T12:00"))
    values = [b'{"type":"historical"}', *map(encoder.encode, trades), b'{"type":"flush"}']
    log = [(value, at("2027-11-25T12:00")) for value in values]
    run = Run(False)
    for begin, end in pairwise((0, 10, len(log))):
        run.state.apply(batch(log, begin, end))
        run.checkpoint()
        run.restart()
    (summary,) = (json.loads(value or b"") for _, value in run.published["quality"])
    assert summary["counts"]["records"] == 20
    assert (sum(summary["lags"]), summary["lag_p50"]) == (0, None)


# --- what is bad -------------------------------------------------------------------------------

HERE = next(f"S{n}" for n in range(100) if not partition_of(b"S%d" % n, 2))
THERE = next(f"S{n}" for n in range(100) if partition_of(b"S%d" % n, 2))
CORRECTION = {"type": "correction", "action": "cancel", "trade_id": "1", "event_time": START}


def bad_log(quotes: bool, seed: int) -> Log:
    """Values that are bad for every reason there is, in any order, among good ones."""
    chance = random.Random(seed)
    prices: dict[str, object] = {"bid": 1.0, "ask": 1.01} if quotes else {"price": 1.0, "size": 2.0}
    good = prices | {"symbol": HERE, "event_time": START}
    changes: list[dict[str, object]] = [
        *({"symbol": symbol} for symbol in (THERE, "A B", "A\n", "é", "", "x" * 33, HERE + "\0")),
        *({"event_time": time} for time in (0, -1, 631_151_999_999_999_999, START * 2)),
        *({"event_time": START + ahead * SECOND} for ahead in (9, 10, 11)),
        {"event_time": 0, "symbol": THERE},
        {"event_time": 0, "symbol": "A B"},
        {"price": 1e12, "size": 1e12},
        {"price": 1e12, "size": 1e12, "symbol": THERE},
        {"price": 1e12, "size": 100.0},
        {"price": -1e12, "size": 101.0},
        *({"venue": text} for text in ("a\0b", "x" * 65, "", "日本")),
        *({"source": text} for text in ("a\0b", "x" * 64)),
        *({"trade_id": text} for text in ("\0", "1", "1")),
        *({"conditions": names} for names in (["full_moon"], ["odd_lot"], ["iso"] * 9, [1])),
        {"conditions": ["full_moon"], "venue": "\0"},
        {"conditions": ["full_moon"], "symbol": THERE},
        {"ask": 0.0},
        {"note": "x" * 5000},
        {"note": 1},
        {"type": "quote"},
        {"type": "trade"},
    ]
    values: list[Value] = [encoder.encode(good | each) for each in changes]
    values += [encoder.encode(good | {"source": f"s{number}"}) for number in range(70)]
    values += [
        encoder.encode(good | {"symbol": name})
        for name in (f"S{n}" for n in range(40))
        if not partition_of(name.encode(), 2)
    ]
    corrections: list[dict[str, object]] = [
        {"symbol": "A B"},
        {"symbol": THERE},
        {"symbol": HERE, "venue": "\0"},
        {"symbol": HERE, "action": "undo"},
    ]
    values += [encoder.encode(CORRECTION | each) for each in corrections]
    values += [None, b"", BROKEN, b"null", b"[]", b'"', b"\xff", b'{"symbol":"\xff"}', b"[" * 4000]
    values += [b'{"type":"clock","event_time":%d}' % START, b'{"type":"clock"}']
    values += [b'{"type":"historical"}', b'{"type":"flush"}', b'{"type":"flush","at":1}']
    values += [b'{"symbol":"A","venue":"\xff"}', b" " * 5000, b'{"symbol":"\\ud800"}']
    chance.shuffle(values)
    return [(value, START) for value in values]


@pytest.mark.parametrize("quotes", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_same_records_are_bad_as_for_bars_and_for_the_same_reasons(
    seed: int, quotes: bool
) -> None:
    log = bad_log(quotes, seed)
    config = bars_configuration(partitions=2, max_symbols=8)
    bars = (QuotesPartition if quotes else BarsPartition)(config, 0, lambda key: None)
    bars.apply(batch(log, 0, len(log)))
    wanted = [
        (int(headers["offset"]), headers["reason"].decode())
        for headers in (dict(each.headers) for each in bars.publisher.outputs["dead"])
    ]
    derived = DerivedConfiguration(2, "test", 4096, 100)
    state = made(quotes, derived, Bounds(config.earliest_event_time, config.max_ahead, 8))
    state.begin(0)
    found, before = [], Counter[str]()
    for offset in range(len(log)):
        state.apply(batch(log, offset, offset + 1))
        (*reason,) = (Counter(state.dead_reasons) - before).elements()
        found += [(offset, each) for each in reason]
        before = Counter(state.dead_reasons)
    assert found == wanted
    never = {"unknown_condition", "notional_too_large"} if quotes else set()
    assert never | set(state.dead_reasons) == {
        *("null", "empty", "too_large", "malformed", "unknown_condition", "bad_symbol"),
        *("event_time_too_early", "event_time_too_late", "notional_too_large"),
        *("wrong_partition", "too_many_symbols", "too_many_sources"),
    }
    taken = state.take("topic")
    assert set(taken.outputs) <= {"clean", "quality"}
    assert len(taken.outputs["clean"]) == state.counts["clean"]
    assert state.counts["dead"] == len(wanted) == sum(state.dead_reasons.values())
    (own, _) = json.loads(dict(taken.rows)[PARTITION_KEY] or b"")
    assert own[-1] == sorted(map(list, state.dead_reasons.items()))
    assert sum(state.counts.values()) == len(log)


def test_the_limits_of_symbols_and_sources_hold_over_a_restart() -> None:
    log = bad_log(False, 3)
    config = DerivedConfiguration(2, "test", 4096, 100)
    bounds = Bounds(BOUNDS.earliest_event_time, BOUNDS.max_ahead, 8)
    whole, store = made(False, config, bounds), dict[bytes, bytes]()
    whole.begin(0)
    whole.apply(batch(log, 0, len(log)))
    dead = 0
    for offset in range(len(log)):
        state = load(made(False, config, bounds), "topic", store.get, sorted_rows(store))
        if state.next is None:
            state.begin(0)
        state.apply(batch(log, offset, offset + 1))
        dead += sum(state.dead_reasons.values())
        store.update((key, row) for key, row in state.take("topic").rows if row is not None)
    assert dead == whole.counts["dead"]
    assert state.counts == whole.counts


def sorted_rows(store: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Rows that the stage loads."""
    return [(key, row) for key, row in sorted(store.items()) if key[:1] in LOADED_PREFIXES]


# --- rows and contracts ------------------------------------------------------------------------


def test_numbers_that_no_machine_word_holds_survive_the_rows() -> None:
    trades = [
        msgspec.structs.replace(each, sequence=number % 2 * (2**63 - 1), venue=f"v{number // 2}")
        for number, each in enumerate(walk(16, at("2026-11-25T12:00"), source="b"))
    ]
    log = [(encoder.encode(each), each.event_time) for each in [*trades, trades[-1]]]
    log.append((encoder.encode(FlushRecord()), 0))
    run = Run(False)
    for offset in range(len(log)):
        run.state.apply(batch(log, offset, offset + 1))
        run.checkpoint()
        run.restart()
    (summary,) = (
        found
        for _, value in run.published["quality"]
        if (found := json.loads(value or b""))["type"] == "summary"
    )
    assert summary["counts"]["sequence_missing"] == 8 * (2**63 - 2) > 2**64
    assert QualitySummary.model_validate(summary).expected == 8 * 2**63


def test_rows_of_another_version_are_refused_by_name() -> None:
    run = run_whole(log_of(1, False), False)
    key = next(key for key in run.store if key[:1] == LOADED_PREFIXES[0])
    run.store[key] = encoder.encode([99, *json.loads(run.store[key])[1:]])
    with pytest.raises(StateRefusedError, match=r"version 99.*use --reset"):
        run.restart()


TWINS: list[tuple[type[Contract], type[msgspec.Struct]]] = [
    (QualityEvent, events.QualityEventRecord),
    (QualitySummary, events.QualitySummaryRecord),
]


@pytest.mark.parametrize(("contract", "record"), TWINS)
def test_the_contracts_are_those_of_the_records(
    contract: type[Contract], record: type[msgspec.Struct]
) -> None:
    assert tuple(contract.model_fields) == ("type", *record.__struct_fields__)
    tag = get_args(contract.model_fields["type"].annotation)
    assert tag == (record.__struct_config__.tag,)
    by_name = {each.name: each.type for each in msgspec.structs.fields(record)}
    for name in ("kind", "severity", "method", "input"):
        if name in by_name:
            assert get_args(contract.model_fields[name].annotation) == get_args(by_name[name])


def shifted(quotes: bool) -> Log:
    """A new level of prices, and a quote without an ask."""
    trades = walk(60, at("2026-11-25T12:00"))
    for number, each in enumerate(trades):
        trades[number] = msgspec.structs.replace(each, price=each.price + 50 * (number >= 40))
    records = quotes_of([*trades, trades[-1]]) if quotes else trades
    if quotes:
        records[-1] = msgspec.structs.replace(records[-1], ask=0.0)
    return [(encoder.encode(each), each.event_time) for each in records]


def test_what_is_published_is_of_the_contract() -> None:
    kinds: Counter[str] = Counter()
    for quotes in (False, True):
        for log in (shifted(quotes), *(log_of(seed, quotes) for seed in range(8))):
            for _, value in run_whole(log, quotes).published["quality"]:
                assert value is not None
                found = json.loads(value)
                kinds[found.get("kind", "summary")] += 1
                contract = QualitySummary if found["type"] == "summary" else QualityEvent
                held = contract.model_validate_json(value)
                assert json.loads(held.model_dump_json()) == found
    assert set(kinds) == {"summary", *get_args(events.Kind)}
