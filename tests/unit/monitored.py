"""Monitors and what they have seen, for tests of the monitoring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from models.predicting.monitoring import Realised, VersionMonitor
from models.predicting.monitoring_pairs import HOUR, Champion
from models.predicting.monitoring_records import Comparison, MonitoringRecord
from models.predicting.monitoring_summaries import challenger_against_champion


def recorded(monitor: VersionMonitor, partition: int = 0, until: int = HOUR) -> MonitoringRecord:
    """What a partition publishes of a challenger."""
    return monitor.record("returns", "challenger", 9, partition, until)


def watched(outcomes: Sequence[Realised], **named: Any) -> VersionMonitor:
    """A monitor that has seen outcomes."""
    monitor = VersionMonitor(**named)
    for each in outcomes:
        monitor.update(each)
    return monitor


def realised(target: float, time: int = 0, prediction: float = 0.0, half: float = 1.0) -> Realised:
    """An outcome with an interval."""
    return Realised(prediction, prediction - half, prediction + half, target, None, time)


def assert_alike(one: Any, other: Any) -> None:
    """Whole numbers and texts equal, floats but for rounding."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for each, beside in zip(one, other, strict=True):
            assert_alike(each, beside)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
    else:
        assert one == other


CHAMPION = msgspec.structs.replace(recorded(VersionMonitor()), alias="champion", version=7)


def compared(challenger: MonitoringRecord, champion: int = 7) -> Comparison:
    """The challenger beside a version that is the champion."""
    return challenger_against_champion(
        msgspec.structs.replace(CHAMPION, version=champion), challenger
    )


def contest(share: float, hours: int, seed: int = 1, rows: int = 60) -> list[Realised]:
    """A challenger that knows a share of the target more than the champion does."""
    chance = np.random.default_rng(seed)
    target = chance.standard_t(5, hours * rows) * 1e-3
    one, other = chance.standard_normal((2, hours * rows)) * 2e-4
    return [
        realised(float(came), number * HOUR // rows, float(guess + share * came))._replace(
            champion=Champion(1, 7, float(beside))
        )
        for number, (came, guess, beside) in enumerate(zip(target, one, other, strict=True))
    ]
