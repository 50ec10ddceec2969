"""`candlewick broker`: the embedded Kafka of a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from app import exits
from app.cli.common import json_option, print_json, read_settings, say

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the broker; the setting broker.folder, or DATA_DIR/broker.",
)


@click.group()
def broker() -> None:
    """Start, stop and ask for the embedded Kafka: loopback only, data kept in its folder.

    \b
    Example:
      candlewick broker start
    """


@broker.command()
@folder_option
@click.option("--port", type=click.IntRange(0, 65535), help="Of the clients; 0 picks a free one.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to become ready.")
def start(folder: Path | None, port: int | None, timeout: float) -> None:
    """Start the broker and wait until it is ready; fine where it runs already.

    Prints the address as a line for the environment.

    \b
    Example:
      export "$(candlewick broker start)"
    """
    from app.run.services import embedded_broker

    chosen = read_settings(broker={"folder": folder, "port": port})
    embedded = embedded_broker(chosen)
    if embedded.status().running:
        say("the broker runs already")
        embedded.wait_ready(timeout)
    else:
        try:
            embedded.start()
            embedded.wait_ready(timeout)
        except BaseException:
            embedded.stop()
            raise
    click.echo(f"CANDLEWICK_BROKER__URL={embedded.status().url}")


@broker.command()
@folder_option
@click.option("--timeout", default=30.0, show_default=True, help="Seconds before it is killed.")
def stop(folder: Path | None, timeout: float) -> None:
    """Stop the broker; fine where none runs. Its data stay.

    \b
    Example:
      candlewick broker stop
    """
    from app.run.services import embedded_broker

    embedded = embedded_broker(read_settings(broker={"folder": folder}))
    was_running = embedded.status().running
    embedded.stop(timeout)
    say("the broker is stopped" if was_running else "no broker was running")


@broker.command()
@folder_option
@json_option
def status(folder: Path | None, as_json: bool) -> None:
    """Tell whether the broker runs, and where; exit code 1 where it does not.

    \b
    --json prints running, pid, url, folder. Example:
      candlewick broker status --json
    """
    from app.run.services import embedded_broker

    found = embedded_broker(read_settings(broker={"folder": folder})).status()
    if as_json:
        print_json(asdict(found))
    elif found.running:
        click.echo(f"running: process {found.pid} at {found.url}, in {found.folder}")
    else:
        click.echo(f"not running, in {found.folder}")
    if not found.running:
        click.get_current_context().exit(exits.FAILURE)
