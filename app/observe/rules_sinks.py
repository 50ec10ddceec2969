"""Alerts on sinks: what is behind them is away, they fall behind, records that are never taken."""

from __future__ import annotations

from app.observe import rules_thresholds as bounds
from app.observe.rules_model import Alert, Example, Group, minutes, promql

_INFLUX = {"job": "candlewick", "instance": "one", "sink": "influx"}
_SINK = {"job": "candlewick", "sink": "influx"}


def _at(name: str, labels: str = "") -> str:
    return f'candlewick_sink_{name}{{sink="influx"{labels}}}'


_RESTS = Alert(
    "CandlewickSinkRests",
    promql("""
        sum by (job, instance, sink) (candlewick_sink_breaker{state=~"open|half_open"}) > 0
    """),
    hold=bounds.SINK_RESTS_HOLD,
    severity="critical",
    summary="the sink {{ $labels.sink }} of {{ $labels.instance }} writes nothing",
    description=(
        "What the sink {{ $labels.sink }} of {{ $labels.instance }} writes to fails since "
        f"{minutes(bounds.SINK_RESTS_HOLD)} (breaker not closed: {{{{ $value | humanize }}}}); "
        "what is not written waits in Kafka."
    ),
    runbook="`candlewick sink check`; candlewick_sink_errors_total says of which kind",
    fires=Example(
        "it is away",
        {_at("breaker", ',state="open"'): "1+0x60", _at("breaker", ',state="closed"'): "0+0x60"},
        "10m",
        _INFLUX,
        "1",
    ),
    quiet=Example(
        "it starts anew",
        {
            _at("breaker", ',state="open"'): "0+0x8 1+0x7 0+0x60",
            _at("breaker", ',state="closed"'): "1+0x8 0+0x7 1+0x60",
        },
        "10m",
    ),
)

_BEHIND = Alert(
    "CandlewickSinkBehind",
    promql(f"""
        sum by (job, sink) (candlewick_sink_lag_records)
        > {bounds.SINK_LAG_RECORDS.above:.0f}
    """),
    hold=bounds.SINK_LAG_RECORDS.hold,
    severity="warning",
    summary="the sink {{ $labels.sink }} of {{ $labels.job }} falls behind",
    description=(
        "{{ $value | humanize }} records of {{ $labels.job }} are not written by the sink "
        "{{ $labels.sink }}; Kafka keeps them for `topics.retention`."
    ),
    runbook="candlewick_sink_flush_seconds; `candlewick sink run` in processes of its own",
    fires=Example(
        "slower than what comes", {_at("lag_records", ',topic="ticks"'): "8000000+0x60"},
        "14m", _SINK, "8M",
    ),
    quiet=Example(
        "a backlog that is worked off",
        {_at("lag_records", ',topic="ticks"'): "8000000-1000000x8 0+0x60"},
        "14m",
    ),
)  # fmt: skip

_DEAD = Alert(
    "CandlewickSinkBuries",
    promql(f"""
        sum by (job, sink) (
          increase(candlewick_sink_dead_records_total[{bounds.SINK_DEAD_WINDOW}])
        ) > 0
    """),
    severity="warning",
    summary="the sink {{ $labels.sink }} of {{ $labels.job }} has met records it cannot write",
    description=(
        "{{ $value | humanize }} records in "
        f"{minutes(bounds.SINK_DEAD_WINDOW)} are in the topic sinks.dead instead."
    ),
    runbook="the topic sinks.dead: the header `reason`; the worker's log names the first",
    fires=Example(
        "a field of another type", {_at("dead_records_total"): "0+0x20 40+0x20"},
        "9m", _SINK, "40",
    ),
    quiet=Example("some are dead since yesterday", {_at("dead_records_total"): "40+0x60"}, "9m"),
)  # fmt: skip

SINKS = Group("sinks", alerts=(_RESTS, _BEHIND, _DEAD))
