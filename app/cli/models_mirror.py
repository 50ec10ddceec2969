"""`candlewick models mirror`: the registry as MLflow shows it."""

from __future__ import annotations

import click

from app import exits
from app.cli.common import json_option, print_json, safe_text, say
from app.cli.models_registry import open_registry, registry_option
from app.observe.masking import mask_addresses


@click.command()
@click.option(
    "--to",
    "address",
    required=True,
    metavar="ADDRESS",
    help="Of MLflow's store: sqlite:///mlflow.db, or a server's.",
)
@registry_option
@json_option
def mirror(address: str, location: str | None, as_json: bool) -> None:
    """Let MLflow show the versions, scores, lineage and aliases of the registry.

    Nothing is read back: predictions are made by the registry alone. A second time changes
    nothing; a timer may repeat it. Exit code 1 if something could not be mirrored. No model is
    copied. Needs `pip install 'candlewick[mlflow]'`.

    \b
    Example:
      candlewick models mirror --to sqlite:///mlflow.db

    \b
    --json prints an object: versions, aliases, deleted, faults.
    """
    from dataclasses import asdict

    from app.training import mlflow

    with open_registry(location) as registry:
        try:
            done = mlflow.mirror(registry, address)
        except mlflow.MirrorError as error:
            say(f"candlewick: {safe_text(mask_addresses(str(error)))}")
            raise SystemExit(exits.FAILURE) from None
    if as_json:
        print_json(asdict(done))
    else:
        for name, version in done.versions:
            click.echo(f"{name} {version}: new in MLflow")
        for name, alias, named in done.aliases:
            click.echo(f"{name} {alias}: {'none' if named is None else f'version {named}'}")
        for name, version in done.deleted:
            click.echo(f"{name} {version}: marked as deleted")
        if not (done.versions or done.aliases or done.deleted):
            click.echo("MLflow has all of it already")
    for fault in done.faults:
        say(safe_text(mask_addresses(fault)))
    if done.faults:
        raise SystemExit(exits.FAILURE)
