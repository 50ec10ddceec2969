"""The process's own figures under the names of prometheus_client's collector, for a busy process.

prometheus_client's opens files and lists a folder at each scrape, which are some hundred system
calls: after each of them a thread that is not alone waits for the interpreter again, 5 ms each
time. Here it is three, and the folder of open files is the event loop's (`OpenFiles`).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_STAT: Final = Path("/proc/self/stat")
_BOOT: Final = Path("/proc/stat")
_FILES: Final = Path("/proc/self/fd")
#: Of what follows the name of the process in `/proc/self/stat`, proc(5).
_UTIME, _STIME, _START, _VIRTUAL, _RESIDENT = 11, 12, 19, 20, 21
_LONGEST: Final = 4_096


class ProcessGauges(Collector):
    """Memory, processor time, start and the limit of open files, from any thread; on Linux."""

    def __init__(self) -> None:
        self._ticks = float(os.sysconf("SC_CLK_TCK"))
        self._page = resource.getpagesize()
        self._boot = _boot_time() if _STAT.exists() else None

    def collect(self) -> Iterator[Metric]:
        """All families, for a scrape; none where there is no `/proc`."""
        if self._boot is None:
            return
        file = os.open(_STAT, os.O_RDONLY)
        try:
            text = os.read(file, _LONGEST)
        finally:
            os.close(file)
        parts = text.rpartition(b")")[2].split()
        seconds = (float(parts[_UTIME]) + float(parts[_STIME])) / self._ticks
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        gauge = GaugeMetricFamily
        yield gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            value=float(parts[_VIRTUAL]),
        )
        yield gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            value=float(parts[_RESIDENT]) * self._page,
        )
        yield gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=self._boot + float(parts[_START]) / self._ticks,
        )
        yield CounterMetricFamily(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            value=seconds,
        )
        yield gauge(
            "process_max_fds", "Maximum number of open file descriptors.", value=float(limit)
        )


class OpenFiles(Collector):
    """How many files are open: a system call each, so it is for the event loop."""

    def collect(self) -> Iterator[Metric]:
        """The family, for a scrape; none where there is no `/proc`."""
        if _FILES.exists():
            yield GaugeMetricFamily(
                "process_open_fds",
                "Number of open file descriptors.",
                value=float(len(os.listdir(_FILES))),
            )


def _boot_time() -> float:
    """Seconds since the epoch when the machine was started."""
    lines = _BOOT.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))
