"""What each channel sends: nothing that a text says can steer it, and nothing is too long."""

from __future__ import annotations

import email
import email.policy
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.notify.channel import PermanentError, TransientError
from app.notify.channels import make_channel, make_channels
from app.notify.email import EmailChannel
from app.notify.http import Poster
from app.notify.log import LogChannel
from app.notify.messages import clean, escape_slack, lines, plain_text, subject
from app.notify.settings import (
    AlertSettings,
    EmailSettings,
    NotifyGroups,
    OpsgenieSettings,
    PagerDutySettings,
    SlackSettings,
    WebhookSettings,
)
from app.notify.webhooks import IDEMPOTENCY, OpsgenieChannel, PagerDutyChannel, SlackChannel
from app.settings import SettingsError
from tables.alerts.records import NotificationRecord
from tests.certificates import Authority
from tests.notify.notes import NOW, SECOND, note, patience, several
from tests.notify.servers import HttpServer, Mailbox, closed_port

EVIL = "<!channel> & <http://x|y>\r\nBcc: all@example.com\u202e\x1b[2J"


def mail_settings(port: int, **more: Any) -> EmailSettings:
    chosen = {"host": "localhost", "security": "none", "recipients": "a@example.com,b@example.com"}
    return EmailSettings(**{**chosen, "port": port, **more})


def mail_channel(port: int, secret: str | None = None, **more: Any) -> EmailChannel:
    settings = mail_settings(port, **more)
    return EmailChannel(settings, secret, "test", patience(), now=lambda: NOW / SECOND)


def read_mail(content: bytes) -> Any:
    return email.message_from_bytes(content, policy=email.policy.default)


async def sent(channel: Any, http: HttpServer, notification: NotificationRecord) -> list[Any]:
    """Return the bodies of the requests."""
    await channel.send(notification)
    await channel.close()
    return [json.loads(request.body) for request in http.requests]


# --- texts ---------------------------------------------------------------------------------


def test_a_message_says_what_how_often_when_and_how_bad() -> None:
    assert subject(note()) == "[CRITICAL] SPY moves"
    assert subject(note(action="repeat")) == "[CRITICAL, still] SPY moves"
    assert subject(note(action="resolve")) == "[RESOLVED] SPY moves"
    assert lines(note(by="Ann")) == [
        "It moves a lot.",
        "Alert: anomaly.price, SPY",
        "12 events: 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:20.000Z",
        "Worst value: 9.5",
        "price: 512.3",
        "Acknowledged by Ann",
    ]
    assert lines(several(25))[-1].endswith("K19 (warning, 1) and 5 more")


@given(st.text(max_size=300))
@hypothesis_settings(deadline=None)
def test_a_cleaned_text_is_one_line_that_steers_nothing(text: str) -> None:
    found = clean(text)
    assert len(found.splitlines()) <= 1
    assert found.isprintable()


@given(st.text(alphabet="<>&a!", max_size=200), st.integers(10, 100))
@hypothesis_settings(deadline=None)
def test_a_text_for_slack_has_no_markup_and_no_entity_cut_in_two(text: str, limit: int) -> None:
    found = escape_slack(text, limit)
    assert len(found) <= limit
    assert "<" not in found
    assert ">" not in found
    back = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert text.startswith(back.removesuffix("…"))


# --- web hooks -----------------------------------------------------------------------------


async def test_slack_gets_escaped_verbatim_blocks_within_its_limits(http: HttpServer) -> None:
    channel = SlackChannel(http.url, Poster(patience()))
    details = {f"name {number} {EVIL}"[:64]: "<" * 200 for number in range(16)}
    (body,) = await sent(channel, http, note(title=EVIL, text="<@U1>" * 200, details=details))
    header, section, _ = body["blocks"]
    assert "&lt;!channel&gt; &amp; &lt;http://x|y&gt;" in header["text"]["text"]
    assert (header["text"]["type"], section["text"]["verbatim"]) == ("plain_text", True)
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3_000
    assert len(body["text"]) <= 3_000
    raw = http.requests[0].body.decode()
    assert "<" not in raw
    assert "\u202e" not in raw
    assert "\x1b" not in raw


async def test_pagerduty_gets_a_trigger_and_a_resolve_of_the_same_incident(
    http: HttpServer,
) -> None:
    http.answers = [(202, {}, "{}")]
    channel = PagerDutyChannel(http.url, "KEY", "test", Poster(patience()))
    await channel.send(note())
    first, last = await sent(channel, http, note(action="resolve"))
    assert first["dedup_key"] == last["dedup_key"] == "test/anomaly.price/SPY"
    assert (first["event_action"], last["event_action"]) == ("trigger", "resolve")
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["timestamp"] == "2023-11-14T22:14:20.000Z"
    assert first["routing_key"] == "KEY"
    assert "KEY" not in channel.preview(note())


async def test_a_message_about_several_keys_is_an_incident_for_each(http: HttpServer) -> None:
    channel = PagerDutyChannel(http.url, "KEY", "test", Poster(patience()))
    bodies = await sent(channel, http, several(3))
    assert [body["dedup_key"][-2:] for body in bodies] == ["K0", "K1", "K2"]
    assert len({request.headers[IDEMPOTENCY] for request in http.requests}) == 3


async def test_opsgenie_gets_an_alert_and_its_end_by_the_same_alias(http: HttpServer) -> None:
    channel = OpsgenieChannel(f"{http.url}/", "KEY", "test", Poster(patience()))
    await channel.send(note(key="BTC/USD"))
    first, _ = await sent(channel, http, note(key="BTC/USD", action="resolve"))
    assert first["alias"] == "test/anomaly.price/BTC/USD"
    assert (first["priority"], len(first["message"]) <= 130) == ("P1", True)
    assert http.requests[0].path == "/hook/secret-part"
    alias = "test%2Fanomaly.price%2FBTC%2FUSD"
    assert http.requests[1].path == f"/hook/secret-part/{alias}/close?identifierType=alias"
    assert http.requests[1].headers["Authorization"] == "GenieKey KEY"
    assert "KEY" not in channel.preview(note()).replace("GenieKey", "")


# --- mail ----------------------------------------------------------------------------------


async def test_a_mail_arrives_and_no_text_makes_a_header_of_its_own() -> None:
    mailbox = Mailbox()
    async with mailbox.serve():
        await mail_channel(mailbox.port).send(note(title=EVIL, text=EVIL, severity="warning"))
    mail = read_mail(mailbox.mails[0])
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("[WARNING] <!channel> & <http://x|y>  Bcc: all@example.com")
    assert mail["To"] == "a@example.com, b@example.com"
    assert mail["Message-ID"] == f"<{note().id}@test.candlewick>"
    assert mail.get_content_type() == "text/plain"
    body = mail.get_content()
    assert "\x1b" not in body
    assert "\nBcc" not in body.replace("\r", "")
    assert body.rstrip().endswith(f"Id: {note().id}")


async def test_the_same_mail_again_has_the_same_id_and_long_texts_stay_bounded() -> None:
    mailbox = Mailbox()
    long = note(text="é" * 1_000, title="ü" * 200)
    async with mailbox.serve(enable_SMTPUTF8=False):
        for _ in range(2):
            await mail_channel(mailbox.port).send(long)
    first, second = map(read_mail, mailbox.mails)
    assert first["Message-ID"] == second["Message-ID"]
    assert len(mailbox.mails[0]) < 20_000
    assert "ü" * 200 in first["Subject"]


@pytest.mark.parametrize(
    ("answer", "expected"), [("451 later", TransientError), ("554 never", PermanentError)]
)
async def test_the_class_of_a_refusal_says_whether_it_is_for_good(
    answer: str, expected: type[Exception]
) -> None:
    mailbox = Mailbox()
    mailbox.answers = [answer]
    async with mailbox.serve():
        with pytest.raises(expected, match=f"SMTP {answer[:3]}"):
            await mail_channel(mailbox.port).send(note())


async def test_a_refused_recipient_does_not_keep_the_others_from_their_mail(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mailbox = Mailbox()
    async with mailbox.serve():
        mailbox.refused = {"a@example.com": "550 unknown"}
        await mail_channel(mailbox.port).send(note())
        assert len(mailbox.mails) == 1
        assert "1 recipients were refused (550)" in caplog.text
        mailbox.refused["b@example.com"] = "550 unknown"
        with pytest.raises(PermanentError, match="2 recipients"):
            await mail_channel(mailbox.port).send(note())
        mailbox.refused["b@example.com"] = "451 busy"
        with pytest.raises(TransientError, match="2 recipients"):
            await mail_channel(mailbox.port).send(note())


async def test_a_mail_server_that_is_away_is_transient() -> None:
    with pytest.raises(TransientError, match="SMTPConnectError"):
        await mail_channel(closed_port()).send(note())


async def test_starttls_checks_the_certificate_and_the_password_goes_encrypted(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.issue("mail", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    mailbox = Mailbox()
    user = {"security": "starttls", "username": "me", "password": "unused"}
    options = {"tls_context": context, "authenticator": mailbox.authenticate}
    async with mailbox.serve(**options):
        trusted = {**user, "ca_file": authority.file}
        await mail_channel(mailbox.port, "right", **trusted).send(note())
        assert (mailbox.users, mailbox.encrypted) == ([("me", "right")], [True])
        with pytest.raises(PermanentError, match="SMTP 535"):
            await mail_channel(mailbox.port, "wrong", **trusted).send(note())
        # Nobody vouches for it without the authority's file.
        with pytest.raises(TransientError):
            await mail_channel(mailbox.port, "right", **user).send(note())
    async with mailbox.serve(tls=context):
        channel = mail_channel(mailbox.port, security="tls", ca_file=authority.file)
        await channel.send(note())
    assert len(mailbox.mails) == 2


async def test_a_server_without_tls_gets_no_mail_where_tls_is_asked_for() -> None:
    mailbox = Mailbox()
    async with mailbox.serve():
        with pytest.raises(TransientError):
            await mail_channel(mailbox.port, security="starttls").send(note())
    assert mailbox.mails == []


# --- log and settings ----------------------------------------------------------------------


async def test_the_log_gets_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await LogChannel().send(note(title=EVIL))
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert len(record.getMessage().splitlines()) == 1


def test_a_channel_that_nothing_says_how_to_reach_is_none_and_a_route_to_it_is_refused() -> None:
    groups = NotifyGroups()
    names = ("slack", "email", "webhook", "pagerduty", "opsgenie")
    assert [make_channel(name, groups, "test") for name in names] == [None] * 5
    assert [channel.name for channel in make_channels(groups, "test")] == ["log"]
    routed = NotifyGroups(alerts=AlertSettings(routes="*:critical:slack"))
    with pytest.raises(SettingsError, match="names slack; expected CANDLEWICK_SLACK__URL"):
        make_channels(routed, "test")


async def test_all_channels_are_made_of_settings_and_secrets_come_from_files(
    tmp_path: Path,
) -> None:
    file = tmp_path / "url"
    file.write_text("https://hooks.example.com/a/b\n")
    groups = NotifyGroups(
        alerts=AlertSettings(
            routes="*:info:slack,*:info:email,a.*:info:webhook,"
            "*:critical:pagerduty,*:critical:opsgenie,*:info:log"
        ),
        slack=SlackSettings(url_file=file),
        email=mail_settings(25),
        webhook=WebhookSettings(url="http://localhost:1/x", secret="s"),
        pagerduty=PagerDutySettings(routing_key="k"),
        opsgenie=OpsgenieSettings(api_key="k"),
    )
    found = make_channels(groups, "test")
    assert [channel.name for channel in found] == [
        *("slack", "email", "webhook", "pagerduty", "opsgenie", "log")
    ]
    assert all(channel.preview(note()) for channel in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ftp://x/y", "expected http"),
        ("http://user:pw@host/x", "without user"),
        ("http://h/x\nhttp://h/y", "one line"),
        ("", "one line"),
        ("x" * 5000, "one line"),
        (None, "No such file"),
    ],
)
def test_a_file_with_no_address_is_refused_without_showing_it(
    tmp_path: Path, text: str | None, message: str
) -> None:
    file = tmp_path / "url"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError, match=message) as raised:
        make_channel("slack", NotifyGroups(slack=SlackSettings(url_file=file)), "test")
    assert "pw@" not in str(raised.value)


def test_what_cannot_be_is_refused_by_the_settings() -> None:
    bad: list[tuple[type[Any], dict[str, Any], str]] = [
        (AlertSettings, {"routes": "*:fatal:slack"}, "is not a route"),
        (AlertSettings, {"routes": "*:info:fax"}, "is not a route"),
        (AlertSettings, {"quiet_time": "10ms"}, "at least 1s"),
        (SlackSettings, {"url": "file:///etc/passwd"}, "expected http"),
        (EmailSettings, {"host": "h"}, "RECIPIENTS is not set"),
        (EmailSettings, {"recipients": "a@b\r\nBcc: c@d"}, "is not an address"),
        (EmailSettings, {"username": "me"}, "go together"),
        (EmailSettings, {"username": "u", "password": "p", "security": "none"}, "clear text"),
        (OpsgenieSettings, {"url": "https://user@host/"}, "String should match"),
    ]
    for group, values, message in bad:
        with pytest.raises(ValueError, match=message):
            group(**values)
    rules = AlertSettings(routes="a.*:warning:slack").rules("d", 1, 2)
    assert rules.channels("a.b", "critical") == ("slack",)
    assert rules.channels("b", "critical") == ()


def test_plain_text_is_bounded() -> None:
    longest = several(100, text="x" * 1_000, details={f"k{n}" * 10: "v" * 200 for n in range(16)})
    assert len(plain_text(longest)) < 8_000
