"""From a trained model to a version in the registry.

A version says all that is known of it: data, features, calendar, libraries, commit, scores. Before
it gets a number it is tried in a process of its own (`check_publishable`). The same model is not
published twice: the version that has it is named instead.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app import __version__
from app.training.writing import MODEL
from models.predicting.manifest import (
    FILL_FORWARD,
    Description,
    Manifest,
    TrainedMarket,
    draft_manifest,
)
from models.predicting.registry import Registry
from models.predicting.registry_errors import ModelError
from models.predicting.registry_trial import check_publishable
from models.predicting.training import TrainedModel
from tables.markets import Instruments, Market

#: Of this program, if it runs from a checkout.
CHECKOUT: Final = Path(__file__).resolve().parents[2]
_SECONDS: Final = 10


@dataclass(frozen=True)
class Published:
    """Where a model is in the registry.

    Attributes:
        name: of the model.
        version: its number.
        existed: whether that version had it before; then nothing was published.
    """

    name: str
    version: int
    existed: bool

    @property
    def text(self) -> str:
        """Of the command: one line."""
        if self.existed:
            return f"the same model as {self.name} {self.version}: nothing is published"
        return f"published: {self.name} {self.version}"


def commit_of(folder: Path) -> str | None:
    """Return the git commit of a checkout, `-dirty` behind it where files differ from it.

    None where the folder is no checkout's root (an installed package may lie within somebody
    else's), where there is no git, or where git refuses to read it.
    """
    command = ["git", "-C", str(folder)]
    # git would write what it has learned about the files into its index.
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    found = []
    for question in (
        ("rev-parse", "--show-toplevel"),
        ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
    ):
        try:
            ended = subprocess.run(
                [*command, *question],
                capture_output=True,
                text=True,
                env=environment,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        if ended.returncode:
            return None
        found.append(ended.stdout.strip())
    return found[1] if Path(found[0]) == folder.resolve() else None


def markets_of(instruments: Instruments, symbols: Sequence[str]) -> tuple[TrainedMarket, ...]:
    """Return the calendars of symbols, by fingerprint."""
    fingerprints: dict[Market, str] = {}
    found: dict[str, tuple[str, list[str]]] = {}
    for symbol in sorted(symbols):
        market = instruments.market(symbol)
        if market not in fingerprints:
            # A hash of thousands of sessions, and symbols share their market.
            fingerprints[market] = market.fingerprint
        fingerprint = fingerprints[market]
        found.setdefault(fingerprint, (market.name, []))[1].append(symbol)
    return tuple(
        TrainedMarket(name, fingerprint, tuple(own))
        for fingerprint, (name, own) in sorted(found.items())
    )


def describe(
    model: TrainedModel,
    name: str,
    instruments: Instruments,
    *,
    created: int,
    across_sessions: bool = False,
    fill_forward: bool = False,
    more_scores: Mapping[str, dict[str, float]] | None = None,
    commit: str | None = None,
) -> Description:
    """Return what the registry is told of a model.

    Args:
        model: as trained.
        name: of the model in the registry.
        instruments: by which the features were computed.
        created: ns.
        across_sessions: whether targets lay across the end of a session.
        fill_forward: whether bars without trades were input.
        more_scores: figures beside those of the model and the baselines.
        commit: of the code, if it is known.

    Raises:
        ValueError: a name that is none, a score that is not finite.
    """
    return Description(
        name=name,
        kind="xgboost",
        created=created,
        feature_set=model.feature_set,
        feature_names=model.feature_names,
        interval=model.interval,
        horizon=model.horizon,
        data_from=model.data_from,
        data_to=model.data_to,
        rows=model.rows,
        fitted_rows=model.fitted_rows,
        calibration_rows=model.calibration_rows,
        symbols=model.symbols,
        parameters=model.parameters
        | {"across_sessions": across_sessions, FILL_FORWARD: fill_forward, "trees": model.rounds},
        importance=model.importance,
        libraries=model.libraries | {"candlewick": __version__},
        commit=commit,
        scores=model.manifest_scores() | dict(more_scores or {}),
        calibration=model.calibration,
        market=markets_of(instruments, model.symbols),
        drift=model.drift,
    )


def find_same(registry: Registry, description: Description, model: bytes) -> int | None:
    """Return the newest version that predicts the same from the same; None if there is none.

    Raises:
        OSError: of the store.
    """
    draft = draft_manifest(description, {MODEL: model})
    for version in reversed(registry.versions(description.name)):
        try:
            other = registry.manifest(description.name, version)
        except ModelError:
            # What cannot be read is the same as nothing; `candlewick models verify` tells of it.
            continue
        if _same(draft, other):
            return version
    return None


def _same(one: Manifest, other: Manifest) -> bool:
    """Whether two versions say the same, with the same intervals, to the same rows."""
    return (
        one.files == other.files
        and (one.kind, one.feature_set, one.feature_names)
        == (other.kind, other.feature_set, other.feature_names)
        and (one.interval, one.horizon) == (other.interval, other.horizon)
        and (one.calibration, one.market) == (other.calibration, other.market)
        and one.fill_forward == other.fill_forward
    )


def publish_model(registry: Registry, description: Description, model: bytes) -> Published:
    """Publish a model, unless a version is the same.

    Raises:
        ModelError, TrainingError, ValueError: see `check_publishable` and `Registry.publish`.
        OSError: of the store.
    """
    same = find_same(registry, description, model)
    if same is not None:
        return Published(description.name, same, existed=True)
    files = {MODEL: model}
    check_publishable(description, files)
    manifest = registry.publish(description, files)
    return Published(manifest.name, manifest.version, existed=False)
