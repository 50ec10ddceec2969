"""`candlewick influx`: make InfluxDB ready for the sink, and see whether it is."""

from __future__ import annotations

from pathlib import Path

import click

from app import exits
from app.cli.common import read_settings, run_async, safe_text, say
from app.exits import OperatorError

folder_type = click.Path(file_okay=False, path_type=Path)
file_type = click.Path(dir_okay=False, exists=True, path_type=Path)


@click.group()
def influx() -> None:
    """Make InfluxDB ready for the sink, and see whether it is.

    \b
    Where it is: CANDLEWICK_INFLUX__URL. Example:
      candlewick influx setup --write-tokens secrets
      export CANDLEWICK_INFLUX__TOKEN_FILE=secrets/writer.token
      candlewick influx check
    """


@influx.command()
@click.option(
    "--operator-token-file",
    type=file_type,
    help="Holds the token that makes the rest; without it operator.token of --write-tokens. A new "
    "InfluxDB needs none.",
)
@click.option(
    "--write-tokens",
    "folder",
    type=folder_type,
    metavar="FOLDER",
    help="Write writer.token and reader.token there, mode 600, and print none.",
)
@click.option("--renew-tokens", "renew", is_flag=True, help="Make them anew; the old ones end.")
@click.option(
    "--shorten", is_flag=True, help="Also where InfluxDB then deletes what is older: retentions."
)
def setup(
    operator_token_file: Path | None, folder: Path | None, renew: bool, shorten: bool
) -> None:
    """Make organization, buckets, tasks and tokens, where they are not there.

    Buckets NAME (retention influx.bar_retention), NAME_ticks (influx.tick_retention) and
    NAME_history (none), which NAME, influx.bucket, names; tasks that keep hours of bars in
    NAME_history; a token that may write to the three, and one that may read them. Run again, it
    changes nothing. Tokens are told once, when they are made.

    Needs `pip install 'candlewick[influx]'`.

    \b
    Example:
      candlewick influx setup --write-tokens secrets
    """
    from app.influx.setup import set_up
    from app.influx.tokens import read_token, write_token

    settings = read_settings()
    source = operator_token_file
    if source is None and folder is not None:
        source = folder / "operator.token"

    def keep(name: str, secret: str) -> None:
        if folder is None:
            click.echo(f"{name}: {secret}")
        else:
            say(f"wrote {write_token(folder, name, secret)}")

    try:
        operator = None if source is None else read_token(source)
        if operator is None and operator_token_file is not None:
            raise click.UsageError(f"{operator_token_file} holds no token")
        done = set_up(settings, operator, keep, renew=renew, shorten=shorten)
    except OperatorError as error:
        say(f"candlewick: {safe_text(str(error))}")
        raise SystemExit(exits.FAILURE) from None
    for line in done.found:
        say(f"there: {line}")
    for line in done.changes:
        say(line)
    if not done.changes:
        say("nothing to change")


@influx.command()
def check() -> None:
    """See whether the sink can write: address, token, organization, buckets.

    Writes nothing. What is not as it must be is one line that says what to do, and exit code 1.

    \b
    Example:
      candlewick influx check
    """
    from app.sinks.influx import InfluxDriver

    settings = read_settings()

    async def look() -> list[str]:
        driver = InfluxDriver(settings)
        try:
            return list(await driver.check())
        finally:
            await driver.close()

    try:
        lines = run_async(look)
    except OperatorError as error:
        say(f"candlewick: {safe_text(str(error))}")
        raise SystemExit(exits.FAILURE) from None
    for line in lines:
        click.echo(safe_text(line))
