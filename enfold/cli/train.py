"""`enfold train`: a codec's weights, from what it is to be used for: pictures, sound, arrays.

OUT holds the run: checkpoints and a log while it goes, the weights and their card at the end.
The same command takes up a run where it stopped, and writes the weights of one that is finished
again; one that says other minutes makes it longer; a command that means another run is refused.

With --from-weights, a run begins with the weights that would be used now, those that ship or
those of ENFOLD_WEIGHTS. With --prior-only, these get a new prior and are otherwise the same.
"""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enfold.cli.failures import say
from enfold.cli.options import Json, Threads, print_json, use_threads
from enfold.errors import MediaError, UsageError

if TYPE_CHECKING:
    from enfold.learners.trainer import Report, Trainer
    from enfold.pretrained import Card

EXAMPLES = """\b
Examples:
  enfold train walloc-rgb-16x photos/ run/ --minutes 90
  enfold train walloc-rgb-16x photos/ run/ --minutes 90     goes on, if it was interrupted
  enfold train hyper-rgb photos/ run/ --from-weights --learning-rate 3e-4     trains the shipped weights further
  ENFOLD_WEIGHTS=run enfold encode photo.png                uses what was trained
  ENFOLD_WEIGHTS=run enfold train walloc-rgb-16x photos/ run2/ --prior-only     its files get smaller"""
LENGTHS = ("minutes", "checkpoint_minutes")     # what a run may change in the middle



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
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder of pictures, of sound, or what else the codec "
                                         "is for; every 40th is held out.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the run.", show_default=False)], *,
    minutes: Annotated[float | None, typer.Option("--minutes", metavar="N", min=0, show_default=False,
                                                  help="Wall clock, all sittings together; it may be raised "
                                                  "later.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", metavar="N", min=0, show_default=False,
                                              help="If not 0, so many steps, whatever the time.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", min=1, show_default=False,
                                              help="Samples a step.")] = None,
    crop: Annotated[int | None, typer.Option("--crop", metavar="N", min=8, show_default=False,
                                             help="Side of a crop in pixels, or its length in samples.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", metavar="X", min=0, show_default=False,
                                                        help="At its highest.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, show_default=False,
                                             help="Of everything random.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=X", show_default=False, help="Anything "
                                                       "else of the codec's recipe; may be repeated.")] = None,
    from_weights: Annotated[bool, typer.Option("--from-weights", help="Begin with the weights in use, not from "
                                               "nothing.")] = False,
    prior_only: Annotated[bool, typer.Option("--prior-only", help="Train the prior alone, of the weights in use, on "
                                             "latents of whole pictures. --minutes and --crop do not count.")] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="What the card shall say of the data.")] = "",
    threads: Threads = 0, json: Json = False,
) -> None:
    """Train a codec's weights. What an option leaves open, the codec's own recipe says; its card tells."""
    from enfold import registry

    entry = registry.entry(codec)
    if entry.trainable is None:
        raise UsageError(f"{codec} has nothing to train")
    trainer: Trainer = registry.resolve(entry.trainer)
    if not data.exists():
        raise UsageError(f"DATA is {str(data)!r}, and nothing is there: name {trainer.data}")
    from enfold.pretrained import weights
    from enfold.pretrained.writing import write_model

    data_about = {**trainer.about(data), "note": note}
    if prior_only:
        use_threads(threads)
        trainable: Any = registry.resolve(entry.trainable)(codec)
        given = _given({"steps": steps or None, "batch": batch, "learning_rate": learning_rate, "seed": seed}, settings)
        _say_made(_train_prior(trainable, codec, data, out, given, data_about, as_json=json), as_json=json)
        return
    recipe = trainer.made_recipe(_given({"minutes": minutes, "steps": steps, "batch": batch, "crop": crop,
                                         "learning_rate": learning_rate, "seed": seed}, settings))
    before = _in_use(codec, out) if from_weights else None
    _claim(out, codec, recipe, before)
    use_threads(threads)
    try:
        with _display(trainer, as_json=json) as show:
            arrays = trainer.train(registry.resolve(entry.trainable)(codec), recipe, data, out, threads=threads,
                                   report=show, start=None if before is None else weights(before))
    except KeyboardInterrupt:
        say("the same command goes on from the last checkpoint")
        raise
    except OSError as error:
        raise MediaError(f"training on {data} into {out} stopped: {error}; the same command goes on "
                         "from the last checkpoint") from error
    about = {"trained_by": _enfold(), **trainer.history(out), "recipe": asdict(recipe),
             "data": data_about, **({} if before is None else {"before": _past(before)})}
    _say_made(_trained(write_model(out, codec, arrays, about)), as_json=json)


def _given(options: dict[str, Any], settings: list[str] | None) -> dict[str, Any]:
    """What was said of a recipe."""
    return {name: value for name, value in options.items() if value is not None} | dict(map(_setting, settings or ()))


def _setting(text: str) -> tuple[str, str]:
    """NAME=X as the two."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--set {text!r}: it takes NAME=X, as in --set hard_from=0.6")
    return name.replace("-", "_"), value


def _train_prior(trainable: Any, codec: str, data: Path, out: Path, given: dict[str, Any],
                 data_about: dict[str, Any], *, as_json: bool) -> Trained:
    """The weights in use, with another prior, in OUT."""
    from enfold.learners import trainer
    from enfold.learners.train_prior import PriorProgress, PriorRecipe, train_prior
    from enfold.pretrained import weights
    from enfold.pretrained.writing import write_model

    before = _in_use(codec, out)
    prior = trainable.prior(weights(before)) if hasattr(trainable, "prior") else None
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

    recipe = trainer.made(PriorRecipe, given)
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


def _claim(out: Path, codec: str, recipe: Any, before: Card | None) -> None:
    """Notes in OUT what is trained there; refuses to mix two runs. One may be made longer."""
    from enfold.media import replace_file

    run = {"codec": codec, **asdict(recipe), "from_weights": before.fingerprint.hex() if before else None}
    note = out / "run.json"
    if note.exists():
        there = json_text.loads(note.read_text("utf-8"))
        for name, value in run.items():
            if name not in LENGTHS and there.get(name, value) != value:
                raise UsageError(f"{out} holds a run with {name} {there[name]!r}, this one has {value!r}: "
                                 "repeat the options of that run to go on with it, or name another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_file(note, json_text.dumps(run, indent=1).encode())


def _enfold() -> str:
    from enfold import __version__

    return f"enfold {__version__}"


@contextmanager
def _display(trainer: Trainer, *, as_json: bool) -> Iterator[Report]:
    """Where progress is shown: JSON lines, a bar on a terminal, or else a line at each milestone."""
    if as_json:
        yield print_json
        return
    if not sys.stderr.isatty():
        yield lambda progress: say(trainer.words(progress)) if trainer.is_milestone(progress) else None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bars:
        task = bars.add_task("reading the data", total=1.0)

        def show(progress: Any) -> None:
            text, stays = trainer.words(progress), trainer.is_milestone(progress)
            bars.update(task, completed=progress.fraction, description=None if stays else text)
            if stays:
                bars.console.print(text, highlight=False)

        yield show
