"""Process-wide settings that the hot path needs, each measured on this design's prototype."""

from __future__ import annotations

import gc
import sys


def tune_process() -> None:
    """Have the cyclic collector and thread switching get out of the way; call it after start.

    A fetch makes tens of thousands of long-lived containers, which the default thresholds
    (700, 10, 10) walk again and again: 1.5x. Waiting 5 ms for the GIL delays the
    consumer's thread: 1.3x.
    """
    gc.set_threshold(200_000, 50, 100)
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)
