"""What a worker says of its health."""

from __future__ import annotations

import json

from app import __version__
from app.observe.health import STUCK_SECONDS, HealthState, Phase


def test_a_worker_is_ready_when_all_its_partitions_are() -> None:
    health = HealthState()
    assert not health.is_ready
    health.ready()
    assert health.is_ready
    health.partition("bars", 1, Phase.RESTORING, "400 of 900 records")
    assert not health.is_ready
    (told,) = health.report()["partitions"]
    assert (told["agent"], told["partition"], told["phase"]) == ("bars", 1, "restoring")
    assert told["reason"] == "400 of 900 records"
    health.released("bars", 1)
    assert health.is_ready


def test_a_failure_is_final() -> None:
    health = HealthState()
    health.failed("fenced twice")
    health.ready()
    assert not health.is_alive
    assert not health.is_ready
    assert health.report()["reason"] == "fenced twice"


def test_a_report_says_who_it_is_and_since_when() -> None:
    clock = [1_700_000_000.0]
    health = HealthState(now=lambda: clock[0])
    health.describe("d1", "w1", ["bars", "quotes"])
    clock[0] += 5
    health.restoring("2 partitions")
    health.partition("bars", 0, Phase.RESTORING)
    clock[0] += 2
    health.restoring("3 partitions")
    health.partition("bars", 0, Phase.READY)
    clock[0] += 1
    report = json.loads(json.dumps(health.report()))
    assert report.pop("partitions") == [
        {
            "agent": "bars",
            "partition": 0,
            "phase": "ready",
            "reason": "",
            "since": "2023-11-14T22:13:27.000+00:00",
            "phase_seconds": 1.0,
        }
    ]
    assert report == {
        "version": __version__,
        "deployment": "d1",
        "worker": "w1",
        "agents": ["bars", "quotes"],
        "phase": "restoring",
        "reason": "3 partitions",
        # Another reason for the same phase does not begin it anew.
        "since": "2023-11-14T22:13:25.000+00:00",
        "phase_seconds": 3.0,
        "loop_age_seconds": None,
        "started": "2023-11-14T22:13:20.000+00:00",
        "uptime_seconds": 8.0,
    }


def test_a_clock_that_is_set_back_makes_no_negative_times() -> None:
    clock = [1_000.0]
    health = HealthState(now=lambda: clock[0])
    clock[0] = 900.0
    assert health.report()["uptime_seconds"] == 0
    assert health.report()["phase_seconds"] == 0


def test_a_partition_that_stands_still_does_not_end_the_worker() -> None:
    health = HealthState()
    health.ready()
    health.partition("bars", 0, Phase.RESTORING, "the broker is away")
    assert health.is_alive
    assert health.phases() == (Phase.READY, [("bars", Phase.RESTORING)])


def test_a_loop_that_does_not_run_is_stuck_and_one_that_runs_again_is_not() -> None:
    clock = [5.0]
    health = HealthState(monotonic=lambda: clock[0])
    health.ready()
    assert health.loop_age is None
    clock[0] += 1_000
    assert health.is_alive, "no sign of life is expected before the first"
    health.beat()
    clock[0] += STUCK_SECONDS
    assert health.is_alive
    assert health.is_ready
    clock[0] += 1
    assert not health.is_alive
    assert not health.is_ready
    report = health.report()
    assert report["reason"] == "the event loop has not run for 31 s"
    assert (report["phase"], report["loop_age_seconds"]) == ("ready", 31.0)
    health.beat()
    assert health.is_alive
    assert health.report()["reason"] == ""


def test_a_failure_is_the_reason_whatever_the_loop_does() -> None:
    clock = [0.0]
    health = HealthState(monotonic=lambda: clock[0])
    health.beat()
    health.failed("fenced twice")
    clock[0] += 2 * STUCK_SECONDS
    assert not health.is_alive
    assert health.report()["reason"] == "fenced twice"
