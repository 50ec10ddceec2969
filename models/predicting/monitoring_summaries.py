"""From sums to figures, of one partition or of all; and a challenger against the champion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from models.predicting.drift import DriftReference
from models.predicting.monitoring_pairs import CONFIDENCE, mean_difference, merged_pairs
from models.predicting.monitoring_records import (
    Comparison,
    Figures,
    MonitoringRecord,
    MonitoringSums,
    Verdict,
)


def figures(
    sums: MonitoringSums,
    drift: Mapping[str, tuple[int, ...]],
    reference: DriftReference | None,
) -> Figures:
    """Return what sums amount to.

    Args:
        sums: of any number of partitions.
        drift: live rows by bin, by feature, in the reference's order.
        reference: of the version; None for no PSI.
    """
    live = tuple(drift.values())
    stability = reference.stability(live) if reference is not None and live else None
    psi = None
    if stability is not None:
        psi = {name: round(each, 6) for name, each in zip(drift, stability, strict=True)}
    # The first of equals.
    worst = max(psi, key=psi.__getitem__) if psi else None
    return Figures(
        outcomes=sums.outcomes,
        mse=_share(sums.squared_error, sums.outcomes),
        mse_zero=_share(sums.squared_zero, sums.outcomes),
        mse_last_value=_share(sums.squared_last_value, sums.outcomes),
        skill_against_zero=_skill(sums.squared_error, sums.squared_zero),
        skill_against_last_value=_skill(sums.squared_error, sums.squared_last_value),
        mean_absolute_error=_share(sums.absolute_error, sums.outcomes),
        hit_rate=_share(sums.hits, sums.signed),
        intervals=sums.intervals,
        coverage=_share(sums.inside, sums.intervals),
        mean_width=_share(sums.width, sums.intervals),
        recent_skill=_skill(sums.recent_squared_error, sums.recent_squared_zero),
        recent_coverage=_share(sums.recent_inside, sums.recent_intervals),
        rows=sum(live[0]) if live else 0,
        psi=psi,
        worst_feature=worst,
        worst_psi=psi[worst] if psi and worst is not None else None,
    )


def merge(
    records: Sequence[MonitoringRecord], reference: DriftReference | None = None
) -> MonitoringRecord:
    """Return one record of several partitions, in any order: the last one of each.

    Counts, and so coverage and PSI, are those of one partition that had seen it all; sums of floats
    are so but for rounding. Recent figures are of the last outcomes of each partition.
    Partitions forget days each for itself, by their own rows: one that had none on a day still
    counts an older one.

    Args:
        records: of one version in one role; at least one.
        reference: of the version, from its manifest; None for no PSI.

    Raises:
        ValueError: none, of different versions or roles, or two of one partition.
    """
    if len({(each.model, each.alias, each.version) for each in records}) != 1:
        raise ValueError("expected records of one version in one role, and at least one")
    ordered = sorted(records, key=lambda each: each.partitions)
    partitions = tuple(sorted(one for each in ordered for one in each.partitions))
    if len(set(partitions)) != len(partitions):
        raise ValueError(f"two records of one partition among {partitions}")
    first = ordered[0]
    sums = _added([each.sums for each in ordered])
    drift = _added_drift([each.drift for each in ordered if each.drift])
    return MonitoringRecord(
        model=first.model,
        alias=first.alias,
        version=first.version,
        partitions=partitions,
        since=min(each.since for each in ordered),
        until=max(each.until for each in ordered),
        figures=figures(sums, drift, reference),
        sums=sums,
        drift=drift,
        paired=merged_pairs(each.paired for each in ordered if each.paired is not None),
    )


def challenger_against_champion(
    champion: MonitoringRecord, challenger: MonitoringRecord
) -> Comparison:
    """Compare two versions on the rows that both predicted, and whose target is known.

    Args:
        champion: of one partition, or merged.
        challenger: the same; its pairs count if they are with this champion.

    Raises:
        ValueError: records of two models.
    """
    if champion.model != challenger.model:
        raise ValueError(f"{champion.model} and {challenger.model}; expected one model")
    paired = challenger.paired
    if paired is not None and paired.champion != champion.version:
        paired = None
    blocks = paired.blocks if paired is not None else ()
    rows = sum(each for _, each, _ in blocks)
    champion_mse = _share(paired.champion_error, rows) if paired is not None else None
    difference = _share(math.fsum(total for _, _, total in blocks), rows)
    found = mean_difference(blocks)
    verdict: Verdict = "undecided"
    if found is not None and (found.low > 0 or found.high < 0):
        verdict = "better" if found.low > 0 else "worse"
    own_mse = None
    if champion_mse is not None and difference is not None:
        own_mse = max(0.0, champion_mse - difference)
    return Comparison(
        model=champion.model,
        champion=champion.version,
        challenger=challenger.version,
        rows=rows,
        blocks=len(blocks),
        champion_mse=champion_mse,
        challenger_mse=own_mse,
        skill=_skill(own_mse, champion_mse) if own_mse is not None and champion_mse else None,
        difference=difference,
        standard_error=found.standard_error if found is not None else None,
        low=found.low if found is not None else None,
        high=found.high if found is not None else None,
        confidence=CONFIDENCE,
        verdict=verdict,
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _skill(error: float, beside: float) -> float | None:
    """Return 1 - error / beside; None where that is not a number."""
    if not beside:
        return None
    found = 1 - error / beside
    return found if math.isfinite(found) else None


def _added(sums: Sequence[MonitoringSums]) -> MonitoringSums:
    """Return the sums of sums; those of floats do not depend on the order."""
    whole = MonitoringSums()
    for name in MonitoringSums.__struct_fields__:
        held = [getattr(each, name) for each in sums]
        exact = isinstance(getattr(whole, name), int)
        setattr(whole, name, sum(held) if exact else math.fsum(held))
    return whole


def _added_drift(drift: Sequence[dict[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
    if not drift:
        return {}
    if any(list(each) != list(drift[0]) for each in drift):
        raise ValueError("drift counts of different features")
    return {
        name: tuple(map(sum, zip(*(each[name] for each in drift), strict=True)))
        for name in drift[0]
    }
