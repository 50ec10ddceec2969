"""Where the peers that do not resolve with ours are installed, and what is missing of them.

Below the user's cache, beside Kafka's jars: an environment of their own with the packages of
`requirements.lock`, and Kafka Streams' jars with the compiled program. Nothing here installs
(`__main__.py` does).
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from app.broker.jars import default_cache_folder, read_table

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.lock"
JARS = HERE / "kafka-streams-4.1.0.sha256"
PROGRAM = HERE / "Bars.java"
COMMAND = "make bench-peers"
#: The ways that need an installation, and the package that they are known by.
PACKAGES = {"quix": "quixstreams", "bytewax": "bytewax"}


def folder() -> Path:
    """Where all of it is."""
    return default_cache_folder().parent / "bench-peers"


def environment() -> Path:
    """The environment of these requirements: others have another folder."""
    return folder() / f"venv-{_digest(REQUIREMENTS)}"


def python() -> Path:
    """Its interpreter."""
    return environment() / "bin" / "python"


def ready() -> Path:
    """A file that is there when the environment is whole."""
    return environment() / "ready"


def classes() -> Path:
    """Where Kafka Streams' program is, compiled."""
    return folder() / f"streams-{_digest(PROGRAM)}"


def jar_folder() -> Path:
    """Kafka Streams' own jars."""
    return folder() / "kafka-streams-4.1.0"


def class_path() -> str:
    """The program, Kafka Streams and Kafka, for `java`."""
    own = [str(jar_folder() / jar.file_name) for jar in read_table(JARS)]
    return os.pathsep.join([str(classes()), *own, str(default_cache_folder() / "*")])


def missing() -> dict[str, str]:
    """The ways that cannot be measured here, each with what to do."""
    found: dict[str, str] = {}
    if not ready().is_file():
        found |= {way: f"not installed: {COMMAND}" for way in PACKAGES}
    if not (classes() / "Bars.class").is_file():
        found["streams"] = f"not installed: {COMMAND}, with a Java compiler (javac) on the PATH"
    return found


def versions() -> dict[str, str]:
    """Versions of the packages, and of Kafka Streams, by way."""
    text = REQUIREMENTS.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for way, package in PACKAGES.items():
        match = re.search(rf"^{package}(?:\[\w+\])?==([^\s;\\]+)", text, re.MULTILINE)
        if match is None:
            raise ValueError(f"{REQUIREMENTS.name} has no {package}")
        found[way] = match.group(1)
    return found | {"streams": read_table(JARS)[0].version}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
