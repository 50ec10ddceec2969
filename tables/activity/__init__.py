"""Bars by activity instead of time: tick, volume, dollar, imbalance and run bars.

Data that flows: a segment of applied trades (columns in log order) -> per symbol and type an open
bar -> closed bars (`ActivityBarRecord`), in the order of the trades that closed them. State: one
row a symbol, rewritten when it has changed; bounded by symbols x types.

Invariants (tests/unit/test_activity.py, tests/checks/test_activity_against_reference.py):

- Trades count *in log order*, each at its place and once. A trade that is late for its time window
  but not late for good (outcome *revised*) counts like any other; late, dead, duplicate and
  ignored ones do not count. A correction or cancel changes no bar of activity: every later close
  would move, so the trade counts as it was first reported.
- Only trades that may set a price count (flag `extremes` of the policy), with their size.
- Sums that decide a close are integers on the grid of tables/sums.py: no float drifts, and any
  split of the log gives the same bars. Arrays and single trades go the same way to the bit.
- The trade that reaches the threshold belongs wholly to the bar that it closes (series.py).
"""

from tables.activity.bars import ActivityBar, ActivityBars
from tables.activity.kinds import ActivityKind, parse_kinds
from tables.activity.opened import ActivityBarRecord

__all__ = ["ActivityBar", "ActivityBarRecord", "ActivityBars", "ActivityKind", "parse_kinds"]
