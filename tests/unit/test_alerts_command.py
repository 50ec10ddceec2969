"""`candlewick alerts test`: one notification, and what came of it."""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from app.cli import candlewick
from app.notify.settings import NotifyGroups, NotifySettings, WebhookSettings
from tables.alerts.records import decode


class Hook(HTTPServer):
    """Answers with one status, in a thread of its own: the command has its own event loop."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.taken.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with Hook() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/secret-part"
        groups = NotifyGroups(
            notify=NotifySettings(first_backoff="1ms", attempts=2), webhook=WebhookSettings(url=url)
        )
        monkeypatch.setattr("app.notify.settings.notify_groups", lambda settings: groups)
        yield server
        server.shutdown()
        thread.join()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(candlewick, ["alerts", *arguments])


def test_a_test_is_delivered_and_says_that_it_is_one(hook: Hook) -> None:
    result = command("test", "--channel", "webhook")
    assert (result.exit_code, result.stdout[:32]) == (0, "webhook: delivered in 1 attempt,")
    (body,) = hook.taken
    assert body["title"] == "Test of webhook from Candlewick"
    assert body["severity"] == "info"


def test_a_dry_run_prints_it_and_sends_nothing(hook: Hook) -> None:
    result = command("test", "--channel", "webhook", "--dry-run")
    assert (result.exit_code, hook.taken) == (0, [])
    assert "Test of webhook from Candlewick" in result.stdout
    assert "secret-part" not in result.output


@pytest.mark.parametrize(("status", "word"), [(400, "dead"), (500, "unavailable")])
def test_a_failure_is_told_with_its_reason_and_an_exit_code(
    hook: Hook, status: int, word: str
) -> None:
    hook.status = status
    result = command("test", "--channel", "webhook", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["result"], answer["reason"]) == (word, f"HTTP {status}")
    line = command("test", "--channel", "webhook").output
    assert f"HTTP {status}" in line
    assert "secret-part" not in line


def test_a_channel_without_an_address_is_one_line_with_the_setting_that_lacks() -> None:
    result = command("test", "--channel", "slack")
    assert (result.exit_code, "CANDLEWICK_SLACK__URL is not set" in result.output) == (2, True)


def test_control_records_are_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    async def send(settings: object, value: bytes) -> int:
        sent.append(value)
        return 4

    monkeypatch.setattr("app.notify.control.send_control", send)
    # By name, `app.cli.alerts` is the command of that module.
    module = importlib.import_module("app.cli.alerts")
    monkeypatch.setattr(module, "reachable", lambda settings: settings)
    silenced = command("silence", "--key", "BTC*", "--for", "2h", "--by", "Ann")
    assert silenced.exit_code == 0
    assert command("unsilence", silenced.stdout.strip()).exit_code == 0
    assert command("acknowledge", "--type", "quality.*").exit_code == 0
    silence, unsilence, acknowledge = map(decode, sent)
    assert (silence.id, silence.key) == (unsilence.id, "BTC*")
    assert acknowledge.alert_type == "quality.*"
    wrong = command("silence", "--key", "x" * 65, "--for", "1h")
    assert (wrong.exit_code, len(sent)) == (2, 3)
