"""The way of spans out of the process: a bounded queue, a thread, a collector that may be away.

OpenTelemetry says each failure in lines of its own, attempt by attempt. Here failures are counted,
and said once until it works again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from app.notify.secrets import read_secret
from app.observe.tracing_settings import TracingSettings
from app.settings import SettingsError

logger = logging.getLogger(__name__)

#: Where the exporter says what went wrong, in lines of its own.
_EXPORTER = logging.getLogger(OTLPSpanExporter.__module__)
_SECOND = 1e9


class _Reasons(logging.Filter):
    """Keeps what the exporter says of a failure, for the one line that we say."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        # The lines behind the first say that it was tried again, and given up.
        self.last = self.last or record.getMessage()
        return False


_reasons = _Reasons()


class WatchedExporter(SpanExporter):
    """Another exporter, counted: how many spans were taken, and how many lost.

    Args:
        inner: the exporter.
        place: where the spans go, for the log.
    """

    def __init__(self, inner: SpanExporter, place: str) -> None:
        self._inner, self._place = inner, place
        self.taken = self.lost = 0
        #: Lost since somebody has taken some.
        self._missing = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export, and count; called by the exporting thread alone."""
        result = SpanExportResult.FAILURE
        _reasons.last = ""
        try:
            result = self._inner.export(spans)
        finally:
            self._note(len(spans), taken=result is SpanExportResult.SUCCESS)
        return result

    def _note(self, count: int, *, taken: bool) -> None:
        if not taken:
            self.lost += count
            if not self._missing:
                logger.warning(
                    "no traces at %s: %s; spans are dropped until it takes them",
                    *(self._place, _reasons.last or "no answer in time"),
                )
            self._missing += count
            return
        self.taken += count
        if self._missing:
            logger.info("traces are taken at %s again, %d were lost", self._place, self._missing)
            self._missing = 0

    def shutdown(self) -> None:
        """End the exporter."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here."""
        return self._inner.force_flush(timeout_millis)


def open_exporter(settings: TracingSettings) -> SpanExporter:
    """Return what sends spans to the collector; nothing is sent yet.

    Raises:
        SettingsError: a file of the settings cannot be read, or the headers are none.
    """
    base = (settings.endpoint or "").rstrip("/")
    if settings.ca_file is not None and not settings.ca_file.is_file():
        raise SettingsError(
            f"CANDLEWICK_TRACING__CA_FILE={str(settings.ca_file)!r}: no such file; expected PEM"
        )
    _EXPORTER.addFilter(_reasons)
    return OTLPSpanExporter(
        endpoint=base if base.endswith("/v1/traces") else f"{base}/v1/traces",
        certificate_file=None if settings.ca_file is None else str(settings.ca_file),
        headers=_headers(settings),
        timeout=settings.timeout / _SECOND,
    )


def _headers(settings: TracingSettings) -> dict[str, str] | None:
    text = read_secret("tracing", settings, "headers")
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not pairs or not all(name.strip() and equals for name, equals, _ in pairs):
        raise SettingsError("CANDLEWICK_TRACING__HEADERS: expected NAME=VALUE,NAME=VALUE")
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


class CountedSpans(Protocol):
    """What knows how many spans there were."""

    ended: int

    @property
    def exporter(self) -> WatchedExporter:
        """Where they went."""


class TraceGauges(Collector):
    """Spans of this process, by what became of them."""

    def __init__(self, spans: CountedSpans) -> None:
        self._spans = spans

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Return the family without a series: the registry asks for its name."""
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the family, filled."""
        family, spans = self._family(), self._spans
        family.add_metric(["ended"], spans.ended)
        family.add_metric(["taken"], spans.exporter.taken)
        family.add_metric(["lost"], spans.exporter.lost)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(
            "candlewick_trace_spans", "Spans, by what became of them", labels=["state"]
        )
