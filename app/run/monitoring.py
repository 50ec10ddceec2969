"""What the agents know of the versions at work, of all partitions together.

Data that flows: `DEPLOYMENT.predictions.monitoring` -> the last record of each partition, model,
alias and version -> `merge` -> one record each, with the drift against the bins of the manifest ->
a challenger beside the champion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from app.run.reader import bounds, partitions_of, read_range
from app.settings import Settings
from app.topics import output_topic
from models.predicting.drift import DriftReference
from models.predicting.monitoring_records import Comparison, MonitoringRecord
from models.predicting.monitoring_summaries import challenger_against_champion, merge
from models.predicting.registry import Registry
from models.predicting.registry_errors import ModelError

CHAMPION = "champion"
_decode = msgspec.json.Decoder(MonitoringRecord).decode


@dataclass(frozen=True)
class Watched:
    """What is known of a model.

    Attributes:
        records: the newest version of each alias, of all partitions that have it; the champion
            first.
        comparisons: each other alias against the champion.
        unreadable: versions whose manifest cannot be read, so that drift is not known, and why.
    """

    model: str
    records: tuple[MonitoringRecord, ...]
    comparisons: tuple[Comparison, ...]
    unreadable: tuple[str, ...]


async def read_monitoring(settings: Settings) -> list[MonitoringRecord]:
    """Return the last record of each partition, model, alias and version.

    Raises:
        BrokerUnreachableError, RunError: the topic cannot be read.
    """
    topic = output_topic(settings, "predictions.monitoring")
    partitions = await partitions_of(settings, [topic])
    last: dict[tuple[str, str, int, tuple[int, ...]], MonitoringRecord] = {}
    async for _, records in read_range(settings, await bounds(settings, partitions)):
        for record in records:
            found = _decode(record.value)
            last[found.model, found.alias, found.version, found.partitions] = found
    return list(last.values())


def watched(records: Iterable[MonitoringRecord], registry: Registry) -> list[Watched]:
    """Join partitions, and compare; sorted by model."""
    groups: dict[str, dict[str, list[MonitoringRecord]]] = {}
    for each in records:
        groups.setdefault(each.model, {}).setdefault(each.alias, []).append(each)
    return [_watched(model, groups[model], registry) for model in sorted(groups)]


def _watched(model: str, aliases: dict[str, list[MonitoringRecord]], registry: Registry) -> Watched:
    merged, unreadable = [], []
    for alias in sorted(aliases, key=lambda each: (each != CHAMPION, each)):
        newest = _newest(aliases[alias])
        reference: DriftReference | None = None
        try:
            reference = registry.manifest(model, newest[0].version).drift
        except (ModelError, OSError) as error:
            unreadable.append(str(error))
        merged.append(merge(newest, reference))
    comparisons = []
    if merged[0].alias == CHAMPION:
        comparisons = [challenger_against_champion(merged[0], each) for each in merged[1:]]
    return Watched(model, tuple(merged), tuple(comparisons), tuple(unreadable))


def _newest(records: Sequence[MonitoringRecord]) -> list[MonitoringRecord]:
    """Those of the version that was watched last; a higher one of two in the same hour."""
    version = max(records, key=lambda each: (each.until, each.since, each.version)).version
    return [each for each in records if each.version == version]
