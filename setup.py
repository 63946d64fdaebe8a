"""The one thing that pyproject.toml cannot say: C extensions that may fail to build.

Without them enfold codes the same bytes with loops in Python, about a hundred times slower, and
analyses pictures by matrix products.
"""

import sys

from setuptools import Extension, setup

FLAGS = ["/O2"] if sys.platform == "win32" else ["-O3", "-std=c11", "-Wall", "-ffp-contract=fast"]

setup(
    ext_modules=[
        Extension(f"enfold.{name.replace('/', '.')}", [f"enfold/{name}.c"], extra_compile_args=FLAGS, optional=True,
                  depends=["enfold/entropy/cumulative.h"] if name.startswith("trees/") else [])
        for name in ("entropy/_rans", "entropy/_contexts", "entropy/_lookups", "entropy/_static", "entropy/_softmax",
                     "layers/_lifting", "layers/_waves", "trees/_flows", "trees/_walk", "trees/_scan")
    ]
)
