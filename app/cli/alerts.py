"""`candlewick alerts`: try a channel, silence alerts, say that somebody takes care of one."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

import click

from app import exits
from app.cli.common import (
    DurationType,
    deployment_options,
    json_option,
    print_json,
    reachable,
    read_settings,
    run_async,
    safe_text,
    say,
)
from app.notify.settings import CHANNELS
from app.settings import Settings, SettingsError

type_option = click.option(
    "--type",
    "alert_type",
    default="*",
    show_default=True,
    help="Alert types; * stands for any text: anomaly.*",
)
key_option = click.option(
    "--key", default="*", show_default=True, help="Symbols or accounts; * stands for any text."
)
by_option = click.option("--by", metavar="NAME", help="Who says so; told with the alert.")


@click.group()
def alerts() -> None:
    """Try a channel; silence and acknowledge alerts; deliver notifications.

    \b
    Which alerts go to which channels is CANDLEWICK_ALERTS__ROUTES. Example:
      candlewick alerts test --channel slack
      candlewick alerts silence --type 'quality.*' --key 'BTC*' --for 2h
      candlewick alerts acknowledge --key SPY --by Ann
    """


@alerts.command("test")
@click.option(
    "--channel", required=True, type=click.Choice(CHANNELS), help="Which one; it needs no route."
)
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@json_option
def send_test(channel: str, dry_run: bool, as_json: bool) -> None:
    """Send a test notification by a channel, now, and print what came of it.

    It is of severity info, type `test`, and says that it is a test. No broker is needed.

    \b
    --json prints channel, result (delivered, dry_run, dead: refused for good,
    unavailable: not taken in several attempts), reason, attempts, id. Example:
      candlewick alerts test --channel slack --dry-run
    """
    from app.notify.channels import NEEDED, make_channel
    from app.notify.deliverer import Deliverer, Outcome
    from app.notify.settings import notify_groups
    from app.notify.trial import trial_notification

    settings = read_settings()
    groups = notify_groups(settings)
    notification = trial_notification(settings.deployment, channel, time.time_ns())

    async def deliver() -> Outcome:
        found = make_channel(channel, groups, settings.deployment)
        if found is None:
            raise SettingsError(f"CANDLEWICK_{NEEDED[channel]} is not set; expected for {channel}")
        chosen = groups.notify
        if dry_run:
            chosen = chosen.model_copy(update={"dry_run": True})
        try:
            return await Deliverer(found, chosen).deliver(notification)
        finally:
            await found.close()

    outcome = run_async(deliver)
    done = outcome.result in ("delivered", "dry_run")
    if as_json:
        print_json(
            {
                "channel": channel,
                "result": outcome.result,
                "reason": outcome.reason,
                "attempts": outcome.attempts,
                "id": notification.id,
            }
        )
    elif outcome.result == "dry_run":
        click.echo("\n".join(map(safe_text, outcome.reason.splitlines())))
    elif done:
        click.echo(f"{channel}: delivered in {_attempts(outcome.attempts)}, id {notification.id}")
    else:
        word = "refused" if outcome.result == "dead" else "not taken"
        reason = safe_text(outcome.reason)
        say(f"candlewick: {channel}: {word} in {_attempts(outcome.attempts)}: {reason}")
    if not done:
        raise SystemExit(exits.FAILURE)


def _attempts(count: int) -> str:
    return "1 attempt" if count == 1 else f"{count} attempts"


@alerts.command()
@type_option
@key_option
@click.option(
    "--for", "length", type=DurationType(), required=True, help="How long from now on: 30m, 2h."
)
@by_option
@deployment_options
def silence(
    alert_type: str,
    key: str,
    length: int,
    by: str | None,
    deployment: str | None,
    topic_prefix: str | None,
) -> None:
    """Send nothing about matching alerts for a while, and print the silence's id.

    What still fires when it ends is told then.

    \b
    Example:
      candlewick alerts silence --type 'quality.*' --for 30m --by Ann
    """
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    name = secrets.token_hex(4)
    record = {
        **{"type": "silence", "id": name, "alert_type": alert_type, "key": key},
        **{"until": time.time_ns() + length, "by": by},
    }
    _send(settings, record)
    click.echo(name)


@alerts.command()
@click.argument("name", metavar="ID")
@deployment_options
def unsilence(name: str, deployment: str | None, topic_prefix: str | None) -> None:
    """End the silence ID, which `silence` has printed.

    \b
    Example:
      candlewick alerts unsilence 1f0c9a3e
    """
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    _send(settings, {"type": "unsilence", "id": name})


@alerts.command()
@type_option
@key_option
@by_option
@deployment_options
def acknowledge(
    alert_type: str, key: str, by: str | None, deployment: str | None, topic_prefix: str | None
) -> None:
    """Say that somebody takes care of what fires and matches: no repeats of it.

    It is over when the alert is, or when it gets more severe.

    \b
    Example:
      candlewick alerts acknowledge --key SPY --by Ann
    """
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    _send(settings, {"type": "acknowledge", "alert_type": alert_type, "key": key, "by": by})


@alerts.command()
@deployment_options
def deliver(deployment: str | None, topic_prefix: str | None) -> None:
    """Deliver notifications in the foreground, until it is stopped by SIGTERM or Ctrl-C.

    For deployments whose workers do not: CANDLEWICK_NOTIFY__IN_WORKER=false. What is on its way
    when it is stopped is sent again by the next start, with the same idempotency key.

    \b
    Example:
      candlewick alerts deliver
    """
    settings = reachable(read_settings(deployment=deployment, topic_prefix=topic_prefix))
    try:
        run_async(lambda: _deliver(settings))
    except KeyboardInterrupt:
        say("delivery is stopped")


async def _deliver(settings: Settings) -> None:
    from app.admin import ensure_topics
    from app.notify.service import notifiers
    from app.notify.settings import notify_groups

    await ensure_topics(settings.model_copy(update={"agents": ("alerts",)}))
    async with notifiers(settings, notify_groups(settings)) as found:
        say(f"delivering to {', '.join(each.channel for each in found)}")
        await asyncio.Event().wait()


def _send(settings: Settings, record: Mapping[str, object]) -> None:
    """Send a control record to every partition.

    Raises:
        click.UsageError: it is not of the contract.
    """
    import msgspec

    from app.notify.control import send_control
    from tables.alerts.records import decode, encoder

    value = encoder.encode(record)
    try:
        decode(value)
    except msgspec.ValidationError as error:
        raise click.UsageError(safe_text(str(error))) from None
    partitions = run_async(lambda: send_control(settings, value))
    say(f"sent to {partitions} partitions of {settings.deployment}")
