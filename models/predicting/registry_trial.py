"""A model is tried in a process of its own before it is published.

XGBoost 3.2 reads some broken files without a word, and some end the process: a truncated one by
SIGSEGV, an empty one by SIGABRT; one with a wrong length takes minutes of memory. In a worker the
hash of the registry keeps such bytes away from it. What nobody has hashed yet is tried here.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from models.predicting.boosting import TrainingError, import_xgboost
from models.predicting.manifest import Description, draft_manifest
from models.predicting.online_version import OnlineVersion
from models.predicting.predictor import make_predictor
from models.predicting.registry_contents import LoadedVersion
from models.predicting.registry_errors import (
    CorruptModelError,
    MismatchedModelError,
    ModelError,
)

#: For errors: where the files are before they are anywhere.
PLACE = "to be published"
_CPU_SECONDS = 60
_MEMORY = 8 * 1024**3
_ERRORS: dict[str, type[ModelError]] = {
    each.__name__: each for each in (CorruptModelError, MismatchedModelError)
}


class Fault(msgspec.Struct):
    """What the trial has found wrong."""

    error: str
    file: str
    found: str
    expected: str


class Trial(msgspec.Struct):
    """What is tried."""

    description: Description
    files: dict[str, bytes]


def check_publishable(description: Description, files: Mapping[str, bytes]) -> None:
    """Check that a model can be read, predicts, and is for the features it names.

    An online learner is plain values, and tried here; of an ensemble the registry checks members.

    Raises:
        CorruptModelError, MismatchedModelError: it is not.
        TrainingError: XGBoost, or river, is not installed.
        ValueError: a file that could not be stored.
    """
    draft = draft_manifest(description, files)
    if description.kind == "river":
        OnlineVersion(LoadedVersion(draft, dict(files), PLACE))
    if description.kind != "xgboost":
        return
    import_xgboost()
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    ended = subprocess.run(
        [sys.executable, "-m", __name__],
        input=msgspec.json.encode(Trial(description, dict(files))),
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    if ended.returncode < 0:
        found = f"XGBoost ends by signal {-ended.returncode} when it reads it"
        raise CorruptModelError(f"{PLACE}/{', '.join(files)}", found, "a model of XGBoost")
    if ended.returncode:
        told = ended.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TrainingError(f"the trial of the model has failed: {' '.join(told)}")
    fault = msgspec.json.decode(ended.stdout, type=Fault | None)
    if fault is not None:
        raise _ERRORS[fault.error](fault.file, fault.found, fault.expected)


def main() -> None:
    """Try what standard input holds, and print the fault, or null."""
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # A crash is expected here; nobody wants its memory on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    trial = msgspec.json.decode(sys.stdin.buffer.read(), type=Trial)
    manifest = draft_manifest(trial.description, trial.files)
    fault = None
    try:
        predictor = make_predictor(LoadedVersion(manifest, trial.files, PLACE))
        predictor.predict(np.zeros((1, len(manifest.feature_names)), np.float32))
    except (CorruptModelError, MismatchedModelError) as error:
        fault = Fault(type(error).__name__, error.file, error.found, error.expected)
    sys.stdout.buffer.write(msgspec.json.encode(fault))


if __name__ == "__main__":
    main()
