"""Logs: one line an event, who says it, and what never appears."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
import structlog

from app.exits import RefusalError
from app.observe.fields import bound_logger
from app.observe.filters import REMEMBERED, RepeatFilter
from app.observe.logs import (
    CHATTY,
    configure_structlog,
    get_logger,
    logging_configuration,
    mask_addresses,
)
from app.settings import Settings, load_settings


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """The test run's own logging afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in CHATTY}
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


def into_memory(settings: Settings) -> io.StringIO:
    """Configure our logging, writing into memory."""
    configuration = logging_configuration(settings)
    stream = io.StringIO()
    configuration["handlers"]["default"]["stream"] = stream
    configure_structlog(settings)
    logging.config.dictConfig(configuration)
    return stream


@pytest.fixture
def json_logs(restored_logging: None) -> io.StringIO:
    """Our logs as JSON."""
    return into_memory(load_settings(log={"format": "json"}, worker="w1", deployment="d1"))


@pytest.fixture
def console_logs(restored_logging: None) -> io.StringIO:
    """Our logs for people."""
    return into_memory(load_settings(worker="w1", deployment="d1"))


def test_an_event_is_one_json_line_with_who_says_it(json_logs: io.StringIO) -> None:
    get_logger("candlewick.test").info("restored", partition=3, seconds=0.2)
    event = json.loads(json_logs.getvalue())
    assert event["event"] == "restored"
    assert (event["partition"], event["worker"], event["deployment"]) == (3, "w1", "d1")
    assert event["level"] == "info"


def test_events_of_other_libraries_look_the_same(json_logs: io.StringIO) -> None:
    logging.getLogger("faust.worker").warning("two\nlines at %s", "kafka://me:word@host:1")
    event = json.loads(json_logs.getvalue())
    assert event["logger"] == "faust.worker"
    assert event["event"] == "two | lines at kafka://********@host:1"


def test_secrets_never_get_into_the_logs(json_logs: io.StringIO) -> None:
    get_logger("candlewick.test").info("x", sasl_password="sesame1", url="kafka://me:sesame2@host")
    assert "sesame" not in json_logs.getvalue()
    assert mask_addresses("no address") == "no address"


def test_tracebacks_of_a_refusal_are_left_out(json_logs: io.StringIO) -> None:
    try:
        try:
            raise RefusalError("settings hash differs")
        except RefusalError as refusal:
            raise RuntimeError("crashed") from refusal
    except RuntimeError:
        logging.getLogger("mode").exception("Error")
    logging.getLogger("faust.worker").critical("We experienced a crash!")
    assert json_logs.getvalue() == ""


def test_what_services_say_of_themselves_is_left_out_unless_faust_is_asked_for(
    json_logs: io.StringIO,
) -> None:
    log = logging.getLogger("app.streaming.tables")
    log.info("[^-%s]: Starting...", "StateTableManager")
    assert json_logs.getvalue() == ""
    log.warning("[^-%s]: Crashed", "StateTableManager")
    logging.getLogger("faust").setLevel(logging.INFO)
    log.info("[^-%s]: Stopping...", "StateTableManager")
    assert len(json_logs.getvalue().splitlines()) == 2


def test_fields_of_a_line_are_json_fields_and_console_text_stays_short(
    json_logs: io.StringIO,
) -> None:
    log = bound_logger(logging.getLogger("app.streaming.runner"), agent="bars", partition=3)
    log.warning("%s %d: dropped", "bars", 3, extra={"position": 17, "error": "ProducerFenced"})
    event = json.loads(json_logs.getvalue())
    assert event["event"] == "bars 3: dropped"
    assert {"agent": "bars", "partition": 3, "position": 17}.items() <= event.items()
    assert (event["error"], event["worker"], event["deployment"]) == ("ProducerFenced", "w1", "d1")


def test_the_console_does_not_say_the_fields_again(console_logs: io.StringIO) -> None:
    log = bound_logger(logging.getLogger("app.streaming.runner"), agent="bars", partition=3)
    log.info("%s %d: restored", "bars", 3, extra={"position": 17})
    line = console_logs.getvalue()
    assert "bars 3: restored" in line
    assert "position" not in line
    assert "agent=" not in line


SECRET = "sesame7"
ADDRESS = f"kafka://me:{SECRET}@host:9092"


def say_it_in_every_way() -> None:
    """Log the secret as text, argument, field, nested field, object and in tracebacks."""
    log, plain = get_logger("candlewick.test"), logging.getLogger("app.test")
    log.info("x", url=ADDRESS, sasl_password=SECRET, settings={"broker": {"password": SECRET}})
    log.info("x", addresses=[ADDRESS], error=OSError(ADDRESS))
    log.info("x", settings=f"BrokerSettings(sasl_password='{SECRET}', port=1)")
    plain.warning("cannot reach %s", ADDRESS)
    plain.warning("options %r", {"sasl_plain_password": SECRET})
    plain.warning("kafka://me:p@%s@host", SECRET)
    plain.warning("CANDLEWICK_BROKER__PASSWORD=%s", SECRET)
    try:
        raise OSError(f"no answer from {ADDRESS}")
    except OSError as error:
        plain.exception("failed")
        log.error("failed", exc_info=True)
        plain.error("failed: %r", error)


def test_secrets_are_masked_in_json(json_logs: io.StringIO) -> None:
    say_it_in_every_way()
    assert len(json_logs.getvalue().splitlines()) == 10
    assert SECRET not in json_logs.getvalue()
    events = [json.loads(line) for line in json_logs.getvalue().splitlines()]
    assert events[0]["url"] == "kafka://********@host:9092"
    assert events[0]["settings"] == {"broker": {"password": "********"}}
    assert "no answer from kafka://********@host:9092" in events[7]["exception"]


def test_secrets_are_masked_on_the_console(console_logs: io.StringIO) -> None:
    say_it_in_every_way()
    assert SECRET not in console_logs.getvalue()
    assert "no answer from kafka://********@host:9092" in console_logs.getvalue()


def test_numbers_stay_numbers_and_are_hidden_under_a_secret_name(json_logs: io.StringIO) -> None:
    get_logger("candlewick.test").info("x", partition=3, ready=True, nothing=None, api_key=5)
    event = json.loads(json_logs.getvalue())
    assert (event["partition"], event["ready"], event["nothing"]) == (3, True, None)
    assert event["api_key"] == "********"


class Repeats:
    """A filter with a clock, and what it let through: (text, repeated)."""

    def __init__(self) -> None:
        self.now = 100.0
        self.filter = RepeatFilter(clock=lambda: self.now)
        self.told: list[tuple[str, int]] = []

    def say(
        self, text: str, name: str = "aiokafka.client", level: int = logging.WARNING, **extra: int
    ) -> None:
        """Log a line."""
        record = logging.LogRecord(name, level, "x.py", 1, text, (), None)
        record.__dict__.update(extra)
        if self.filter.filter(record):
            self.told.append((record.getMessage(), getattr(record, "repeated", 0)))


def test_a_warning_that_repeats_is_told_once_in_ten_seconds_with_its_count() -> None:
    repeats = Repeats()
    for number in range(50):
        repeats.say(f"no connection to node {number}: again in {number / 10} s")
    assert repeats.told == [("no connection to node 0: again in 0.0 s", 0)]
    repeats.now += 10
    repeats.say("no connection to node 77: again in 1 s")
    repeats.say("no connection to node 78: again in 1 s")
    assert repeats.told[1:] == [("no connection to node 77: again in 1 s", 49)]
    repeats.now += 10
    repeats.say("no connection to node 1: again in 1 s")
    assert repeats.told[2:] == [("no connection to node 1: again in 1 s", 1)]


def test_what_differs_is_told() -> None:
    repeats = Repeats()
    # A number in a line of ours is news; of another partition, too; information always is.
    for position in (5, 6):
        repeats.say(f"dropped at {position}", name="app.streaming.engine")
    for partition in (0, 1):
        repeats.say("unreadable", partition=partition)
    for _ in range(2):
        repeats.say("started", level=logging.INFO)
        repeats.say("over", level=logging.CRITICAL)
    repeats.say("no connection", level=logging.WARNING)
    repeats.say("no connection", level=logging.ERROR)
    repeats.say("no connection", name="faust")
    assert len(repeats.told) == 11
    assert {count for _, count in repeats.told} == {0}


def test_the_memory_of_what_was_told_is_bounded() -> None:
    repeats = Repeats()
    for number in range(REMEMBERED + 1):
        repeats.say(f"at {number}", name="app.x")
    repeats.say("at 0", name="app.x")
    repeats.say(f"at {REMEMBERED}", name="app.x")
    assert len(repeats.told) == REMEMBERED + 2


def test_the_count_of_repeats_is_in_the_line(json_logs: io.StringIO) -> None:
    configuration = logging.getLogger().handlers[0]
    repeat = next(each for each in configuration.filters if isinstance(each, RepeatFilter))
    now = [100.0]
    repeat._clock = lambda: now[0]
    for _ in range(3):
        logging.getLogger("aiokafka").warning("away")
        get_logger("candlewick.test").warning("gone")
    now[0] += 10
    logging.getLogger("aiokafka").warning("away")
    get_logger("candlewick.test").warning("gone")
    events = [json.loads(line) for line in json_logs.getvalue().splitlines()]
    assert [(each["event"], each.get("repeated")) for each in events] == [
        ("away", None),
        ("gone", None),
        ("away", 2),
        ("gone", 2),
    ]
