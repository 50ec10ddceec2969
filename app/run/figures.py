"""Figures of the running workers: batches applied, peak memory, whether they commit."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from http import HTTPStatus
from pathlib import Path

import aiohttp
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

#: Seconds for a worker's metrics page.
PAGE_SECONDS = 5.0

_timeout = aiohttp.ClientTimeout(total=PAGE_SECONDS)


async def count_batches(addresses: Iterable[str], agents: Collection[str]) -> int | None:
    """Return the batches that these agents of the workers have applied; None if one is silent.

    A worker that was started again has counted from there.
    """
    total = 0
    async with aiohttp.ClientSession(timeout=_timeout) as session:
        for address in addresses:
            families = await _families(session, address)
            if families is None:
                return None
            for family in families:
                if family.name == "candlewick_batches":
                    samples = (one for one in family.samples if one.name.endswith("_total"))
                    total += int(sum(one.value for one in samples if one.labels["agent"] in agents))
    return total


async def has_committed(address: str) -> bool:
    """Whether a worker has committed a checkpoint since its start; False where it is silent."""
    async with aiohttp.ClientSession(timeout=_timeout) as session:
        families = await _families(session, address) or []
    return any(
        sample.name == "candlewick_checkpoint_seconds_count" and sample.value > 0
        for family in families
        for sample in family.samples
    )


async def _families(session: aiohttp.ClientSession, address: str) -> list[Metric] | None:
    try:
        async with session.get(f"{address}/metrics") as answer:
            if answer.status != HTTPStatus.OK:
                return None
            text = await answer.text()
    except (TimeoutError, aiohttp.ClientError):
        return None
    return list(text_string_to_metric_families(text))


def peak_memory(pids: Iterable[int]) -> int | None:
    """Return the greatest peak of resident memory of these processes, in bytes.

    None where the system does not tell (it is Linux's `VmHWM`) or none runs any more.
    """
    peaks = []
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        peaks += [
            int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM:")
        ]
    return max(peaks, default=None)
