"""Figures of the running workers for a summary: batches applied, peak memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

#: Seconds for a worker's metrics page.
PAGE_SECONDS = 5.0


async def count_batches(addresses: Iterable[str], agents: Collection[str]) -> int | None:
    """Return the batches that these agents of the workers have applied; None if one is silent.

    A worker that was started again has counted from there.
    """
    total = 0
    timeout = aiohttp.ClientTimeout(total=PAGE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for address in addresses:
            try:
                async with session.get(f"{address}/metrics") as answer:
                    text = await answer.text()
            except (TimeoutError, aiohttp.ClientError):
                return None
            for family in text_string_to_metric_families(text):
                if family.name == "candlewick_batches":
                    samples = (one for one in family.samples if one.name.endswith("_total"))
                    total += int(sum(one.value for one in samples if one.labels["agent"] in agents))
    return total


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
