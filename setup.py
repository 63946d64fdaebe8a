"""The one thing that pyproject.toml cannot say: a C extension that may fail to build.

Without it enfold codes the same bytes with loops in Python, about a hundred times slower.
"""

import sys

from setuptools import Extension, setup

FLAGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-std=c11", "-Wall"]

setup(
    ext_modules=[
        Extension(f"enfold.entropy.{name}", [f"enfold/entropy/{name}.c"], extra_compile_args=FLAGS, optional=True)
        for name in ("_rans", "_contexts")
    ]
)
