"""`candlewick features list|show|search|history|usage`: which feature sets there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.cli.common import json_option, print_json, read_settings, safe_text, say, table_lines
from app.cli.features_store import (
    feature_registry,
    moment,
    plain,
    read_tags,
    store_option,
    tags_text,
    version_text,
)
from app.cli.models_registry import registry_location

if TYPE_CHECKING:
    from models.store.registry import FeatureRegistry


@click.command("list")
@click.argument("name", required=False)
@store_option
@json_option
def list_sets(name: str | None, location: str | None, as_json: bool) -> None:
    """List the registered feature sets, or the versions of NAME.

    \b
    Example:
      candlewick features list
    """
    with feature_registry(location) as registry:
        rows = [
            (registry.record(each, version), aliases, registry.retirements(each, version))
            for each in ([name] if name is not None else registry.names())
            for named in [registry.aliases(each)]
            for version in registry.versions(each)
            for aliases in [[one for one, move in named.items() if move.version == version]]
        ]
    if as_json:
        print_json(
            [
                {**plain(record), "aliases": aliases, "retired": bool(marks)}
                for record, aliases, marks in rows
            ]
        )
        return
    lines: list[tuple[str, ...]] = [
        ("FEATURE SET", "ALIASES", "FEATURES", "WARM-UP", "OWNER", "TAGS", "REGISTERED", "HASH")
    ]
    for record, aliases, marks in rows:
        lines.append(
            (
                version_text(record),
                "retired" if marks else ",".join(aliases),
                str(len(record.features)),
                f"{record.warm_up} bars",
                record.owner or "",
                tags_text(record),
                moment(record.time),
                record.hash,
            )
        )
    click.echo("\n".join(map(safe_text, table_lines(lines))))
    if not rows:
        say("nothing is registered: candlewick features register returns@1")


def _chosen(registry: FeatureRegistry, name: str, version: str) -> int:
    return int(version) if version.isdecimal() else registry.resolve(name, version)


@click.command()
@click.argument("name")
@click.argument("version", default="active")
@store_option
@click.option(
    "--models", "models", metavar="PLACE", help="The registry of models; else the settings'."
)
@json_option
def show(name: str, version: str, location: str | None, models: str | None, as_json: bool) -> None:
    """Print VERSION of NAME, a number or an alias, with its lineage.

    \b
    The features and their terms, the indicators they read, and the versions of
    models that were trained on it.
    Example:
      candlewick features show returns 1
    """
    from models.predicting.registry import Registry
    from models.store.catalogue import lineage

    with feature_registry(location) as registry:
        number = _chosen(registry, name, version)
        place = registry_location(read_settings(), models)
        found = lineage(registry, name, number, Registry.at(place))
        aliases = [one for one, move in registry.aliases(name).items() if move.version == number]
        retired = registry.retirements(name, number)
    record = found.record
    if as_json:
        print_json(
            {
                "record": plain(record),
                "aliases": aliases,
                "retired": plain(retired),
                "indicators": found.indicators,
                "models": plain(found.models),
                "unreadable": found.unreadable,
            }
        )
        return
    lines = [
        f"feature set {record.label}",
        f"registered  {moment(record.time)}{f' by {record.by}' if record.by else ''}, "
        f"candlewick {record.code}, {record.module}",
        f"owner       {record.owner or 'nobody'}",
        f"tags        {tags_text(record) or 'none'}",
        f"aliases     {', '.join(aliases) or 'none'}",
        *(f"retired     {moment(each.time)}: {each.reason}" for each in retired),
        f"about       {' '.join(record.description.split())}",
        f"warm-up     {record.warm_up} bars; a row reads {record.depth} bars before its own",
        *(f"reads       {one}: {', '.join(each)}" for one, each in found.indicators.items()),
        *(f"feature     {one.name} = {one.term}  {one.about}".rstrip() for one in record.features),
    ]
    for each in found.models:
        named = f" ({', '.join(each.aliases)})" if each.aliases else ""
        other = "" if each.same else f", other features: {each.feature_set}"
        lines.append(f"model       {each.name} {each.version}{named}{other}")
    lines += [f"unreadable  {each}" for each in found.unreadable]
    click.echo("\n".join(map(safe_text, lines)))


@click.command()
@click.argument("words", nargs=-1)
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", callback=read_tags)
@click.option(
    "--input", "inputs", multiple=True, metavar="INDICATOR", help="RSI, or RSI(14): what it reads."
)
@click.option("--owner", metavar="NAME")
@store_option
@json_option
def search(
    words: tuple[str, ...],
    tags: dict[str, str | None],
    inputs: tuple[str, ...],
    owner: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Find feature sets and features by words, tags, inputs or owner; all must fit.

    \b
    Example:
      candlewick features search volume --input RSI --tag team=equities
    """
    from models.store.catalogue import search as find

    with feature_registry(location) as registry:
        hits = list(find(registry, " ".join(words), tags=tags, inputs=inputs, owner=owner))
    if as_json:
        print_json(
            [
                {
                    "feature_set": hit.record.label,
                    "owner": hit.record.owner,
                    "tags": hit.record.tags,
                    "features": [plain(each) for each in hit.features],
                }
                for hit in hits
            ]
        )
        return
    for hit in hits:
        about = " ".join(hit.record.description.split())
        click.echo(safe_text(f"{version_text(hit.record)}  {about}"))
        for each in hit.features:
            click.echo(safe_text(f"  {each.name} = {each.term}  {each.about}".rstrip()))
    if not hits:
        say("nothing fits")


@click.command()
@click.argument("name")
@store_option
@json_option
def history(name: str, location: str | None, as_json: bool) -> None:
    """Print who registered, promoted, rolled back or retired what of NAME, and when.

    \b
    Example:
      candlewick features history returns
    """
    with feature_registry(location) as registry:
        events = registry.history(name)
    if as_json:
        print_json(plain(events))
        return
    lines: list[tuple[str, ...]] = [("TIME", "VERB", "VERSION", "ALIAS", "BY", "REASON")]
    for each in events:
        alias = f"{each.alias} {each.generation}" if each.alias else ""
        version = "" if each.version is None else str(each.version)
        lines.append((moment(each.time), each.verb, version, alias, each.by or "", each.reason))
    click.echo("\n".join(map(safe_text, table_lines(lines))))


@click.command()
@click.argument("name", required=False)
@store_option
@json_option
def usage(name: str | None, location: str | None, as_json: bool) -> None:
    """Print the look-ups of all feature sets, or of NAME, by version and caller.

    \b
    Counts of all processes that have flushed theirs.
    Example:
      candlewick features usage returns
    """
    from models.store.usage import read_usage

    with feature_registry(location) as registry:
        uses = [
            each
            for each in read_usage(registry.store).uses
            if name is None or each.feature_set.partition("@")[0] == name
        ]
    if as_json:
        print_json(plain(uses))
        return
    lines: list[tuple[str, ...]] = [
        ("FEATURE SET", "VERB", "CALLER", "LOOK-UPS", "ROWS", "SERVED", "FIRST", "LAST")
    ]
    for each in uses:
        counts = (f"{count:,}" for count in (each.lookups, each.rows, each.served))
        times = moment(each.first), moment(each.last)
        lines.append((each.feature_set, each.verb, each.caller, *counts, *times))
    click.echo("\n".join(map(safe_text, table_lines(lines))))


#: For the group `features`.
COMMANDS: tuple[click.Command, ...] = (list_sets, show, search, history, usage)
