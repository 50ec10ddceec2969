"""What the compiled encoder is told of a measurement: the form of its records, and what is written.

All of it comes from the record's form (`app/contracts/record_forms.py`) and the measurement's row
of the table, so a record that changes changes its plan. What has no plan is encoded by Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from app.contracts.record_forms import HIGHEST, LOWEST, Field, digits_below, form_of
from app.contracts.records import MAX_NOTIONAL
from app.contracts.wire import TradeRecord
from app.sinks import lines
from app.sinks.lines import Kind
from app.sinks.measurements import NULLS, OFFSET, REMAINDER, Measurement

#: Sources that are no field of the record; the same numbers stand in `_lines_writing.pxi`.
NOTHING: Final = -1
OFFSET_SOURCE: Final = -2


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
        judgement = Judgement(min(max(earliest, LOWEST), HIGHEST), ahead)
        if measurement.record is TradeRecord:
            judgement = judgement._replace(
                price=numbers["price"], size=numbers["size"], whole=digits_below(MAX_NOTIONAL)
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
