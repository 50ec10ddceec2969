"""`python -m tests.bench.peers`, `make bench-peers`: installs what is measured beside ours.

Quix Streams and Bytewax in an environment of their own; Kafka Streams where there is a `javac`.
What is there already is left alone. Exit code 1: something could not be installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from app.broker.errors import BrokerError
from app.broker.jars import default_cache_folder, ensure_jars, fetch_jars, read_table
from tests.bench.peers import place

#: Of the class files: what Kafka 4.1 needs at least.
JAVA_RELEASE = "17"


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def install_python() -> None:
    """Make the environment."""
    if place.ready().is_file():
        say(f"Quix Streams and Bytewax are in {place.environment()}")
        return
    say(f"making {place.environment()}")
    venv.create(place.environment(), clear=True, with_pip=True)
    _run(
        [
            *(str(place.python()), "-m", "pip", "--disable-pip-version-check", "install"),
            *("--quiet", "--require-hashes", "--only-binary", ":all:"),
            *("-r", str(place.REQUIREMENTS)),
        ]
    )
    place.ready().touch()


def install_streams() -> None:
    """Fetch the jars, each checked against its hash, and compile the program."""
    if (place.classes() / "Bars.class").is_file():
        say(f"Kafka Streams is in {place.classes()}")
        return
    compiler = _compiler()
    if compiler is None:
        say("no javac in JAVA_HOME or on the PATH: Kafka Streams is left out")
        return
    ensure_jars(default_cache_folder())
    place.jar_folder().mkdir(parents=True, exist_ok=True)
    absent = [
        jar for jar in read_table(place.JARS) if not (place.jar_folder() / jar.file_name).is_file()
    ]
    if absent:
        say(f"fetching {', '.join(jar.file_name for jar in absent)}")
        # The product's own way to fetch a jar by its coordinate and hash.
        fetch_jars(absent, place.jar_folder())
    with tempfile.TemporaryDirectory(dir=place.folder()) as made:
        _run(
            [
                *(str(compiler), "--release", JAVA_RELEASE, "-cp", place.class_path()),
                *("-d", made, str(place.PROGRAM)),
            ]
        )
        place.classes().mkdir(exist_ok=True)
        # The class that is looked for comes last.
        for file in sorted(Path(made).iterdir(), key=lambda each: each.name == "Bars.class"):
            shutil.move(file, place.classes() / file.name)
    say(f"Kafka Streams is in {place.classes()}")


def _compiler() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "javac").is_file():
        return Path(home) / "bin" / "javac"
    found = shutil.which("javac")
    return None if found is None else Path(found)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def main() -> int:
    """Install all; the exit code."""
    place.folder().mkdir(parents=True, exist_ok=True)
    failed = False
    for install in (install_python, install_streams):
        try:
            install()
        except (subprocess.CalledProcessError, OSError, BrokerError) as error:
            print(f"{install.__name__}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
