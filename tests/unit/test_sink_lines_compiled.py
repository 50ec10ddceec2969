"""The compiled way from records to lines against the Python way: the same bytes, whatever comes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from app.contracts.batch import RecordBatch
from app.contracts.conditions import CONDITIONS
from app.contracts.wire import BarRecord, IndicatorsRecord, TradeRecord
from app.sinks import compiled
from app.sinks.measurements import DECODERS, measurements_of
from app.sinks.plans import plan_of
from app.sinks.points import Encoded, Inputs, PointEncoder

pytestmark = pytest.mark.skipif(
    compiled.compiled_encoder is None,
    reason="the compiled encoding of lines was not built: install a C compiler, `make setup`",
)

TIME = 1_700_000_000_000_000_000
#: Records of several kinds, or with points of others' records.
PURE = {"predictions", "quality"}
COMPILED = sorted(DECODERS.keys() - PURE)
TEXTS = (
    "SPY", "1m", "BTC=X", "a b", "a,b", "", "é", 'q"q', "back\\slash", "tab\t", "del\x7f", "日本",
    "5m", "trades", "A" * 33, "B" * 65, "C" * 600, "%s", "\x00", "null", "a/b", "end\\", "[]", "]",
)  # fmt: skip
FLOATS = (
    0.0, -0.0, 0.1 + 0.2, 1e15, 1e16, 1e17, 123456789012345680.0, 1234567890123456.0,
    9007199254740993.0, 1e22, 1e23, 1e-4, 1e-5, 1.5e-5, 9.999e-6, 1e-6, 1.2345678901234567e-6,
    1.2345678901234567e-7, 5e-324, 1.7976931348623157e308, 2.0**52, 2.0**-10, 2.0**53 + 2,
    float("nan"), float("inf"), -float("inf"), 1e12, 1.0000000001e12, -1e12, 999999999999.9, 1e14,
)  # fmt: skip
INTEGERS = (
    0, 1, -1, 9, 10**18, 10**19, 2**63 - 1, 2**63 - 2, 2**63, -(2**63), -(2**63) + 1, -(2**63) + 2,
    2**64 - 1, TIME, TIME + 999, TIME + 10**12,
)  # fmt: skip


def random_float(rng: random.Random) -> float:
    dice = rng.random()
    if dice < 0.4:
        return round(rng.uniform(-500, 500), rng.randrange(5))
    if dice < 0.7:
        return rng.uniform(0, 1) * 10.0 ** rng.randrange(-8, 18)
    if dice < 0.8:
        return float(rng.randrange(10 ** rng.randrange(1, 18)))
    return rng.choice(FLOATS)


def random_integer(rng: random.Random) -> int:
    dice = rng.random()
    if dice < 0.5:
        return rng.randrange(3)
    return TIME + rng.randrange(10**6) if dice < 0.9 else rng.choice(INTEGERS)


def random_text(rng: random.Random) -> str:
    return rng.choice(TEXTS[:2]) if rng.random() < 0.9 else rng.choice(TEXTS)


def random_value(rng: random.Random, found: inspect.Type) -> Any:
    """A value of a field, most of the time one that its type allows."""
    match found:
        case inspect.UnionType():
            return random_value(rng, rng.choice(found.types))
        case inspect.NoneType():
            return None
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.IntType():
            return random_integer(rng)
        case inspect.FloatType():
            return rng.randrange(1_000) if rng.random() < 0.05 else random_float(rng)
        case inspect.StrType():
            return random_text(rng)
        case inspect.LiteralType():
            return rng.choice(found.values)
        case inspect.VarTupleType():
            count = rng.randrange(3) if rng.random() < 0.97 else 9
            return tuple(random_value(rng, found.item_type) for _ in range(count))
        case inspect.DictType():
            names = [rng.choice((f"SMA({n})", f"f{n}", "time", random_text(rng))) for n in range(4)]
            kept = names[: rng.randrange(5)]
            return {name: random_value(rng, found.value_type) for name in kept}
    raise AssertionError(f"no value of {found}")


def random_record(rng: random.Random, topic: str) -> bytes:
    """A record as msgspec writes it; its fields in the order of the contract."""
    info = inspect.type_info(DECODERS[topic].type)
    assert isinstance(info, inspect.StructType)
    record = {each.encode_name: random_value(rng, each.type) for each in info.fields}
    if info.tag_field is not None and rng.random() < 0.9:
        record = {info.tag_field: info.tag, **record}
    if rng.random() < 0.2:
        # As a feed leaves out what it does not have.
        missing = [each.encode_name for each in info.fields if not each.required]
        for name in missing:
            if rng.random() < 0.5:
                del record[name]
    return msgspec.json.encode(record)


def random_number(rng: random.Random) -> bytes:
    """Text that is a JSON number, or nearly."""
    digits = "".join(rng.choices("0123456789", k=rng.choice((1, 2, 5, 15, 16, 17, 17, 18, 20))))
    if rng.random() < 0.3:
        digits = digits.rstrip("0") or "0"
    point = rng.randrange(len(digits) + 1)
    text = rng.choice(("", "", "", "-")) + (digits[:point].lstrip("0") or "0")
    if rng.random() < 0.9:
        text += "." + rng.choice(("", "", "0", "0000", "00000")) + digits[point:]
    if rng.random() < 0.2:
        sign = rng.choice(("", "-", "-", "+"))
        text += rng.choice("eeE") + sign + str(rng.choice((0, 4, 5, 6, 7, 15, 16, 22, 300, 310)))
    return text.encode()


def mangled(rng: random.Random, value: bytes) -> bytes:
    """The value with a byte changed, cut, with another number, or its fields in another order."""
    place = rng.randrange(len(value))
    match rng.randrange(9):
        case 0:
            return value[:place] + bytes([rng.randrange(256)]) + value[place + 1 :]
        case 1:
            return value[:place]
        case 2:
            return (
                value[:place] + rng.choice((b" ", b"\n", b"0", b'"', b"\\", b",")) + value[place:]
            )
        case 3:
            return value[:place] + value[place + rng.randrange(1, 9) :]
        case 4:
            start = value.find(b":", place) + 1
            end = start + len(value[start:]) - len(value[start:].lstrip(b"-+.eE0123456789"))
            return value[:start] + random_number(rng) + value[end:]
        case 5:
            fields = list(msgspec.json.decode(value).items())
            first, second = rng.randrange(len(fields)), rng.randrange(len(fields))
            fields[first], fields[second] = fields[second], fields[first]
            return msgspec.json.encode(dict(fields))
        case 6:
            fields = list(msgspec.json.decode(value).items())
            del fields[rng.randrange(len(fields))]
            return msgspec.json.encode(dict(fields))
        case 7:
            # The last of two fields of one name holds.
            cut = value.find(b",")
            return value[:-1] + b"," + value[1:cut] + b"}"
        case _:
            return value + rng.choice((b" ", b"}", value, b"\x00"))


def batch(values: Sequence[bytes | None], base: int = 0, step: int = 1) -> RecordBatch:
    offsets = np.arange(base, base + step * len(values), step, dtype=np.int64)
    times = np.full(len(values), TIME + 10**6, dtype=np.int64)
    return RecordBatch("t", 0, base, base + step * len(values) + 1, values, offsets, times)


def both(
    topic: str,
    batches: Sequence[RecordBatch],
    inputs: Inputs | None = None,
    room: int = 1_000,
    left_out: Sequence[str] = (),
) -> list[Encoded]:
    """What the compiled way gives, after it was found to be what the Python way gives."""
    encoder = PointEncoder(topic, inputs, room, left_out=left_out)
    pure = PointEncoder(topic, inputs, room, left_out=left_out, use_compiled=False)
    made: list[Encoded] = []
    for each in batches:
        found, expected = encoder.take(each), pure.take(each)
        assert found.lines.body == expected.lines.body
        assert found.lines.ends.tolist() == expected.lines.ends.tolist()
        assert found.lines.times.tolist() == expected.lines.times.tolist()
        assert found.offsets == expected.offsets
        assert (found.next, found.counts) == (expected.next, expected.counts)
        made.append(found)
    return made


def left_over(topic: str, values: Sequence[bytes], inputs: Inputs | None = None) -> list[int]:
    """Rows of the values that the compiled way leaves to Python."""
    encoder = PointEncoder(topic, inputs)
    assert encoder._compiled is not None
    lines, rest = encoder._compiled.take(batch(values))
    assert len(lines) + len(rest) == len(values)
    return list(map(int, rest))


@pytest.mark.parametrize("topic", sorted(DECODERS))
def test_topics_of_flat_records_are_encoded_by_the_compiled_way(topic: str) -> None:
    plans = [plan_of(each, 1_000) for each in measurements_of(topic)]
    assert (PointEncoder(topic)._compiled is None) == (topic in PURE)
    assert topic in PURE or None not in plans


@pytest.mark.parametrize("topic", COMPILED)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**48), room=st.sampled_from((1, 7, 1_000, 10**6, 10**9, 10**18)))
def test_records_of_the_contracts_give_the_same_bytes(topic: str, seed: int, room: int) -> None:
    rng = random.Random(seed)
    values: list[bytes | None] = [random_record(rng, topic) for _ in range(40)]
    values[rng.randrange(40)] = None
    step = rng.choice((1, 3, 10**9))
    both(topic, [batch(values, rng.choice((0, 999, 2**40)), step), batch(values)], room=room)


@pytest.mark.parametrize("topic", ["ticks", "bars", "quotes.bars", "anomalies"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**48), data=st.data())
def test_without_some_fields_the_bytes_are_the_same(
    topic: str, seed: int, data: st.DataObject
) -> None:
    rng = random.Random(seed)
    names = [f"{each.name}.{name}" for each in measurements_of(topic) for name in each.fields]
    left_out = data.draw(st.lists(st.sampled_from(names)))
    values = [random_record(rng, topic) for _ in range(40)]
    for made in both(topic, [batch(values)], left_out=left_out):
        for name in left_out:
            # Texts are never like a field's key.
            assert f",{name.partition('.')[2]}=".encode() not in made.lines.body


@pytest.mark.parametrize("topic", COMPILED)
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_mangled_records_give_the_same_bytes(topic: str, seed: int) -> None:
    rng = random.Random(seed)
    values: list[bytes | None] = []
    for _ in range(30):
        value = random_record(rng, topic)
        values.append(mangled(rng, value))
    both(topic, [batch(values)])


@pytest.mark.parametrize("topic", ["ticks", "quotes"])
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**48), earliest=st.sampled_from((0, 2, TIME, TIME + 500_000)))
def test_dead_ticks_are_the_same(topic: str, seed: int, earliest: int) -> None:
    rng = random.Random(seed)
    inputs = Inputs(0, rng.choice((1, 3)), earliest, rng.choice((0, 10**6, 2**62)))
    values = [random_record(rng, topic) for _ in range(40)]
    both(topic, [batch(values)], inputs)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**48))
def test_any_text_of_a_number_gives_the_same_bytes(seed: int) -> None:
    rng = random.Random(seed)
    form = (
        b'{"symbol":"SPY","interval":"1m","start":%d,"open":1.5,"high":%b,"low":0.5,"close":1.25,'
        b'"volume":100.0,"vwap":%b,"trades":9,"revision":0,"is_final":true,"filled":false,'
        b'"sources":["a"]}'
    )
    values = [form % (TIME + n, random_number(rng), random_number(rng)) for n in range(60)]
    both("bars", [batch(values)])


@pytest.mark.parametrize("topic", COMPILED)
def test_a_record_that_is_cut_off_anywhere_is_malformed_for_both(topic: str) -> None:
    rng = random.Random(3)
    value = max((random_record(rng, topic) for _ in range(20)), key=len)
    (made,) = both(topic, [batch([value[:end] for end in range(len(value))])])
    assert made.counts == {"malformed": len(value)}


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1))
def test_bytes_that_are_no_record_are_left_to_python(values: list[bytes]) -> None:
    assert left_over("bars", values) == list(range(len(values)))


def _bars(count: int) -> list[bytes]:
    rng = random.Random(8)
    made = []
    for number in range(count):
        low = round(rng.uniform(20, 500), 2)
        bar = BarRecord(
            f"SYM{number % 10}", "1m", TIME + number, low + 1, low + 2, low, low + 1.5,
            float(rng.randrange(1, 100_000)), rng.uniform(low, low + 1) if number % 7 else None,
            rng.randrange(5_000), number % 3, True, False, ("feed", "other")[: number % 3],
        )  # fmt: skip
        made.append(msgspec.json.encode(bar))
    return made


def test_what_the_engine_writes_takes_the_compiled_way() -> None:
    indicators = IndicatorsRecord(
        "SPY", "1m", TIME, 1, True, {"SMA(9)": 1 / 3, "MACD(12,26,9).signal": -2.5e-7, "A": None}
    )
    assert left_over("bars", _bars(500)) == []
    assert left_over("indicators", [msgspec.json.encode(indicators)] * 3) == []
    both("bars", [batch(_bars(500))])


def test_what_a_feed_writes_takes_the_compiled_way() -> None:
    trade = TradeRecord("SPY", 1.5, 2, TIME + 1, "id", 7, "XNAS", ("iso", "odd_lot"), "feed")
    inputs = Inputs(0, 1, 0, 10**12)
    short = b'{"symbol":"SPY","price":145.53,"size":100,"event_time":%d,"sequence":5}' % TIME
    values = [msgspec.json.encode(trade), short]
    assert left_over("ticks", values, inputs) == []
    (made,) = both("ticks", [batch(values, 12)], inputs)
    assert (
        made.lines[1]
        == f"trades,symbol=SPY price=145.53,size=100.0,offset=13i,sequence=5i {TIME + 13}"
    )


@pytest.mark.parametrize("scale", [1e-14, 1e-7, 1e-5, 1.0, 1e3, 1e9, 1e11])
def test_nearly_every_double_that_msgspec_writes_is_copied(scale: float) -> None:
    rng = random.Random(8)
    values = [
        msgspec.json.encode(
            IndicatorsRecord("A", "1m", TIME, 0, True, {"x": rng.uniform(0.3, 3) * scale})
        )
        for _ in range(5_000)
    ]
    assert len(left_over("indicators", values)) < 5
    both("indicators", [batch(values)])


def test_names_that_are_forgotten_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_REMEMBERED", 3)
    values = [
        msgspec.json.encode(
            IndicatorsRecord(f"S{n % 7}", "1m", TIME, 1, True, {f"x{n % 5}": 1.5, "none": None})
        )
        for n in range(40)
    ]
    both("indicators", [batch(values[start : start + 8]) for start in range(0, 40, 8)])


def test_a_sample_of_a_fetch_is_encoded_too() -> None:
    whole = batch(_bars(9))
    sample = RecordBatch(
        "t", 0, 0, whole.next, whole.values[::2], whole.offsets[::2], whole.append_times[::2]
    )
    (made,) = both("bars", [sample])
    assert made.offsets == [0, 2, 4, 6, 8]


def test_every_condition_is_known() -> None:
    values = [
        msgspec.json.encode(TradeRecord("SPY", 1.5, 2, TIME, conditions=(name,)))
        for name in (*CONDITIONS, "no_such_condition")
    ]
    assert left_over("ticks", values) == [len(CONDITIONS)]
    (made,) = both("ticks", [batch(values)])
    assert made.counts == {"written": len(CONDITIONS), "malformed": 1}


@pytest.mark.parametrize("use_compiled", [True, False])
def test_a_record_that_is_nested_too_deeply_is_malformed(use_compiled: bool) -> None:
    deep = b'{"more":' + b"[" * 100_000 + b"]" * 100_000 + b"," + _bars(1)[0][1:]
    made = PointEncoder("bars", use_compiled=use_compiled).take(batch([deep, *_bars(1)]))
    assert made.counts == {"malformed": 1, "written": 1}


def test_an_encoder_encodes_one_batch_at_a_time() -> None:
    encoder = PointEncoder("bars")._compiled
    assert encoder is not None
    head_of, refused = encoder._head_of, []

    def again(tags: tuple[str, ...]) -> str:
        with pytest.raises(RuntimeError, match="one batch at a time") as error:
            encoder.take(batch(_bars(1)))
        refused.append(error)
        return head_of(tags)

    encoder._head_of = again
    lines, _ = encoder.take(batch(_bars(1)))
    assert (len(lines), len(refused)) == (1, 1)


def test_an_error_of_python_is_raised_and_the_encoder_goes_on() -> None:
    encoder = PointEncoder("bars")._compiled
    assert encoder is not None
    head_of = encoder._head_of

    def fails(tags: tuple[str, ...]) -> str:
        raise LookupError("no head")

    encoder._head_of = fails
    with pytest.raises(LookupError, match="no head"):
        encoder.take(batch(_bars(1)))
    encoder._head_of = head_of
    lines, _ = encoder.take(batch(_bars(1)))
    assert len(lines) == 1


def test_without_the_compiled_module_python_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PointEncoder("bars").take(batch(_bars(9)))
    monkeypatch.setattr(compiled, "compiled_encoder", None)
    encoder = PointEncoder("bars")
    assert encoder._compiled is None
    assert encoder.take(batch(_bars(9))).lines == expected.lines
