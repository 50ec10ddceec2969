"""The same event again and again: what is written, what is counted, what always comes through."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from app.observe.filters import REMEMBERED
from app.observe.logs import CHATTY, configure_structlog, get_logger, logging_configuration
from app.observe.rates import RateFilter
from app.settings import Settings

MOST = 5


class Rates:
    """A filter with a clock and a timer of the test's, and what got through it."""

    def __init__(self, most: int = MOST) -> None:
        self.now = 1_000.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []
        self.told: list[logging.LogRecord] = []
        self.filter = RateFilter(most, lambda: self.now, self._later)
        self.name = "app.rates"

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append((self.now + seconds, call))

    def say(self, text: str, *arguments: object, level: int = logging.INFO, **extra: Any) -> bool:
        """Log a line; whether it is written."""
        record = logging.LogRecord(self.name, level, "x.py", 1, text, arguments, None)
        record.__dict__.update(extra)
        return self.filter.filter(record)

    def pass_by(self, seconds: float) -> None:
        """Let time go by; what is due is called."""
        self.now += seconds
        due = [call for moment, call in self.waiting if moment <= self.now]
        self.waiting = [each for each in self.waiting if each[0] > self.now]
        for call in due:
            call()


@pytest.fixture
def rates(caplog: pytest.LogCaptureFixture) -> Rates:
    """What the filter says itself goes to `caplog`."""
    caplog.set_level(logging.DEBUG, "app.rates")
    return Rates()


def texts(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records]


def test_lines_that_differ_in_their_arguments_are_one_event(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    written = [rates.say("dropped at %d", number) for number in range(20)]
    assert written == [True] * MOST + [False] * 15
    assert texts(caplog) == []
    rates.pass_by(60)
    assert texts(caplog) == ["left out 15 lines within 60 s, the last one: dropped at 19"]
    (line,) = caplog.records
    assert (line.name, line.levelno) == ("app.rates", logging.INFO)
    assert line.__dict__["left_out"] == 15


def test_a_minute_later_they_are_written_again_and_nothing_is_told_twice(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST + 1):
        rates.say("dropped at %d", number)
    rates.pass_by(60)
    assert rates.say("dropped at %d", 77)
    rates.pass_by(600)
    assert len(texts(caplog)) == 1
    assert rates.waiting == []


def test_what_was_left_out_is_told_by_the_next_line_if_that_comes_first(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(MOST + 3):
        rates.say("dropped at %d", number)
    rates.now += 61
    assert rates.say("dropped at %d", 9)
    assert texts(caplog) == ["left out 3 lines within 60 s, the last one: dropped at 7"]
    rates.pass_by(0)
    assert len(texts(caplog)) == 1


def test_each_event_has_a_minute_of_its_own(rates: Rates, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(MOST + 1):
        rates.say("first")
    rates.pass_by(30)
    for _ in range(MOST + 2):
        rates.say("second")
    rates.pass_by(30)
    assert texts(caplog) == ["left out 1 lines within 60 s, the last one: first"]
    rates.pass_by(30)
    assert texts(caplog)[1:] == ["left out 2 lines within 60 s, the last one: second"]


def test_levels_agents_and_loggers_are_events_of_their_own(rates: Rates) -> None:
    for _ in range(MOST):
        assert rates.say("x")
        assert rates.say("x", level=logging.WARNING)
        assert rates.say("x", agent="bars")
        assert rates.say("x", agent="quotes")
    assert not rates.say("x")
    assert not rates.say("x", agent="bars")


def test_partitions_of_an_agent_are_one_event(rates: Rates) -> None:
    written = [rates.say("x", agent="bars", partition=number) for number in range(MOST + 1)]
    assert written == [True] * MOST + [False]


def test_what_ends_something_is_always_written(rates: Rates) -> None:
    assert all(rates.say("over", level=logging.CRITICAL) for _ in range(10 * MOST))
    assert all(rates.say("over", level=logging.ERROR, exit_code=1) for _ in range(10 * MOST))
    assert not all(rates.say("failed", level=logging.ERROR) for _ in range(10 * MOST))


def test_notifications_that_go_to_the_log_are_all_written(rates: Rates) -> None:
    rates.name = "app.notify.log"
    assert all(rates.say("alert %s", number) for number in range(10 * MOST))


def test_zero_lets_everything_through() -> None:
    rates = Rates(0)
    assert all(rates.say("x") for _ in range(1_000))


def test_repeats_that_were_left_out_before_are_counted_too(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MOST):
        rates.say("away")
    rates.say("away", repeated=40)
    rates.pass_by(60)
    assert caplog.records[0].__dict__["left_out"] == 41


def test_memory_is_bounded_and_what_is_forgotten_is_told(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MOST + 1):
        rates.say("first")
    for number in range(REMEMBERED):
        rates.say(f"text {number}")
    assert texts(caplog) == ["left out 1 lines within 60 s, the last one: first"]
    assert len(rates.filter._windows) == REMEMBERED


def test_at_the_end_of_the_process_all_of_it_is_told(
    rates: Rates, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(MOST + 1):
        rates.say("first")
    rates.filter.tell()
    assert texts(caplog) == ["left out 1 lines within 60 s, the last one: first"]
    rates.filter.tell()
    assert len(caplog.records) == 1


# --- in a process's logs -------------------------------------------------------------------------


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


def into_memory(settings: Settings) -> tuple[io.StringIO, RateFilter]:
    """Configure our logging, writing into memory."""
    configuration = logging_configuration(settings)
    stream = io.StringIO()
    configuration["handlers"]["default"]["stream"] = stream
    configure_structlog(settings)
    logging.config.dictConfig(configuration)
    filters = logging.getLogger().handlers[0].filters
    (found,) = [each for each in filters if isinstance(each, RateFilter)]
    return stream, found


def test_the_line_that_counts_has_its_fields_and_no_secret(restored_logging: None) -> None:
    settings = Settings(log={"format": "json", "per_minute": 2})  # type: ignore[arg-type]
    stream, found = into_memory(settings)
    for number in range(4):
        extra = {"agent": "bars"}
        logging.getLogger("app.x").info("at %d: kafka://me:sesame@host", number, extra=extra)
        get_logger("app.y").info("taken", number=number)
    found.tell()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [each for each in lines if "left_out" in each]
    assert len(lines) == 6
    assert [(each["logger"], each["left_out"]) for each in told] == [("app.x", 2), ("app.y", 2)]
    assert told[0]["agent"] == "bars"
    assert told[0]["event"].endswith("the last one: at 3: kafka://********@host")
    assert told[1]["event"].endswith("the last one: taken")
    assert "sesame" not in stream.getvalue()


def test_on_the_console_the_line_says_it_all(restored_logging: None) -> None:
    stream, found = into_memory(Settings(log={"per_minute": 1}))  # type: ignore[arg-type]
    for _ in range(3):
        logging.getLogger("app.x").info("again")
    found.tell()
    assert len(stream.getvalue().splitlines()) == 2
    assert "left out 2 lines within 60 s, the last one: again" in stream.getvalue()
    assert "left_out=" not in stream.getvalue()
