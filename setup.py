"""The one thing that `pyproject.toml` cannot say: a compiled module that may be missing.

Without Cython or a C compiler the engine runs on its pure twin (tables/parsing.py), and says so
when it starts.
"""

import sys

from setuptools import Extension, setup

KERNEL = Extension(
    "tables._kernel",
    ["tables/_kernel.pyx"],
    # A contracted multiplication and addition would round once where the twin rounds twice.
    extra_compile_args=["-O3", "-ffp-contract=off"],
    optional=True,
)

try:
    from Cython.Build import cythonize
except ImportError:
    sys.stderr.write("Cython is missing: the compiled trade parser is left out\n")
    modules = []
else:
    modules = cythonize([KERNEL], build_dir="build")

setup(ext_modules=modules)
