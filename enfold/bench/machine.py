"""Where figures were measured: the processor, and the versions of everything that took part."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """cpu: the model's name. cores: that this process may use. libraries: name → version."""

    cpu: str
    cores: int
    system: str
    python: str
    libraries: Mapping[str, str]


def this_machine(packages: Sequence[str], others: Mapping[str, str] | None = None) -> Machine:
    """packages: by their names on PyPI, those not installed are left out. others: further versions."""
    libraries = {name: found for name in packages if (found := installed(name)) is not None}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(cpu(), cores, f"{platform.system()} {platform.machine()}", platform.python_version(),
                   dict(sorted((libraries | dict(others or {})).items())))


def installed(package: str) -> str | None:
    """Its version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu() -> str:
    """The processor's own name where the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text("utf-8").splitlines() if table.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
