"""Training anew: a model of the newest bars, beside the champion, promoted only if it is better.

What is published is what `candlewick train` makes of all rows: fitted on the earlier ones,
calibrated on the last ones. What decides is `comparing.py`: that same model, on those of its last
rows which the champion has not seen either. The first champion has nobody beside it: it must have
skill against every baseline, beyond chance, out of sample in the walk.

The alias is looked at before the training, and moved only from there: a move that somebody else has
made meanwhile stands. A model that is not promoted is a version nevertheless, with its scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.training.comparing import Comparison, Decision, When, compare, decide
from app.training.publishing import (
    CHECKOUT,
    Published,
    commit_of,
    describe,
    markets_of,
    publish_model,
)
from app.training.sources import BarSource
from app.training.timing import Clock
from app.training.training import Progress, Task, Trained, no_progress, report_of, train_bars
from app.training.writing import write_training
from models.predicting.registry import CHALLENGER, CHAMPION, Registry
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import MismatchedModelError, ModelError, MovedAliasError
from models.predicting.registry_moves import Move


@dataclass(frozen=True)
class Policy:
    """Which model it is, and when it is promoted.

    Attributes:
        name: of the model.
        alias: what names the champion.
        when: to promote.
        force: a reason to promote whatever is found.
        challenger: whether a version that is not promoted becomes the challenger.
        by: who asks.
    """

    name: str
    alias: str = CHAMPION
    when: When = "better"
    force: str | None = None
    challenger: bool = False
    by: str | None = None


@dataclass(frozen=True)
class Retrained:
    """What came of it.

    Attributes:
        published: the version.
        decision: as it was carried out.
        comparison: beside the champion; None without one.
        move: of the alias, if it was moved.
        challenger: the move of the challenger, if it was moved.
        training: the report as `candlewick train` has it.
    """

    published: Published
    decision: Decision
    comparison: Comparison | None
    move: Move | None
    challenger: Move | None
    training: Mapping[str, Any]

    @property
    def report(self) -> dict[str, Any]:
        """The report with the decision; in the verdict too, which the page has at its top."""
        done = "promoted" if self.move is not None else "not promoted"
        told = f"{self.published.name} {self.published.version} {done}: {self.decision.reason}."
        return {
            **self.training,
            "verdict": f"{self.training['verdict']} {told}",
            "retraining": self._plain(),
        }

    def _plain(self) -> dict[str, Any]:
        return {
            "name": self.published.name,
            "version": self.published.version,
            "published": not self.published.existed,
            "promoted": self.move is not None,
            "generation": None if self.move is None else self.move.generation,
            "reason": self.decision.reason,
            "challenger": self.challenger is not None,
            "comparison": None if self.comparison is None else self.comparison.plain(),
        }


def newest_created(registry: Registry, name: str) -> int | None:
    """Return when the newest version was trained, ns; None if there is none that can be read.

    Raises:
        OSError: of the store.
    """
    for version in reversed(registry.versions(name)):
        try:
            return registry.manifest(name, version).created
        except ModelError:
            # A broken version is `verify`'s to tell of, and no reason not to train.
            continue
    return None


def retrain(
    registry: Registry,
    policy: Policy,
    source: BarSource,
    task: Task,
    *,
    clock: Clock,
    out: Path | None = None,
    progress: Progress = no_progress,
) -> Retrained:
    """Train, compare, publish, and promote if it is better.

    Args:
        registry: of the versions.
        policy: which model, and when to promote.
        source: gives the bars.
        task: what to train.
        clock: now, ns; a version is of the time at which its training began.
        out: folder for model and report, if they are wanted.
        progress: is told label, done, total.

    Raises:
        ModelError: the champion is broken or for other features, bars or calendars, and the
            promotion is not forced; nothing is published then.
        FeedError, TrainingError: as `train_bars`.
        OSError: a file, or of the registry's store.
    """
    begun = clock()
    seen = _generation(registry, policy.name, policy.alias)
    seen_challenger = _generation(registry, policy.name, CHALLENGER)
    champion, fault = None, None
    try:
        champion = _champion(registry, policy, task)
    except ModelError as error:
        if policy.force is None:
            raise
        fault = str(error)
    trained = train_bars(source, task, progress)
    comparison = None if champion is None else compare(trained.rows, trained.model, champion)
    decision = decide(trained.model.score, comparison, policy.when, policy.force)
    if fault is not None:
        decision = Decision(decision.promote, f"forced: {policy.force}; not compared: {fault}")
    published = _publish(registry, policy, task, trained, comparison, begun)
    move = None
    if champion is not None and published.version == champion.manifest.version:
        decision = Decision(False, f"the same model as version {published.version}, the champion")
    elif decision.promote:
        decision, move = _promote(registry, policy, published, decision, clock(), seen)
    challenger = None
    if policy.challenger and not _named(registry, policy, published.version):
        challenger = _challenge(registry, policy, published, decision, clock(), seen_challenger)
    report = report_of(trained, task.cost_bps)
    found = Retrained(published, decision, comparison, move, challenger, report)
    if out is not None:
        write_training(out, trained.model.model, found.report)
    return found


def _generation(registry: Registry, name: str, alias: str) -> int:
    move = registry.current(name, alias)
    return 0 if move is None else move.generation


def _champion(registry: Registry, policy: Policy, task: Task) -> LoadedVersion | None:
    """Return the champion; None if the alias names no version.

    Raises:
        ModelError: it is broken, or for other inputs than the task's.
    """
    move = registry.current(policy.name, policy.alias)
    if move is None or move.version is None:
        return None
    version = registry.load(policy.name, move.version)
    plan = task.feature_set.plan()
    manifest, where = version.manifest, version.where("manifest.json")
    manifest.require(where, plan.label, plan.names, task.interval)
    if manifest.horizon != task.horizon:
        found = f"a horizon of {manifest.horizon} bars"
        raise MismatchedModelError(where, found, f"{task.horizon} bars")
    for each in (version, *version.members):
        each.manifest.require_filling(where, fill_forward=task.fill_forward)
        for market in markets_of(task.instruments, each.manifest.symbols):
            for symbol in market.symbols:
                each.manifest.require_market(where, symbol, market.fingerprint)
    return version


def _publish(
    registry: Registry,
    policy: Policy,
    task: Task,
    trained: Trained,
    comparison: Comparison | None,
    created: int,
) -> Published:
    figures = {} if comparison is None else comparison.figures()
    description = describe(
        trained.model,
        policy.name,
        task.instruments,
        created=created,
        across_sessions=task.across_sessions,
        fill_forward=task.fill_forward,
        more_scores={"against_champion": figures} if figures else {},
        commit=commit_of(CHECKOUT),
    )
    return publish_model(registry, description, trained.model.model)


def _promote(
    registry: Registry,
    policy: Policy,
    published: Published,
    decision: Decision,
    time: int,
    expected: int,
) -> tuple[Decision, Move | None]:
    try:
        move = registry.promote(
            policy.name,
            policy.alias,
            published.version,
            reason=decision.reason,
            time=time,
            by=policy.by,
            expected=expected,
        )
    except MovedAliasError as error:
        return Decision(False, f"{error}. Left as it is. Found: {decision.reason}"), None
    return decision, move


def _named(registry: Registry, policy: Policy, version: int) -> bool:
    """Whether the version is the champion or the challenger already."""
    moves = (registry.current(policy.name, alias) for alias in (policy.alias, CHALLENGER))
    return any(move is not None and move.version == version for move in moves)


def _challenge(
    registry: Registry,
    policy: Policy,
    published: Published,
    decision: Decision,
    time: int,
    expected: int,
) -> Move | None:
    try:
        return registry.promote(
            policy.name,
            CHALLENGER,
            published.version,
            reason=f"not promoted: {decision.reason}",
            time=time,
            by=policy.by,
            expected=expected,
        )
    except MovedAliasError:
        # Somebody else's challenger stands; `Retrained.challenger` says that it is not ours.
        return None
