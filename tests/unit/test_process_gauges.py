"""The process's figures are those of prometheus_client's collector, under the same names."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.registry import Collector

from app.observe.process import OpenFiles, ProcessGauges

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def read(*collectors: Collector) -> dict[str, tuple[str, str, float]]:
    """Type, text and value by name."""
    return {
        sample.name: (family.type, family.documentation, sample.value)
        for collector in collectors
        for family in collector.collect()
        for sample in family.samples
    }


def test_they_are_prometheus_clients() -> None:
    theirs = read(ProcessCollector(registry=CollectorRegistry()))
    ours = read(ProcessGauges(), OpenFiles())
    assert ours.keys() == theirs.keys()
    for name, (kind, text, value) in theirs.items():
        assert ours[name][:2] == (kind, text), name
        # Of what moves between the two, memory by a little.
        assert ours[name][2] == pytest.approx(value, rel=0.05, abs=1.0), name
    assert ours["process_start_time_seconds"] == theirs["process_start_time_seconds"]


def test_an_open_file_is_counted(tmp_path: Path) -> None:
    before = read(OpenFiles())["process_open_fds"][2]
    with (tmp_path / "one").open("wb"), (tmp_path / "two").open("wb"):
        assert read(OpenFiles())["process_open_fds"][2] == before + 2
