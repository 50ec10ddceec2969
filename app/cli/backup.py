"""`candlewick backup` and `candlewick restore`: registries, archive, settings, positions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from app.cli.common import (
    clear_progress,
    deployment_options,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    safe_text,
    say,
    show_progress,
)
from app.identity import deployment_name
from app.settings import Settings

if TYPE_CHECKING:
    from app.backup.contents import Contents, SectionName
    from models.predicting.registry_store import Store

Command = TypeVar("Command", bound=Callable[..., Any])
NAMES = ("models", "features", "archive")


def place_options(command: Command) -> Command:
    """Add where each section is, and which of them are meant."""
    for name, what in (
        ("archive", "the archive"),
        ("features", "the feature store"),
        ("models", "the registry of models"),
    ):
        help_text = f"Where {what} is; else as the settings say."
        command = click.option(f"--{name}", metavar="LOCATION", help=help_text)(command)
    only = click.option(
        "--only",
        type=click.Choice(NAMES),
        multiple=True,
        help="This section, not all; may be repeated.",
    )
    return only(command)


@click.command()
@click.argument("place", metavar="PLACE")
@place_options
@click.option("--no-positions", is_flag=True, help="Do not ask the broker.")
@deployment_options
@json_option
def backup(
    place: str,
    only: tuple[str, ...],
    no_positions: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
    **places: str | None,
) -> None:
    """Copy models, feature sets, archive and settings into PLACE, while workers go on.

    PLACE is a new folder, an address such as s3://bucket/backups/friday, or a FILE.tar. Every file
    is listed with its SHA-256. Secrets are masked. Positions of the consumer groups are noted where
    a broker answers. State stores are not copied: their changelogs rebuild them.

    \b
    --json prints an object: created, deployment, sections, notes.
    Example:
      candlewick backup backups/2026-11-20
    """
    from app.backup.contents import POSITIONS, SETTINGS
    from app.backup.documents import masked_settings
    from app.backup.places import open_target
    from app.backup.taking import take_backup

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    documents: dict[str, Any] = {SETTINGS: masked_settings(settings)}
    notes: tuple[str, ...] = ()
    if not no_positions:
        documents[POSITIONS], notes = _positions(settings)
    now = time.time_ns()
    with _told():
        stores = _stores(settings, only, places)
        contents = take_backup(
            open_target(place, now),
            stores,
            documents,
            deployment=deployment_name(settings),
            now=now,
            notes=notes,
            progress=lambda section, done, total: show_progress(section, done, total),
        )
    clear_progress()
    for note in contents.notes:
        say(safe_text(note))
    if as_json:
        print_json(_summary(contents))
        return
    for line in _lines(contents):
        click.echo(line)


def _positions(settings: Settings) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the positions, or None and why."""
    from aiokafka.errors import KafkaError

    from app.backup.documents import read_positions
    from app.connection import AdminError

    try:
        chosen = reachable(settings)
        return run_async(lambda: read_positions(chosen)), ()
    except (AdminError, KafkaError, OSError) as error:
        return None, (f"positions are not in it: {' '.join(str(error).split())}",)


@click.command()
@click.argument("place", metavar="PLACE")
@place_options
@click.option("--check", is_flag=True, help="Verify, say what would be done, and change nothing.")
@deployment_options
@json_option
def restore(
    place: str,
    only: tuple[str, ...],
    check: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
    **places: str | None,
) -> None:
    """Put models, feature sets and archive of the backup in PLACE back where the settings say.

    First every file is verified, and every target looked at: one that holds anything else is
    refused. Nothing is overwritten, and a restore that was interrupted can be repeated. No worker
    of the deployment may be running. Settings and positions are not applied: settings that differ
    are told.

    \b
    --json prints an object: created, deployment, sections, notes, and restored: files by section.
    Example:
      candlewick restore backups/2026-11-20 --check
    """
    from app.backup.places import open_source
    from app.backup.restoring import plan_restore, read_contents, verify
    from app.backup.restoring import restore as put_back

    settings = read_settings(deployment=deployment, topic_prefix=topic_prefix)
    with _told():
        source = open_source(place)
        contents = read_contents(source, place)
        targets = _stores(settings, only or tuple(contents.sections), places)
        verify(source, contents, place, show_progress)
        steps = plan_restore(contents, targets)
        differences = _differences(settings, source.read, contents)
        if not check:
            put_back(source, contents, steps, targets, place, show_progress)
    clear_progress()
    for line in (*contents.notes, *differences):
        say(safe_text(line))
    if as_json:
        done = {step.section: len(step.create) for step in steps}
        print_json(_summary(contents) | {"restored": {} if check else done})
        return
    for step in steps:
        held = f", {len(step.there):,} are there already" if step.there else ""
        verb = "to restore" if check else "restored"
        where = targets[step.section].where("").rstrip("/")
        click.echo(safe_text(f"{step.section}: {len(step.create):,} files {verb} in {where}{held}"))


def _differences(
    settings: Settings, read: Callable[[str], bytes], contents: Contents
) -> Sequence[str]:
    from app.backup.contents import SETTINGS
    from app.backup.documents import masked_settings, setting_differences

    if all(each.path != SETTINGS for each in contents.files):
        return ()
    return setting_differences(msgspec.json.decode(read(SETTINGS)), masked_settings(settings))


def _stores(
    settings: Settings, only: Sequence[str], places: Mapping[str, str | None]
) -> dict[SectionName, Store]:
    """Return the stores of the chosen sections, or of all."""
    from app.archive.layout import archive_location
    from app.backup.contents import SECTIONS
    from app.cli.features_store import store_location
    from app.cli.models_registry import registry_location
    from models.predicting.registry_store import open_store

    locations: dict[SectionName, str] = {
        "models": registry_location(settings, places["models"]),
        "features": store_location(settings, places["features"]),
        "archive": places["archive"] or archive_location(settings),
    }
    return {name: open_store(locations[name]) for name in SECTIONS if not only or name in only}


@contextmanager
def _told() -> Iterator[None]:
    """Turn what may go wrong into one line."""
    from app.archive.manifest import ArchiveError
    from app.backup.contents import BackupError
    from app.run.errors import RunError

    try:
        yield
    except (BackupError, ArchiveError, ImportError, ValueError) as error:
        clear_progress()
        raise RunError(safe_text(str(error))) from error


def _summary(contents: Contents) -> dict[str, Any]:
    plain = msgspec.to_builtins(contents)
    return {name: plain[name] for name in ("created", "engine", "deployment", "sections", "notes")}


def _lines(contents: Contents) -> list[str]:
    return [
        safe_text(f"{name}: {each.files:,} files, {each.bytes:,} bytes of {each.location}")
        for name, each in contents.sections.items()
    ]
