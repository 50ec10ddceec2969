"""The features agent: `ticks` to features over sliding windows, sessions and trading days.

What comes in: batches of trades and control records, as the bars agent has them. Where it is kept:
windows of each symbol and records that wait for the grace (`models/features`). What goes out:
`features`, `features.late` and `features.dead` with each checkpoint.

**Quiet partitions.** A window is published once the partition's event time is `bars.grace` past
its end: by the next record of any symbol, by a clock record, or by a flush. Clock records are the
bars agent's, which writes one when the end of an open bar has passed, and none when no bar is open
or the partition is historical. With bars of 1 m, 5 m and 15 m, a slide of 1 m and a last trade at
10:02:30, clocks come after 10:03, 10:05 and 10:15: the windows of 5 m that end at 10:04 and 10:05
are published after 10:05, those of 10:06 and 10:07 after 10:15. A session whose silence ends, or a
day that turns, after the end of the longest bar waits for the next record or flush; without the
bars agent every window does. Values are the same in any case, they come later.
"""

from __future__ import annotations

from agents.derived import DerivedStage
from agents.featuring import make_features_stage
from agents.registering import add_agent
from app.settings import Settings
from models.features import TradeFeatures

AGENT = "features"


def make_stage(settings: Settings) -> DerivedStage:
    """The features agent's part of a deployment.

    Raises:
        SettingsError: as `make_features_stage`.
    """
    return make_features_stage(settings, AGENT, TradeFeatures)


register = add_agent
