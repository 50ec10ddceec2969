"""The drivers by name, imported only where a deployment has them: each is an extra of its own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from app.settings import Settings, SettingsError
from app.sinks.driver import Driver
from app.sinks.settings import chosen_sinks
from app.topics import INPUTS, input_topic, output_topic, topic_table

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

#: Module and class of each; a driver is made of the settings alone.
PATHS: Final = {
    "archive": "app.sinks.archive:ArchiveDriver",
    "influx": "app.sinks.influx:InfluxDriver",
    "postgres": "app.sinks.postgres:PostgresDriver",
    "redis": "app.sinks.redis:RedisDriver",
}
#: Inputs that `sinks.ticks` is about.
TICKS: Final = ("ticks", "quotes")


@runtime_checkable
class Watching(Protocol):
    """A driver that also writes what its worker measures of itself, or adds to that."""

    def watch(self, registry: CollectorRegistry) -> None:
        """Know the worker's metrics; called before `open`."""


def chosen(settings: Settings) -> tuple[str, ...]:
    """Return the names of a deployment's sinks, sorted; none where there are none."""
    return chosen_sinks(settings.sinks, settings.influx, settings.postgres, settings.redis)


def make_driver(settings: Settings, name: str) -> Driver:
    """Make a driver; the outside system is not touched.

    Raises:
        SettingsError: a package is missing (the message has the command that installs it), or a
            setting that it needs.
        KeyError: there is no such driver.
    """
    module, _, member = PATHS[name].partition(":")
    try:
        made: Driver = getattr(import_module(module), member)(settings)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "app":
            # A file of ours is missing: no package brings it.
            raise
        raise SettingsError(
            f"CANDLEWICK_SINKS__DRIVERS: the sink {name} needs the package {error.name}; "
            f"install it with: pip install 'candlewick[{name}]'"
        ) from error
    return made


def sink_topics(settings: Settings, driver: Driver) -> dict[str, str]:
    """Return the driver's topics that the deployment has: the broker's name, and the short one.

    Trades and quotes are among them where `sinks.ticks` says so.
    """
    there = {spec.name for spec in topic_table(settings)}
    found = {}
    for name in driver.topics:
        if name in TICKS and not settings.sinks.ticks:
            continue
        name_of = input_topic if name in INPUTS else output_topic
        full = name_of(settings, name)
        if full in there:
            found[full] = name
    return found
