"""Traces, where a collector is configured; nothing of OpenTelemetry is loaded where none is.

Who is traced holds `Tracing | None`, so what a batch pays for traces that are off is one test of an
attribute (`python -m tests.bench.tracing` measures it). What is in a trace: `spans.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from app.observe.spans import Tracing
    from app.sinks.driver import Flushed

INSTALL: Final = "pip install 'candlewick[tracing]'"
#: What a process is: `service.name` is `candlewick-worker` and so on.
Service = Literal["worker", "feed", "sink"]


def make_tracing(settings: Settings, service: Service) -> Tracing | None:
    """Begin to trace this process; None where no collector is configured, or no share of it wanted.

    Raises:
        SettingsError: OpenTelemetry is not installed, or a file of the settings cannot be read.
    """
    chosen = settings.tracing
    if chosen.endpoint is None or not chosen.ratio:
        return None
    try:
        from app.observe.spans import Tracing
    except ImportError as error:
        raise SettingsError(
            f"CANDLEWICK_TRACING__ENDPOINT={chosen.endpoint!r} needs OpenTelemetry, which is not "
            f"installed ({error}): {INSTALL}"
        ) from error
    return Tracing(settings, service)


def trace_flush(
    tracing: Tracing | None,
    sink: str,
    seconds: float,
    names: Mapping[str, str],
    flushed: Flushed | None,
    error: BaseException | None = None,
) -> None:
    """Trace a sink's flush, where anything is traced; for the loop that calls the driver.

    Args:
        seconds: that it took, until now.
        names: the broker's name of each topic that `Flushed` calls by its short one.
        flushed: what it has done; None where it failed with `error`.
    """
    if tracing is None:
        return
    if flushed is None:
        tracing.flushed(sink, seconds, {}, error=error)
        return
    positions = {
        (names.get(place.topic, place.topic), place.partition): position
        for place, position in flushed.positions.items()
    }
    rows, culprits = flushed.rows, len(flushed.culprits)
    tracing.flushed(sink, seconds, positions, rows=rows, culprits=culprits)
