"""Good records of each topic that a derived agent reads, and settings under which all agents run.

An agent with a source of its own comes in by one line in `GOOD` (and one in `SHAPES` of
tests/unit/bad_records.py); all others are found in `AGENT_TOPICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec.structs import replace

from app.contracts.wire import BarRecord, QuoteBarRecord, encoder
from app.durations import format_duration
from app.topics import AGENT_TOPICS, WINDOWED
from models.predicting.features_returns import Returns
from tables.crossing import Pair, PairsConfiguration, Router
from tables.partitioning import partition_of
from tests.unit import good_models
from tests.unit.quality_records import quotes_of, walk
from tests.unit.serving_feeding import indicators_of, revised

SECOND = 1_000_000_000
#: 2023-11-14 22:20, the begin of a minute.
START = 1_700_000_400 * SECOND
PARTITIONS = 2
MAX_MESSAGE_BYTES = 64 * 1024
HISTORICAL, FLUSH = b'{"type":"historical"}', b'{"type":"flush"}'
#: Bars of each symbol: anomalies are scored after the warm-up.
COUNT = 220


@cache
def symbol_of(partition: int, number: int = 0) -> str:
    """The symbol S<n> that is the number-th of a partition."""
    every = (f"S{n}" for n in range(1_000))
    ours = [s for s in every if partition_of(s.encode(), PARTITIONS) == partition]
    return ours[number]


#: Several of each partition of `pairs.input`.
PAIRS = tuple(f"{symbol_of(0, one)}/{symbol_of(1, two)}@1s" for one in range(2) for two in range(2))
#: Of a deployment of all agents; each group as `Settings` takes it.
CHOSEN: Mapping[str, Any] = {
    "topics": {"partitions": PARTITIONS, "max_message_bytes": MAX_MESSAGE_BYTES},
    "indicators": {
        "default": "EMA(3),RSI(3),SESSION_VWAP",
        "by_interval": {"1s": f"EMA(3),RSI(3),{good_models.needed()}"},
    },
    "models": {"registry": str(good_models.FOLDER), "poll": "100ms"},
    "predictions": {"models": f"{good_models.MODEL}@{good_models.INTERVAL}"},
    "anomalies": {"intervals": "1s", "warm_up": 150, "publish": "all"},
    "pairs": {"pairs": PAIRS, "window": 10, "max_waiting": 1_000},
    "features": {"window": "10s", "slide": "2s", "recent": "2s", "gap": "5s"},
    "portfolio": {"enabled": True, "max_positions": 100, "max_lots": 100},
    "price_alerts": {"watch": tuple(f"{symbol_of(each)}>101@1s" for each in range(PARTITIONS))},
}


def _prices(number: int) -> tuple[float, float, float, float]:
    close = 100 + (number * 7 % 31) / 8
    return close - 0.25, close + 0.5, close - 0.5, close


def bars(partition: int) -> list[bytes]:
    """Bars of 1 s of two symbols; some revised, one filled; a bar of 1 m now and then."""
    found = []
    for number in range(COUNT):
        for place in range(2):
            symbol, start = symbol_of(partition, place), START + number * SECOND
            bar = BarRecord(
                symbol, "1s", start, *_prices(number + place), 10.0 + number, 100.0, 3, 0,
                True, number % 50 == 49, (),
            )  # fmt: skip
            found.append(encoder.encode(bar))
            if number % 20 == 19:
                bar.revision, bar.close = 1, bar.close + 0.125
                found.append(encoder.encode(bar))
            if number % 60 == 59:
                minute = start // (60 * SECOND) * 60 * SECOND
                bar.interval, bar.start, bar.revision = "1m", minute, 0
                found.append(encoder.encode(bar))
    return found


def quote_bars(partition: int) -> list[bytes]:
    """Quote bars of 1 s of two symbols."""
    found = []
    for number in range(COUNT):
        for place in range(2):
            middle = _prices(number + place)
            prices = {
                f"{side}_{name}": price + shift
                for side, shift in (("bid", -0.01), ("ask", 0.01), ("mid", 0.0))
                for name, price in zip(("open", "high", "low", "close"), middle, strict=True)
            }
            bar = QuoteBarRecord(
                symbol=symbol_of(partition, place), interval="1s", start=START + number * SECOND,
                **prices, bid_size=5.0, ask_size=6.0, spread=0.02, quotes=4, revision=0,
                is_final=True, sources=(),
            )  # fmt: skip
            found.append(encoder.encode(bar))
    return found


def indicators(partition: int) -> list[bytes]:
    """Indicators of bars of two symbols, which no others here are of, and moves of aliases.

    Some are revised, emptied, come back, come twice or are not exact; an hour lies within.
    """
    return [*_indicators(partition)]


@cache
def _indicators(partition: int) -> Sequence[bytes]:
    made = []
    for number in range(COUNT):
        start = START + number * SECOND + number // 110 * 3_600 * SECOND
        for place in (4, 5):
            bar = BarRecord(
                symbol_of(partition, place), "1s", start, *_prices(number + place), 10.0 + number,
                100.0, 3, 0, True, False, (),
            )  # fmt: skip
            made.append(bar)
            if number % 20 == 19:
                made.append(revised(bar, bar.close + 0.125))
            if number % 70 == 69:
                made += [revised(bar, None), replace(bar, revision=2)][: place - 3]
            if number % 60 == 59:
                made.append(replace(bar, interval="1m", start=start // (60 * SECOND) * 60 * SECOND))
    values = indicators_of(made, Returns)
    for place in range(120, 126):
        values[place] = values[place].replace(b'"exact":true', b'"exact":false')
    champion, challenger = good_models.moves()
    other = champion.replace(good_models.MODEL.encode(), b"another")
    for place, value in ((300, challenger), (250, champion), (200, values[100]), (150, values[149]),
                         (9, other), (5, champion)):  # fmt: skip
        values.insert(place, value)
    return values


def trades(partition: int) -> list[bytes]:
    """Trades of two symbols, which no bars here are of, and control records of each kind."""
    walks = [
        walk(COUNT, START, seed=place, symbol=symbol_of(partition, place), mean_interval=0.4)
        for place in (2, 3)
    ]
    found = sorted((each for one in walks for each in one), key=lambda each: each.event_time)
    values = [encoder.encode(each) for each in found]
    clock = b'{"type":"clock","event_time":%d}' % (found[-1].event_time + 5 * SECOND)
    cancel = {
        "type": "correction",
        "action": "cancel",
        "symbol": found[3].symbol,
        "event_time": found[9].event_time,
        "trade_id": found[3].trade_id,
    }
    return [HISTORICAL, *values[:20], encoder.encode(cancel), *values[20:], clock, FLUSH]


def quotes(partition: int) -> list[bytes]:
    """Quotes around the same walk."""
    walked = walk(2 * COUNT, START, seed=5, symbol=symbol_of(partition, 2), mean_interval=0.4)
    values = [encoder.encode(each) for each in quotes_of(walked)]
    clock = b'{"type":"clock","event_time":%d}' % (walked[-1].event_time + 5 * SECOND)
    return [HISTORICAL, *values, clock, FLUSH]


def legs(partition: int) -> list[bytes]:
    """What the routers of both partitions send to this one, in turns."""
    lengths = {"1s": SECOND}
    configuration = PairsConfiguration(
        pairs=tuple(Pair.parse(name) for name in PAIRS),
        partitions=PARTITIONS,
        source_partitions=PARTITIONS,
    )
    assert {format_duration(each.interval) for each in configuration.pairs} == set(lengths)
    routers = [Router(configuration, source) for source in range(PARTITIONS)]
    found = []
    for number in range(COUNT):
        for source, router in enumerate(routers):
            for place in range(2):
                bar = BarRecord(
                    symbol_of(source, place), "1s", START + number * SECOND,
                    *_prices(number * (source + 1) + place), 10.0, 100.0, 3, 0, True, False, (),
                )  # fmt: skip
                for target, _, record in router.take(bar, number):
                    if target == partition:
                        found.append(encoder.encode(record))
    return found


def alert_events(partition: int) -> list[bytes]:
    """Alerts that fire and end, and every control record of alerts."""
    names = map(str, range(100))
    keys = [name for name in names if partition_of(name.encode(), PARTITIONS) == partition][:5]
    values = []
    for number in range(COUNT):
        event: dict[str, Any] = {
            "type": "alert",
            "alert_type": "test.event",
            "key": keys[number % 5],
            "severity": ("warning", "critical")[number % 7 == 6],
            "state": "resolved" if number % 17 == 16 else "firing",
            "title": f"event {number}",
            "event_time": START + number * 7 * SECOND,
        }
        values.append(encoder.encode(event))
    silence = {"type": "silence", "id": "s", "until": START + 300 * SECOND, "key": keys[0]}
    acknowledge = {"type": "acknowledge", "key": keys[1], "by": "me"}
    for place, record in ((40, {"type": "unsilence", "id": "s"}), (20, acknowledge), (9, silence)):
        values.insert(place, encoder.encode(record))
    return [*values, b'{"type":"clock","event_time":%d}' % (START + COUNT * 8 * SECOND)]


def _account_of(partition: int) -> str:
    names = map(str, range(100))
    return next(name for name in names if partition_of(name.encode(), PARTITIONS) == partition)


def transactions(partition: int) -> list[bytes]:
    """Transactions and updates of an account, and control records between them."""
    account = _account_of(partition)
    values = []
    for number in range(COUNT):
        transaction = {
            "type": "transaction",
            "account": account,
            "symbol": symbol_of(partition, number % 2),
            "side": ("buy", "sell")[number % 3 == 2],
            "quantity": 1.0 + number % 4,
            "price": _prices(number)[3],
            "event_time": START + number * SECOND,
            "transaction_id": f"t{number}",
        }
        values.append(encoder.encode(transaction))
    update = {"type": "portfolio_update", "account": account, "event_time": START + 5 * SECOND}
    deposit = update | {"action": "deposit", "amount": 1e5, "update_id": "u1"}
    cancel = update | {"action": "cancel", "transaction_id": "t3", "update_id": "u2"}
    values.insert(8, encoder.encode(cancel))
    values.insert(5, encoder.encode(deposit))
    clock = b'{"type":"clock","event_time":%d}' % (START + COUNT * SECOND)
    return [HISTORICAL, *values, clock, FLUSH]


def portfolio_inputs(partition: int) -> list[bytes]:
    """What the transactions agent sends on, with prices and marks of both inputs."""
    values = []
    for number, value in enumerate(transactions(partition)[1:-2]):
        values.append(b'%s,"partition":%d}' % (value[:-1], partition))
        end = START + number * SECOND
        for source in range(PARTITIONS):
            # Of transactions only those of the same partition come.
            for name in ("bars", "transactions")[: 1 + (source == partition)]:
                mark = {"type": "progress", "input": name, "partition": source}
                values.append(encoder.encode(mark | {"watermark": end}))
            if number % 60 == 59:
                price = {
                    "type": "price",
                    "symbol": symbol_of(source),
                    "interval": "1m",
                    "start": end + SECOND - 60 * SECOND,
                    "end": end + SECOND,
                    "close": _prices(number)[3],
                    "partition": source,
                }
                values.append(encoder.encode(price))
    return values


#: By source, without prefix and deployment; of a partition.
GOOD: Mapping[str, Callable[[int], list[bytes]]] = {
    "ticks": trades,
    "quotes": quotes,
    "bars": bars,
    "quotes.bars": quote_bars,
    "indicators": indicators,
    "pairs.input": legs,
    "alerts.events": alert_events,
    "transactions": transactions,
    "portfolio.input": portfolio_inputs,
}
#: Agents that have no records here yet.
ABSENT: tuple[str, ...] = ()
#: Those behind the bars, in the order of the topic table.
DERIVED = tuple(agent for agent in AGENT_TOPICS if agent not in (*WINDOWED, *ABSENT))
