"""The one thing that `pyproject.toml` cannot say: compiled modules that may be missing.

Without Cython or a C compiler the engine runs on their pure twins (tables/parsing.py,
app/streaming/slim.py), and says so when it starts.
"""

import sys

from setuptools import Extension, setup

# A contracted multiplication and addition would round once where the twin rounds twice.
ARGUMENTS = ["-O3", "-ffp-contract=off"]
KERNELS = [
    Extension(name, [f"{name.replace('.', '/')}.pyx"], extra_compile_args=ARGUMENTS, optional=True)
    for name in ("tables._kernel", "app.streaming._unpack")
]

try:
    from Cython.Build import cythonize
except ImportError:
    sys.stderr.write("Cython is missing: the compiled modules are left out\n")
    modules = []
else:
    modules = cythonize(KERNELS, build_dir="build")

setup(ext_modules=modules)
