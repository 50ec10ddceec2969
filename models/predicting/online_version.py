"""The file of an online learner's version, `online.json`, and the version at work.

A version holds where learning begins: configuration, names of the features, state. Whoever serves
it starts a learner of its own from that and keeps that one's state; the version stays as it was
published, and predicts as it did then.
"""

from __future__ import annotations

import importlib.metadata
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from models.predicting.manifest import FORMAT, Manifest, seal, unseal
from models.predicting.online import Configuration, OnlinePredictor
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import CorruptModelError, MismatchedModelError
from tables.learning import State, StateVersionError

KIND: Final = "river"
FILE: Final = "online.json"


class OnlineFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where learning begins; sealed by a checksum.

    Attributes:
        feature_names: in the order of the columns.
        configuration: how it learns.
        river: version of the library that made the state.
        state: of `OnlinePredictor`.
    """

    format: int = FORMAT
    feature_names: tuple[str, ...]
    configuration: Configuration
    river: str
    state: State


def write_online(learner: OnlinePredictor) -> bytes:
    """Return the file of a learner."""
    return seal(
        OnlineFile(
            feature_names=learner.names,
            configuration=learner.configuration,
            river=importlib.metadata.version("river"),
            state=learner.state(),
        )
    )


def read_online(content: bytes, names: tuple[str, ...], where: str) -> OnlineFile:
    """Read what `write_online` has written; its state is tried.

    Args:
        names: of the features that there should be.
        where: path or address, for errors.

    Raises:
        CorruptModelError: truncated, changed, or not such a file.
        MismatchedModelError: of another format, for other features, or a state of another version.
        TrainingError: river is not installed; how to is said.
    """
    found = unseal(content, OnlineFile, where)
    if found.feature_names != names:
        raise MismatchedModelError(
            where, f"features {', '.join(found.feature_names)}", ", ".join(names)
        )
    try:
        OnlinePredictor.from_state(found.state, names, found.configuration)
    except StateVersionError as error:
        expected = f"a state of version {OnlinePredictor.VERSION} for {len(names)} features"
        if found.state[:1] == [OnlinePredictor.VERSION]:
            raise CorruptModelError(where, str(error), expected) from error
        raise MismatchedModelError(where, str(error), expected) from error
    return found


class OnlineVersion:
    """A version of kind `river`.

    Raises:
        CorruptModelError, MismatchedModelError, TrainingError: see `read_online`.
    """

    def __init__(self, version: LoadedVersion) -> None:
        if tuple(version.files) != (FILE,):
            found = ", ".join(version.files) or "no file"
            raise MismatchedModelError(version.place, found, FILE)
        self._version = version
        names = version.manifest.feature_names
        self._file = read_online(version.files[FILE], names, version.where(FILE))
        self._published = self.start()

    @property
    def manifest(self) -> Manifest:
        """Of the version."""
        return self._version.manifest

    @property
    def size(self) -> int:
        """Bytes of its file."""
        return self._version.size

    def start(self) -> OnlinePredictor:
        """Return a learner that goes on from what was published."""
        return self.resume(self._file.state)

    def resume(self, state: State) -> OnlinePredictor:
        """Return a learner of this version that goes on from a state of it.

        Raises:
            StateVersionError: the state is of another version of the code or the model.
        """
        return OnlinePredictor.from_state(state, self._file.feature_names, self._file.configuration)

    def predict(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return what the learner said to each row when it was published; see `Predictor`."""
        if rows.ndim != 2:
            raise ValueError(f"rows of shape {rows.shape}: expected (rows, features)")
        found = [self._published.predict(row) for row in rows]
        return np.array([np.nan if each is None else each for each in found], dtype=np.float64)
