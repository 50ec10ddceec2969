"""`candlewick reset`: remove a deployment; `--reset` of other commands: that, before they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from app.cli.common import (
    deployment_options,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    say,
)
from app.connection import connect
from app.identity import deployment_folder, deployment_name
from app.settings import Settings
from app.stages import deployment_groups, with_all_agents
from app.topics import removable_topics

Command = TypeVar("Command", bound=Callable[..., Any])

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask before a reset.")


def reset_options(command: Command) -> Command:
    """Add `--reset` and `--yes` to a command that starts workers."""
    reset_option = click.option(
        "--reset",
        is_flag=True,
        help="First remove the deployment's topics, groups and folder, after asking; the ticks "
        "and quotes stay and are read again.",
    )
    return reset_option(yes_option(command))


def confirm_reset(settings: Settings, *, yes: bool) -> None:
    """Say what a reset removes and, unless `yes`, ask.

    Raises:
        click.Abort: the answer is no.
    """
    whole = with_all_agents(settings)
    say(f"topics: {', '.join(removable_topics(whole))}")
    say(f"groups: {deployment_name(settings)}.* ({', '.join(whole.agents)}; channels, sinks)")
    say(f"folder: {deployment_folder(settings)}")
    if not yes:
        click.confirm(f"remove deployment {settings.deployment!r}?", abort=True, err=True)


async def _present(settings: Settings) -> dict[str, Any]:
    """Return what there is to be removed."""
    whole = with_all_agents(settings)
    async with connect(settings) as client:
        topics = set(await client.list_topics())
        groups = await deployment_groups(client, whole)
    folder = deployment_folder(settings)
    return {
        "deployment": settings.deployment,
        "topics": [name for name in removable_topics(whole) if name in topics],
        "groups": groups,
        "folder": str(folder) if folder.is_dir() else None,
    }


@click.command()
@deployment_options
@yes_option
@json_option
def reset(deployment: str | None, topic_prefix: str | None, yes: bool, as_json: bool) -> None:
    """Remove a deployment: its output topics, its consumer groups and its local folder.

    The ticks and quotes stay: the next start reads them again from the beginning. No worker of the
    deployment may be running.

    \b
    --json prints what was there and is removed: deployment, topics, groups,
    folder (null: there was none). Example:
      candlewick reset --deployment trial
    """
    from app.admin import delete_deployment

    chosen = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    confirm_reset(chosen, yes=yes)

    async def work() -> dict[str, Any]:
        present = await _present(chosen)
        await delete_deployment(chosen)
        return present

    removed = run_async(work)
    say("removed")
    if as_json:
        print_json(removed)
