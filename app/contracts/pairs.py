"""The records of the pairs stage, as pydantic models: the published contract.

In: one topic, partitioned by the pair's name, of bars that are legs of pairs, and marks of progress
of the bars' partitions. Out: pairs. Their msgspec twins are in `tables/crossing/records.py`;
`tests/unit/test_crossing_contracts.py` holds the two equal.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from app.contracts.records import MAX_TIME, Contract, Price

Count = Annotated[int, Field(ge=0, le=MAX_TIME, strict=True)]


class Leg(Contract):
    """One version of a bar of one of a pair's symbols.

    `close` is null for a bar without a trade (filled, or emptied by corrections). `partition` and
    `position` say where the bar stands in the bars topic.
    """

    type: Literal["leg"]
    pair: str
    symbol: str
    interval: str
    start: Count
    close: Price | None
    revision: Count
    partition: Count
    position: Count


class LegProgress(Contract):
    """Partition `partition` of the bars has published a bar of `interval` that ends at `watermark`.

    So each bar of that interval that ends before is published, too, but for late ones.
    """

    type: Literal["progress"]
    partition: Count
    interval: str
    watermark: Count


class PairStatistics(Contract):
    """Two bars with one start, set against each other. Identity: (pair, start).

    The highest `revision` holds; it is the sum of the bars'. `spread` is first - hedge x second,
    `ratio` first / second, `score` how many standard deviations the spread lies from the mean of
    the `window` spreads before it, `correlation` and `beta` (of the first on the second) are of the
    last `window` log returns between joined bars. Null in the warm-up, or where it is no number.

    `void`: corrections took a bar away that this pair was published with: all values are null.
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
    correlation: Annotated[float, Field(ge=-1, le=1)] | None
    beta: float | None
    revision: Annotated[int, Field(ge=0)]
    void: bool
    left_out: Annotated[int, Field(ge=0)]
