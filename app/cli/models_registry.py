"""`candlewick models list|show|publish|promote|rollback|verify`: the registry of models."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app import exits
from app.cli.common import json_option, print_json, read_settings, safe_text, say, table_lines
from app.observe.masking import mask_addresses
from app.settings import Settings

if TYPE_CHECKING:
    from models.predicting.manifest import Manifest
    from models.predicting.registry import Registry
    from models.predicting.registry_moves import Move

registry_option = click.option(
    "--registry",
    "location",
    metavar="PLACE",
    help="A folder or an address such as s3://bucket/models; else data_dir/models.",
)
alias_option = click.option(
    "--alias", default="champion", show_default=True, help="Or challenger, or another."
)
reason_option = click.option("--reason", required=True, help="Kept with the move.")
by_option = click.option("--by", metavar="NAME", help="Who moves it; else the user's name.")


def registry_location(settings: Settings, chosen: str | None = None) -> str:
    """Return where the registry is: the chosen place, or the settings'."""
    return chosen or settings.models.registry or str(settings.data_dir / "models")


@contextmanager
def open_registry(location: str | None) -> Iterator[Registry]:
    """Give the registry; what is wrong with it is one line, and exit code 1."""
    from models.predicting.boosting import TrainingError
    from models.predicting.registry import Registry
    from models.predicting.registry_errors import ModelError

    place = registry_location(read_settings(), location)
    try:
        yield Registry.at(place)
    except (ModelError, TrainingError, ImportError, ValueError) as error:
        say(f"candlewick: {safe_text(mask_addresses(str(error)))}")
        raise SystemExit(exits.FAILURE) from None


def _moment(nanoseconds: int) -> str:
    return f"{datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _plain(record: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(record)


def user_name(chosen: str | None) -> str | None:
    """Return who moves an alias: the name given, or the user's, where it is known."""
    return chosen or os.environ.get("USER")


@click.command("list")
@click.argument("name", required=False)
@registry_option
@json_option
def list_versions(name: str | None, location: str | None, as_json: bool) -> None:
    """List the versions of all models, or of NAME, and which aliases name them.

    \b
    A version whose manifest cannot be read is listed with what is wrong with it.
    Example:
      candlewick models list
    """
    with open_registry(location) as registry:
        rows = [
            row
            for each in ([name] if name is not None else registry.names())
            for row in _versions(registry, each)
        ]
    if as_json:
        print_json(rows)
        return
    header = ("MODEL", "VERSION", "ALIASES", "KIND", "CREATED", "FEATURES", "BARS", "ROWS")
    lines = [header]
    for row in rows:
        found: dict[str, Any] = row["manifest"] or {}
        lines.append(
            (
                row["name"],
                str(row["version"]),
                ",".join(row["aliases"]),
                found.get("kind", "broken"),
                _moment(found["created"]) if found else "",
                safe_text(found.get("feature_set", row["fault"] or "")),
                f"{found['interval']} x {found['horizon']}" if found else "",
                f"{found['rows']:,}" if found else "",
            )
        )
    click.echo("\n".join(table_lines(lines)))


def _versions(registry: Registry, name: str) -> list[dict[str, Any]]:
    from models.predicting.registry_errors import ModelError

    named = registry.aliases(name)
    rows = []
    for version in registry.versions(name):
        manifest, fault = None, None
        try:
            manifest = _plain(registry.manifest(name, version))
            # A thousand residuals and cuts tell a reader of a list nothing.
            del manifest["calibration"], manifest["drift"]
        except ModelError as error:
            fault = str(error)
        aliases = [alias for alias, move in named.items() if move.version == version]
        rows.append(
            {
                **{"name": name, "version": version, "aliases": aliases},
                **{"manifest": manifest, "fault": fault},
            }
        )
    return rows


def _chosen(registry: Registry, name: str, version: str) -> int:
    return int(version) if version.isdecimal() else registry.resolve(name, version)


@click.command()
@click.argument("name")
@click.argument("version", default="champion")
@registry_option
@json_option
def show(name: str, version: str, location: str | None, as_json: bool) -> None:
    """Print the lineage of VERSION of NAME: a number, or an alias.

    \b
    Data, features, libraries, commit, scores beside the baselines, and the moves
    that named it.
    Example:
      candlewick models show returns champion
    """
    with open_registry(location) as registry:
        found = registry.lineage(name, _chosen(registry, name, version))
    if as_json:
        print_json(
            {
                "manifest": _plain(found.manifest),
                "moves": _plain(found.moves),
                "ensembles": found.ensembles,
            }
        )
        return
    for line in (*_manifest_lines(found.manifest), *map(_move_line, found.moves)):
        click.echo(safe_text(line))
    for ensemble in found.ensembles:
        click.echo(f"member of  version {ensemble}")


def _manifest_lines(manifest: Manifest) -> list[str]:
    lines = [
        f"model      {manifest.name} {manifest.version}, {manifest.kind}",
        f"created    {_moment(manifest.created)}",
        f"features   {manifest.feature_set}: {', '.join(manifest.feature_names)}",
        f"target     return over {manifest.horizon} bars of {manifest.interval}",
        f"data       {_moment(manifest.data_from)} to {_moment(manifest.data_to)}, "
        f"{manifest.rows:,} rows, {len(manifest.symbols)} symbols",
        *_market_lines(manifest),
        f"libraries  {', '.join(f'{key} {text}' for key, text in manifest.libraries.items())}",
        f"commit     {manifest.commit or 'unknown'}",
    ]
    for name, figures in manifest.scores.items():
        text = ", ".join(f"{key} {figure:.6g}" for key, figure in figures.items())
        lines.append(f"score      {name}: {text}")
    lines += [f"file       {each.name}, {each.size:,} bytes" for each in manifest.files]
    lines += [f"member     version {one.version}, weight {one.weight}" for one in manifest.members]
    return lines


def _market_lines(manifest: Manifest) -> list[str]:
    return [
        f"calendar   {each.name} ({each.fingerprint:.16}), {len(each.symbols)} symbols"
        for each in manifest.market or ()
    ]


def _move_line(move: Move) -> str:
    who = f" by {move.by}" if move.by else ""
    place = f"{move.alias} {move.generation}, {_moment(move.time)}{who}"
    return f"{move.verb:<10} {place}: {move.reason}"


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@alias_option
@reason_option
@by_option
@registry_option
def promote(
    name: str, version: int, alias: str, reason: str, by: str | None, location: str | None
) -> None:
    """Let an alias name VERSION of NAME, after checking every byte of it.

    \b
    Example:
      candlewick models promote returns 3 --reason 'better by 2 % out of sample'
    """
    with open_registry(location) as registry:
        move = registry.promote(
            name, alias, version, reason=reason, by=user_name(by), time=time.time_ns()
        )
    say_moved(name, move)


@click.command()
@click.argument("name")
@alias_option
@reason_option
@by_option
@registry_option
def rollback(name: str, alias: str, reason: str, by: str | None, location: str | None) -> None:
    """Let an alias of NAME name again what it named before its last promotion.

    \b
    Example:
      candlewick models rollback returns --reason 'live error doubled'
    """
    with open_registry(location) as registry:
        move = registry.rollback(name, alias, reason=reason, by=user_name(by), time=time.time_ns())
    say_moved(name, move)


def say_moved(name: str, move: Move) -> None:
    """Print what an alias names now."""
    click.echo(f"{name} {move.alias}: version {move.version}, generation {move.generation}")


@click.command()
@click.argument("name", required=False)
@click.argument("version", type=click.IntRange(1), required=False)
@registry_option
@json_option
def verify(name: str | None, version: int | None, location: str | None, as_json: bool) -> None:
    """Check all versions, those of NAME, or one: every file by its size and SHA-256.

    Exit code 1 if one is broken. Numbers that a writer has taken and not finished are told; nobody
    sees them.

    \b
    Example:
      candlewick models verify
    """
    from models.predicting.registry_errors import ModelError

    rows: list[dict[str, Any]] = []
    with open_registry(location) as registry:
        for each in [name] if name is not None else registry.names():
            for number in [version] if version is not None else registry.versions(each):
                fault = None
                try:
                    registry.verify(each, number)
                except ModelError as error:
                    fault = str(error)
                rows.append({"name": each, "version": number, "fault": fault})
            for number in registry.unfinished(each) if version is None else ():
                say(f"{each} {number}: being written, or given up by its writer")
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            verdict = safe_text(row["fault"]) if row["fault"] else "whole"
            click.echo(f"{row['name']} {row['version']}: {verdict}")
    if any(row["fault"] for row in rows):
        raise SystemExit(exits.FAILURE)


@click.command()
@click.argument("description", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--promote", "alias", metavar="ALIAS", help="And let this alias name it.")
@registry_option
def publish(
    description: Path, files: tuple[Path, ...], alias: str | None, location: str | None
) -> None:
    """Publish a model trained elsewhere: DESCRIPTION is JSON, FILES its model.ubj or model.json.

    \b
    DESCRIPTION has name, kind (xgboost, ensemble), created (ns), feature_set
    (name@version:hash), feature_names, interval, horizon, data_from, data_to (ns),
    rows, libraries, and scores with model, zero, last_value and ar1; more in
    models/predicting/manifest.py. What cannot predict is not published.
    Example:
      candlewick models publish description.json model.ubj
    """
    import msgspec

    from models.predicting.manifest import Description
    from models.predicting.registry_trial import check_publishable

    try:
        told = msgspec.json.decode(description.read_bytes(), type=Description)
    except msgspec.DecodeError as error:
        raise click.BadParameter(
            safe_text(f"{description}: {error}"), param_hint="DESCRIPTION"
        ) from None
    contents = {each.name: each.read_bytes() for each in files}
    with open_registry(location) as registry:
        check_publishable(told, contents)
        manifest = registry.publish(told, contents)
        click.echo(f"{manifest.name} {manifest.version}")
        if alias is not None:
            move = registry.promote(
                manifest.name,
                alias,
                manifest.version,
                reason="named when it was published",
                by=user_name(None),
                time=time.time_ns(),
            )
            say_moved(manifest.name, move)


#: For the group `models`.
COMMANDS: tuple[click.Command, ...] = (list_versions, show, promote, rollback, verify, publish)
