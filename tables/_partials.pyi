"""Types of the compiled module; its documentation is in `_partials.pyx`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from app.contracts.outputs import OutputRecord
from tables.outbox import SymbolState
from tables.partial import PurePartial
from tables.quote_partial import PureQuotePartial

class CompiledPartial(PurePartial): ...
class CompiledQuotePartial(PureQuotePartial): ...

class QuoteAccumulator:
    def __init__(self, lengths: Sequence[int], kind: type[Any]) -> None: ...
    def add(
        self,
        opened: list[dict[int, dict[int, Any]]],
        symbol: npt.NDArray[np.int32],
        time: npt.NDArray[np.int64],
        sequence: npt.NDArray[np.int64],
        offset: npt.NDArray[np.int64],
        bid: npt.NDArray[np.float64],
        ask: npt.NDArray[np.float64],
        bid_size: npt.NDArray[np.float64],
        ask_size: npt.NDArray[np.float64],
        source: npt.NDArray[np.int64],
        symbols: int,
        watermark: int,
        removed: int,
    ) -> None: ...

class Accumulator:
    def __init__(self, lengths: Sequence[int], kind: type[Any]) -> None: ...
    def add(
        self,
        opened: list[dict[int, dict[int, Any]]],
        flags: list[npt.NDArray[np.int8]],
        symbol: npt.NDArray[np.int32],
        time: npt.NDArray[np.int64],
        sequence: npt.NDArray[np.int64],
        offset: npt.NDArray[np.int64],
        price: npt.NDArray[np.float64],
        size: npt.NDArray[np.float64],
        condition: npt.NDArray[np.int32],
        source: npt.NDArray[np.int64],
        symbols: int,
        watermark: int,
        removed: int,
        changed: npt.NDArray[np.uint8],
        touched: npt.NDArray[np.uint8],
    ) -> None: ...

def closed_rows(
    windows: Mapping[tuple[int, int, int, bool], tuple[int, Any]],
    names: list[str],
    lengths: Sequence[int],
    own_key: Callable[[str, int, int], bytes],
) -> list[tuple[bytes, bytes | None]]: ...
def symbol_rows(
    symbols: Iterable[int],
    names: list[str],
    state_of: Callable[[int], SymbolState],
    flushed: Mapping[int, set[tuple[int, int]]],
    lengths: Sequence[int],
    opened: list[dict[int, dict[int, Any]]],
) -> list[tuple[bytes, bytes | None]]: ...
def divide(above: int, below: int) -> float: ...
def as_double(units: int) -> float: ...
def open_bars(
    symbols: list[int],
    windows: dict[int, Any],
    start: int,
    label: str,
    names: list[str],
    make_record: Callable[..., Any],
    sources_of: Callable[[int], tuple[str, ...]],
) -> list[Any]: ...
def open_quote_bars(
    symbols: list[int],
    windows: dict[int, Any],
    start: int,
    label: str,
    names: list[str],
    make_record: Callable[..., Any],
    sources_of: Callable[[int], tuple[str, ...]],
) -> list[Any]: ...
def close_windows(
    symbols: list[int],
    windows: dict[int, Any],
    start: int,
    label: str,
    names: list[str],
    states: dict[int, SymbolState],
    state_of: Callable[[int], SymbolState],
    interval: int,
    make_record: Callable[..., Any],
    encode: Callable[[Any], bytes],
    sources_of: Callable[[int], tuple[str, ...]],
    make_output: Callable[..., OutputRecord],
    headers: list[tuple[str, bytes]],
    outputs: list[OutputRecord],
) -> int: ...
def close_quote_windows(
    symbols: list[int],
    windows: dict[int, Any],
    start: int,
    label: str,
    names: list[str],
    make_record: Callable[..., Any],
    encode: Callable[[Any], bytes],
    sources_of: Callable[[int], tuple[str, ...]],
    make_output: Callable[..., OutputRecord],
    headers: list[tuple[str, bytes]],
    outputs: list[OutputRecord],
) -> int: ...
