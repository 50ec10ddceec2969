"""Logs of the portfolio stage for property tests: plain records, of several input partitions.

Each input partition's records come in a drawn order with progress marks among them, some of which
are not kept to, so that records are late. Every input partition is idle in the end.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
#: Four minutes before a midnight of UTC.
BASE = 1_700_006_160 * SECOND
INPUTS = {"bars": 2, "transactions": 2, "portfolio_updates": 1}
LABEL = "1m"
SYMBOLS = ("AAA", "BBB", "CCC")
ACCOUNTS = ("one", "two", "three")
#: Seconds of event time from `BASE` on.
SPAN = 600

Row = dict[str, Any]
Stream = list[Row]

quantities = st.one_of(
    st.integers(1, 20).map(float), st.integers(1, 5_000).map(lambda number: number / 1000)
)
prices = st.integers(1, 20_000).map(lambda number: number / 100)
amounts = st.integers(1, 100_000).map(lambda number: number / 100)
seconds = st.integers(0, SPAN)


@st.composite
def transactions(draw: st.DrawFn, partition: int, number: int) -> Row:
    """A transaction of an account of this partition."""
    return {
        "type": "transaction",
        "account": draw(st.sampled_from(ACCOUNTS[:1] if partition == 0 else ACCOUNTS[1:])),
        "symbol": draw(st.sampled_from(SYMBOLS)),
        "side": draw(st.sampled_from(("buy", "sell"))),
        "quantity": draw(quantities),
        "price": draw(prices),
        "fee": draw(st.sampled_from((0.0, 0.0, 1.0, 0.35, -0.2))),
        "event_time": BASE + draw(seconds) * SECOND,
        "transaction_id": f"t{partition}-{number}",
        "partition": partition,
    }


@st.composite
def updates(draw: st.DrawFn, partition: int, number: int, splits: bool) -> Row:
    """A portfolio update of any account."""
    actions = ["deposit", "withdraw", "fee", "dividend", "transfer_in", "transfer_out"]
    actions += ["cancel", "cancel", "set_limit", *(["split"] * 2 * splits)]
    action = draw(st.sampled_from(actions))
    fields: Row = {}
    symbol = st.sampled_from(SYMBOLS)
    if action in ("deposit", "withdraw", "fee"):
        fields["amount"] = draw(amounts)
    elif action == "dividend":
        fields |= {"amount": draw(amounts) * draw(st.sampled_from((1, -1))), "symbol": draw(symbol)}
    elif action in ("transfer_in", "transfer_out"):
        fields |= {"symbol": draw(symbol), "quantity": draw(quantities), "price": draw(prices)}
    elif action == "split":
        parts = st.integers(1, 4)
        fields |= {"symbol": draw(symbol), "split_to": draw(parts), "split_from": draw(parts)}
    elif action == "cancel":
        partition_of = draw(st.integers(0, INPUTS["transactions"] - 1))
        fields["transaction_id"] = f"t{partition_of}-{draw(st.integers(0, 8))}"
    else:
        fields["limit"] = draw(st.sampled_from(("max_position", "max_short", "max_session_loss")))
        fields["threshold"] = draw(st.none() | st.integers(0, 20).map(float))
    return {
        "type": "portfolio_update",
        "account": draw(st.sampled_from(ACCOUNTS)),
        "action": action,
        "event_time": BASE + draw(seconds) * SECOND,
        "update_id": f"u{number}",
        "partition": partition,
        **fields,
    }


@st.composite
def closes(draw: st.DrawFn, partition: int, number: int) -> Row:
    """The close of a bar; sometimes a revision, sometimes of another interval."""
    end = BASE + draw(st.integers(1, SPAN // 60)) * MINUTE
    # Each partition has symbols of its own, and a version of a bar has one close.
    symbol = draw(st.sampled_from(SYMBOLS[:2] if partition == 0 else SYMBOLS[2:]))
    revision = draw(st.integers(0, 2))
    return {
        "type": "price",
        "symbol": symbol,
        "interval": draw(st.sampled_from((LABEL, LABEL, LABEL, LABEL, "5m"))),
        "start": end - MINUTE,
        "end": end,
        "close": (end // MINUTE * 7919 + revision * 13 + len(symbol)) % 20_000 / 100 + 1,
        "revision": revision,
        "partition": partition,
    }


@st.composite
def streams(draw: st.DrawFn, splits: bool = True) -> list[Stream]:
    """One stream an input partition, each in its own order."""
    found = []
    for name, partitions in INPUTS.items():
        for partition in range(partitions):
            records: list[Row] = []
            for number in range(draw(st.integers(0, 12))):
                if name == "bars":
                    records.append(draw(closes(partition, number)))
                elif name == "transactions":
                    records.append(draw(transactions(partition, number)))
                else:
                    records.append(draw(updates(partition, number, splits)))
            # Mostly in order of time, so that marks move on; then some are exchanged.
            records.sort(key=lambda row: (_time(row), str(row)))
            for _ in range(draw(st.integers(0, 3)) if records else 0):
                one, other = (draw(st.integers(0, len(records) - 1)) for _ in range(2))
                records[one], records[other] = records[other], records[one]
            if records and draw(st.sampled_from((True, False))):
                repeated = records[draw(st.integers(0, len(records) - 1))]
                records.insert(draw(st.integers(0, len(records))), repeated)
            found.append(_with_marks(draw, name, partition, records))
    return found


def _time(record: Row) -> int:
    time: int = record["end" if record["type"] == "price" else "event_time"]
    return time


def _with_marks(draw: st.DrawFn, name: str, partition: int, records: list[Row]) -> Stream:
    stream: Stream = []
    head = {"type": "progress", "input": name, "partition": partition}
    reached = BASE
    for record in records:
        reached = max(reached, _time(record))
        stream.append(record)
        if draw(st.integers(0, 2)) == 0:
            late = draw(st.sampled_from((0, 1, 30))) * SECOND
            stream.append({**head, "watermark": reached - late})
    stream.append({**head, "watermark": reached, "idle": True})
    return stream


@st.composite
def interleaved(draw: st.DrawFn, parts: list[Stream]) -> list[Row]:
    """One log of all streams that keeps each one's own order."""
    turns = [number for number, stream in enumerate(parts) for _ in stream]
    order = draw(st.permutations(turns))
    rest = [iter(stream) for stream in parts]
    return [next(rest[number]) for number in order]
