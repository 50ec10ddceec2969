"""What the compiled encoder is told of a measurement: the form of its records, and what is written.

All of it comes from the record's type (`msgspec.inspect`) and the measurement's row of the table,
so a record that changes changes its plan. What has no plan is encoded by Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import inspect

from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import TradeRecord
from app.sinks import lines
from app.sinks.lines import Kind
from app.sinks.measurements import NULLS, OFFSET, REMAINDER, Measurement

#: Sources that are no field of the record; the same numbers stand in `_lines_writing.pxi`.
NOTHING: Final = -1
OFFSET_SOURCE: Final = -2
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
#: More than any double has before its point, and than any text.
_ANY_DIGITS = 400
_ANY_LENGTH = 2**40


class Field(NamedTuple):
    """One field of a record, in the order of its JSON.

    Attributes:
        key: as it stands before the value, such as `"price":`.
        kind: `text`, `float`, `integer`, `boolean`, `texts` (an array) or `mapping` (of floats).
        optional: whether it, or a value of the mapping, may be null.
        standard: JSON of the value that it has where it is missing; None where it may not be.
        negative, whole, point: of floats, whether they may be below zero; digits before the point
            that no bound refuses; whether a whole one is written as a float.
        low, high: of integers.
        shortest, longest: characters of a text.
    """

    key: bytes
    kind: str
    optional: bool = False
    standard: bytes | None = None
    negative: bool = True
    whole: int = _ANY_DIGITS
    point: bool = True
    low: int = _LOWEST
    high: int = _HIGHEST
    shortest: int = 0
    longest: int = _ANY_LENGTH


class Form(NamedTuple):
    """How a record stands in its topic.

    Attributes:
        type: `{"type":"trade"`, with which it may begin; empty where it has no tag.
        numbers: of `fields`, by the record's attributes.
        texts: reads its one array of texts.
    """

    type: bytes
    fields: tuple[Field, ...]
    numbers: Mapping[str, int]
    texts: msgspec.json.Decoder[Any]


class Output(NamedTuple):
    """One field of the points: `,price=`, its name alone, and the number of the record's field.

    `usual`: JSON of the value that a first version's points do not have; empty where there is none.
    """

    prefix: bytes
    name: bytes
    source: int
    integer: bool
    usual: bytes


class Judgement(NamedTuple):
    """What makes a record of an input topic dead, but for its symbol; see `points.Inputs`.

    `whole`: digits before the points of price and size together that keep their product within its
    bound, whatever the digits are.
    """

    earliest: int
    ahead: int
    price: int = NOTHING
    size: int = NOTHING
    whole: int = 0


class Plan(NamedTuple):
    """How the lines of a measurement are made; numbers are those of `fields`.

    Attributes:
        type, fields: see `Form`.
        tags: in the order of the measurement.
        time, ordinal, revision: `NOTHING` where there is none; an ordinal may be `OFFSET_SOURCE`.
        room: see `points`.
        remainder, nulls: such as `,remainder=`.
        prefix: of the mapping's names, as they stand among the nulls.
    """

    type: bytes
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    tags: tuple[int, ...]
    time: int
    ordinal: int
    revision: int
    room: int
    remainder: bytes
    nulls: bytes
    prefix: bytes
    judgement: Judgement | None


def plan_of(
    measurement: Measurement, room: int, earliest: int | None = None, ahead: int = 0
) -> Plan | None:
    """Return the plan of a measurement; None where its records are not flat or have other bounds.

    Args:
        room: of an ordinal, in ns.
        earliest, ahead: of an input topic, what is dead.
    """
    form = form_of(measurement.record)
    if form is None:
        return None
    fields, numbers = form.fields, form.numbers
    kinds = [field.kind for field in fields]
    if ("mapping" in kinds) != (measurement.mapping is not None):
        return None
    if measurement.mapping_kind is not Kind.FLOAT or not (0 < room < 2**62 and 0 <= ahead < 2**62):
        return None
    if measurement.usual and not measurement.revised:
        return None
    usual = {name: msgspec.json.encode(value) for name, value in measurement.usual.items()}
    outputs = [
        _output(name, kind, numbers, fields, usual.get(name, b""))
        for name, kind in measurement.fields.items()
    ]
    places = [numbers[tag] for tag in measurement.tags]
    counters = [measurement.time, measurement.ordinal, "revision" if measurement.revised else None]
    sources = [NOTHING if name is None else numbers.get(name, OFFSET_SOURCE) for name in counters]
    if not all(outputs) or not all(_is_plain(fields[each], "text") for each in places):
        return None
    if not all(_is_plain(fields[each], "integer") for each in sources if each >= 0):
        return None
    time, ordinal, revision = sources
    judgement = None
    if earliest is not None:
        judgement = Judgement(min(max(earliest, _LOWEST), _HIGHEST), ahead)
        if measurement.record is TradeRecord:
            judgement = judgement._replace(
                price=numbers["price"], size=numbers["size"], whole=_digits_below(MAX_NOTIONAL)
            )
    return Plan(
        form.type,
        fields,
        tuple(output for output in outputs if output is not None),
        tuple(places),
        time,
        ordinal,
        revision,
        room,
        f",{REMAINDER}=".encode(),
        f',{NULLS}="'.encode(),
        measurement.prefix.encode(),
        judgement,
    )


@cache
def form_of(record: type[msgspec.Struct]) -> Form | None:
    """Return the form of a record's JSON; None where the encoder does not know it."""
    info = inspect.type_info(record)
    if not isinstance(info, inspect.StructType) or info.array_like:
        return None
    if hasattr(record, "__post_init__"):
        return None
    fields = tuple(field for field in map(_field, info.fields) if field is not None)
    kinds = [field.kind for field in fields]
    if len(fields) < len(info.fields) or kinds.count("mapping") > 1 or kinds.count("texts") > 1:
        return None
    tag = b""
    if info.tag_field is not None:
        tag = b"{%s:%s" % (msgspec.json.encode(info.tag_field), msgspec.json.encode(info.tag))
    numbers = {field.name: number for number, field in enumerate(info.fields)}
    texts: Any = tuple[str, ...]
    if "texts" in kinds:
        name = info.fields[kinds.index("texts")].name
        texts = get_type_hints(record, include_extras=True)[name]
    return Form(tag, fields, numbers, msgspec.json.Decoder(texts))


def _output(
    name: str, kind: Kind, numbers: Mapping[str, int], fields: Sequence[Field], usual: bytes
) -> Output | None:
    source = numbers.get(name, OFFSET_SOURCE if name == OFFSET else NOTHING)
    kinds = {
        Kind.FLOAT: ("float",),
        Kind.INTEGER: ("integer",),
        Kind.BOOLEAN: ("boolean",),
        Kind.STRING: ("text", "texts"),
    }
    if source == NOTHING or (source >= 0 and fields[source].kind not in kinds[kind]):
        return None
    prefix = f",{lines.escape_key(name)}="
    return Output(prefix.encode(), name.encode(), source, kind is Kind.INTEGER, usual)


def _is_plain(field: Field, kind: str) -> bool:
    return field.kind == kind and not field.optional


def _field(info: inspect.Field) -> Field | None:
    """Return what is known of a field; None for a type or bound that the encoder does not know."""
    key = msgspec.json.encode(info.encode_name) + b":"
    found, optional = _without_null(info.type)
    field = _of_type(key, found)
    if field is None:
        return None
    if field.kind == "mapping" and (optional or not info.required):
        return None
    if info.required:
        return field._replace(optional=optional or field.optional)
    if info.default is msgspec.NODEFAULT:
        return None
    if field.kind == "texts" and info.default not in (None, ()):
        return None
    return field._replace(optional=optional, standard=msgspec.json.encode(info.default))


def _of_type(key: bytes, found: inspect.Type) -> Field | None:
    match found:
        case inspect.BoolType():
            return Field(key, "boolean")
        case inspect.IntType(gt=None, lt=None, multiple_of=None):
            low = _LOWEST if found.ge is None else max(int(found.ge), _LOWEST)
            high = _HIGHEST if found.le is None else min(int(found.le), _HIGHEST)
            return Field(key, "integer", low=low, high=high)
        case inspect.FloatType(gt=None, lt=None, multiple_of=None):
            return _of_float(key, found)
        case inspect.StrType(pattern=None):
            longest = _ANY_LENGTH if found.max_length is None else found.max_length
            return Field(key, "text", shortest=found.min_length or 0, longest=longest)
        case inspect.VarTupleType(item_type=inspect.StrType() | inspect.LiteralType()):
            return Field(key, "texts")
        case inspect.DictType(key_type=inspect.StrType(), min_length=None, max_length=None):
            return _of_mapping(key, found)
    return None


def _of_float(key: bytes, found: inspect.FloatType) -> Field | None:
    if (found.ge or 0) > 0 or (found.le is not None and found.le <= 0):
        return None
    bounds = [abs(bound) for bound in (found.ge, found.le) if bound]
    whole = min(map(_digits_below, bounds), default=_ANY_DIGITS)
    return Field(key, "float", negative=found.ge is None or found.ge < 0, whole=whole)


def _of_mapping(key: bytes, found: inspect.DictType) -> Field | None:
    value, optional = _without_null(found.value_type)
    types = value.types if isinstance(value, inspect.UnionType) else (value,)
    # Without bounds.
    if found.key_type != inspect.StrType() or inspect.FloatType() not in types:
        return None
    if any(each not in (inspect.FloatType(), inspect.IntType()) for each in types):
        return None
    return Field(key, "mapping", optional, point=len(types) == 1)


def _without_null(found: inspect.Type) -> tuple[inspect.Type, bool]:
    """Return a type less null, and whether it had that."""
    if not isinstance(found, inspect.UnionType):
        return found, False
    types = tuple(each for each in found.types if not isinstance(each, inspect.NoneType))
    rest = types[0] if len(types) == 1 else inspect.UnionType(types)
    return rest, len(types) < len(found.types)


def _digits_below(bound: float) -> int:
    """Return how many digits before the point a number may have and certainly be below a bound."""
    return len(str(int(bound))) - 1
