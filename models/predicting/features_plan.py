"""What a feature set declares, checked, hashed, and put in an order in which it is computed.

The hash is SHA-256 over name, version, and each feature with its name, terms, parameters and
readings. Of terms and functions from outside of this package the code is hashed too (without
comments and documentation); not what that code calls, and not the code of indicators: raise the
version when those change. Calendars decide where sessions begin and are not hashed either: they are
settings, and have a fingerprint of their own (`Market.fingerprint`).
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from types import FunctionType
from typing import Any

from models.predicting.features_terms import (
    TERMS_VERSION,
    Node,
    Reading,
    SessionElapsed,
    Step,
    Term,
    TimeOfDay,
)
from tables.indicators.base import ParameterError
from tables.indicators.registry import Request, parse_indicators

PACKAGE = "models.predicting."
#: Places of the values of a bar that are always there.
TIME_OF_DAY, SESSION_ELAPSED, READINGS = 0, 1, 2

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\Z")
_READING = re.compile(r"(\w+(?:\([^()]*\))?)(?:\.\w+)?\Z")


class FeatureSetError(ValueError):
    """A feature set that is not as it must be, or is not there; the message is one line."""


@dataclass(frozen=True)
class Feature:
    """A column of a feature set: its name, how it is computed, and what it says (not hashed)."""

    name: str
    term: Node
    about: str = ""


@dataclass(frozen=True)
class Plan:
    """A feature set's declaration in the order in which it is computed.

    Attributes:
        features: as declared.
        names: of the features, in their order.
        inputs: the readings, as `indicators.default` writes them.
        requests: the indicators that give them.
        warm_up: with so many bars there are features.
        depth: how many bars before its own a row reads the indicators of.
        hash: the first 16 hexadecimal digits.
        label: `returns@1:0123456789abcdef`.
        read: values by name to the readings, a tuple.
        windows: how many values each window holds, the bar's own among them.
        kept: (place, window) of what is kept before the steps.
        steps: (step, window or -1), whose results follow the readings.
        outputs: places of the features, which `pick` takes.
        uses_session: whether the session must be looked up.
    """

    features: tuple[Feature, ...]
    names: tuple[str, ...]
    inputs: tuple[str, ...]
    requests: tuple[Request, ...]
    warm_up: int
    depth: int
    hash: str
    label: str
    read: Callable[[Mapping[str, float | None]], tuple[float | None, ...]]
    windows: tuple[int, ...]
    kept: tuple[tuple[int, int], ...]
    steps: tuple[tuple[Step, int], ...]
    outputs: tuple[int, ...]
    uses_session: bool


def make_plan(
    name: str,
    version: int,
    features: Sequence[Feature],
    modules: Sequence[str] = (),
    code: Sequence[str] = (),
) -> Plan:
    """Check a declaration and order it.

    Args:
        modules: of indicators of one's own.
        code: further source that the hash covers.

    Raises:
        FeatureSetError: a name is not one or comes twice, or an indicator has no such output.
    """
    names = tuple(each.name for each in features)
    if not _NAME.match(name) or version < 1:
        raise FeatureSetError(f"feature set {name!r}, version {version}: expected {_NAME.pattern}")
    faults = [each for each in names if not _NAME.match(each) or names.count(each) > 1]
    if faults or not names:
        raise FeatureSetError(
            f"feature set {name}: features {faults or 'none'}; expected names as "
            f"{_NAME.pattern}, each once"
        )
    nodes = _in_order([each.term for each in features])
    inputs = tuple(each.name for each in nodes if isinstance(each, Reading))
    requests = _requests(name, inputs, modules)
    places: dict[Node, int] = {TimeOfDay(): TIME_OF_DAY, SessionElapsed(): SESSION_ELAPSED}
    for each in nodes:
        if isinstance(each, Reading):
            places[each] = len(places)
    terms = [each for each in nodes if isinstance(each, Term)]
    for term in terms:
        places[term] = len(places)
    lengths: dict[Node, int] = {}
    for term in terms:
        if term.reach > 1:
            for part in term.parts:
                lengths[part] = max(lengths.get(part, 0), term.reach)
    slots = {node: slot for slot, node in enumerate(lengths)}
    steps = []
    for term in terms:
        at = slots if term.reach > 1 else places
        steps.append((term.bind(*(at[part] for part in term.parts)), slots.get(term, -1)))
    first = {output: each.warm_up for each in requests for output in each.names}
    digest = _hash(name, version, features, code)
    return Plan(
        features=tuple(features),
        names=names,
        inputs=inputs,
        requests=requests,
        warm_up=_bars(features, first),
        depth=_bars(features, dict.fromkeys(inputs, 1)) - 1,
        hash=digest,
        label=f"{name}@{version}:{digest}",
        read=_reader(inputs),
        windows=tuple(lengths.values()),
        kept=tuple((places[n], slot) for n, slot in slots.items() if not isinstance(n, Term)),
        steps=tuple(steps),
        outputs=tuple(places[each.term] for each in features),
        uses_session=SessionElapsed() in nodes,
    )


def _in_order(roots: Sequence[Node]) -> list[Node]:
    """Return each node once, after all that it reads."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in found:
            for part in node.parts:
                visit(part)
            found[node] = None

    for each in roots:
        visit(each)
    return list(found)


def _requests(name: str, inputs: Sequence[str], modules: Sequence[str]) -> tuple[Request, ...]:
    labels: dict[str, None] = {}
    for each in inputs:
        match = _READING.match(each)
        if match is None:
            raise FeatureSetError(
                f"feature set {name}: {each!r} is no reading; expected MACD(12,26,9).signal"
            )
        labels[match[1]] = None
    if not labels:
        return ()
    try:
        requests = parse_indicators(",".join(labels), modules)
    except ParameterError as error:
        raise FeatureSetError(f"feature set {name}: {error}") from error
    given = [output for request in requests for output in request.names]
    absent = [each for each in inputs if each not in given]
    if absent:
        raise FeatureSetError(
            f"feature set {name}: no output {', '.join(absent)}; expected one of {', '.join(given)}"
        )
    return requests


def _bars(features: Sequence[Feature], leaves: Mapping[str, int]) -> int:
    """Return how many bars the features read; `leaves` says so of readings, others read one."""

    def of(node: Node) -> int:
        if isinstance(node, Reading):
            return leaves[node.name]
        return max((of(part) for part in node.parts), default=1) + node.reach - 1

    return max(of(each.term) for each in features)


def _reader(
    inputs: tuple[str, ...],
) -> Callable[[Mapping[str, float | None]], tuple[float | None, ...]]:
    if len(inputs) > 1:
        return itemgetter(*inputs)
    return lambda values: tuple([values[each] for each in inputs])


def _hash(name: str, version: int, features: Sequence[Feature], code: Sequence[str]) -> str:
    declared = [[each.name, _described(each.term)] for each in features]
    text = json.dumps([TERMS_VERSION, name, version, declared, list(code)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described(value: Any) -> Any:
    if isinstance(value, Node):
        kind = type(value)
        named = {each.name: _described(getattr(value, each.name)) for each in fields(value)}
        return [kind.__qualname__, named, code_of(kind)]
    if isinstance(value, FunctionType):
        return [value.__qualname__, *_normal(value)]
    if isinstance(value, tuple):
        return [_described(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise FeatureSetError(
        f"a term's parameter {value!r} cannot be hashed; expected numbers, texts, nodes, functions "
        "or tuples of them"
    )


def code_of(kind: type[Any], without: Sequence[str] = ()) -> list[str]:
    """Return the source of the methods that a class has from outside of this package."""
    found = []
    for each in kind.__mro__:
        if each.__module__.startswith(PACKAGE) or each.__module__ in ("builtins", "abc", "typing"):
            continue
        if each.__module__ == "tables.learning":
            continue
        for name, member in sorted(vars(each).items()):
            function = _function_of(member)
            if function is not None and name not in without:
                found += _normal(function)
    return found


def _function_of(member: Any) -> FunctionType | None:
    inner = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
    return inner if isinstance(inner, FunctionType) else None


def _normal(function: FunctionType) -> list[str]:
    """Return the source without comments and documentation; nothing for what dataclasses make."""
    inner = inspect.unwrap(function)
    if inner.__name__.startswith("__") and inner.__code__.co_filename == "<string>":
        return []
    try:
        source = textwrap.dedent(inspect.getsource(inner))
        tree = ast.parse(source)
    except (OSError, SyntaxError) as error:
        raise FeatureSetError(
            f"the source of {function.__qualname__} cannot be read, so it cannot be hashed; "
            "expected a function or class that a file defines"
        ) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return [ast.unparse(tree)]
