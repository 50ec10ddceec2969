"""Which channels a deployment has, made from its settings."""

from __future__ import annotations

from app.notify.channel import Channel
from app.notify.email import EmailChannel
from app.notify.http import Poster
from app.notify.log import LogChannel
from app.notify.secrets import check_address, read_secret
from app.notify.settings import CHANNELS, NotifyGroups
from app.notify.webhooks import OpsgenieChannel, PagerDutyChannel, SlackChannel, WebhookChannel
from app.settings import SettingsError

#: What makes a channel one that is delivered to.
NEEDED = {
    "slack": "SLACK__URL",
    "email": "EMAIL__HOST",
    "webhook": "WEBHOOK__URL",
    "pagerduty": "PAGERDUTY__ROUTING_KEY",
    "opsgenie": "OPSGENIE__API_KEY",
}


def make_channel(name: str, groups: NotifyGroups, deployment: str) -> Channel | None:
    """Return a channel; None where nothing says how to reach it.

    Raises:
        SettingsError: see `read_secret`.
        KeyError: there is no such channel.
    """
    if name == "log":
        return LogChannel()
    if name == "email":
        return _email(groups, deployment)
    if name == "pagerduty":
        key = read_secret(name, groups.pagerduty, "routing_key")
        url: str | None = groups.pagerduty.url
    elif name == "opsgenie":
        key = read_secret(name, groups.opsgenie, "api_key")
        url = groups.opsgenie.url
    else:
        group = {"slack": groups.slack, "webhook": groups.webhook}[name]
        key = url = read_secret(name, group, "url")
    if key is None or url is None:
        return None
    poster = Poster(groups.notify)
    if name == "pagerduty":
        return PagerDutyChannel(url, key, deployment, poster)
    if name == "opsgenie":
        return OpsgenieChannel(url, key, deployment, poster)
    check_address(name, url)
    if name == "slack":
        return SlackChannel(url, poster)
    secret = read_secret(name, groups.webhook, "secret")
    return WebhookChannel(url, secret, deployment, poster)


def _email(groups: NotifyGroups, deployment: str) -> Channel | None:
    if groups.email.host is None:
        return None
    password = read_secret("email", groups.email, "password")
    try:
        return EmailChannel(groups.email, password, deployment, groups.notify)
    except OSError as error:
        raise SettingsError(
            f"CANDLEWICK_EMAIL__CA_FILE={str(groups.email.ca_file)!r}: "
            f"{error.strerror or 'OpenSSL cannot read it'}; expected PEM"
        ) from None


def make_channels(groups: NotifyGroups, deployment: str) -> list[Channel]:
    """Return the channels that a route names.

    Raises:
        SettingsError: see `read_secret`; or a route names a channel that nothing says how to reach.
    """
    routed = {text.rpartition(":")[2] for text in groups.alerts.routes}
    found = []
    for name in (name for name in CHANNELS if name in routed):
        channel = make_channel(name, groups, deployment)
        if channel is None:
            raise SettingsError(
                f"CANDLEWICK_ALERTS__ROUTES names {name}; expected CANDLEWICK_{NEEDED[name]}"
            )
        found.append(channel)
    return found
