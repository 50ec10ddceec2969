"""`candlewick worker`: the Faust worker, as `faust -A app worker` would run it."""

from __future__ import annotations

import os
import sys

import click

from app.cli.common import reachable, read_settings


@click.command()
@click.option(
    "-l", "--level", type=click.Choice(["debug", "info", "warning", "error"]), help="Of the logs."
)
@click.option("--web-port", type=click.IntRange(0, 65535), help="Of the pages; 0 picks one.")
@click.option("--name", help="Of the worker: its folder, its name in the logs.")
def worker(level: str | None, web_port: int | None, name: str | None) -> None:
    """Run one worker in the foreground, until it is stopped by SIGTERM or Ctrl-C.

    It takes the embedded broker where one runs and none is configured.
    """
    from app.run.environment import settings_environment

    chosen = reachable(read_settings(worker=name, web={"port": web_port}, log={"level": level}))
    command = [sys.executable, "-m", "faust", "-A", "app", "worker"]
    sys.stdout.flush()
    os.execve(sys.executable, command, settings_environment(chosen))
