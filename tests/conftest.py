"""What all tests share: one real Kafka a session, the vendors' data, a name of one's own."""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from app.broker import BrokerConfig, EmbeddedBroker

# The archive is on by default, and would write beside every deployment of every test: topics,
# groups and time that the test is not about. Tests of sinks name theirs in their settings.
os.environ.setdefault("CANDLEWICK_SINKS__DRIVERS", "none")

# How fast a test is, is nothing that a test asserts: a busy machine would make it fail.
hypothesis_settings.register_profile("candlewick", deadline=None)
hypothesis_settings.load_profile("candlewick")

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A running, ready embedded Kafka, shared by all tests of this process.

    With pytest-xdist each worker process has one of its own. A test that stops a broker makes its
    own; here it takes a name of its own (``unique``) for topics, groups and deployments.
    """
    broker = EmbeddedBroker(BrokerConfig(tmp_path_factory.mktemp("kafka")))
    broker.start()
    try:
        broker.wait_ready()
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of recorded market data beside the checkout; skips where there is none."""
    if not REAL_DATA.is_dir():
        pytest.skip("no recorded market data: expected ../shared/data beside the checkout")
    return REAL_DATA


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """A name for topics and deployments that no other test and no other run has: ``[a-z0-9-]``."""
    stem = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    return f"{stem[:24].strip('-')}-{secrets.token_hex(4)}"
