"""How long checkpoints and timers wait, so that what they cost stays a part of the work.

A checkpoint costs a transaction however little is in it, and a row that changed ten times between
two is written once. Where outputs are late anyway, behind a backlog, they may come a little later
for that: by a tenth of what they are late already. At the log's end nothing is added.
"""

from __future__ import annotations

from app.setting_groups import CheckpointSettings

#: A checkpoint under backlog waits this many times what freezing the last one cost: 5 % of the CPU.
COST_RATIO = 20
#: And this part of the time that outputs are late already.
LATE_SHARE = 0.1
#: Seconds that forming bars which are late wait for more changes, at most.
LONGEST_FORMING_DELAY = 1.0
_SECOND = 1_000_000_000


def output_delay(settings: CheckpointSettings, cost: float, behind: float | None) -> float:
    """Return for how long (s) an output that is pending waits for more of them.

    Args:
        cost: processor seconds that freezing the last checkpoint took.
        behind: how long ago (s) the newest record taken was appended; None where no more waits.
    """
    delay = settings.output_delay / _SECOND
    if behind is None:
        return delay
    return min(max(delay, cost * COST_RATIO, behind * LATE_SHARE), settings.max_delay / _SECOND)


def forming_delay(behind: float | None) -> float:
    """Return for how long (s) changed forming bars wait for more changes; `behind` as above.

    Each is a bar of every symbol and interval that has changed, behind a backlog of all of them.
    """
    return 0.0 if behind is None else min(behind * LATE_SHARE, LONGEST_FORMING_DELAY)


def next_time(due: float, began: float, ended: float, seconds: float) -> float:
    """Return when what is to be done every so many seconds is due again; all times in s.

    What it takes is no part of the wait, so the rate is as asked for. But others have their turn
    for as long as it took, up to `seconds`, and what was missed is left out.

    Args:
        due: when it was due this time.
        began: when it began.
        ended: when it was done, now.
    """
    return max(due + seconds, ended + min(ended - began, seconds))
