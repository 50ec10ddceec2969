"""The jars of Apache Kafka: fetched once through ``jgo``, checked by hash at every start.

``kafka-4.1.0.sha256`` holds one ``HASH  GROUP:ARTIFACT:VERSION`` a line: the 45 jars that
``org.apache.kafka:kafka_2.13:4.1.0`` needs at run time, and ``log4j-slf4j-impl``, which Kafka adds
only to its archive and without which the server logs nothing.

Each jar is asked for by its exact coordinate. ``jgo.build`` would resolve the same list from the
POMs, but it also downloads a Java 11 of its own to sort the jars into modules (jgo 3.2.0,
``get_baseline_jar_tool``), which a machine without access to it reports as an error and which
nothing here needs.
"""

import fcntl
import hashlib
import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.broker.errors import BrokerError, JarDownloadError, JarMismatchError, MissingRuntimeError

KAFKA_VERSION = "4.1.0"
TABLE = Path(__file__).with_name(f"kafka-{KAFKA_VERSION}.sha256")
#: Requests at the same time; more does not help 46 files and is unkind to the server.
PARALLEL_DOWNLOADS = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Jar:
    """One line of the table."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def default_cache_folder() -> Path:
    """Return our folder in the user's cache: below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base else Path.home() / ".cache"
    return root / "candlewick" / f"kafka-{KAFKA_VERSION}"


def read_table(table: Path = TABLE) -> list[Jar]:
    """Return the committed jars in the order of the class path.

    Raises:
        BrokerError: When a line is not ``HASH  GROUP:ARTIFACT:VERSION``.
    """
    jars: list[Jar] = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        digest, _, coordinate = line.partition("  ")
        parts = coordinate.split(":")
        if len(digest) != 64 or len(parts) != 3:
            raise BrokerError(
                f"{table}, line {number}: got {line!r}, expected 'SHA256  GROUP:ARTIFACT:VERSION'; "
                f"restore the file from the repository"
            )
        jars.append(Jar(parts[0], parts[1], parts[2], digest))
    return jars


def ensure_jars(cache_folder: Path | None = None) -> list[Path]:
    """Return the paths of all jars, fetched where absent and each checked against the table.

    Two processes may call this at once: a file lock lets one of them fetch, and a jar gets its
    final name only once its hash is right, so an interrupted download leaves nothing behind.

    Raises:
        JarMismatchError: When a jar in the folder is not the one in the table.
        JarDownloadError: When a jar cannot be fetched.
        MissingRuntimeError: When jars are absent and ``jgo`` is not installed.
    """
    folder = cache_folder if cache_folder is not None else default_cache_folder()
    jars = read_table()
    if any(not (folder / jar.file_name).is_file() for jar in jars):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
            absent = [jar for jar in jars if not (folder / jar.file_name).is_file()]
            if absent:
                fetch_jars(absent, folder)
    for jar in jars:
        _check(jar, folder / jar.file_name)
    return [folder / jar.file_name for jar in jars]


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise JarMismatchError(
            f"jar {path.name} has sha256 {digest}, expected {jar.sha256}; it is corrupted or was "
            f"replaced. Delete {path} and start again, it will be fetched anew"
        )


def fetch_jars(absent: list[Jar], folder: Path) -> None:
    """Fetch jars into a folder that is there; each is moved into it once its hash is right.

    What is not to be fetched twice at once is the caller's to lock, as `ensure_jars` does.

    Raises:
        JarMismatchError: When a jar that came is not the one with this hash.
        JarDownloadError: When a jar cannot be fetched.
        MissingRuntimeError: When ``jgo`` is not installed.
    """
    log.info("fetching %d Kafka jars into %s", len(absent), folder)
    with (
        tempfile.TemporaryDirectory(prefix=".incoming-", dir=folder) as incoming,
        ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool,
    ):
        # list() raises the first error after the running downloads have ended.
        list(pool.map(lambda jar: _fetch_one(jar, Path(incoming), folder), absent))


def _fetch_one(jar: Jar, incoming: Path, folder: Path) -> None:
    try:
        maven = importlib.import_module("jgo.maven")
    except ImportError as error:
        raise MissingRuntimeError(
            f"jar {jar.file_name} is not in {folder} and the package jgo, which fetches it, is not "
            f"installed ({error}). Install it with: {sys.executable} -m pip install jgo"
        ) from error
    try:
        # A repository folder of its own: jgo's default one is shared with Maven, and jgo writes
        # its downloads there in place, so that two processes could meet half a file.
        context = maven.MavenContext(repo_cache=incoming, timeout=60)
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        downloaded = Path(component.artifact().resolve())
    except (RuntimeError, OSError) as error:  # requests' errors are OSErrors
        raise JarDownloadError(
            f"could not fetch jar {jar.group}:{jar.artifact}:{jar.version}: {error}. Check the "
            f"network and start again, or put {jar.file_name} into {folder} by hand"
        ) from error
    _check(jar, downloaded)
    shutil.move(downloaded, folder / jar.file_name)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
