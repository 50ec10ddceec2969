"""How the JSON of a record stands in its topic: its fields in order, their kinds and bounds.

All of it comes from the record's type (`msgspec.inspect`), so a record that changes changes its
form. Compiled readers are told of it: the archive's and that of InfluxDB's lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import inspect

#: Of integers.
LOWEST, HIGHEST = -(2**63), 2**63 - 1
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
    low: int = LOWEST
    high: int = HIGHEST
    shortest: int = 0
    longest: int = _ANY_LENGTH


class RecordForm(NamedTuple):
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


@cache
def form_of(record: type[msgspec.Struct]) -> RecordForm | None:
    """Return the form of a record's JSON; None where it has what is not known here."""
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
    return RecordForm(tag, fields, numbers, msgspec.json.Decoder(texts))


def _field(info: inspect.Field) -> Field | None:
    """Return what is known of a field; None for a type or bound that is not known here."""
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
            low = LOWEST if found.ge is None else max(int(found.ge), LOWEST)
            high = HIGHEST if found.le is None else min(int(found.le), HIGHEST)
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
    whole = min(map(digits_below, bounds), default=_ANY_DIGITS)
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


def digits_below(bound: float) -> int:
    """Return how many digits before the point a number may have and certainly be below a bound."""
    return len(str(int(bound))) - 1
