"""Our registry as MLflow shows it: who has MLflow sees each version, its scores and its aliases.

What goes there, and only there; nothing is read back to predict by:

| here | in MLflow |
|---|---|
| model | experiment `candlewick/NAME` and registered model NAME |
| version | a run with parameters, metrics (`model/mse`, `zero/mse`), tags; a model version of it |
| alias | alias, and a tag with generation and reason |
| deleted version | stays, with the tag `candlewick.deleted` |

MLflow numbers its versions by itself; ours is in the tag `candlewick.version`, and what it is, to
the byte, in `candlewick.manifest`. A second mirroring changes nothing, and one that was cut off is
ended by the next. One writer at a time: MLflow has nothing to keep two from doing the same.
No model is copied and none is in MLflow's formats, which pickle: `source` is where ours lies.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from models.predicting.manifest import Manifest
from models.predicting.registry import Registry
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import ModelError
from models.predicting.registry_moves import Move

INSTALL: Final = "pip install 'candlewick[mlflow]'"
PREFIX: Final = "candlewick"
VERSION, MANIFEST, DELETED = f"{PREFIX}.version", f"{PREFIX}.manifest", f"{PREFIX}.deleted"
#: Of the tags of a model that tell of an alias.
ALIAS: Final = f"{PREFIX}.alias."
#: Beyond this MLflow takes no value of a tag or parameter.
_LONGEST: Final = 4_000
_NO_NAME = re.compile(r"[^A-Za-z0-9_\-. /]")


class MirrorError(RuntimeError):
    """MLflow is not installed, or its store refuses; the message is one line."""


@dataclass(frozen=True)
class Facts:
    """What MLflow is told of a version.

    Attributes:
        parameters: of the training.
        metrics: scores out of sample, by `model/` or a baseline and the figure.
        tags: lineage.
    """

    parameters: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]


@dataclass
class Mirrored:
    """What a mirroring has done.

    Attributes:
        versions: model and version that are new in MLflow.
        aliases: model, alias and version it names now; None: no version any more.
        deleted: model and version that are marked as deleted.
        faults: what could not be mirrored, a line each.
    """

    versions: list[tuple[str, int]] = field(default_factory=list)
    aliases: list[tuple[str, str, int | None]] = field(default_factory=list)
    deleted: list[tuple[str, int]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def facts_of(manifest: Manifest, sha256: str) -> Facts:
    """Return what MLflow is told of a version.

    Args:
        manifest: of the version.
        sha256: of the manifest's file.
    """
    metrics = {
        f"{_named(name)}/{_named(key)}": value
        for name, figures in manifest.scores.items()
        for key, value in figures.items()
    }
    tags: dict[str, Any] = {
        VERSION: manifest.version,
        MANIFEST: sha256,
        f"{PREFIX}.kind": manifest.kind,
        f"{PREFIX}.feature_set": manifest.feature_set,
        f"{PREFIX}.features": ", ".join(manifest.feature_names),
        f"{PREFIX}.interval": manifest.interval,
        f"{PREFIX}.horizon": manifest.horizon,
        f"{PREFIX}.data_from_ns": manifest.data_from,
        f"{PREFIX}.data_to_ns": manifest.data_to,
        f"{PREFIX}.rows": manifest.rows,
        f"{PREFIX}.symbols": ", ".join(manifest.symbols),
        f"{PREFIX}.commit": manifest.commit or "unknown",
        f"{PREFIX}.members": ", ".join(
            f"{each.version} ({each.weight})" for each in manifest.members
        ),
        f"{PREFIX}.market": ", ".join(each.name for each in manifest.market or ()),
    }
    tags |= {f"{PREFIX}.package.{_named(key)}": text for key, text in manifest.libraries.items()}
    tags |= {f"{PREFIX}.sha256.{each.name}": each.sha256 for each in manifest.files}
    return Facts(
        {_named(key): _short(value) for key, value in manifest.parameters.items()},
        metrics,
        {key: _short(value) for key, value in tags.items() if value != ""},
    )


def _named(name: str) -> str:
    """A name as MLflow takes it."""
    return _NO_NAME.sub("_", name)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def open_client(address: str) -> Any:
    """Return MLflow's client of a store: `sqlite:///mlflow.db`, or a server's address.

    Raises:
        MirrorError: MLflow is not installed; how to is said. Or it refuses the address.
    """
    # It would report its use to its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        mlflow = importlib.import_module("mlflow")
        if address.startswith("sqlite:"):
            importlib.import_module("sqlalchemy")
            importlib.import_module("alembic")
    except ImportError as error:
        raise MirrorError(f"mlflow is not installed: {INSTALL}") from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with _one_line(mlflow):
        return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


@contextmanager
def _one_line(mlflow: Any) -> Iterator[None]:
    try:
        yield
    except mlflow.exceptions.MlflowException as error:
        raise MirrorError(f"MLflow: {str(error).splitlines()[0]}") from error


def mirror(registry: Registry, address: str) -> Mirrored:
    """Let MLflow show what is in a registry.

    Args:
        registry: ours, which is read only.
        address: of MLflow's store.

    Raises:
        MirrorError: MLflow is not installed, or refuses.
        OSError: of the registry's store.
    """
    client = open_client(address)
    done = Mirrored()
    with _one_line(importlib.import_module("mlflow")):
        for name in registry.names():
            _Mirror(client, registry, name, done).run()
    return done


class _Mirror:
    """Of one model."""

    def __init__(self, client: Any, registry: Registry, name: str, done: Mirrored) -> None:
        self._client, self._registry, self._name, self._done = client, registry, name, done
        #: MLflow's version by the SHA-256 of our manifest.
        self._known: dict[str, Any] = {}

    def run(self) -> None:
        versions = self._registry.versions(self._name)
        if not self._registered(create=bool(versions)):
            return
        found = self._client.search_model_versions(f"name = '{self._name}'")
        self._known = {each.tags[MANIFEST]: each for each in found if MANIFEST in each.tags}
        present: dict[int, str] = {}
        for version in versions:
            try:
                # A member is named by the SHA-256 of its manifest's file.
                sha256 = self._registry.member(self._name, version, 1.0).sha256
                if sha256 not in self._known:
                    self._add(self._registry.load(self._name, version))
                present[version] = sha256
            except ModelError as error:
                self._done.faults.append(f"{self._name} {version}: {error}")
        self._mark_deleted(versions)
        self._move_aliases(present)

    def _registered(self, *, create: bool) -> bool:
        """Whether MLflow has the model; it is made where that is asked for."""
        if self._client.search_registered_models(f"name = '{self._name}'"):
            return True
        if create:
            self._client.create_registered_model(
                self._name, tags={f"{PREFIX}.mirrored": "true"}, description="of Candlewick"
            )
        return create

    def _add(self, version: LoadedVersion) -> None:
        manifest = version.manifest
        facts = facts_of(manifest, version.sha256)
        run = self._run_of(version, facts)
        added = self._client.create_model_version(
            self._name,
            source=version.place,
            run_id=run,
            tags=facts.tags,
            description=f"{PREFIX} {self._name} version {manifest.version}",
        )
        self._known[version.sha256] = added
        self._done.versions.append((self._name, manifest.version))

    def _run_of(self, version: LoadedVersion, facts: Facts) -> str:
        """Return the run of a version; one that was begun and not ended is filled anew."""
        experiment = self._experiment()
        wanted = f"tags.`{MANIFEST}` = '{version.sha256}'"
        found = self._client.search_runs([experiment], wanted)
        milliseconds = version.manifest.created // 1_000_000
        run = (
            found[0]
            if found
            else self._client.create_run(
                experiment,
                start_time=milliseconds,
                tags=facts.tags,
                run_name=f"{self._name} {version.manifest.version}",
            )
        )
        run_id: str = run.info.run_id
        if run.info.status != "FINISHED":
            entities = importlib.import_module("mlflow.entities")
            self._client.log_batch(
                run_id,
                metrics=[
                    entities.Metric(key, value, milliseconds, 0)
                    for key, value in facts.metrics.items()
                ],
                params=[entities.Param(key, value) for key, value in facts.parameters.items()],
            )
            self._client.set_terminated(run_id, "FINISHED", milliseconds)
        return run_id

    def _experiment(self) -> str:
        name = f"{PREFIX}/{self._name}"
        found = self._client.get_experiment_by_name(name)
        made: str = (
            found.experiment_id if found is not None else self._client.create_experiment(name)
        )
        return made

    def _mark_deleted(self, versions: tuple[int, ...]) -> None:
        for each in self._known.values():
            number = int(each.tags[VERSION])
            if number not in versions and DELETED not in each.tags:
                self._client.set_model_version_tag(self._name, each.version, DELETED, "true")
                self._done.deleted.append((self._name, number))

    def _move_aliases(self, present: dict[int, str]) -> None:
        model = self._client.get_registered_model(self._name)
        there = {alias: int(version) for alias, version in model.aliases.items()}
        # Those that name nothing any more are known by their tags; others are not ours.
        ours = {key.removeprefix(ALIAS) for key in model.tags if key.startswith(ALIAS)}
        for alias in sorted(ours | set(self._registry.aliases(self._name))):
            try:
                move = self._registry.current(self._name, alias)
                if move is not None:
                    self._move(alias, move, present, there, model.tags)
            except ModelError as error:
                self._done.faults.append(f"{self._name} {alias}: {error}")
            except self._refusals() as error:
                # MLflow keeps names such as `latest` and `v2` to itself.
                fault = str(error).splitlines()[0]
                self._done.faults.append(f"{self._name} {alias}: MLflow: {fault}")

    @staticmethod
    def _refusals() -> type[Exception]:
        refused: type[Exception] = importlib.import_module("mlflow").exceptions.MlflowException
        return refused

    def _move(
        self,
        alias: str,
        move: Move,
        present: dict[int, str],
        there: dict[str, int],
        tags: dict[str, str],
    ) -> None:
        wanted = None
        if move.version is not None:
            if move.version not in present:
                self._done.faults.append(
                    f"{self._name} {alias}: names version {move.version}, which is not mirrored"
                )
                return
            wanted = int(self._known[present[move.version]].version)
        if there.get(alias) != wanted:
            if wanted is None:
                self._client.delete_registered_model_alias(self._name, alias)
            else:
                self._client.set_registered_model_alias(self._name, alias, str(wanted))
            self._done.aliases.append((self._name, alias, move.version))
        key = f"{ALIAS}{alias}"
        told = msgspec.json.encode(
            {"generation": move.generation, "version": move.version, "verb": move.verb}
            | {"reason": move.reason, "by": move.by, "time_ns": move.time}
        ).decode()
        if tags.get(key) != _short(told):
            self._client.set_registered_model_tag(self._name, key, _short(told))
