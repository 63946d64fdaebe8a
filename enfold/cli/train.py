"""`enfold train`: a codec's weights, from a folder of pictures.

OUT holds the run: checkpoints and a log while it goes, the weights and their card at the end.
The same command takes up a run where it stopped, and writes the weights of one that is finished
again; a command that means another run is refused.
"""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enfold.cli.failures import say
from enfold.cli.options import Json, Threads, print_json, use_threads
from enfold.errors import MediaError, UsageError

if TYPE_CHECKING:
    from enfold.learners.train_codec import Progress, Recipe

EXAMPLES = """\b
Examples:
  enfold train walloc-rgb-16x photos/ run/ --minutes 90
  enfold train walloc-rgb-16x photos/ run/ --minutes 90     goes on, if it was interrupted
  ENFOLD_WEIGHTS=run enfold encode photo.png                uses what was trained"""

CURVE_ROWS = 24


@dataclass(frozen=True)
class Trained:
    """What a run made."""

    codec: str
    fingerprint: str
    weights: str
    card: str


def command(
    codec: Annotated[str, typer.Argument(metavar="CODEC", help="A name that `enfold models` lists.",
                                         show_default=False)],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of pictures; every 40th is held out.",
                                         show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the run.", show_default=False)], *,
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", min=0,
                                               help="Wall clock, all sittings together.")] = 60.0,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=0,
                                           help="If not 0, so many steps, whatever the time.")] = 0,
    batch: Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Crops a step.")] = 16,
    crop: Annotated[int, typer.Option("--crop", metavar="N", min=8, help="Side of a crop, in pixels.")] = 128,
    learning_rate: Annotated[float, typer.Option("--learning-rate", metavar="X", min=0, help="At its highest.")] = 1e-3,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of everything random.")] = 0,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What the card shall say of the data.")] = "",
    threads: Threads = 0, json: Json = False,
) -> None:
    """Train a codec's weights on a folder of pictures."""
    from enfold import registry

    path = registry.entry(codec).trainable
    if path is None:
        raise UsageError(f"{codec} has nothing to train")
    if not data.is_dir():
        raise UsageError(f"DATA is {str(data)!r}, which is no folder: name a folder of pictures")
    from enfold.learners.train_codec import Recipe, pictures, train
    from enfold.pretrained.writing import write_model

    trained_on, held_out = pictures(data)
    if not trained_on:
        raise UsageError(f"{data} holds {len(held_out)} pictures, too few to train on: name a folder with more")
    recipe = Recipe(steps=steps, minutes=minutes, batch=batch, crop=crop, learning_rate=learning_rate, seed=seed)
    _claim(out, codec, recipe)
    use_threads(threads)
    try:
        with _display(as_json=json) as show:
            model: Any = train(registry.resolve(path)(codec), recipe, data, out, show)
    except KeyboardInterrupt:
        say("the same command goes on from the last checkpoint")
        raise
    except OSError as error:
        raise MediaError(f"training on {data} into {out} stopped: {error}; the same command goes on "
                         "from the last checkpoint") from error
    about = {"trained_by": _enfold(), **_history(out / "log.jsonl"), "recipe": asdict(recipe),
             "data": {"folder": data.resolve().name, "pictures": len(trained_on), "held_out": len(held_out),
                      "note": note}}
    card = write_model(out, codec, model.frozen(), about)
    made = Trained(codec, card.fingerprint.hex(), str(card.weights), str(out / f"{codec}.toml"))
    if json:
        print_json(made)
    else:
        say(f"{made.weights} and its card are written, fingerprint {made.fingerprint}")


def _claim(out: Path, codec: str, recipe: Recipe) -> None:
    """Notes in OUT what is trained there; refuses to mix two runs."""
    from enfold.media import replace_file

    run, note = {"codec": codec, **asdict(recipe)}, out / "run.json"
    if note.exists():
        before = json_text.loads(note.read_text("utf-8"))
        for name, value in run.items():
            if before.get(name, value) != value:
                raise UsageError(f"{out} holds a run with {name} {before[name]!r}, this one has {value!r}: "
                                 "repeat the options of that run to go on with it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(note, json_text.dumps(run, indent=1).encode())


def _history(log: Path) -> dict[str, Any]:
    """Of a run's log, what its card says."""
    rows = [json_text.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    if not rows:
        return {}
    every = -(-len(rows) // CURVE_ROWS)
    curve = [{"step": row["step"], "minutes": round(row["minutes"], 1), "loss": round(row["loss"], 4),
              "held_out": [[round(number, 4) for number in point] for point in row["validation"]]}
             for row in rows[::-1][::every][::-1]]       # counted from the end, so that the last is kept
    last = rows[-1]
    return {"steps": last["step"], "minutes": round(last["minutes"], 1), "skipped_steps": last["skipped"],
            "curve": curve}


def _enfold() -> str:
    from enfold import __version__

    return f"enfold {__version__}"


@contextmanager
def _display(*, as_json: bool) -> Iterator[Callable[[Progress], None]]:
    """Where progress is shown: JSON lines, a bar on a terminal, or else a line at each validation."""
    if as_json:
        yield print_json
        return
    if not sys.stderr.isatty():
        yield lambda progress: say(_in_words(progress)) if progress.validation else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bars(*columns, console=Console(stderr=True), redirect_stdout=False) as bars:
        task = bars.add_task("reading pictures", total=1.0)

        def show(progress: Progress) -> None:
            text = _in_words(progress)
            bars.update(task, completed=progress.fraction, description=text if not progress.validation else None)
            if progress.validation:
                bars.console.print(text, highlight=False)

        yield show


def _in_words(progress: Progress) -> str:
    where = f"step {progress.step:,}, {progress.minutes:.1f} min"
    if not progress.validation:
        return f"{where}: loss {progress.loss:.3f}, {progress.bpp:.2f} bpp"
    held_out = "  ".join(f"{bpp:.2f} bpp {psnr_db:.1f} dB" for _, bpp, psnr_db in progress.validation)
    return f"{where}, held out: {held_out}"
