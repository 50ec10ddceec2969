"""Alerts on what flows: errors, latency, lag, bars, late and dead records."""

from __future__ import annotations

from app.observe import rules_thresholds as bounds
from app.observe.rules_model import (
    Alert,
    Example,
    Group,
    growth,
    minutes,
    percent,
    promql,
    quantile,
    share,
)

_BARS = {"job": "candlewick", "agent": "bars"}
_APPLIED = 'candlewick_records_total{agent="bars",outcome="applied"}'
_FIRST = 'candlewick_bars_total{agent="bars",version="first"}'
_OUTPUT = 'agent="bars",effect="output"'
_UP = {"up": "1+0x60"}
_QUIET = minutes(bounds.NO_BARS_WINDOW)


def _records(**outcomes: str) -> dict[str, str]:
    return {
        f'candlewick_records_total{{agent="bars",outcome="{outcome}"}}': values
        for outcome, values in outcomes.items()
    }


def _latency(fast: str, slow: str) -> dict[str, str]:
    """Histogram of the way to an output: up to 1 s, and up to 2.5 s."""
    values = {"0.5": "0+0x60", "1.0": fast, "2.5": slow, "+Inf": slow}
    name = "candlewick_end_to_end_latency_seconds_bucket"
    return {f'{name}{{{_OUTPUT},le="{le}"}}': each for le, each in values.items()}


_ERRORS = Alert(
    "CandlewickErrorRateHigh",
    share(
        'candlewick_records_total{outcome="dead"}', "candlewick_records_total", "job, agent", "2m"
    )
    + f"\n> {bounds.ERROR_RATIO.above}",
    hold=bounds.ERROR_RATIO.hold,
    severity="critical",
    summary=(
        "{{ $labels.agent }}: more than "
        f"{percent(bounds.ERROR_RATIO.above)} of the records are dead"
    ),
    description="{{ $value | humanizePercentage }} of what {{ $labels.agent }} read was dead.",
    runbook="candlewick_dead_records_total by reason, then `candlewick dead list`",
    fires=Example(
        "one record of ten is dead",
        _records(applied="0+900x20", dead="0+100x20"),
        "5m",
        _BARS,
        "10%",
    ),
    quiet=Example("one of twenty-five", _records(applied="0+960x20", dead="0+40x20"), "5m"),
)

_SLOW = Alert(
    "CandlewickLatencyHigh",
    quantile(
        0.95,
        "candlewick_end_to_end_latency_seconds",
        "job, agent",
        "2m",
        '{effect="output"}',
    )
    + f"\n> {bounds.LATENCY_SECONDS.above}",
    hold=bounds.LATENCY_SECONDS.hold,
    severity="critical",
    summary=(
        "{{ $labels.agent }}: P95 from append to committed output is above "
        f"{bounds.LATENCY_SECONDS.above:g} s"
    ),
    description="P95 of {{ $labels.agent }} is {{ $value | humanizeDuration }}.",
    runbook=(
        "candlewick_append_to_apply_seconds, then candlewick_checkpoint_phase_seconds: high before "
        "apply is lag, in `transaction` the broker, in `store` the disk, in `freeze` the CPU"
    ),
    fires=Example(
        "one record of ten takes up to 2.5 s",
        _latency("0+90x60", "0+100x60"),
        "10m",
        _BARS,
        "1.75s",
    ),
    quiet=Example("one of twenty-five does", _latency("0+96x60", "0+100x60"), "10m"),
)

_LAG = Alert(
    "CandlewickLagHigh",
    f"sum by (job, agent) (candlewick_lag_records) > {bounds.LAG_RECORDS.above:.0f}",
    hold=bounds.LAG_RECORDS.hold,
    severity="critical",
    summary=(
        f"{{{{ $labels.agent }}}} is more than {bounds.LAG_RECORDS.above:,.0f} records behind"
    ),
    description="{{ $labels.agent }} has {{ $value | humanize }} records to read.",
    runbook=(
        "candlewick_lag_records by partition: one is a hot symbol, all is too few workers; "
        "`candlewick doctor`; candlewick_slim_fetch 0 reads at a third of the speed"
    ),
    fires=Example(
        "two partitions of two workers, 11,000 together",
        {
            'candlewick_lag_records{instance="one",agent="bars",partition="0"}': "6000+0x60",
            'candlewick_lag_records{instance="two",agent="bars",partition="1"}': "5000+0x60",
        },
        "6m",
        _BARS,
        "11k",
    ),
    quiet=Example(
        "9,000 of one partition",
        {'candlewick_lag_records{agent="bars",partition="0"}': "9000+0x60"},
        "6m",
    ),
)

_TRADES_WITHOUT_BARS = Alert(
    "CandlewickTradesWithoutBars",
    promql(f"""
        sum by (job) (increase({_APPLIED}[{bounds.NO_BARS_WINDOW}])) > 0
        unless
        sum by (job) (increase({_FIRST}[{bounds.NO_BARS_WINDOW}])) > 0
    """),
    hold=bounds.TRADES_WITHOUT_BARS_HOLD,
    severity="critical",
    summary=f"Trades come, and no bar has been committed for {_QUIET}",
    description=f"{{{{ $value | humanize }}}} trades in {_QUIET} made no bar.",
    runbook=(
        "candlewick_checkpoint_failures_total by error, candlewick_stalled_seconds, the worker's "
        f"log; where the shortest bar is longer than {_QUIET} this alert does not fit"
    ),
    fires=Example(
        "100 trades each 15 s, and the bars stand still",
        {_APPLIED: "0+100x60", _FIRST: "50+0x60"},
        "10m",
        {"job": "candlewick"},
        "2k",
    ),
    quiet=Example("one bar in between", {_APPLIED: "0+100x60", _FIRST: "50+0x30 51+0x30"}, "10m"),
)

_NO_BARS = Alert(
    "CandlewickNoBars",
    f"sum by (job) (increase({_FIRST}[{bounds.NO_BARS_WINDOW}])) == 0",
    hold=bounds.NO_BARS_HOLD,
    severity="warning",
    labels={"session": "required"},
    summary=f"No bar for {_QUIET}: if the market is open, the feed is away",
    description=f"{{{{ $value | humanize }}}} bars in {_QUIET}.",
    runbook=(
        "candlewick_records_total of the agent bars; the feed's log. Route this one with "
        "Alertmanager's active_time_intervals: docs/metrics.md, Rules and alerts"
    ),
    fires=Example("no bar since the begin", {_FIRST: "50+0x60"}, "10m", {"job": "candlewick"}, "0"),
    quiet=Example("a bar two minutes ago", {_FIRST: "50+0x32 51+0x30"}, "10m"),
)

_LATE = Alert(
    "CandlewickLateRecords",
    share(
        'candlewick_records_total{outcome="late"}', "candlewick_records_total", "job, agent", "5m"
    )
    + f"\n> {bounds.LATE_RATIO.above}",
    hold=bounds.LATE_RATIO.hold,
    severity="warning",
    summary=(
        "{{ $labels.agent }}: more than "
        f"{percent(bounds.LATE_RATIO.above)} of the records come too late"
    ),
    description="{{ $value | humanizePercentage }} of what {{ $labels.agent }} read was late.",
    runbook=(
        "candlewick_watermark_age_seconds by partition: a source is behind another by more than "
        "bars.correction_horizon, or a source's clock is ahead"
    ),
    fires=Example(
        "one record of fifty", _records(applied="0+98x60", late="0+2x60"), "10m", _BARS, "2%"
    ),
    quiet=Example("one of two hundred", _records(applied="0+199x60", late="0+1x60"), "10m"),
)

_DEAD = 'candlewick_dead_records_total{agent="bars",reason="malformed"}'
_DEAD_BURST = Alert(
    "CandlewickDeadRecordsBurst",
    growth("candlewick_dead_records_total", "job, agent", bounds.DEAD_WINDOW)
    + f"\n> {bounds.DEAD_RECORDS}",
    severity="warning",
    summary=(
        f"{{{{ $labels.agent }}}} buried more than {bounds.DEAD_RECORDS} records in "
        f"{minutes(bounds.DEAD_WINDOW)}"
    ),
    description=(
        "{{ $value | humanize }} records of {{ $labels.agent }} in "
        f"{minutes(bounds.DEAD_WINDOW)} are dead."
    ),
    runbook="candlewick_dead_records_total by reason, then `candlewick dead list`",
    fires=Example(
        "the very first dead ones: the series begins with 200",
        {_DEAD: "_x20 200+0x40", **_UP},
        "7m",
        _BARS,
        "200",
    ),
    quiet=Example("the series begins with 50", {_DEAD: "_x20 50+0x40", **_UP}, "7m"),
    more=(
        Example(
            "200, but the target could not be scraped before: nobody knows when they came",
            {_DEAD: "_x20 200+0x40", "up": "0+0x19 1+0x40"},
            "7m",
        ),
        Example(
            "150 more of a series that was there",
            {_DEAD: "1000+0x20 1150+0x40", **_UP},
            "7m",
            _BARS,
            "150",
        ),
    ),
)

_SKEW = "candlewick_clock_skew_records_total"
_CLOCKS = Alert(
    "CandlewickClocksApart",
    share(_SKEW, "candlewick_records_total", "job, agent", "5m")
    + f"\n> {bounds.CLOCK_SKEW_RATIO.above}",
    hold=bounds.CLOCK_SKEW_RATIO.hold,
    severity="warning",
    summary="{{ $labels.agent }}: the broker's clock is ahead of the worker's",
    description=(
        "{{ $value | humanizePercentage }} of the records of {{ $labels.agent }} were appended "
        "later than they were applied; latencies come out too short."
    ),
    runbook="NTP on the broker's and the worker's machine",
    fires=Example(
        "one record of fifty",
        {_APPLIED: "0+100x60", f'{_SKEW}{{agent="bars"}}': "0+2x60"},
        "12m",
        _BARS,
        "2%",
    ),
    quiet=Example(
        "one of two hundred", {_APPLIED: "0+200x60", f'{_SKEW}{{agent="bars"}}': "0+1x60"}, "12m"
    ),
)

FLOW = Group(
    "flow",
    alerts=(
        _ERRORS,
        _SLOW,
        _LAG,
        _TRADES_WITHOUT_BARS,
        _NO_BARS,
        _LATE,
        _DEAD_BURST,
        _CLOCKS,
    ),
)
