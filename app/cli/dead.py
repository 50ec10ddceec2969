"""`candlewick dead`: records that an agent or a sink could not take, to look at, to send again."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import IO, TYPE_CHECKING, Any

import click

from app.cli.common import (
    Result,
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
    table_lines,
)
from app.cli.letters import letter_json, letter_lines, list_lines, told_by
from app.contracts.reasons import REASONS, explain
from app.settings import Settings
from app.topics import ALL_SINKS, BURYING

if TYPE_CHECKING:
    from app.dead import DeadLetter
    from app.dead.resend import Resent

NOT_SENT = (
    "a sink's letters are not sent again: their records are in their topics; mend the cause, then "
    "`candlewick sink replay NAME --from TIME` writes them"
)
OF_A_SINK = "what this sink will never take; the list says why"
whose = click.Choice((*BURYING, ALL_SINKS))
agent_option = click.option(
    "--agent",
    type=whose,
    default="bars",
    show_default=True,
    help="Whose letters; `sinks`: those of all sinks.",
)
reason_option = click.option(
    "--reason",
    type=click.Choice(list(REASONS)),
    metavar="REASON",
    help="Only agents' letters of this reason, as a list shows it: malformed, wrong_partition...",
)


@click.group()
def dead() -> None:
    """List, show and resend dead letters: records that an agent or a sink could not take.

    \b
    Each lies in DEPLOYMENT.AGENT.dead with its bytes, its reason and where it
    came from; those of all sinks lie in DEPLOYMENT.sinks.dead, and are written
    again by `candlewick sink replay`. Example:
      candlewick dead list --reason malformed
      candlewick dead show 0 12
      candlewick dead resend 0 12 --edit mended.json
    """


@dead.command("list")
@click.option("--agent", type=whose, help="Only this agent's, or the sinks'; else all.")
@reason_option
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="At most so many.",
)
@click.option("--count", is_flag=True, help="Count all letters by reason instead.")
@deployment_options
@json_option
def list_letters(
    agent: str | None,
    reason: str | None,
    limit: int,
    count: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """List the newest dead letters, the newest first.

    PLACE is what `show` and `resend` take: partition and offset in the dead topic. A list holds
    32 MiB of values at most.

    \b
    --json prints an array of objects: agent, topic, partition, offset, reason,
    source_topic, source_partition, source_offset, append_time (ISO),
    append_time_ms, bytes, text, base64; of sinks also sink. With --count: an
    object by agent, then by reason; of sinks by sink. Example:
      candlewick dead list --agent bars --reason wrong_partition --json
    """
    if agent == ALL_SINKS and reason is not None:
        raise click.UsageError("--reason is of agents' letters; a sink's is in words of its store")
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    if count:
        _print_counts(_interruptible(lambda: _count(settings, agent, reason)), as_json)
        return
    found = _interruptible(lambda: _newest(settings, agent, limit, reason))
    if as_json:
        print_json([told_by(name, letter) | letter.to_json() for name, letter in found])
    elif found:
        click.echo("\n".join(list_lines(found)))
    else:
        say("no dead letters" if reason is None else f"no dead letters of reason {reason}")


@dead.command()
@click.argument("partition", type=click.IntRange(0))
@click.argument("offset", type=click.IntRange(0))
@agent_option
@click.option("--raw", is_flag=True, help="Write exactly the value's bytes, nothing else.")
@deployment_options
@json_option
def show(
    partition: int,
    offset: int,
    agent: str,
    raw: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Show the dead letter at PARTITION and OFFSET of the dead topic, as `list` names them.

    \b
    --json prints what `list` does, and means, mend and headers (name, text,
    base64). Example:
      candlewick dead show 0 12
      candlewick dead show 0 12 --raw > mended.json
    """
    from app.dead import dead_letter

    if raw and as_json:
        raise click.UsageError("--raw and --json exclude each other")
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    letter = run_async(lambda: dead_letter(settings, agent, partition, offset))
    if raw:
        if letter.value is None:
            say("the value is null: there are no bytes")
        click.echo(letter.value or b"", nl=False)
    elif as_json:
        print_json(letter_json(agent, letter))
    else:
        click.echo("\n".join(letter_lines(letter)))


@dead.command()
@click.argument("places", nargs=-1, type=click.IntRange(0), metavar="[PARTITION OFFSET]...")
@reason_option
@click.option("--all", "every", is_flag=True, help="All letters that are there.")
@click.option(
    "--edit",
    type=click.File("rb"),
    metavar="FILE",
    help="Send FILE's bytes instead, for exactly one letter; - is standard input.",
)
@agent_option
@click.option("--dry-run", is_flag=True, help="Say what would be sent where, and send nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before sending.")
@deployment_options
@json_option
def resend(
    places: tuple[int, ...],
    reason: str | None,
    every: bool,
    edit: IO[bytes] | None,
    agent: str,
    dry_run: bool,
    yes: bool,
    deployment: str | None,
    topic_prefix: str | None,
    as_json: bool,
) -> None:
    """Send the records of dead letters to their source topic again, as they are or edited.

    Each goes to the partition of its symbol, where that can be read, else to the one it came from.
    The letters stay in the dead topic, which is a log: what is sent twice is there twice, and
    counts twice unless it has a trade_id. A record may be late by now, and goes to AGENT.late then.
    A sink's letters are not sent: `candlewick sink replay` writes their records again.

    \b
    --json prints topic, records, moved (to another partition), left_out, by_reason,
    by_partition, dry_run. Example:
      candlewick dead resend --reason wrong_partition
      candlewick dead resend 0 12 --edit mended.json --yes
    """
    if agent == ALL_SINKS:
        raise click.UsageError(NOT_SENT)
    if (bool(places), reason is not None, every).count(True) != 1:
        raise click.UsageError("name letters by PARTITION OFFSET, or by --reason, or --all")
    if len(places) % 2:
        raise click.UsageError(f"an OFFSET is missing behind PARTITION {places[-1]}")
    pairs = sorted(set(zip(places[::2], places[1::2], strict=True)))
    edited = None
    if edit is not None:
        if len(pairs) != 1:
            raise click.UsageError("--edit is for exactly one letter: PARTITION OFFSET")
        if edit is click.get_binary_stream("stdin") and not (yes or dry_run):
            raise click.UsageError("--edit - needs --yes: standard input cannot answer as well")
        edited = edit.read()
        _warn_if_unfit(agent, edited)
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    chosen = _Chosen(settings, agent, pairs, reason)
    planned = _interruptible(lambda: chosen.send(edited, dry_run=True, tell=dry_run))
    if planned.records and not dry_run:
        _ask(planned, agent, edited is not None, yes=yes)
        planned = _interruptible(lambda: chosen.send(edited, dry_run=False, tell=False))
    if as_json:
        print_json(planned.to_json() | {"dry_run": dry_run})
    elif not planned.records:
        say("no such dead letters; nothing was sent")
    else:
        verb = "would be sent" if dry_run else "sent"
        click.echo(f"{_records(planned.records)} {verb} to {planned.topic}{_moved(planned)}")


class _Chosen:
    """The letters that a resend is about: those that were there when it was first asked."""

    def __init__(
        self, settings: Settings, agent: str, pairs: Sequence[tuple[int, int]], reason: str | None
    ) -> None:
        self._settings, self._agent = settings, agent
        self._pairs, self._reason = pairs, reason
        self._ranges: dict[Any, tuple[int, int]] | None = None

    async def send(self, edited: bytes | None, *, dry_run: bool, tell: bool) -> Resent:
        from app.dead.resend import resend as send_again

        def each(letter: DeadLetter, partition: int) -> None:
            if tell:
                say(
                    f"{letter.partition} {letter.offset}  {letter.reason}  to partition {partition}"
                )

        async with aclosing(self._letters()) as letters:
            return await send_again(
                self._settings, self._agent, letters, edited=edited, dry_run=dry_run, each=each
            )

    async def _letters(self) -> AsyncGenerator[DeadLetter]:
        from app.dead import dead_letter, dead_letters, dead_ranges

        if self._pairs:
            for partition, offset in self._pairs:
                yield await dead_letter(self._settings, self._agent, partition, offset)
            return
        if self._ranges is None:
            self._ranges = await dead_ranges(self._settings, self._agent)
        async with aclosing(dead_letters(self._settings, self._ranges, _show)) as letters:
            async for letter in letters:
                if self._reason is None or letter.reason == self._reason:
                    yield letter


def _show(done: int, total: int) -> None:
    show_progress("letters", done, total)


def _interruptible(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run something that shows progress, and take the line away whatever happens."""
    try:
        return run_async(work)
    finally:
        clear_progress()


async def _whose(settings: Settings, agent: str | None, reason: str | None) -> Sequence[str]:
    """Return who is asked about: one, or all that have letters; of a reason, agents alone."""
    from app.dead import buriers

    if agent is not None:
        return (agent,)
    found = await buriers(settings)
    return [each for each in found if reason is None or each != ALL_SINKS]


async def _newest(
    settings: Settings, agent: str | None, limit: int, reason: str | None
) -> list[tuple[str, DeadLetter]]:
    """Return the newest letters of one or of all, the newest first."""
    from app.dead import recent_dead

    found = [
        (each, letter)
        for each in await _whose(settings, agent, reason)
        for letter in await recent_dead(
            settings, each, limit, reason=reason, look_back=None, seconds=None, progress=_show
        )
    ]
    found.sort(key=lambda each: each[1].append_time_ms, reverse=True)
    return found[:limit]


async def _count(
    settings: Settings, agent: str | None, reason: str | None
) -> dict[str, Counter[str]]:
    from app.dead import count_dead, dead_ranges

    counts = {}
    for each in await _whose(settings, agent, reason):
        found = await count_dead(settings, await dead_ranges(settings, each), _show)
        counts[each] = found if reason is None else Counter({reason: found[reason]})
    return counts


def _print_counts(counts: dict[str, Counter[str]], as_json: bool) -> None:
    if as_json:
        print_json(counts)
        return
    rows = [("AGENT", "REASON", "LETTERS", "MEANS")]
    for agent, found in counts.items():
        for reason, number in found.most_common():
            means = OF_A_SINK if agent == ALL_SINKS else explain(reason).means
            rows.append((agent, safe_text(reason), f"{number:,}", means))
    click.echo("\n".join(table_lines(rows)))


def _warn_if_unfit(agent: str, value: bytes) -> None:
    """Say what the contract finds wrong with an edited record; it may be sent all the same."""
    import msgspec

    from app.contracts.wire import control_decoder, quote_decoder, trade_decoder

    decoder = trade_decoder if agent == "bars" else quote_decoder
    try:
        decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            control_decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            say(f"note: this will be refused again: {safe_text(str(error))}")


def _ask(planned: Resent, agent: str, edited: bool, *, yes: bool) -> None:
    """Say what is about to be sent and, unless `yes`, ask.

    Raises:
        click.Abort: the answer is no.
    """
    reasons = ", ".join(f"{name} {count:,}" for name, count in planned.by_reason.most_common())
    say(f"{_records(planned.records)} ({reasons}) to {planned.topic}{_moved(planned)}")
    hopeless = [name for name in planned.by_reason if not explain(name).as_it_is]
    if hopeless and not edited:
        say(
            f"note: {', '.join(hopeless)}: the same bytes are refused again by the same engine and "
            "settings; --edit sends others"
        )
    say(f"the letters stay in the dead topic of {agent}, which is a log: nothing is deleted")
    if not yes:
        click.confirm("send?", abort=True, err=True)


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"


def _moved(sent: Resent) -> str:
    moved = f", {sent.moved:,} of them to another partition than before" if sent.moved else ""
    if not sent.left_out:
        return moved
    return f"{moved}; {sent.left_out:,} passed over, whose values are in the source alone"
