"""`candlewick reset`: remove a deployment; `--reset` of other commands: that, before they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from app.cli.common import overlay, reachable, read_settings, run_async, say
from app.identity import deployment_folder, group_id
from app.settings import Settings
from app.topics import ticks_topic, topic_table

Command = TypeVar("Command", bound=Callable[..., Any])

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask before a reset.")


def reset_options(command: Command) -> Command:
    """Add `--reset` and `--yes` to a command that starts workers."""
    reset_option = click.option(
        "--reset",
        is_flag=True,
        help="First remove the deployment's topics, group and folder, after asking; the ticks "
        "stay and are read again.",
    )
    return reset_option(yes_option(command))


def confirm_reset(settings: Settings, *, yes: bool) -> None:
    """Say what a reset removes and, unless `yes`, ask.

    Raises:
        click.Abort: the answer is no.
    """
    ticks = ticks_topic(settings)
    names = [spec.name for spec in topic_table(settings) if spec.name != ticks]
    say(f"topics: {', '.join(names)}")
    say(f"group:  {group_id(settings)}")
    say(f"folder: {deployment_folder(settings)}")
    if not yes:
        click.confirm(f"remove deployment {settings.deployment!r}?", abort=True, err=True)


@click.command()
@click.option("--deployment", help="Which one; the setting `deployment`.")
@click.option("--prefix", "topic_prefix", help="Of its topics; the setting `topic_prefix`.")
@yes_option
def reset(deployment: str | None, topic_prefix: str | None, yes: bool) -> None:
    """Remove a deployment: its output topics, its consumer group and its local folder.

    The ticks stay: the next start reads them again from the beginning. No worker of the deployment
    may be running.
    """
    from app.admin import delete_deployment

    chosen = reachable(read_settings(**overlay(deployment=deployment, topic_prefix=topic_prefix)))
    confirm_reset(chosen, yes=yes)
    run_async(lambda: delete_deployment(chosen))
    say("removed")
