"""Shifts a worker's wall clock by what a file says; imported by Python itself at its start.

`CHAOS_SKEW_FILE` holds one double: seconds to add, changed by the chaos run while the worker runs.
The monotonic clock stays, as it does on a machine whose date is set. On Linux the worker also ends
with the run that started it, whatever happens to that.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
import sys
import time

_PR_SET_PDEATHSIG = 1


def _shift(path: str) -> None:
    with open(path, "rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    true_time, true_time_ns = time.time, time.time_ns

    def shifted() -> float:
        return true_time() + float(struct.unpack("<d", offset[:8])[0])

    def shifted_ns() -> int:
        return true_time_ns() + int(struct.unpack("<d", offset[:8])[0] * 1e9)

    time.time, time.time_ns = shifted, shifted_ns


if "CHAOS_SKEW_FILE" in os.environ:
    _shift(os.environ["CHAOS_SKEW_FILE"])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
