"""The dashboard of what leaves the workers: sinks, and notifications for people."""

from __future__ import annotations

from app.observe.dashboards.engine import JOB
from app.observe.dashboards.flux import BUCKETS, columns, points
from app.observe.dashboards.model import Dashboard, Flux, Panel, Promql, Row, Variable
from app.observe.dashboards.promql import of, quantiles, rate, total


def _of(metric: str, *matchers: str) -> str:
    return of(f"candlewick_{metric}", *matchers, agent=False)


def _rate(metric: str, *matchers: str) -> str:
    return rate(f"candlewick_{metric}", *matchers, agent=False)


_NOW = Row(
    "Now",
    (
        Panel(
            "Rows a second",
            "Points, rows and keys that all sinks write.",
            "cps",
            (Promql(total("sink", _rate("sink_rows_total")), "{{sink}}"),),
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Records not written",
            "How far each sink is behind its topics. Nothing of it is lost: it waits in Kafka.",
            "short",
            (Promql(total("sink", _of("sink_lag_records")), "{{sink}}"),),
            kind="stat",
            width=6,
            height=4,
        ),
        Panel(
            "Sinks that rest",
            "Their breaker is open: attempt after attempt has failed, and they wait before the "
            "next. The line of the last failure is in the log.",
            "none",
            (Promql(total("sink", _of("sink_breaker", 'state="open"')), "{{sink}}"),),
            kind="stat",
            width=6,
            height=4,
            thresholds=((None, "green"), (1.0, "red")),
        ),
        Panel(
            "Records never taken",
            "In the chosen time; they lie in the dead-letter topic of their sink with the reason.",
            "short",
            (
                Promql(
                    f"sum by (sink) (increase({_of('sink_dead_records_total')}[$__range]))",
                    "{{sink}}",
                ),
            ),
            kind="stat",
            width=6,
            height=4,
            thresholds=((None, "green"), (1.0, "orange")),
        ),
    ),
)

_SINKS = Row(
    "Sinks",
    (
        Panel(
            "Rows written",
            "Points, rows and keys a second, by sink.",
            "cps",
            (Promql(total("sink", _rate("sink_rows_total")), "{{sink}}"),),
        ),
        Panel(
            "Lag by topic",
            "Records that are not written yet. It grows while a sink is away and falls after; one "
            "that grows for ever is too slow.",
            "short",
            (Promql(total("sink, topic", _of("sink_lag_records")), "{{sink}} {{topic}}"),),
        ),
        Panel(
            "Time since the last write",
            "While records wait, this stays below the sink's delay and a request.",
            "s",
            (
                Promql(
                    f"min by (sink) ({_of('sink_last_write_age_seconds')})",
                    "{{sink}}",
                ),
            ),
        ),
        Panel(
            "Time of a flush",
            "Of those that have returned: what was held is written and durable, or a culprit.",
            "s",
            quantiles("candlewick_sink_flush_seconds", "sink", agent=False),
        ),
        Panel(
            "Failed attempts",
            "A second, by kind: `unavailable` (away or overloaded), `limited` (asks for less), "
            "`refuses` (credentials, a missing bucket or table), `conflict`, `broker`.",
            "cps",
            (Promql(total("sink, kind", _rate("sink_errors_total")), "{{sink}} {{kind}}"),),
        ),
        Panel(
            "Attempts after a failure",
            "A second; each waits longer than the one before, with jitter.",
            "cps",
            (Promql(total("sink", _rate("sink_retries_total")), "{{sink}}"),),
        ),
        Panel(
            "Bytes that wait",
            "Read and not written. At the bound of `sinks.max_held_bytes` a sink reads no further.",
            "bytes",
            (Promql(total("sink", _of("sink_held_bytes")), "{{sink}}"),),
        ),
        Panel(
            "Records that give nothing",
            "A second, by reason: control records, dead ones, what a newer one has overtaken.",
            "cps",
            (
                Promql(
                    total("sink, reason", _rate("sink_passed_records_total")), "{{sink}} {{reason}}"
                ),
            ),
        ),
        Panel(
            "Breakers",
            "How many sinks' breakers are in which state; closed is well.",
            "none",
            (Promql(total("sink, state", _of("sink_breaker")), "{{sink}} {{state}}"),),
        ),
    ),
)

_HIT = 'result="hit"'
_CACHE = Row(
    "Latest values in Redis",
    (
        Panel(
            "Hit rate",
            "Which share of the latest values that were asked for Redis had; the rest was read "
            "from the workers. The goal is 0.95.",
            "percentunit",
            (
                Promql(
                    f"sum({_rate('cache_requests_total', _HIT)}) / "
                    f"sum({_rate('cache_requests_total')})",
                    "hits",
                ),
            ),
            width=12,
            limits=(0, 1),
        ),
        Panel(
            "Latest values asked for",
            "A second: hit, miss (Redis does not have it) and error (it does not answer).",
            "cps",
            (Promql(total("result", _rate("cache_requests_total")), "{{result}}"),),
            width=12,
        ),
    ),
)

_NOTIFICATIONS = Row(
    "Notifications",
    (
        Panel(
            "Notifications",
            "A second, by channel: delivered, skipped (for other channels) and dead.",
            "cps",
            (
                Promql(
                    total("channel, result", _rate("notifications_total")),
                    "{{channel}} {{result}}",
                ),
            ),
        ),
        Panel(
            "Attempts to deliver",
            "A second, taken and failed.",
            "cps",
            (
                Promql(
                    total("channel, result", _rate("delivery_attempts_total")),
                    "{{channel}} {{result}}",
                ),
            ),
        ),
        Panel(
            "Channels that rest",
            "Until a channel that takes nothing is tried again.",
            "s",
            (Promql(f"max by (channel) ({_of('channel_rest_seconds')})", "{{channel}}"),),
        ),
    ),
)

_INFLUX = Row(
    "In InfluxDB",
    (
        Panel(
            "Bars by size",
            "How many there are, by the time that they are of: a gap is a time without bars.",
            "short",
            (
                Flux(
                    points("bars", ["close"])
                    + '\n  |> group(columns: ["interval"])\n'
                    + "  |> aggregateWindow(every: v.windowPeriod, fn: count, createEmpty: false)\n"
                    + f"  |> keep(columns: {columns('_time', 'interval', '_value')})"
                ),
            ),
            width=12,
            name="${__field.labels.interval}",
        ),
        Panel(
            "Trades by symbol",
            "How many trades the chosen time's bars of one minute are made of; the ten symbols "
            "with the most.",
            "short",
            (
                Flux(
                    points("bars", ["trades"], 'r.interval == "1m"')
                    + "\n  |> sum()\n  |> group()\n"
                    + '  |> top(n: 10, columns: ["_value"])\n'
                    + '  |> keep(columns: ["symbol", "_value"])\n'
                    + '  |> rename(columns: {_value: "trades"})'
                ),
            ),
            kind="table",
            width=12,
        ),
    ),
)

SINKS = Dashboard(
    "sinks",
    "Sinks",
    "What leaves the workers: InfluxDB, archive, PostgreSQL, Redis and notifications.",
    (_NOW, _SINKS, _CACHE, _NOTIFICATIONS, _INFLUX),
    variables=(JOB, Variable("bucket", "Bucket", Flux(BUCKETS))),
)
