"""Alerts on workers: down, restarts, memory, a blocked loop, checkpoints, partitions, RocksDB."""

from __future__ import annotations

from app.observe import rules_thresholds as bounds
from app.observe.rules_model import (
    JOBS,
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

_ONE = {"job": "candlewick", "instance": "one"}
_BARS = {**_ONE, "agent": "bars"}
_OF = "job, instance, agent"
_UP = {"up": "1+0x60"}


def _at(metric: str, labels: str = "") -> str:
    return f'{metric}{{agent="bars"{labels}}}'


def _loop(fast: str, slow: str) -> dict[str, str]:
    name = "candlewick_event_loop_delay_seconds_bucket"
    values = {"0.1": "0+0x60", "0.25": fast, "0.5": slow, "+Inf": slow}
    return {f'{name}{{le="{le}"}}': each for le, each in values.items()}


def _requests(good: str, bad: str) -> dict[str, str]:
    name, route = "candlewick_http_requests_total", 'route="/api/v1/symbols"'
    return {f'{name}{{{route},status="2xx"}}': good, f'{name}{{{route},status="5xx"}}': bad}


_DOWN = Alert(
    "CandlewickWorkerDown",
    f"up{{{JOBS}}} == 0",
    hold=bounds.DOWN_HOLD,
    severity="critical",
    summary="{{ $labels.instance }} cannot be scraped",
    description="{{ $labels.instance }} of {{ $labels.job }}: up is {{ $value | humanize }}.",
    runbook="the worker's last log line and exit code: 3 says that starting again is no use",
    fires=Example("nobody answers", {"up": "0+0x30"}, "4m", _ONE, "0"),
    quiet=Example("one scrape fails", {"up": "1+0x8 0 1+0x30"}, "4m"),
)

_RESTARTS = Alert(
    "CandlewickWorkerRestarts",
    promql(f"""
        changes(process_start_time_seconds{{{JOBS}}}[{bounds.RESTARTS_WINDOW}])
        >= {bounds.RESTARTS}
    """),
    severity="critical",
    summary="{{ $labels.instance }} starts again and again",
    description=(
        "{{ $labels.instance }} started {{ $value | humanize }} times in "
        f"{minutes(bounds.RESTARTS_WINDOW)}."
    ),
    runbook="its log before each start; process_resident_memory_bytes, if the kernel ended it",
    fires=Example(
        "a start each two minutes",
        {"process_start_time_seconds": "100+0x8 220+0x8 340+0x8 460+0x8"},
        "9m",
        _ONE,
        "3",
    ),
    quiet=Example("a deployment", {"process_start_time_seconds": "100+0x8 220+0x30"}, "9m"),
)

_NOT_READY = Alert(
    "CandlewickWorkerNotReady",
    "candlewick_worker_ready == 0",
    hold=bounds.NOT_READY_HOLD,
    severity="warning",
    summary=f"{{{{ $labels.instance }}}} is not ready for {minutes(bounds.NOT_READY_HOLD)}",
    description="{{ $labels.instance }}: ready is {{ $value | humanize }}.",
    runbook="`/readyz` says what it waits for; candlewick_partitions by phase: a long restore",
    fires=Example("it never was", {"candlewick_worker_ready": "0+0x60"}, "12m", _ONE, "0"),
    quiet=Example(
        "a restore of seven minutes", {"candlewick_worker_ready": "0+0x28 1+0x40"}, "12m"
    ),
)

_MEMORY = Alert(
    "CandlewickMemoryHigh",
    f"process_resident_memory_bytes{{{JOBS}}} > {bounds.RESIDENT_BYTES.above}",
    hold=bounds.RESIDENT_BYTES.hold,
    severity="warning",
    summary=(
        "{{ $labels.instance }} has more than "
        f"{bounds.RESIDENT_BYTES.above / 1024**3:g} GiB of memory"
    ),
    description="{{ $labels.instance }} has {{ $value | humanize1024 }}B resident.",
    runbook=(
        "candlewick_state_rows and candlewick_store_memtable_bytes: more symbols, or "
        "bars.correction_horizon is long for the rate"
    ),
    fires=Example(
        "5 GiB", {"process_resident_memory_bytes": "5368709120+0x60"}, "12m", _ONE, "5GiB"
    ),
    quiet=Example("2 GiB", {"process_resident_memory_bytes": "2147483648+0x60"}, "12m"),
)

_LOOP = Alert(
    "CandlewickEventLoopDelayed",
    quantile(0.99, "candlewick_event_loop_delay_seconds", "job, instance", "5m")
    + f"\n> {bounds.LOOP_DELAY_SECONDS.above}",
    hold=bounds.LOOP_DELAY_SECONDS.hold,
    severity="warning",
    summary="{{ $labels.instance }}: the event loop is blocked",
    description="P99 of the delay on {{ $labels.instance }} is {{ $value | humanizeDuration }}.",
    runbook="candlewick_gc_pause_seconds, candlewick_batch_seconds by agent, the machine's CPU",
    fires=Example(
        "two of a hundred are late by up to 0.5 s",
        _loop("0+98x60", "0+100x60"),
        "12m",
        _ONE,
        "375ms",
    ),
    quiet=Example("one of two hundred", _loop("0+199x60", "0+200x60"), "12m"),
)

_STUCK = Alert(
    "CandlewickEventLoopStuck",
    f"candlewick_event_loop_age_seconds > {bounds.LOOP_STUCK_SECONDS:.0f}",
    severity="critical",
    summary="{{ $labels.instance }}: the event loop does not run any more",
    description="It has not run on {{ $labels.instance }} for {{ $value | humanizeDuration }}.",
    runbook=(
        "`/healthz` is 503, so a supervisor starts it again: before that, where it stands "
        "(`py-spy dump`); its last log lines; a machine without CPU or memory left"
    ),
    fires=Example(
        "since a minute",
        {"candlewick_event_loop_age_seconds": "0+0x8 15+15x8"},
        "3m",
        _ONE,
        "1m 0s",
    ),
    quiet=Example("a piece of a second", {"candlewick_event_loop_age_seconds": "1+0x60"}, "12m"),
)

_PAGES = 'route!~"/healthz|/readyz"'
_REQUESTS = Alert(
    "CandlewickRequestsFail",
    share(
        f'candlewick_http_requests_total{{status="5xx",{_PAGES}}}',
        f"candlewick_http_requests_total{{{_PAGES}}}",
        "job",
        "5m",
    )
    + f"\n> {bounds.SERVER_ERROR_RATIO.above}",
    hold=bounds.SERVER_ERROR_RATIO.hold,
    severity="warning",
    summary=(
        f"More than {percent(bounds.SERVER_ERROR_RATIO.above)} of the requests fail on our side"
    ),
    description="{{ $value | humanizePercentage }} of the requests are answered with 5xx.",
    runbook="candlewick_http_requests_total by route; the log's tracebacks",
    fires=Example(
        "one of ten", _requests("0+90x60", "0+10x60"), "12m", {"job": "candlewick"}, "10%"
    ),
    quiet=Example("one of twenty-five", _requests("0+96x60", "0+4x60"), "12m"),
    more=(
        Example(
            "probes of a worker that restores: /readyz answers 503 by design",
            {
                'candlewick_http_requests_total{route="/metrics",status="2xx"}': "0+1x60",
                'candlewick_http_requests_total{route="/readyz",status="5xx"}': "0+5x60",
            },
            "12m",
        ),
    ),
)

_FAILURES = _at("candlewick_checkpoint_failures_total", ',error="KafkaTimeoutError"')
_CHECKPOINTS = Alert(
    "CandlewickCheckpointsFail",
    growth("candlewick_checkpoint_failures_total", _OF, bounds.CHECKPOINT_FAILURES_WINDOW)
    + f"\n>= {bounds.CHECKPOINT_FAILURES}",
    severity="critical",
    summary="Checkpoints of {{ $labels.agent }} fail on {{ $labels.instance }}",
    description=(
        "{{ $value | humanize }} checkpoints of {{ $labels.agent }} failed in "
        f"{minutes(bounds.CHECKPOINT_FAILURES_WINDOW)}."
    ),
    runbook="candlewick_checkpoint_failures_total by error, the log: broker away or disk full",
    fires=Example(
        "the first four, within one scrape", {_FAILURES: "_x20 4+0x40", **_UP}, "7m", _BARS, "4"
    ),
    quiet=Example("one, that was tried again", {_FAILURES: "_x20 1+0x40", **_UP}, "7m"),
)

_AGE = _at("candlewick_checkpoint_age_seconds", ',partition="0"')
_CHECKPOINT_AGE = Alert(
    "CandlewickCheckpointLate",
    promql(f"""
        max by ({_OF}) (candlewick_checkpoint_age_seconds)
        > {bounds.CHECKPOINT_AGE_SECONDS.above:.0f}
    """),
    hold=bounds.CHECKPOINT_AGE_SECONDS.hold,
    severity="critical",
    summary="{{ $labels.agent }} on {{ $labels.instance }} does not get its changes committed",
    description=(
        "The oldest change of {{ $labels.agent }} waits for {{ $value | humanizeDuration }}."
    ),
    runbook="candlewick_checkpoint_failures_total by error, the log: broker away or disk full",
    fires=Example("a minute", {_AGE: "60+0x60"}, "5m", _BARS, "1m 0s"),
    quiet=Example("slow ones", {_AGE: "20+0x60"}, "5m"),
)

_STALL = _at("candlewick_stalled_seconds", ',partition="3"')
_STALLED = Alert(
    "CandlewickPartitionStalled",
    f"candlewick_stalled_seconds > {bounds.STALLED_SECONDS:.0f}",
    severity="critical",
    summary="{{ $labels.agent }}, partition {{ $labels.partition }}: records wait, nothing moves",
    description=(
        "Partition {{ $labels.partition }} of {{ $labels.agent }} has not moved for "
        "{{ $value | humanizeDuration }}."
    ),
    runbook=(
        "`/readyz`, the log: a long restore, the broker away, or another producer's open "
        "transaction in the log; starting the worker again helps none of them"
    ),
    fires=Example(
        "since ten minutes", {_STALL: "0+15x60"}, "10m", {**_BARS, "partition": "3"}, "10m 0s"
    ),
    quiet=Example("since three minutes", {_STALL: "0+0x28 15+15x12"}, "10m"),
)

_FENCES = _at("candlewick_fenced_total")
_FENCED = Alert(
    "CandlewickFencedRepeatedly",
    growth("candlewick_fenced_total", _OF, bounds.FENCED_WINDOW) + f"\n>= {bounds.FENCED}",
    severity="critical",
    summary="{{ $labels.instance }} loses partitions of {{ $labels.agent }} to another owner",
    description=(
        "{{ $labels.agent }} was fenced {{ $value | humanize }} times in "
        f"{minutes(bounds.FENCED_WINDOW)}."
    ),
    runbook="two workers with one CANDLEWICK_WORKER, or one that is stopped for longer than "
    "broker.session_timeout; candlewick_rebalances_total",
    fires=Example("five times", {_FENCES: "0+0x10 5+0x60", **_UP}, "10m", _BARS, "5"),
    quiet=Example("one rebalance", {_FENCES: "0+0x10 1+0x60", **_UP}, "10m"),
)

_BACKGROUND = _at("candlewick_store_background_errors")
_STORE_ERRORS = Alert(
    "CandlewickStoreErrors",
    "candlewick_store_background_errors > 0",
    severity="critical",
    summary="RocksDB of {{ $labels.agent }} on {{ $labels.instance }} cannot write",
    description="{{ $value | humanize }} flushes or compactions of {{ $labels.agent }} failed.",
    runbook="free space and errors of the disk under CANDLEWICK_DATA_DIR; RocksDB's LOG there",
    fires=Example("two", {_BACKGROUND: "0+0x10 2+0x60"}, "5m", _BARS, "2"),
    quiet=Example("none", {_BACKGROUND: "0+0x60"}, "5m"),
)

_STOPPED = _at("candlewick_store_write_stopped")
_STORE_STOPPED = Alert(
    "CandlewickStoreWritesStopped",
    "candlewick_store_write_stopped > 0",
    hold=bounds.STORE_STOPPED_HOLD,
    severity="critical",
    summary="RocksDB of {{ $labels.agent }} on {{ $labels.instance }} takes no writes",
    description="{{ $value | humanize }} stores of {{ $labels.agent }} take no writes.",
    runbook="candlewick_store_pending_compaction_bytes; the disk's speed",
    fires=Example("one store", {_STOPPED: "1+0x60"}, "5m", _BARS, "1"),
    quiet=Example("for half a minute", {_STOPPED: "0+0x16 1 1 0+0x60"}, "5m"),
)

WORKER = Group(
    "worker",
    alerts=(
        _DOWN,
        _RESTARTS,
        _NOT_READY,
        _MEMORY,
        _LOOP,
        _STUCK,
        _REQUESTS,
        _CHECKPOINTS,
        _CHECKPOINT_AGE,
        _STALLED,
        _FENCED,
        _STORE_ERRORS,
        _STORE_STOPPED,
    ),
)
