"""`candlewick worker`: the Faust worker, as `faust -A app worker` would run it."""

from __future__ import annotations

import os
import sys

import click

from app.cli.common import reachable, read_settings, run_async, say
from app.cli.reset import confirm_reset, reset_options
from app.settings import Settings


@click.command()
@click.option(
    "-l", "--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Of the logs."
)
@click.option("--web-port", type=click.IntRange(0, 65535), help="Of the pages; 0 picks one.")
@click.option("--name", help="Of the worker: its folder, its name in the logs.")
@reset_options
def worker(
    level: str | None, web_port: int | None, name: str | None, reset: bool, yes: bool
) -> None:
    """Run one worker in the foreground, until it is stopped by SIGTERM or Ctrl-C.

    It takes the embedded broker where one runs and none is configured. What would keep it from
    starting is told beforehand in one line: no broker, other topics, state of other settings, a
    web port in use.

    \b
    Example:
      candlewick worker --name second --web-port 0
    """
    from app.run.environment import settings_environment

    chosen = reachable(read_settings(worker=name, web={"port": web_port}, log={"level": level}))
    if reset:
        confirm_reset(chosen, yes=yes)
    run_async(lambda: _prepare(chosen, reset=reset))
    # Faust's banner is no line of JSON.
    quiet = ["--quiet"] if chosen.log.format == "json" else []
    command = [sys.executable, "-m", "faust", "-A", "app", *quiet, "worker"]
    sys.stdout.flush()
    os.execve(sys.executable, command, settings_environment(chosen))


async def _prepare(settings: Settings, *, reset: bool) -> None:
    """Remove the deployment if asked to, then check what the worker would refuse."""
    from app.admin import delete_deployment, ensure_topics
    from app.run.outcomes import check_deployment
    from app.web.bind import check_port

    if settings.web.enabled and settings.web.port:
        opened = settings.web.open_without_authentication
        check_port(settings.web.host, settings.web.port, opened=opened)
    if reset:
        await delete_deployment(settings)
        say("removed")
    await ensure_topics(settings)
    await check_deployment(settings)
