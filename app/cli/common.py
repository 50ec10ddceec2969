"""What the commands share: options, errors as one line, tables, JSON, lines of progress."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import click
from click.shell_completion import CompletionItem

from app import exits
from app.durations import parse_duration
from app.observe.logs import configure_logging, mask_addresses
from app.setting_groups import BarSettings
from app.settings import Settings, SettingsError, load_settings

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Errors that are one line to the user. Imported late: `candlewick --help` is quick."""
    from aiokafka.errors import KafkaError

    from app.broker import BrokerError
    from app.connection import AdminError
    from app.feeds.errors import FeedError
    from app.run.errors import RunError

    return (
        SettingsError,
        exits.RefusalError,
        BrokerError,
        AdminError,
        FeedError,
        RunError,
        KafkaError,
        OSError,
    )


def _exit_code(error: BaseException) -> int:
    if isinstance(error, SettingsError):
        return exits.USAGE
    return exits.REFUSED if isinstance(error, exits.RefusalError) else exits.FAILURE


class CandlewickGroup(click.Group):
    """A group whose commands end with one line and an exit code when something goes wrong.

    `sections` are headings with names of commands, for the help; others come last.
    """

    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands below their headings."""
        named = {name for names in self.sections.values() for name in names}
        rest = tuple(name for name in self.list_commands(ctx) if name not in named)
        for heading, names in (*self.sections.items(), ("Commands", rest)):
            commands = [(name, self.get_command(ctx, name)) for name in names]
            lines = [
                (name, command.get_short_help_str(formatter.width - 16))
                for name, command in commands
                if command is not None and not command.hidden
            ]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
            # Who reads our output has read enough: click ends without a word.
            raise
        except KeyboardInterrupt:
            click.echo("candlewick: stopped", err=True)
            ctx.exit(exits.FAILURE)
        except Exception as error:
            if not isinstance(error, _expected_errors()):
                raise
            text = mask_addresses(" ".join(str(error).split())) or type(error).__name__
            click.echo(f"candlewick: {text}", err=True)
            ctx.exit(_exit_code(error))


class DurationType(click.ParamType):
    """`900ms`, `1s`, `15m`: nanoseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class IntervalType(DurationType):
    """A duration that is a bar's; a shell offers the usual ones."""

    name = "interval"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        usual = str(BarSettings.model_fields["intervals"].default).split(",")
        return [CompletionItem(each) for each in usual if each.startswith(incomplete)]


class ShareType(click.ParamType):
    """`1%` or `0.01`: a share from 0 to 1."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", str(value))
        share = float(match[1]) / (100 if match[2] else 1) if match else -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is not a share: expected 1% or 0.01, at most 100%", param, ctx)
        return share


DURATION = DurationType()
INTERVAL = IntervalType()
SHARE = ShareType()


def complete_deployment(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the deployments of the prefix that have a folder here; no broker is asked."""
    try:
        settings = load_settings(topic_prefix=context.params.get("topic_prefix") or "")
        folders = [each.name for each in (settings.data_dir / "state").iterdir() if each.is_dir()]
    except (SettingsError, OSError):
        # While a line is being typed there is nowhere to say it; the command itself will.
        return []
    prefix = settings.topic_prefix
    names = sorted(name.removeprefix(prefix) for name in folders if name.startswith(prefix))
    return [
        CompletionItem(name) for name in names if "." not in name and name.startswith(incomplete)
    ]


def event_time(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Read an option's event time: whole nanoseconds, or ISO 8601 with its offset."""
    from app.feeds.rows import nanoseconds_of

    if value is None:
        return None
    try:
        return nanoseconds_of(value)
    except ValueError as error:
        raise click.BadParameter("expected 2026-11-20T14:30:00Z or ns", ctx, param) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


def deployment_options(command: Command) -> Command:
    """Add `--deployment` and `--prefix`, which name a deployment other than the configured one."""
    prefix = click.option(
        "--prefix", "topic_prefix", help="Of its topics; the setting `topic_prefix`."
    )
    deployment = click.option(
        "--deployment",
        help="Which one; the setting `deployment`.",
        shell_complete=complete_deployment,
    )
    return deployment(prefix(command))


def bar_files(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--bars FILE`, and files behind the options; the command is given `files`."""

    @click.option(
        "--bars",
        "paths",
        multiple=True,
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Bars as `candlewick run --export` writes them, .csv or .parquet; several may follow.",
    )
    @click.argument(
        "more", nargs=-1, metavar="[FILE]...", type=click.Path(exists=True, path_type=Path)
    )
    @wraps(command)
    def with_files(
        *args: Any, paths: tuple[Path, ...], more: tuple[Path, ...], **options: Any
    ) -> None:
        command(*args, files=(*paths, *more), **options)

    return with_files


def overlay(**groups: Any) -> dict[str, Any]:
    """Return overrides for `load_settings` without what was not given.

    A dictionary is a group: `overlay(deployment=None, bars={"policy": "sip", "grace": None})` is
    `{"bars": {"policy": "sip"}}`.
    """
    chosen: dict[str, Any] = {}
    for name, value in groups.items():
        if isinstance(value, dict):
            inner = {key: one for key, one in value.items() if one is not None}
            if inner:
                chosen[name] = inner
        elif value is not None:
            chosen[name] = value
    return chosen


def read_settings(**groups: Any) -> Settings:
    """Read the settings with a command's options on top, and configure the logs.

    Raises:
        SettingsError: see `load_settings`.
    """
    settings = load_settings(**overlay(**groups))
    configure_logging(settings)
    return settings


def reachable(settings: Settings) -> Settings:
    """Return the settings with an address: the configured one, or that of the embedded broker.

    Raises:
        BrokerUnreachableError: no broker is configured and the embedded one does not run.
    """
    from app.connection import BrokerUnreachableError
    from app.run.services import broker_folder, embedded_broker, with_broker

    if settings.broker.url is not None:
        return settings
    status = embedded_broker(settings).status()
    if not status.running or status.url is None:
        raise BrokerUnreachableError(
            f"no broker: CANDLEWICK_BROKER__URL is not set and none runs in "
            f"{broker_folder(settings)}; start it with `candlewick broker start`"
        )
    return with_broker(settings, status.url)


def run_async(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine; the first SIGINT or SIGTERM cancels it, and what it cleans up is awaited.

    Raises:
        KeyboardInterrupt: it was cancelled by a signal.
    """
    from app.run.services import cancel_on_signals

    stopped = False

    async def supervised() -> Result:
        nonlocal stopped
        came = cancel_on_signals(say)
        try:
            return await work()
        finally:
            stopped = came()

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if stopped:
            raise KeyboardInterrupt from None
        raise


def print_json(value: Any) -> None:
    """Print data for programs, on standard output."""
    click.echo(json.dumps(value, indent=2, default=str))


def table_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with columns below each other; the first is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def safe_text(value: bytes | str) -> str:
    """Return text that a terminal shows and never obeys.

    What is not UTF-8, control characters and those that turn the direction of writing come as
    their escapes: `\\xff`, `\\x1b`, `\\u202e`.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def say(line: str) -> None:
    """Tell the user what happens, on standard error."""
    _progress.clear()
    click.echo(line, err=True)


class ProgressLine:
    """One line on a terminal, rewritten in place; nothing where standard error is a file."""

    def __init__(self) -> None:
        self._shown = False
        self._next = 0.0

    def show(self, label: str, done: int, total: int) -> None:
        """Show how far something is, ten times a second at most."""
        now = time.monotonic()
        if not sys.stderr.isatty() or (now < self._next and done < total):
            return
        self._next = now + 0.1
        share = done / total if total else 1.0
        bar = "#" * int(30 * share)
        text = f"\r{label:<7} [{bar:<30}] {share:4.0%}  {done:,} of {total:,}"
        sys.stderr.write(f"{text}\x1b[K")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        """Take the line away before something else is printed."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown = False


_progress = ProgressLine()
show_progress = _progress.show
clear_progress = _progress.clear
