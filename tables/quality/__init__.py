"""The quality of the data, of one partition of `ticks` or `quotes`: pure arithmetic.

Data that flows: a decoded record, its offset and append time -> `TradeQuality.take` (or
`QuoteQuality.take`) -> flags of the record (none of them: it belongs to the cleaned data), and in
`outputs` `QualityEvent`s as they are found and a `QualitySummary` of each symbol and day. State:
one row a symbol, one small row a partition. Read in this order: `configuration`, `events`,
`partition`, then what it uses. Around it, for the agents: `intake` decodes and judges values as the
bars agent does, `checking` keeps the rows and publishes.

Invariants:

- everything is decided per record, in log order, from the log alone: any split into batches and
  any restart from rows gives the same outputs;
- records may be out of order: a gap is judged only where the symbol's maximum event time moves on,
  a value is judged as it comes, and what is late by the data's clock is counted and not judged;
- a price is judged by what was learned before it, and never dropped from anywhere but the cleaned
  data;
- a day ends, with its final summary, when the symbol's own record or the data's clock reaches its
  end; records of an earlier day are then counted as `earlier_day` of the current one.
"""

from tables.quality.configuration import QualityConfiguration, QualityConfigurationError
from tables.quality.events import (
    CROSSED,
    DUPLICATE,
    OUTLIER,
    ZERO,
    Output,
    QualityEvent,
    QualitySummary,
)
from tables.quality.quotes import QuoteQuality
from tables.quality.trades import TradeQuality

__all__ = [
    "CROSSED",
    "DUPLICATE",
    "OUTLIER",
    "ZERO",
    "Output",
    "QualityConfiguration",
    "QualityConfigurationError",
    "QualityEvent",
    "QualitySummary",
    "QuoteQuality",
    "TradeQuality",
]
