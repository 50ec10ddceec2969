"""Which indicators the compiled module computes, and how it is told their parameters.

Those of the default set. Where the module is missing, and for all others, it is their own classes;
values and states are the same bits either way (`tests/unit/test_indicators_compiled.py`).

Needed: `python -m tests.bench.indicators`. An object a part, a list of floats a window: with ten
thousand symbols hundreds of places in memory a bar, which no cache holds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from tables.indicators.base import Context, Indicator
from tables.indicators.bollinger import Bollinger
from tables.indicators.changes import Momentum, Volatility
from tables.indicators.exponential_averages import ExponentialAverage
from tables.indicators.macd import Macd
from tables.indicators.registry import Request
from tables.indicators.rsi import RelativeStrength
from tables.indicators.simple_averages import SimpleAverage
from tables.indicators.true_range import AverageTrueRange
from tables.indicators.vwap import RollingVwap, SessionVwap

kernel: Any = None
try:
    from tables.indicators import _kernel as kernel
except ImportError as error:
    logging.getLogger(__name__).debug("no compiled indicators: %s", error)

Parameters = Mapping[str, Any]
#: Outputs, then lengths, options and a factor as `_kernel.pyx` wants them.
Operation = tuple[int, int, int, int, int, int, int, float]


def _sma(given: Parameters) -> Operation:
    return 1, 1, given["length"], 0, 0, 0, 0, 0.0


def _ema(given: Parameters) -> Operation:
    length = given["length"]
    return 2, 1, length, 0, 0, given["seed"] == "first", 0, 2 / (length + 1)


def _rsi(given: Parameters) -> Operation:
    length, flat = given["length"], given["flat"]
    nothing = -1 if flat == "none" else int(flat)
    return 3, 1, length, nothing, 0, given["seed"] == "first", 0, 1 / length


def _macd(given: Parameters) -> Operation:
    fast, slow, seed = given["fast"], given["slow"], given["seed"]
    waiting = slow - fast if seed == "talib" else 0
    return 4, 3, fast, slow, given["signal"], seed == "first", waiting, 0.0


def _bollinger(given: Parameters) -> Operation:
    length = given["length"]
    return 5, 5, length, 0, 0, 0, 0, given["factor"] / sqrt(length)


def _atr(given: Parameters) -> Operation:
    length = given["length"]
    late = given["first"] == "previous_close"
    return 6, 1, length, 0, 0, late, given["average"] == "sma", 1 / length


def _vwap(given: Parameters) -> Operation:
    return 7, 1, given["length"], 0, 0, given["price"] == "typical", 0, 0.0


def _session_vwap(given: Parameters) -> Operation:
    return 8, 1, 1, 0, 0, 0, 0, 0.0


def _momentum(given: Parameters) -> Operation:
    return 9, 1, given["length"], 0, 0, 0, 0, 0.0


def _volatility(given: Parameters) -> Operation:
    length = given["length"]
    root = sqrt(max(1, length - 1) if given["deviation"] == "sample" else length)
    return 10, 1, length, 0, 0, 0, 0, root


#: By the class itself: one derived from it may do anything.
OPERATIONS: Mapping[type[Indicator], Callable[[Parameters], Operation]] = {
    SimpleAverage: _sma,
    ExponentialAverage: _ema,
    RelativeStrength: _rsi,
    Macd: _macd,
    Bollinger: _bollinger,
    AverageTrueRange: _atr,
    RollingVwap: _vwap,
    SessionVwap: _session_vwap,
    Momentum: _momentum,
    Volatility: _volatility,
}


@dataclass(frozen=True)
class Plan:
    """How a set of indicators is computed; shared by all symbols.

    Attributes:
        program: of the compiled module, None where nothing is compiled.
        compiled, others: places among the requests.
        places: of each output in the order asked for, among those of the program and, behind
            them, those of the others; None where that is the same order.
        versions: of the states of those compiled.
        sessions: whether the program asks which session a bar belongs to.
        names: of the outputs.
        labels: of the requests.
    """

    program: Any
    compiled: tuple[int, ...]
    others: tuple[int, ...]
    places: tuple[int, ...] | None
    versions: tuple[int, ...]
    sessions: bool
    names: tuple[str, ...]
    labels: tuple[str, ...]


_plans: dict[object, Plan] = {}
#: By the identity of the requests, which it keeps alive: each symbol asks with the same ones.
_plans_of: dict[tuple[int, bool], tuple[Sequence[Request], Plan]] = {}
#: Requests that are remembered by their identity.
MAX_PLANS = 256


def plan_of(requests: Sequence[Request], *, use_kernel: bool = True) -> Plan:
    """Return how requests are computed.

    Args:
        use_kernel: false: each by its class, as the tests of the compiled module need it.
    """
    usable = use_kernel and kernel is not None
    place = (id(requests), usable)
    held = _plans_of.get(place)
    if held is not None:
        return held[1]
    key = (
        usable,
        *((each.label, each.kind, tuple(sorted(each.parameters.items()))) for each in requests),
    )
    found = _plans.get(key)
    if found is None:
        found = _plans[key] = _make_plan(requests, usable)
    if isinstance(requests, tuple):
        if len(_plans_of) >= MAX_PLANS:
            _plans_of.clear()
        _plans_of[place] = (requests, found)
    return found


def _make_plan(requests: Sequence[Request], usable: bool) -> Plan:
    numbers = range(len(requests))
    compiled = tuple(n for n in numbers if usable and requests[n].kind in OPERATIONS)
    others = tuple(n for n in numbers if n not in compiled)
    program = None
    if compiled:
        program = kernel.Program(
            [OPERATIONS[requests[n].kind](requests[n].parameters) for n in compiled]
        )
    counts = [len(each.names) for each in requests]
    begins, at = {}, 0
    for number in (*compiled, *others):
        begins[number] = at
        at += counts[number]
    places = tuple(begins[n] + output for n in numbers for output in range(counts[n]))
    return Plan(
        program,
        compiled,
        others,
        None if places == tuple(range(at)) else places,
        tuple(requests[n].kind.VERSION for n in compiled),
        any(requests[n].kind is SessionVwap for n in compiled),
        tuple(name for each in requests for name in each.names),
        tuple(each.label for each in requests),
    )


def session_of(context: Context | None) -> Callable[[int], int]:
    """Return what says the session of a bar's start."""
    return (context or Context()).session_of
