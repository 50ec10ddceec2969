"""What goes from bars to pairs, and what comes out."""

from __future__ import annotations

from typing import Annotated

import msgspec

from app.contracts.wire import Price

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class LegRecord(msgspec.Struct, tag_field="type", tag="leg", forbid_unknown_fields=True, gc=False):
    """A bar of one of a pair's symbols.

    `close` is None for a bar without a trade (filled, or emptied by corrections). `partition` and
    `position` say where the bar stands in the bars topic's source.
    """

    pair: str
    symbol: str
    interval: str
    start: Count
    close: Price | None
    revision: Count
    partition: Count
    position: Count


class ProgressRecord(
    msgspec.Struct, tag_field="type", tag="progress", forbid_unknown_fields=True, gc=False
):
    """A partition has published a bar of `interval` that ends at `watermark` (ns).

    So each bar of that interval that ends before is published, too, but for late ones.
    """

    partition: Count
    interval: str
    watermark: Count


class PairRecord(msgspec.Struct, gc=False):
    """Two bars with one start, set against each other; (pair, start) names it.

    The highest `revision` holds; it is the sum of the bars'. `spread` is first - hedge x second,
    `ratio` first / second, `score` how many standard deviations the spread lies from the mean of
    the `window` spreads before it, `correlation` and `beta` (of the first on the second) are of the
    last `window` log returns between joined bars. None in the warm-up, or where it is no number.

    `void`: corrections took a bar away that this pair was published with: all values are None.
    `left_out`: bars and revisions of both legs, so far, that came too late for the pair.
    """

    pair: str
    first: str
    second: str
    interval: str
    start: int
    first_close: float | None
    second_close: float | None
    spread: float | None
    ratio: float | None
    score: float | None
    correlation: float | None
    beta: float | None
    revision: int
    void: bool
    left_out: int


InputRecord = LegRecord | ProgressRecord

input_decoder = msgspec.json.Decoder(InputRecord)
