"""Which sinks a deployment has: drivers by name, their topics and groups, the dead letters."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from app.settings import Settings, SettingsError
from app.sinks.drivers import PATHS, chosen, make_driver, sink_topics
from app.sinks.groups import sink_group, sink_groups
from app.sinks.settings import SINKS
from app.topics import SINKS_DEAD, output_topic, own_topics, topic_table
from tests.notify.notes import Time
from tests.unit.sinks_faking import FakeDriver, sink_settings


def driver(*topics: str) -> FakeDriver:
    found = FakeDriver([], Time())
    found.names = topics
    return found


def test_every_sink_of_the_settings_has_a_driver_and_a_group() -> None:
    settings = sink_settings()
    assert tuple(PATHS) == SINKS
    assert sink_groups(settings) == [f"t.d.sink.{name}" for name in SINKS]
    assert sink_group(settings, "influx") == "t.d.sink.influx"


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"sinks": {"drivers": ()}}, ("archive",)),
        ({"sinks": {"drivers": "none"}}, ()),
        ({"sinks": {"drivers": "redis,archive"}}, ("archive", "redis")),
        ({"sinks": {"drivers": ()}, "influx": {"url": "http://127.0.0.1:8086"}}, ("influx",)),
        (
            {"sinks": {"drivers": ()}, "redis": {"url": "redis://127.0.0.1"}},
            ("archive", "redis"),
        ),
    ],
)
def test_the_archive_is_on_where_no_influxdb_is(
    groups: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert chosen(Settings(**groups)) == expected


def test_a_sink_takes_of_its_topics_those_that_the_deployment_has() -> None:
    settings = sink_settings()
    taken = driver("ticks", "quotes", "bars", "indicators")
    assert sink_topics(settings, taken) == {"t.ticks": "ticks", "t.d.bars": "bars"}
    whole = settings.model_copy(update={"agents": ("bars", "quotes", "indicators")})
    assert list(sink_topics(whole, taken).values()) == ["ticks", "quotes", "bars", "indicators"]


def test_trades_and_quotes_are_taken_where_it_is_said_so() -> None:
    settings = sink_settings(ticks=False).model_copy(update={"agents": ("bars", "transactions")})
    taken = driver("ticks", "bars", "transactions")
    assert list(sink_topics(settings, taken).values()) == ["bars", "transactions"]


def test_the_topic_of_dead_letters_is_there_where_there_are_sinks() -> None:
    settings = sink_settings()
    name = output_topic(settings, SINKS_DEAD)
    (spec,) = (spec for spec in topic_table(settings) if spec.name == name)
    assert spec.max_message_bytes > settings.topics.max_message_bytes
    assert spec.partitions == settings.topics.partitions
    assert name in own_topics(settings)
    none = sink_settings(drivers=("none",))
    assert [spec for spec in topic_table(none) if "sinks" in spec.name] == []
    assert len(topic_table(none)) == len(topic_table(settings)) - 1


def test_a_missing_package_is_a_line_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    importing = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "outside_of_us":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importing(name, *arguments, **options)

    class Needy:
        def __init__(self, settings: Settings) -> None:
            import outside_of_us  # type: ignore[import-not-found]  # noqa: F401

    monkeypatch.setattr(builtins, "__import__", without)
    module = type(sys)("needy")
    module.Needy = Needy  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "needy", module)
    monkeypatch.setitem(PATHS, "influx", "needy:Needy")
    with pytest.raises(SettingsError, match=r"pip install 'candlewick\[influx\]'") as caught:
        make_driver(Settings(), "influx")
    assert "needs the package outside_of_us" in str(caught.value)


def test_a_missing_file_of_ours_is_no_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PATHS, "influx", "app.sinks.nowhere:Nothing")
    with pytest.raises(ModuleNotFoundError):
        make_driver(Settings(), "influx")
