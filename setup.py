"""The one thing that `pyproject.toml` cannot say: compiled modules that may be missing.

Without Cython or a C compiler the engine runs on their pure twins (tables/parsing.py,
tables/indicators/compiled.py, app/streaming/slim.py, app/sinks/points.py, app/archive/columns.py),
and says so when it starts.
"""

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

# A contracted multiplication and addition would round once where the twin rounds twice.
ARGUMENTS = ["-O3", "-ffp-contract=off"]
KERNELS = [
    Extension(name, [f"{name.replace('.', '/')}.pyx"], extra_compile_args=ARGUMENTS, optional=True)
    for name in (
        "tables._ids",
        "tables._judging",
        "tables._kernel",
        "tables._partials",
        "tables.indicators._kernel",
        "app.streaming._pack",
        "app.streaming._unpack",
        "app.archive._reading",
        "app.sinks._lines",
    )
]


def missing() -> str | None:
    """What compiling needs and is not there."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"the C compiler {compiler}"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "Python.h"
    if importlib.util.find_spec("Cython") is None:
        return "Cython"
    return None


# `optional` does not cover a compiler that is not there at all (setuptools 84).
fault = missing()
if fault is None:
    from Cython.Build import cythonize

    modules = cythonize(KERNELS, build_dir="build")
else:
    sys.stderr.write(f"{fault} is missing: the compiled modules are left out\n")
    modules = []

setup(ext_modules=modules)
