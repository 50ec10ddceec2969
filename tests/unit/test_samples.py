"""What only the event loop may read, and scrapes from another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from app.observe.samples import LoopSamples

AGE = "candlewick_sample_age_seconds"


class Owned(Collector):
    """Notes in which thread it was read."""

    def __init__(self) -> None:
        self.value = 1.0
        self.threads: list[int] = []

    def collect(self) -> Iterator[Metric]:
        """One gauge."""
        self.threads.append(threading.get_ident())
        yield GaugeMetricFamily("owned", "of the loop", value=self.value)


class Broken(Collector):
    """Cannot be read."""

    def describe(self) -> Iterator[Metric]:
        """Its name is known."""
        yield GaugeMetricFamily("broken", "never read")

    def collect(self) -> Iterator[Metric]:
        """Fail."""
        raise ValueError("broken")


class Scraper:
    """A thread with an event loop of its own, as the front is, that asks and reads."""

    def __init__(self, samples: LoopSamples, registry: CollectorRegistry) -> None:
        self._samples, self._registry = samples, registry

    def scrape(self, seconds: float) -> tuple[float | None, float | None]:
        """Return what `owned` and the age are, after a wait of so many seconds at most."""
        found: list[tuple[float | None, float | None]] = []

        async def ask() -> None:
            await self._samples.refresh(seconds)
            value = self._registry.get_sample_value
            found.append((value("owned"), value(AGE)))

        thread = threading.Thread(target=lambda: asyncio.run(ask()))
        thread.start()
        thread.join(30)
        (one,) = found
        return one


def made(
    monotonic: Callable[[], float] = lambda: 0.0, *others: Collector
) -> tuple[LoopSamples, Owned, CollectorRegistry]:
    """Samples of a collector, in a registry."""
    samples, owned, registry = LoopSamples(monotonic), Owned(), CollectorRegistry()
    registry.register(samples)
    for each in (owned, *others):
        registry.register(samples.hold(each))
    return samples, owned, registry


def test_without_a_loop_it_is_read_at_the_scrape() -> None:
    samples, owned, registry = made()
    assert Scraper(samples, registry).scrape(0.0) == (1.0, 0.0)
    owned.value = 2.0
    assert Scraper(samples, registry).scrape(0.0) == (2.0, 0.0)


async def test_a_loop_that_has_time_reads_for_each_scrape_and_nobody_else_does() -> None:
    samples, owned, registry = made()
    owned.threads.clear()
    samples.bind(asyncio.get_running_loop())
    owned.value = 2.0
    found = await asyncio.to_thread(Scraper(samples, registry).scrape, 30.0)
    assert found == (2.0, 0.0)
    owned.value = 3.0
    assert registry.get_sample_value("owned") == 3.0, "on the loop itself it is read at once"
    assert set(owned.threads) == {threading.get_ident()}
    samples.unbind()
    found = await asyncio.to_thread(Scraper(samples, registry).scrape, 30.0)
    assert found == (3.0, 0.0)


async def test_a_blocked_loop_gives_the_last_sample_with_its_age_and_is_asked_once() -> None:
    now = [100.0]
    samples, owned, registry = made(lambda: now[0])
    samples.bind(asyncio.get_running_loop())
    owned.threads.clear()
    owned.value = 2.0
    now[0] = 107.0
    # Called here, it keeps this loop from running.
    for _ in range(5):
        assert Scraper(samples, registry).scrape(0.01) == (1.0, 7.0)
    assert owned.threads == []
    await asyncio.sleep(0)
    assert owned.threads == [threading.get_ident()]
    now[0] = 108.0
    # Nothing is left over that would keep the next scrape from asking.
    assert Scraper(samples, registry).scrape(0.01) == (2.0, 1.0)
    owned.value = 3.0
    found = await asyncio.to_thread(Scraper(samples, registry).scrape, 30.0)
    assert found == (3.0, 0.0)


async def test_what_cannot_be_read_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    samples, _, registry = made(lambda: 0.0, Broken())
    samples.bind(asyncio.get_running_loop())
    assert Scraper(samples, registry).scrape(0.0)[0] == 1.0
    assert "Broken cannot be read" in caplog.text


async def test_a_loop_that_has_ended_is_not_waited_for() -> None:
    samples, _, registry = made()
    ended = asyncio.new_event_loop()
    samples.bind(ended)
    ended.close()
    assert Scraper(samples, registry).scrape(0.01) == (1.0, 0.0)


def test_names_are_those_of_what_is_held() -> None:
    _, _, registry = made(lambda: 0.0, Broken())
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Broken())
