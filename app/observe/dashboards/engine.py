"""The dashboard of the workers: what flows, how late it is, and what holds it up."""

from __future__ import annotations

from app.observe.dashboards.engine_state import CHECKPOINTS, PROCESS, RESTORES, STORE
from app.observe.dashboards.model import Dashboard, Panel, Promql, Row, Variable
from app.observe.dashboards.promql import of, quantiles, rate, total
from app.observe.rules_thresholds import LAG_RECORDS, LATENCY_SECONDS

_OUTPUT = 'effect="output"'
_END_TO_END = "candlewick_end_to_end_latency_seconds"

_NOW = Row(
    "Now",
    (
        Panel(
            "Workers ready",
            "Workers whose partitions are all restored, of those that can be scraped.",
            "none",
            (
                Promql(f"sum({of('candlewick_worker_ready', agent=False)})", "ready"),
                Promql(f"sum({of('up', agent=False)})", "up"),
            ),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Records a second",
            "What the chosen agents read, whatever became of it.",
            "cps",
            (Promql(f"sum({rate('candlewick_records_total')})", "records"),),
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Lag",
            "Records of the log that are not applied yet; an alert fires above "
            f"{LAG_RECORDS.above:,.0f}.",
            "short",
            (Promql(f"sum({of('candlewick_lag_records')})", "records"),),
            kind="stat",
            width=4,
            height=4,
            thresholds=((None, "green"), (LAG_RECORDS.above, "red")),
        ),
        Panel(
            "P95 to an output",
            "From the broker's append of a record to the commit of what it led to; an alert fires "
            f"above {LATENCY_SECONDS.above:g} s.",
            "s",
            (
                Promql(
                    "histogram_quantile(0.95, "
                    + total("le", rate(f"{_END_TO_END}_bucket", _OUTPUT))
                    + ")",
                    "P95",
                ),
            ),
            kind="stat",
            width=4,
            height=4,
            thresholds=((None, "green"), (LATENCY_SECONDS.above, "red")),
        ),
        Panel(
            "Dead records",
            "Refused in the chosen time; `candlewick dead list` shows them.",
            "short",
            (Promql(f"sum(increase({of('candlewick_dead_records_total')}[$__range]))", "dead"),),
            kind="stat",
            width=4,
            height=4,
            thresholds=((None, "green"), (1.0, "orange")),
        ),
        Panel(
            "Running since",
            "When the youngest worker process began.",
            "dateTimeFromNow",
            (Promql(f"1000 * max({of('process_start_time_seconds', agent=False)})", "began"),),
            kind="stat",
            width=4,
            height=4,
        ),
    ),
)

_FLOW = Row(
    "Flow",
    (
        Panel(
            "Records by outcome",
            "Records read a second: applied, revised, late, duplicate, ignored, dead, control.",
            "cps",
            (
                Promql(
                    total("agent, outcome", rate("candlewick_records_total")),
                    "{{agent}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Outputs",
            "Records committed a second, by output; late ones and dead letters included.",
            "cps",
            (
                Promql(
                    total("agent, output", rate("candlewick_output_records_total")),
                    "{{agent}} {{output}}",
                ),
            ),
        ),
        Panel(
            "Bars",
            "Bars committed a second, and revisions of bars that were closed already.",
            "cps",
            (
                Promql(
                    total("agent, version", rate("candlewick_bars_total")), "{{agent}} {{version}}"
                ),
            ),
        ),
        Panel(
            "Lag by partition",
            "Records not applied yet. One partition alone is a hot symbol; all of them are more "
            "input than the workers take.",
            "short",
            (
                Promql(
                    f"max by (agent, partition) ({of('candlewick_lag_records')})",
                    "{{agent}} {{partition}}",
                ),
            ),
        ),
        Panel(
            "Watermark age",
            "The wall clock minus the watermark. It grows while nothing comes, and is high by "
            "nature in a replay of old data.",
            "s",
            (
                Promql(
                    f"max by (agent, partition) ({of('candlewick_watermark_age_seconds')})",
                    "{{agent}} {{partition}}",
                ),
            ),
        ),
        Panel(
            "Late and dead, of all records",
            "Shares. Late above 1 %: a source is behind another by more than the correction "
            "horizon, or its clock is ahead. Dead: what the dead-letter topics tell.",
            "percentunit",
            (
                Promql(
                    total("agent", rate("candlewick_records_total", 'outcome="late"'))
                    + " / "
                    + total("agent", rate("candlewick_records_total")),
                    "{{agent}} late",
                ),
                Promql(
                    total("agent", rate("candlewick_records_total", 'outcome="dead"'))
                    + " / "
                    + total("agent", rate("candlewick_records_total")),
                    "{{agent}} dead",
                ),
            ),
            limits=(0, None),
        ),
    ),
)

_LATENCY = Row(
    "Latency",
    (
        Panel(
            "End-to-end latency",
            "From append to committed output, of every record: how many took how long. A second "
            "band far above the first is a part of the partitions that is held up.",
            "s",
            (Promql(total("le", rate(f"{_END_TO_END}_bucket", _OUTPUT)), "{{le}}"),),
            kind="heatmap",
            width=12,
            height=9,
        ),
        Panel(
            "End-to-end quantiles",
            "The same as quantiles, by agent.",
            "s",
            quantiles(_END_TO_END, "agent", _OUTPUT),
            width=12,
            height=9,
        ),
        Panel(
            "Append to apply",
            "The part of it before a checkpoint. High here is lag; high only end to end is the "
            "checkpoint.",
            "s",
            quantiles("candlewick_append_to_apply_seconds", "agent"),
            width=12,
        ),
        Panel(
            "Time to apply a batch",
            "A batch is a fetch of a partition, at most 20,000 records.",
            "s",
            quantiles("candlewick_batch_seconds", "agent"),
            width=12,
        ),
    ),
)

JOB = Variable("job", "Deployment", "candlewick_build_info")
AGENT = Variable("agent", "Agent", "candlewick_batches_total", many=True)

ENGINE = Dashboard(
    "engine",
    "Engine",
    "The workers of a deployment: rate, lag, latency, checkpoints, restores, memory.",
    (_NOW, _FLOW, _LATENCY, CHECKPOINTS, RESTORES, STORE, PROCESS),
    variables=(JOB, AGENT),
)
