"""What `enfold train` asks of whatever trains a codec.

The registry names a trainer for each codec that can be trained, and the command line knows no more of
training than what stands here: a recipe with its defaults, a run that leaves checkpoints and a log in
its folder, and the arrays of a model file at its end.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from enfold.errors import UsageError

CURVE_ROWS = 24
Report = Callable[[Any], None]


class Trainer(ABC):
    """recipe: a frozen dataclass of numbers and strings, each with a default. data: what DATA must be, in words."""

    recipe: type[Any]
    data: str

    @abstractmethod
    def about(self, data: Path) -> dict[str, Any]:
        """What a card says of the data. Raises UsageError, in words, where nothing can be trained on it."""

    @abstractmethod
    def train(self, trainable: Any, recipe: Any, data: Path, out: Path, *, threads: int, report: Report,
              start: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """The arrays of a model file; goes on from what is in `out`.

        trainable: what the registry's `trainable` makes of the codec's name. threads: 0 takes every core.
        report: called every few seconds with a dataclass that has a `fraction` and what `words` needs.
        start: the arrays that the run begins with; UsageError where that cannot be.
        """

    @abstractmethod
    def history(self, out: Path) -> dict[str, Any]:
        """What a card says of a run that is over."""

    @abstractmethod
    def words(self, progress: Any) -> str:
        """Where a run stands, in a line."""

    @abstractmethod
    def is_milestone(self, progress: Any) -> bool:
        """Whether the line shall stay on the screen: a validation, the end of an epoch."""

    def made_recipe(self, given: Mapping[str, Any]) -> Any:
        """The recipe with `given` in the place of defaults. Raises UsageError for what it does not know."""
        return made(self.recipe, given)


def made(recipe: type[Any], given: Mapping[str, Any]) -> Any:
    """A recipe, a dataclass, with `given` in the place of defaults. Raises UsageError for what it does not know."""
    known = {field.name: type(getattr(recipe(), field.name)) for field in fields(recipe)}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{name} is no part of this codec's recipe, which has {', '.join(known)}")
        try:
            values[name] = known[name](value)
        except ValueError:
            like = getattr(recipe(), name)
            raise UsageError(f"{name} is {value!r}; it must be a number like {like!r}") from None
    return recipe(**values)


def log_rows(log: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, one JSON object a line; none where there is no log."""
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


def thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most CURVE_ROWS of a log's rows, evenly spaced, the last one kept."""
    every = -(-len(rows) // CURVE_ROWS) or 1
    return rows[::-1][::every][::-1]
