"""`candlewick features list|show|search|register|...`: which feature sets there are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from app import __version__, exits
from app.cli.common import json_option, print_json, read_settings, safe_text, say, table_lines
from app.cli.models_registry import by_option, reason_option, registry_location, user_name
from app.observe.masking import mask_addresses
from app.settings import Settings

if TYPE_CHECKING:
    from models.predicting.featuresets import FeatureSet
    from models.predicting.registry_moves import Move
    from models.store.records import FeatureSetRecord
    from models.store.registry import FeatureRegistry

store_option = click.option(
    "--store",
    "location",
    metavar="PLACE",
    help="A folder or an address such as s3://bucket/features; else data_dir/feature-store.",
)
alias_option = click.option("--alias", default="active", show_default=True, help="Or another.")


def store_location(settings: Settings, chosen: str | None = None) -> str:
    """Return where the feature store is: the chosen place, or the settings'."""
    return chosen or settings.models.feature_store or str(settings.data_dir / "feature-store")


@contextmanager
def feature_registry(location: str | None) -> Iterator[FeatureRegistry]:
    """Give the registry; what is wrong with it is one line, and exit code 1."""
    from models.predicting.registry_errors import ModelError
    from models.store.registry import FeatureRegistry

    place = store_location(read_settings(), location)
    try:
        yield FeatureRegistry.at(place)
    except (ModelError, ImportError, ValueError) as error:
        say(f"candlewick: {safe_text(mask_addresses(str(error)))}")
        raise SystemExit(exits.FAILURE) from None


def _tags(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str | None]:
    """Read `team=equities` and `experimental`."""
    pairs = [each.partition("=") for each in values]
    return {name: value if separator else None for name, separator, value in pairs}


def moment(nanoseconds: int) -> str:
    """Return a time as people read it, UTC."""
    return f"{datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def plain(record: Any) -> Any:
    """Return a record as dictionaries, lists and plain values."""
    import msgspec

    return msgspec.to_builtins(record)


def version_text(record: FeatureSetRecord) -> str:
    """Return `returns@1`."""
    return f"{record.name}@{record.version}"


def tags_text(record: FeatureSetRecord) -> str:
    """Return tags in one cell."""
    return ",".join(f"{name}={text}" if text else name for name, text in record.tags.items())


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
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", callback=_tags)
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
@click.argument("written", metavar="[MODULE:]NAME[@VERSION]")
@click.option("--owner", metavar="NAME", help="Who answers for it.")
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", callback=_tags)
@click.option("--promote", "alias", metavar="ALIAS", help="And let this alias name it: active.")
@click.option(
    "--unchecked", is_flag=True, help="Without the check that no feature knows what comes later."
)
@by_option
@store_option
@json_option
def register(
    written: str,
    owner: str | None,
    tags: dict[str, str | None],
    alias: str | None,
    unchecked: bool,
    by: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Register a feature set of the code, once for each version.

    \b
    Refused: a name and version that stand for another hash (the differences are
    named), and features that look ahead (see `candlewick models check-lookahead`).
    Example:
      candlewick features register my_features:calm@1 --owner ada --tag team=equities
    """
    from models.predicting.features_plan import FeatureSetError
    from models.predicting.features_registry import find_feature_set
    from models.store.records import describe

    now = time.time_ns()
    try:
        kind = find_feature_set(written)
        record = describe(
            kind,
            time=now,
            code=__version__,
            owner=owner,
            by=user_name(by),
            tags={name: value or "" for name, value in tags.items()},
        )
    except (FeatureSetError, ValueError) as error:
        raise click.UsageError(safe_text(str(error))) from error
    if not unchecked:
        _check(kind)
    with feature_registry(location) as registry:
        held, new = registry.register(record)
        move = None
        if alias is not None:
            move = registry.promote(
                held.name,
                held.version,
                alias=alias,
                reason="named when it was registered",
                by=user_name(by),
                time=now,
            )
    if as_json:
        print_json({"record": plain(held), "new": new, "move": plain(move)})
        return
    click.echo(held.label)
    if not new:
        say(f"registered already, at {moment(held.time)}: owner, tags and description stay")
    if move is not None:
        _say_moved(held.name, move)


def _check(kind: type[FeatureSet]) -> None:
    from app.cli.models import MADE_UP, lookahead_lines
    from models.predicting.lookahead import check_lookahead, made_up_bars

    found = check_lookahead(made_up_bars(0, MADE_UP + 2 * kind.plan().warm_up), kind, points=5)
    if not found.clean:
        for line in lookahead_lines(found):
            say(safe_text(line))
        say("candlewick: not registered: features differ with what comes later")
        raise SystemExit(exits.FAILURE)


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@reason_option
@by_option
@store_option
@json_option
def retire(
    name: str, version: int, reason: str, by: str | None, location: str | None, as_json: bool
) -> None:
    """Let nobody begin to serve VERSION of NAME. Its record stays.

    \b
    Example:
      candlewick features retire returns 1 --reason 'replaced by 2'
    """
    with feature_registry(location) as registry:
        made = registry.retire(name, version, reason=reason, by=user_name(by), time=time.time_ns())
    if as_json:
        print_json(plain(made))
    else:
        click.echo(f"{name}@{version}: retired")


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@alias_option
@reason_option
@by_option
@store_option
@json_option
def promote(
    name: str,
    version: int,
    alias: str,
    reason: str,
    by: str | None,
    location: str | None,
    as_json: bool,
) -> None:
    """Let an alias name VERSION of NAME: `active` is the one that is served.

    \b
    Example:
      candlewick features promote returns 2 --reason 'calmer at the open'
    """
    with feature_registry(location) as registry:
        move = registry.promote(
            name, version, alias=alias, reason=reason, by=user_name(by), time=time.time_ns()
        )
    print_json(plain(move)) if as_json else _say_moved(name, move)


@click.command()
@click.argument("name")
@alias_option
@reason_option
@by_option
@store_option
@json_option
def rollback(
    name: str, alias: str, reason: str, by: str | None, location: str | None, as_json: bool
) -> None:
    """Let an alias of NAME name again what it named before its last promotion.

    \b
    Example:
      candlewick features rollback returns --reason 'gaps in session_elapsed'
    """
    with feature_registry(location) as registry:
        move = registry.rollback(
            name, alias=alias, reason=reason, by=user_name(by), time=time.time_ns()
        )
    print_json(plain(move)) if as_json else _say_moved(name, move)


def _say_moved(name: str, move: Move) -> None:
    click.echo(f"{name} {move.alias}: version {move.version}, generation {move.generation}")


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
COMMANDS: tuple[click.Command, ...] = (
    *(list_sets, show, search, register, retire, promote, rollback, history, usage),
)
