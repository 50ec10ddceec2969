"""Rows of the dashboard of the workers: checkpoints, restores, stores and processes."""

from __future__ import annotations

from app.observe.dashboards.model import Panel, Promql, Row
from app.observe.dashboards.promql import of, rate, total

CHECKPOINTS = Row(
    "Checkpoints",
    (
        Panel(
            "Checkpoint phases, P95",
            "Freeze (no batch is applied meanwhile), transaction (Kafka) and store (RocksDB): CPU, "
            "broker and disk.",
            "s",
            (
                Promql(
                    "histogram_quantile(0.95, "
                    + total("agent, phase, le", rate("candlewick_checkpoint_phase_seconds_bucket"))
                    + ")",
                    "{{agent}} {{phase}}",
                ),
            ),
        ),
        Panel(
            "Checkpoints a second",
            "Committed ones, and those that failed by error.",
            "cps",
            (
                Promql(
                    total("agent", rate("candlewick_checkpoint_seconds_count")),
                    "{{agent}} committed",
                ),
                Promql(
                    total("agent, error", rate("candlewick_checkpoint_failures_total")),
                    "{{agent}} {{error}}",
                ),
            ),
        ),
        Panel(
            "Oldest change that is not committed",
            "More than some seconds: the broker is away, or the disk is full.",
            "s",
            (
                Promql(
                    f"max by (agent, instance) ({of('candlewick_checkpoint_age_seconds')})",
                    "{{agent}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Bytes of checkpoints",
            "Keys and values a second, before compression.",
            "Bps",
            (Promql(total("agent", rate("candlewick_checkpoint_bytes_total")), "{{agent}}"),),
        ),
        Panel(
            "Records of checkpoints",
            "Rows of state and outputs a second.",
            "cps",
            (
                Promql(
                    total("agent, kind", rate("candlewick_checkpoint_records_total")),
                    "{{agent}} {{kind}}",
                ),
            ),
        ),
        Panel(
            "Outputs that wait",
            "About how many bytes wait for their checkpoint; above a bound intake waits.",
            "bytes",
            (
                Promql(
                    total("agent, instance", of("candlewick_pending_output_bytes")),
                    "{{agent}} {{instance}}",
                ),
            ),
        ),
    ),
)

RESTORES = Row(
    "Restores and rebalances",
    (
        Panel(
            "Partitions by phase",
            "All are ready but after a start, or while partitions move.",
            "none",
            (Promql(total("agent, phase", of("candlewick_partitions")), "{{agent}} {{phase}}"),),
        ),
        Panel(
            "Restores",
            "Partitions restored in the last five minutes, and their mean time.",
            "none",
            (
                Promql(
                    total("agent", f"increase({of('candlewick_restore_seconds_count')}[5m])"),
                    "{{agent}} restores",
                ),
                Promql(
                    total("agent", f"increase({of('candlewick_restore_seconds_sum')}[5m])")
                    + " / "
                    + total("agent", f"increase({of('candlewick_restore_seconds_count')}[5m])"),
                    "{{agent}} seconds",
                ),
            ),
        ),
        Panel(
            "Records restored",
            "Records of the changelog read by restores, since the workers began.",
            "short",
            (
                Promql(
                    total("agent, instance", of("candlewick_restored_records_total")),
                    "{{agent}} {{instance}}",
                ),
            ),
        ),
        Panel(
            "Assignments and fences",
            "Since the workers began. Fences without rebalances: two workers with one name.",
            "none",
            (
                Promql(total("agent", of("candlewick_rebalances_total")), "{{agent}} assignments"),
                Promql(total("agent", of("candlewick_fenced_total")), "{{agent}} fenced"),
            ),
        ),
        Panel(
            "Standing still",
            "Since a position last moved while records were waiting; an alert fires at 5 minutes.",
            "s",
            (
                Promql(
                    f"max by (agent, partition) ({of('candlewick_stalled_seconds')})",
                    "{{agent}} {{partition}}",
                ),
            ),
        ),
        Panel(
            "Dead records by reason",
            "Refused a second. `malformed`: a sender's contract has changed; "
            "`event_time_too_late`: its clock; `wrong_partition`: its partitioner.",
            "cps",
            (
                Promql(
                    total("agent, reason", rate("candlewick_dead_records_total")),
                    "{{agent}} {{reason}}",
                ),
            ),
        ),
    ),
)

STORE = Row(
    "State and RocksDB",
    (
        Panel(
            "State rows",
            "In memory, and keys on disk as RocksDB estimates them.",
            "short",
            (
                Promql(total("agent", of("candlewick_state_rows")), "{{agent}} rows"),
                Promql(total("agent", of("candlewick_store_keys")), "{{agent}} keys"),
            ),
        ),
        Panel(
            "Files",
            "Bytes of table files, and those that compaction has to rewrite.",
            "bytes",
            (
                Promql(total("agent", of("candlewick_store_file_bytes")), "{{agent}} files"),
                Promql(
                    total("agent", of("candlewick_store_pending_compaction_bytes")),
                    "{{agent}} to compact",
                ),
            ),
        ),
        Panel(
            "Memory of the stores",
            "Memtables, open tables, and the cache that all stores of a worker share.",
            "bytes",
            (
                Promql(
                    total("agent", of("candlewick_store_memtable_bytes")), "{{agent}} memtables"
                ),
                Promql(
                    total("agent", of("candlewick_store_table_reader_bytes")), "{{agent}} tables"
                ),
                Promql(
                    total("instance", of("candlewick_store_cache_bytes", agent=False)),
                    "{{instance}} cache",
                ),
            ),
        ),
        Panel(
            "Faults of the stores",
            "Failed flushes and compactions, and stores that take no writes: the disk.",
            "none",
            (
                Promql(
                    total("agent, instance", of("candlewick_store_background_errors")),
                    "{{agent}} {{instance}} errors",
                ),
                Promql(
                    total("agent, instance", of("candlewick_store_write_stopped")),
                    "{{agent}} {{instance}} stopped",
                ),
            ),
        ),
    ),
)

PROCESS = Row(
    "Processes",
    (
        Panel(
            "Memory",
            "Resident, of each worker.",
            "bytes",
            (Promql(of("process_resident_memory_bytes", agent=False), "{{instance}}"),),
        ),
        Panel(
            "Processor",
            "Cores that each worker uses.",
            "none",
            (Promql(rate("process_cpu_seconds_total", agent=False), "{{instance}}"),),
        ),
        Panel(
            "Event loop delay, P99",
            "How much later than asked for the loop ran. High: something blocks it.",
            "s",
            (
                Promql(
                    "histogram_quantile(0.99, "
                    + total(
                        "instance, le",
                        rate("candlewick_event_loop_delay_seconds_bucket", agent=False),
                    )
                    + ")",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Garbage collection",
            "Which share of the time the cyclic collector stops each worker, by generation.",
            "percentunit",
            (
                Promql(
                    total(
                        "instance, generation",
                        rate("candlewick_gc_pause_seconds_sum", agent=False),
                    ),
                    "{{instance}} generation {{generation}}",
                ),
            ),
        ),
        Panel(
            "Requests",
            "Answered a second by the pages and the API, by class of status.",
            "reqps",
            (
                Promql(
                    total("status", rate("candlewick_http_requests_total", agent=False)),
                    "{{status}}",
                ),
            ),
        ),
        Panel(
            "Time to answer, P95",
            "Of the pages and the API, by route.",
            "s",
            (
                Promql(
                    "histogram_quantile(0.95, "
                    + total(
                        "route, le", rate("candlewick_http_request_seconds_bucket", agent=False)
                    )
                    + ")",
                    "{{route}}",
                ),
            ),
        ),
    ),
)
