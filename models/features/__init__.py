"""Features of trades and of quotes over sliding windows, sessions of activity and trading days.

Data that flows: `RecordBatch` of one partition -> columns, by the parsers and judges of
tables/intake.py -> a heap in which records wait for the watermark (reordering.py) -> in order of
event time into pieces, panes, sessions and days (windows.py), aggregates with exact sums
(trade_aggregate.py, quote_aggregate.py) -> `FeatureRecord`s once the watermark closes a window.

Invariants (tests/unit/test_features.py, tests/unit/test_features_against_reference.py):

- any split of the log into batches, and any restart from stored rows, gives the same outputs;
- any order of arrival within the grace gives the same features (but for latency, which is
  *about* arrival);
- a closed window is never published again: what comes later is late, counted and sent to `late`;
- state is bounded: a symbol keeps the panes of one window, a session, a day and what waits, which
  is at most `max_pending` records of a partition;
- no value is NaN or infinite; None where there is nothing to say.
"""

from models.features.configuration import FeaturesConfiguration
from models.features.quotes import QuoteFeatures
from models.features.trades import TradeFeatures
from models.features.windows import FeatureRecord

__all__ = ["FeatureRecord", "FeaturesConfiguration", "QuoteFeatures", "TradeFeatures"]
