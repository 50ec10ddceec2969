"""`candlewick features register|promote|rollback|retire`: what changes the feature store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from app import __version__, exits
from app.cli.common import json_option, print_json, safe_text, say
from app.cli.features_store import feature_registry, moment, plain, read_tags, store_option
from app.cli.models_registry import by_option, reason_option, user_name

if TYPE_CHECKING:
    from models.predicting.featuresets import FeatureSet
    from models.predicting.registry_moves import Move

alias_option = click.option("--alias", default="active", show_default=True, help="Or another.")


@click.command()
@click.argument("written", metavar="[MODULE:]NAME[@VERSION]")
@click.option("--owner", metavar="NAME", help="Who answers for it.")
@click.option("--tag", "tags", multiple=True, metavar="NAME[=VALUE]", callback=read_tags)
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


#: For the group `features`.
COMMANDS: tuple[click.Command, ...] = (register, retire, promote, rollback)
