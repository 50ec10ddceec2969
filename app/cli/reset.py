"""`candlewick reset`: remove a deployment."""

from __future__ import annotations

import click

from app.cli.common import overlay, reachable, read_settings, run_async, say
from app.identity import deployment_folder, group_id
from app.topics import ticks_topic, topic_table


@click.command()
@click.option("--deployment", help="Which one; the setting `deployment`.")
@click.option("--prefix", "topic_prefix", help="Of its topics; the setting `topic_prefix`.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def reset(deployment: str | None, topic_prefix: str | None, yes: bool) -> None:
    """Remove a deployment: its output topics, its consumer group and its local folder.

    The ticks stay: the next start reads them again from the beginning. No worker of the deployment
    may be running.
    """
    from app.admin import delete_deployment

    chosen = reachable(read_settings(**overlay(deployment=deployment, topic_prefix=topic_prefix)))
    ticks = ticks_topic(chosen)
    names = [spec.name for spec in topic_table(chosen) if spec.name != ticks]
    say(f"topics: {', '.join(names)}")
    say(f"group:  {group_id(chosen)}")
    say(f"folder: {deployment_folder(chosen)}")
    if not yes:
        click.confirm(f"remove deployment {chosen.deployment!r}?", abort=True, err=True)
    run_async(lambda: delete_deployment(chosen))
    say("removed")
