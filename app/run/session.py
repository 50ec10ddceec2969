"""A whole run: broker, topics, workers, replay, drain, export, summary; then all of it stopped."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.admin import delete_deployment, ensure_topics
from app.feeds.replayer import ReplaySummary, replay
from app.identity import group_id
from app.run.drain import input_bounds, wait_until_drained
from app.run.errors import RunError
from app.run.export import read_bars, write_export
from app.run.figures import count_batches, peak_memory
from app.run.kinds import KIND_OF
from app.run.outcomes import Outcomes, check_deployment, read_outcomes
from app.run.reader import partitions_of
from app.run.services import Say, first_of, running_broker, running_workers
from app.run.supervisor import Supervisor
from app.settings import Settings
from app.sinks.progress import wait_until_written
from app.topics import source_topic

#: (what, done, of how many): records sent, records closed, records in the sinks.
Progress = Callable[[str, int, int], None]
#: So old (ns) a record may get before it is in the archive, where a run ends with the last one.
ARCHIVE_AGE = 2_000_000_000


@dataclass(frozen=True)
class RunOptions:
    """What to run.

    Attributes:
        paths: recorded data to replay; may be empty with an existing log.
        replay_options: options of `app.feeds.replayer.replay`.
        until_drained: stop when all is closed; else run until cancelled.
        export: file for the bars.
        workers: how many worker processes.
        existing_log: the input topic must exist already.
        reset: remove the deployment first; its inputs stay.
    """

    paths: Sequence[Path]
    replay_options: dict[str, Any] = field(default_factory=dict)
    until_drained: bool = True
    export: Path | None = None
    workers: int = 1
    existing_log: bool = False
    reset: bool = False


@dataclass(frozen=True)
class RunSummary:
    """What a run has done.

    Attributes:
        group: the consumer group, which is the deployment's name with its agent.
        outcomes: records by outcome; None when it did not wait until all was closed.
        replayed: what was sent, None without a replay.
        bars: exported rows, None without an export.
        restarts: of workers that died.
        seconds: from the first record sent (or the workers' start, with an existing log) until
            all was closed.
        batches: fetches that the workers applied, None where a worker does not tell.
        peak_memory: resident bytes of the greatest worker, None where the system does not tell.
        kind: what was replayed and read: trades or quotes.
    """

    group: str
    outcomes: Outcomes | None
    replayed: ReplaySummary | None
    bars: int | None
    restarts: int
    seconds: float
    batches: int | None = None
    peak_memory: int | None = None
    kind: str = "trades"


def fresh_name() -> str:
    """Return a name that no other run has: `run-` and eight hexadecimal digits."""
    return f"run-{secrets.token_hex(4)}"


def log_prefix(text: str) -> str:
    """Return a topic prefix as the settings want it: empty, or ending with one dot."""
    stem = text.rstrip(".")
    return f"{stem}." if stem else ""


async def run(
    settings: Settings, options: RunOptions, say: Say, progress: Progress = lambda *_: None
) -> RunSummary:
    """Run it.

    Args:
        settings: with the deployment, the topic prefix and the one agent of `kind` chosen.
        options: what to do.
        say: told one line about each step.
        progress: told how far the replay and the workers are.

    Raises:
        BrokerError, AdminError, FeedError, RunError, RefusalError: each one clear line. What was
        started has been stopped by then.
    """
    async with running_broker(settings, say) as reachable:
        if options.existing_log:
            reachable = await adopt_log(reachable)
        if options.reset:
            await delete_deployment(reachable)
            say("removed")
        if options.until_drained:
            reachable = hastened(reachable)
        await ensure_topics(reachable)
        await check_deployment(reachable)
        supervisor = Supervisor(reachable, options.workers, say)
        async with running_workers(supervisor) as watch:
            work = asyncio.create_task(_work(reachable, options, say, progress, supervisor))
            return await first_of(work, watch)


async def adopt_log(settings: Settings) -> Settings:
    """Return the settings with the partition count of the existing input topic.

    Raises:
        RunError: there is none.
    """
    (agent,) = settings.agents
    topic = source_topic(settings, agent)
    try:
        count = len(await partitions_of(settings, [topic]))
    except RunError as error:
        raise RunError(f"--from-log: there is no topic {topic}: {error}") from error
    return settings.model_copy(
        update={"topics": settings.topics.model_copy(update={"partitions": count})}
    )


def hastened(settings: Settings) -> Settings:
    """Return the settings with an archive that does not let the end of a run wait for its age."""
    age = min(settings.archive.age, ARCHIVE_AGE)
    return settings.model_copy(update={"archive": settings.archive.model_copy(update={"age": age})})


async def _work(
    settings: Settings, options: RunOptions, say: Say, progress: Progress, supervisor: Supervisor
) -> RunSummary:
    (agent,) = settings.agents
    kind = KIND_OF[agent]
    started = time.perf_counter()
    replayed: ReplaySummary | None = None
    if options.paths:
        replayed = await replay(
            settings,
            options.paths,
            kind=kind,
            progress=lambda done, total: progress("sent", done, total),
            **options.replay_options,
        )
        # Reading the files through beforehand is not the engine's time.
        started += replayed.reading_seconds
    if not options.until_drained:
        await asyncio.Event().wait()
    targets = await input_bounds(settings)
    await wait_until_drained(settings, targets, lambda done, of: progress("closed", done, of))
    seconds = time.perf_counter() - started
    bars: int | None = None
    if options.export is not None:
        highest = await read_bars(settings, agent)
        schema = highest.layout.schema
        await asyncio.to_thread(lambda: write_export(_target(options), highest.rows(), schema))
        bars = len(highest)
    # Behind the export: a sink that is away does not keep it.
    await wait_until_written(settings, say, lambda done, of: progress("written", done, of))
    return RunSummary(
        group=group_id(settings),
        outcomes=await read_outcomes(settings),
        replayed=replayed,
        bars=bars,
        restarts=supervisor.restarts,
        seconds=seconds,
        batches=await _batches(settings, supervisor),
        peak_memory=peak_memory(supervisor.pids),
        kind=kind,
    )


async def _batches(settings: Settings, supervisor: Supervisor) -> int | None:
    if not settings.web.enabled:
        return None
    return await count_batches(supervisor.web_addresses, settings.agents)


def _target(options: RunOptions) -> Path:
    assert options.export is not None
    return options.export
