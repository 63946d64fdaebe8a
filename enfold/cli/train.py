"""`enfold train`: a codec's weights, from a folder of pictures.

OUT holds the run: checkpoints and a log while it goes, the weights and their card at the end.
The same command takes up a run where it stopped, and writes the weights of one that is finished
again; a command that means another run is refused.

With --from-weights, a run begins with the weights that would be used now, those that ship or
those of ENFOLD_WEIGHTS. With --prior-only, these get a new prior and are otherwise the same.
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
    from enfold.pretrained import Card

EXAMPLES = """\b
Examples:
  enfold train walloc-rgb-16x photos/ run/ --minutes 90
  enfold train walloc-rgb-16x photos/ run/ --minutes 90     goes on, if it was interrupted
  enfold train hyper-rgb photos/ run/ --from-weights --learning-rate 3e-4     trains the shipped weights further
  ENFOLD_WEIGHTS=run enfold encode photo.png                uses what was trained
  ENFOLD_WEIGHTS=run enfold train walloc-rgb-16x photos/ run2/ --prior-only     its files get smaller"""

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
    from_weights: Annotated[bool, typer.Option("--from-weights", help="Begin with the weights in use, not from "
                                               "nothing.")] = False,
    prior_only: Annotated[bool, typer.Option("--prior-only", help="Train the prior alone, of the weights in use, on "
                                             "latents of whole pictures: minutes. Of the options above only --steps "
                                             "and --seed count.")] = False,
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
    from enfold.pretrained import weights
    from enfold.pretrained.writing import write_model

    trained_on, held_out = pictures(data)
    if not trained_on:
        raise UsageError(f"{data} holds {len(held_out)} pictures, too few to train on: name a folder with more")
    data_about = {"folder": data.resolve().name, "pictures": len(trained_on), "held_out": len(held_out), "note": note}
    if prior_only:
        use_threads(threads)
        trainable: Any = registry.resolve(path)(codec)
        _say_made(_train_prior(trainable, codec, data, out, steps, seed, data_about, as_json=json), as_json=json)
        return
    recipe = Recipe(steps=steps, minutes=minutes, batch=batch, crop=crop, learning_rate=learning_rate, seed=seed)
    before = _in_use(codec, out) if from_weights else None
    _claim(out, codec, recipe, before)
    use_threads(threads)
    try:
        with _display(as_json=json) as show:
            model: Any = train(registry.resolve(path)(codec), recipe, data, out, show,
                               None if before is None else weights(before))
    except KeyboardInterrupt:
        say("the same command goes on from the last checkpoint")
        raise
    except OSError as error:
        raise MediaError(f"training on {data} into {out} stopped: {error}; the same command goes on "
                         "from the last checkpoint") from error
    about = {"trained_by": _enfold(), **_history(out / "log.jsonl"), "recipe": asdict(recipe),
             "data": data_about, **({} if before is None else {"before": _past(before)})}
    _say_made(_trained(write_model(out, codec, model.frozen(), about)), as_json=json)


def _train_prior(trainable: Any, codec: str, data: Path, out: Path, steps: int, seed: int,
                 data_about: dict[str, Any], *, as_json: bool) -> Trained:
    """The weights in use, with another prior, in OUT."""
    from enfold.learners.train_prior import PriorProgress, PriorRecipe, train_prior
    from enfold.pretrained import weights
    from enfold.pretrained.writing import write_model

    before = _in_use(codec, out)
    prior = trainable.prior(weights(before))
    if prior is None:
        raise UsageError(f"{codec} has no prior that can be trained alone")
    held_out: list[list[float]] = []

    def show(progress: PriorProgress) -> None:
        if progress.held_out:
            held_out.append([round(bits, 4) for bits in progress.held_out])
        if as_json:
            print_json(progress)
        elif progress.held_out:
            say(f"step {progress.step:,}, {progress.minutes:.1f} min, held out: "
                + "  ".join(f"{bits:.3f}" for bits in progress.held_out) + " bits a latent")
        elif sys.stderr.isatty():
            say(f"step {progress.step:,}, {progress.minutes:.1f} min: {progress.bits:.3f} bits a latent")

    recipe = PriorRecipe(seed=seed, **({"steps": steps} if steps else {}))
    try:
        train_prior(prior, recipe, data, out, before.fingerprint.hex(), show)
    except OSError as error:
        raise MediaError(f"training on {data} into {out} stopped: {error}") from error
    kept = {name: value for name, value in before.about.items() if name != "measured"}     # of another prior's files
    about = {**kept, "prior": {"trained_by": _enfold(), "before": before.fingerprint.hex(), "held_out": held_out,
                               "recipe": asdict(recipe), "data": data_about}}
    return _trained(write_model(out, codec, prior.frozen(), about))


def _in_use(codec: str, out: Path) -> Card:
    """The card of the weights in use; refuses to write over them."""
    from enfold.pretrained import find

    card = find(codec)
    if card.weights.parent.resolve() == out.resolve():
        raise UsageError(f"{out} holds the weights that are to be trained further: name another folder for new ones")
    return card


def _past(card: Card) -> dict[str, Any]:
    """What the card of weights that were trained further says of how they came to be."""
    return {name: value for name, value in card.about.items() if name not in ("codec", "curve", "measured")}


def _trained(card: Card) -> Trained:
    return Trained(card.codec, card.fingerprint.hex(), str(card.weights), str(card.weights.with_suffix(".toml")))


def _say_made(made: Trained, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        say(f"{made.weights} and its card are written, fingerprint {made.fingerprint}")


def _claim(out: Path, codec: str, recipe: Recipe, before: Card | None) -> None:
    """Notes in OUT what is trained there; refuses to mix two runs."""
    from enfold.media import replace_file

    run = {"codec": codec, **asdict(recipe), "from_weights": before.fingerprint.hex() if before else None}
    note = out / "run.json"
    if note.exists():
        there = json_text.loads(note.read_text("utf-8"))
        for name, value in run.items():
            if there.get(name, value) != value:
                raise UsageError(f"{out} holds a run with {name} {there[name]!r}, this one has {value!r}: "
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
