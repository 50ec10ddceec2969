"""The groups of settings of alerts and of the channels that deliver them.

`alerts` and `raising` change results: what is told, when, and to which channels, and which findings
of the agents become events for it. The others do not: how a
channel is reached, and how patiently. A channel that has an address is delivered to; `log` always
is. Addresses come from here alone, and those that let their bearer post are secrets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from app.setting_types import Duration, Group, as_parts, written
from tables.alerts.raising import parse_raised
from tables.alerts.records import RANK
from tables.alerts.rules import AlertRules, Route
from tables.alerts.watching import parse_watches

#: Every channel there is.
CHANNELS = ("slack", "email", "webhook", "pagerduty", "opsgenie", "log")
_ROUTE = re.compile(r"([a-z0-9_.*]{1,64}):([a-z]+):([a-z]+)")
SECRET_URL = re.compile(r"https?://[^\s/@?#]+(/[^\s#]*)?")
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\\x00-\x1f]+@[^\s@<>,;:\"\\\x00-\x1f]+")


def _route(text: str) -> str:
    match = _ROUTE.fullmatch(text)
    if match is None or match[2] not in RANK or match[3] not in CHANNELS:
        raise ValueError(
            f"{text!r} is not a route: expected TYPE:SEVERITY:CHANNEL such as "
            f"anomaly.*:critical:slack, with a severity of {', '.join(RANK)} and a channel of "
            f"{', '.join(CHANNELS)}"
        )
    return text


def _secret_url(value: SecretStr) -> SecretStr:
    if not SECRET_URL.fullmatch(value.get_secret_value()):
        raise ValueError("expected http(s)://host/path, without user and fragment")
    return value


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is not an address: expected name@host")
    return text


RouteText = Annotated[str, AfterValidator(_route)]
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]
Address = Annotated[str, AfterValidator(_address)]


class AlertSettings(Group):
    """What is told, when, and to whom. All of it changes results."""

    routes: Annotated[tuple[RouteText, ...], BeforeValidator(as_parts)] = written(
        "*:info:log", description="TYPE:SEVERITY:CHANNEL, with commas; * stands for any text"
    )
    cool_down: Duration = written("5m", description="between two messages about one type and key")
    quiet_time: Duration = written("15m", description="without an event: resolved")
    group_wait: Duration = written("0s", description="for others of the type; 0s: a message a key")
    max_group: int = Field(default=50, ge=1, le=100, description="keys of one message")
    max_keys: int = Field(default=10_000, ge=1, le=1_000_000, description="a partition")
    max_silences: int = Field(default=100, ge=1, le=10_000, description="a partition")

    @model_validator(mode="after")
    def _check(self) -> AlertSettings:
        if self.quiet_time < 1_000_000_000:
            raise ValueError("CANDLEWICK_ALERTS__QUIET_TIME: expected at least 1s")
        return self

    def rules(self, deployment: str, clock_ahead: int, max_ahead: int) -> AlertRules:
        """Return the parameters of an `AlertBook`; times ahead in ns, as the bars have them."""
        return AlertRules(
            deployment=deployment,
            routes=tuple(_as_route(text) for text in self.routes),
            cool_down=self.cool_down,
            quiet_time=self.quiet_time,
            group_wait=self.group_wait,
            max_group=self.max_group,
            max_keys=self.max_keys,
            max_silences=self.max_silences,
            clock_ahead=clock_ahead,
            max_ahead=max_ahead,
        )


def _raised(value: tuple[str, ...]) -> tuple[str, ...]:
    parse_raised(value)
    return value


def _distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(value)))


#: The agents whose findings can become alert events.
RaisingAgent = Literal["anomalies", "quote_anomalies", "quality", "quote_quality", "portfolio"]


class RaisingSettings(Group):
    """Which findings of the agents become alert events. All of it changes results."""

    agents: Annotated[
        tuple[RaisingAgent, ...], BeforeValidator(as_parts), AfterValidator(_distinct)
    ] = written(
        "anomalies,portfolio,quality,quote_anomalies,quote_quality",
        description="whose findings go to the topic alerts.events; empty: nobody's",
    )
    anomaly_critical: float = Field(
        default=2.0, ge=0, le=10, description="powers of ten rarer than the threshold: critical"
    )
    quality: Annotated[tuple[str, ...], BeforeValidator(as_parts), AfterValidator(_raised)] = (
        written(
            "gap:critical,stale,outlier:critical,disagreement,sequence_gap,incomplete",
            description="KIND, or KIND:SEVERITY for those at least so severe",
        )
    )


def _watch(value: tuple[str, ...]) -> tuple[str, ...]:
    parse_watches(value)
    return value


class PriceAlertSettings(Group):
    """Prices that a user wants to hear of. They may change from start to start of a deployment."""

    watch: Annotated[tuple[str, ...], BeforeValidator(as_parts), AfterValidator(_watch)] = Field(
        default=(),
        description="closes of bars: SPY>200@1m,IBM<180.5@1s:critical (warning unless told)",
    )


def _as_route(text: str) -> Route:
    alert_type, severity, channel = text.split(":")
    chosen: Any = severity
    return Route(alert_type, chosen, channel)


class NotifySettings(Group):
    """How patiently notifications are delivered, to each channel for itself."""

    in_worker: bool = Field(
        default=True,
        description="workers with the agent alerts deliver; false: `candlewick alerts deliver`",
    )
    dry_run: bool = Field(default=False, description="log what would be sent, and send nothing")
    send_resolved: bool = Field(default=True, description="also say when an alert is over")
    connect_timeout: Duration = written("5s")
    timeout: Duration = written("10s", description="of a whole attempt")
    attempts: int = Field(default=4, ge=1, le=20, description="then the channel rests")
    first_backoff: Duration = written("500ms", description="bound of the first wait; then doubled")
    max_backoff: Duration = written("30s")
    breaker_failures: int = Field(default=5, ge=1, description="in a row: the channel rests")
    breaker_rest: Duration = written("30s")
    give_up_after: Duration = written("1d", description="of failures: dead, with its reason")


class SlackSettings(Group):
    """An incoming web hook of Slack, or of what speaks its language."""

    url: SecretUrl | None = None
    url_file: Path | None = Field(default=None, description="holds the address alone")


class EmailSettings(Group):
    """Mail by SMTP."""

    host: str | None = Field(default=None, pattern=r"^[0-9A-Za-z_.:-]+$")
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = Field(default=None, description="PEM, whom to trust; none: the system's")
    username: str | None = Field(default=None, min_length=1)
    password: SecretStr | None = None
    password_file: Path | None = Field(default=None, description="holds the password alone")
    sender: Address = "candlewick@localhost"
    recipients: Annotated[tuple[Address, ...], BeforeValidator(as_parts)] = Field(
        default=(), max_length=50
    )

    @model_validator(mode="after")
    def _check(self) -> EmailSettings:
        name = "CANDLEWICK_EMAIL__"
        if self.host is not None and not self.recipients:
            raise ValueError(f"{name}RECIPIENTS is not set; expected name@host, with commas")
        has_password = self.password is not None or self.password_file is not None
        if (self.username is not None) != has_password:
            raise ValueError(f"{name}USERNAME and {name}PASSWORD (or _FILE) go together")
        if has_password and self.security == "none":
            raise ValueError(
                f"{name}SECURITY='none': a password would travel in clear text; expected starttls "
                "or tls"
            )
        return self


class WebhookSettings(Group):
    """A web hook of one's own; signed where there is a secret."""

    url: SecretUrl | None = None
    url_file: Path | None = Field(default=None, description="holds the address alone")
    secret: SecretStr | None = Field(default=None, description="signs each body with HMAC-SHA256")
    secret_file: Path | None = Field(default=None, description="holds the secret alone")


class PagerDutySettings(Group):
    """Events API v2 of PagerDuty."""

    url: Url = "https://events.pagerduty.com/v2/enqueue"
    routing_key: SecretStr | None = None
    routing_key_file: Path | None = Field(default=None, description="holds the key alone")


class OpsgenieSettings(Group):
    """Alert API of Opsgenie."""

    url: Url = "https://api.opsgenie.com/v2/alerts"
    api_key: SecretStr | None = None
    api_key_file: Path | None = Field(default=None, description="holds the key alone")


class NotifyGroups(Group):
    """The groups together, as `app/settings.py` has them; see `notify_groups`."""

    alerts: AlertSettings = AlertSettings()
    notify: NotifySettings = NotifySettings()
    slack: SlackSettings = SlackSettings()
    email: EmailSettings = EmailSettings()
    webhook: WebhookSettings = WebhookSettings()
    pagerduty: PagerDutySettings = PagerDutySettings()
    opsgenie: OpsgenieSettings = OpsgenieSettings()


def notify_groups(settings: object) -> NotifyGroups:
    """Return the groups that settings have; those that they lack have their defaults."""
    found = {name: getattr(settings, name, None) for name in NotifyGroups.model_fields}
    return NotifyGroups(**{name: group for name, group in found.items() if group is not None})
