"""Recording rules: the names of the systems that the requirements come from, from our metrics.

- A counter stays one: each process keeps a series of its own. Added up over the workers it would
  fall when one starts again, and `rate` would take the fall for a reset of all.
- A histogram in seconds is passed on as it is. One in milliseconds is a summary: PromQL cannot
  multiply the bounds, so its quantiles over five minutes are recorded, beside sum and count.
"""

from __future__ import annotations

from app.observe.rules_model import Group, Missing, Recording, quantile

_QUANTILES = (0.5, 0.95, 0.99)
_WINDOW = "5m"


def _histogram(name: str, ours: str, matchers: str = "") -> tuple[Recording, ...]:
    parts = ("bucket", "sum", "count")
    return tuple(Recording(f"{name}_{part}", f"{ours}_{part}{matchers}") for part in parts)


def _milliseconds(name: str, ours: str, matchers: str = "") -> tuple[Recording, ...]:
    return (
        *(
            Recording(
                name,
                f"1000 * {quantile(each, ours, 'job, agent', _WINDOW, matchers)}",
                {"quantile": str(each)},
            )
            for each in _QUANTILES
        ),
        Recording(f"{name}_sum", f"1000 * {ours}_sum{matchers}"),
        Recording(f"{name}_count", f"{ours}_count{matchers}"),
    )


_READ = "sum without (outcome) (candlewick_records_total)"

SOURCES = Group(
    "sources",
    recordings=(
        Recording("events_processed_total", _READ),
        Recording("events_failed_total", "sum without (reason) (candlewick_dead_records_total)"),
        *_milliseconds("event_processing_duration_ms", "candlewick_append_to_apply_seconds"),
        Recording("kafka_consumer_lag", "candlewick_lag_records"),
        # Each record that is read has an outcome, so this is the same as the first.
        Recording("kafka_messages_consumed_total", _READ),
        *_histogram("kafka_message_processing_seconds", "candlewick_append_to_apply_seconds"),
        Recording(
            "trades_processed_total",
            "sum without (outcome) "
            '(candlewick_records_total{agent="bars",outcome=~"applied|revised"})',
        ),
        *_histogram(
            "feature_computation_latency",
            "candlewick_batch_seconds",
            '{agent=~"features|quote_features"}',
        ),
        *_milliseconds(
            "ml_inference_duration_ms", "candlewick_batch_seconds", '{agent="predictions"}'
        ),
    ),
)

NOT_RECORDED = (
    Missing(
        "`anomaly_detection_score`",
        "a score belongs to a symbol, and symbols are no labels; it is in the topic `anomalies`",
    ),
    Missing("`websocket_connections_active`", "no metric counts open WebSocket connections yet"),
)
