"""Refusals that are over with the next attempt are left out; those that last are told."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from aiokafka.errors import NotEnoughReplicasError, RequestTimedOutError
from aiokafka.structs import TopicPartition

from app.observe import filters
from app.observe.filters import RetryFilter, note_taken
from app.observe.logs import logging_configuration
from app.settings import Settings

#: As in aiokafka's `producer/sender.py`.
TEXT = "Got error produce response on topic-partition %s, retrying. Error: %s"


def refused(
    partition: int = 0, error: type[Exception] = NotEnoughReplicasError
) -> logging.LogRecord:
    arguments = (TopicPartition("bars", partition), error)
    return logging.LogRecord(
        "aiokafka.producer.sender", logging.WARNING, "sender.py", 1, TEXT, arguments, None
    )


def filtered() -> tuple[Callable[[float, logging.LogRecord], bool], RetryFilter]:
    now = [0.0]
    found = RetryFilter(lambda: now[0])

    def tell(seconds: float, record: logging.LogRecord) -> bool:
        now[0] = seconds
        return bool(found.filter(record))

    return tell, found


def test_a_refusal_now_and_then_is_left_out_for_ever() -> None:
    tell, _ = filtered()
    assert not any(tell(seconds * 1.5, refused()) for seconds in range(1000))


def test_one_that_lasts_is_told_after_two_seconds() -> None:
    tell, _ = filtered()
    told = [tell(tenth / 10, refused()) for tenth in range(40)]
    assert told == [False] * 20 + [True] * 20
    # A gap: it was over, and begins anew.
    assert not tell(6.0, refused())


def test_one_that_takes_records_in_between_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_taken", {})
    tell, _ = filtered()
    for tenth in range(100):
        assert not tell(tenth / 10, refused())
        note_taken([TopicPartition("bars", 0)], tenth / 10 + 0.05)
    # From the last success on it lasts.
    told = [tell(10 + tenth / 10, refused()) for tenth in range(40)]
    assert told == [False] * 20 + [True] * 20


def test_partitions_are_judged_each_by_itself() -> None:
    tell, _ = filtered()
    assert not any(tell(number / 4, refused(number % 16)) for number in range(400))


def test_other_lines_pass() -> None:
    tell, _ = filtered()
    assert tell(0.0, refused(error=RequestTimedOutError))
    ours = logging.LogRecord("app.x", logging.WARNING, "x.py", 1, "text", None, None)
    assert tell(0.0, ours)
    other = logging.LogRecord("aiokafka.producer.sender", 30, "x.py", 1, "%s", ("text",), None)
    assert tell(0.0, other)


def test_a_workers_log_has_it_before_what_repeats() -> None:
    configuration = logging_configuration(Settings())
    names = configuration["handlers"]["default"]["filters"]
    assert configuration["filters"]["retry"]["()"] is RetryFilter
    assert names.index("retry") < names.index("repeat")
