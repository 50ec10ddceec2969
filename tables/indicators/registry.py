"""All indicators by name: those of this package, and those of modules a user names.

`parse_indicators("RSI(14), MACD(12,26,9), EMA(12,seed=first)")` gives the requests, whose `create`
makes indicators. Names are looked up in any case; columns are named as they were asked for.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tables.indicators.base import Context, Indicator, ParameterError
from tables.learning import State, discover

#: What is computed unless told otherwise.
DEFAULT_INDICATORS = (
    "SMA(20),SMA(50),EMA(12),EMA(26),RSI(14),MACD(12,26,9),BOLLINGER(20,2),ATR(14),VWAP(14),"
    "SESSION_VWAP,MOMENTUM(10),VOLATILITY(20)"
)
PACKAGE = "tables.indicators"

_REQUEST = re.compile(r"\s*(?P<name>\w+)\s*(?:\((?P<inside>[^()]*)\))?\s*(?:,|$)")


class UnknownIndicatorError(ParameterError):
    """No indicator has that name."""


@dataclass(frozen=True)
class Request:
    """An indicator with its parameters, as asked for; makes any number of them."""

    #: As it was written, without spaces.
    label: str
    kind: type[Indicator]
    parameters: Mapping[str, Any]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs: `MACD(12,26,9)`, `MACD(12,26,9).signal`."""
        return tuple(f"{self.label}.{each}" if each else self.label for each in self.kind.OUTPUTS)

    @property
    def warm_up(self) -> int:
        """Bars until there is a value."""
        return self.create().warm_up

    def create(self, context: Context | None = None) -> Indicator:
        """Make an indicator that has seen nothing."""
        return self.kind(**self._given(context))

    def restore(self, state: State, context: Context | None = None) -> Indicator:
        """Make an indicator that goes on from a state.

        Raises:
            StateVersionError: the state is of another version, or of other parameters.
        """
        return self.kind.from_state(state, **self._given(context))

    def _given(self, context: Context | None) -> dict[str, Any]:
        if not _takes_context(self.kind):
            return dict(self.parameters)
        return {**self.parameters, "context": context or Context()}


@functools.cache
def _takes_context(kind: type[Indicator]) -> bool:
    return "context" in kind.__init__.__annotations__


@functools.cache
def indicators(modules: tuple[str, ...] = ()) -> Mapping[str, type[Indicator]]:
    """Return all indicators by name; `modules` are import paths of users' modules or packages.

    Raises:
        ParameterError: a module cannot be imported or has none, or two have one name.
    """
    found: dict[str, type[Indicator]] = {}
    for path in (PACKAGE, *modules):
        try:
            kinds = discover(importlib.import_module(path), Indicator)
        except ImportError as error:
            raise ParameterError(
                f"indicator module {path!r} cannot be imported: {error}"
            ) from error
        if not kinds:
            raise ParameterError(f"indicator module {path!r} defines no indicator")
        for kind in kinds:
            other = found.setdefault(kind.NAME.upper(), kind)
            if other is not kind:
                raise ParameterError(
                    f"two indicators are named {kind.NAME}: {other.__module__}.{other.__name__} "
                    f"and {kind.__module__}.{kind.__name__}; rename one"
                )
    return dict(sorted(found.items()))


def parse_indicators(text: str, modules: Sequence[str] = ()) -> tuple[Request, ...]:
    """Read indicators as written: `EMA(12),RSI(14,flat=none)`; parameters by place, then by name.

    Raises:
        ParameterError: the text cannot be read, a name is unknown, a parameter is out of its
            bounds, or one output would appear twice.
    """
    known = indicators(tuple(modules))
    requests: list[Request] = []
    place = 0
    while place < len(text) or not requests:
        match = _REQUEST.match(text, place)
        if match is None:
            raise ParameterError(
                f"indicators: cannot read {text[place:]!r}; expected names like EMA(12),RSI(14)"
            )
        place = match.end()
        requests.append(_request(known, match["name"], match["inside"]))
    twice = {each.label for each in requests if _same(each, requests) > 1}
    if twice:
        raise ParameterError(f"indicators: {', '.join(sorted(twice))} asked for more than once")
    return tuple(requests)


def _same(request: Request, requests: Sequence[Request]) -> int:
    return sum(
        each.kind is request.kind
        and (each.label == request.label or each.parameters == request.parameters)
        for each in requests
    )


def _request(known: Mapping[str, type[Indicator]], name: str, inside: str | None) -> Request:
    kind = known.get(name.upper())
    if kind is None:
        raise UnknownIndicatorError(
            f"indicators: there is no {name!r}; expected one of {', '.join(known)}"
        )
    label = name if inside is None else f"{name}({''.join(inside.split())})"
    written = [each.strip() for each in inside.split(",")] if inside and inside.strip() else []
    request = Request(label, kind, _parameters(kind, written))
    request.create()
    return request


def _parameters(kind: type[Indicator], written: Sequence[str]) -> dict[str, Any]:
    """Return the parameters by name, the defaults too.

    Raises:
        ParameterError: there are too many, one is unknown, or it is out of its bounds.
    """
    declared = kind.parameters()
    places = list(declared)
    signature = ", ".join(f"{name}={each.default}" for name, each in declared.items()) or "none"
    values = {name: each.default for name, each in declared.items()}
    given: set[str] = set()
    placed = True
    for number, text in enumerate(written):
        name, equals, value = (each.strip() for each in text.partition("="))
        placed = placed and not equals
        if not equals:
            if not placed or number >= len(places):
                raise ParameterError(
                    f"{kind.NAME}: cannot place the parameter {text!r}; expected {signature}"
                )
            name, value = places[number], text
        elif name not in declared or name in given:
            raise ParameterError(
                f"{kind.NAME}: {name!r} is not a parameter, or given twice; expected {signature}"
            )
        given.add(name)
        values[name] = kind.check(name, value)
    return values
