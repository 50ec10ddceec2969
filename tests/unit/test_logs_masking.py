"""Secrets in forms that no name stands before, and words that are none."""

from __future__ import annotations

import pytest

from app.observe.masking import MASK, mask_text, mask_value

TOKEN = "s3same-Abcdefghijklmnop=="
WEB_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzM3NhbWUifQ.c2lnbmF0dXJl"
PEM = f"-----BEGIN PRIVATE KEY-----\n{TOKEN}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"authorization=Basic {TOKEN}, next",
        f'{{"Authorization": "Token {TOKEN}", "port": 1}}',
        f"headers={{'authorization': 'Bearer {TOKEN}'}}",
        "Authorization: Basic c2VzYW1l",
        f"X-Api-Key: {TOKEN}",
        f"api-key={TOKEN}&limit=5",
        f"passphrase: {TOKEN}",
        f"DB_PWD={TOKEN}",
        f"aws_secret_access_key = {TOKEN}",
        f"private_key='{TOKEN}'",
        f"sent Bearer {TOKEN} to the collector",
        f"Token {TOKEN}",
        f"got {WEB_TOKEN}.",
        PEM,
        PEM.replace("PRIVATE", "EC PRIVATE"),
        PEM.partition("-----END")[0],
        "https://hooks.slack.com/services/T0/B0/s3same",
        f"kafka://me:{TOKEN}@host/x",
    ],
)
def test_a_secret_is_hidden_wherever_it_stands(text: str) -> None:
    masked = mask_text(text)
    for part in (TOKEN, "c2VzYW1l", WEB_TOKEN, "s3same"):
        assert part not in masked
    assert MASK in masked
    assert TOKEN not in str(mask_value("settings", {"text": text, "lines": [text]}))


@pytest.mark.parametrize(
    "text",
    [
        "bars 3: restored to position 17 in 0.20 s (4 changelog records)",
        "Basic authentication is needed",
        "the bearer of this message",
        "https://example.org/a/b?limit=5",
        "ready with 4 partitions: bars 0, bars 1",
        "eyJ is how they begin",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("name", ["authorization", "X-Api-Key", "passphrase", "access_key", "pwd"])
def test_a_field_of_a_secret_name_is_hidden_whatever_it_holds(name: str) -> None:
    assert mask_value(name, "x") == MASK
    assert mask_value("all", {name: [1, "x"]}) == {name: MASK}


def test_masking_again_changes_nothing() -> None:
    once = mask_text(f"Authorization: Bearer {TOKEN}; password={TOKEN} {WEB_TOKEN}")
    assert mask_text(once) == once
