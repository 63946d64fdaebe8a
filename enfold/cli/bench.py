"""`enfold bench`: every claim measured beside the peers, in one run, on real bytes.

What is measured stays in OUT and is not measured again; the same command goes on where it was
interrupted. stdout carries the table, or the whole results as one JSON object with --json.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enfold.cli.failures import say
from enfold.cli.options import Json, print_json
from enfold.errors import MissingWeightsError, UsageError

if TYPE_CHECKING:
    from enfold.bench.results import Results
    from enfold.bench.running import Medium

EXAMPLES = """\b
Examples:
  enfold bench images kodak/ --limit 4
  enfold bench images kodak/ --peers jpeg,avif --qualities jpeg=30,50,70,90 --out kodak-results
  enfold bench images kodak/ --bpp-range 0.3,1.5 --metrics psnr_db,ms_ssim,haarpsi
  enfold bench lossless kodak/ --limit 8
  enfold bench coder
  enfold bench mosaic kodak/ --qualities 30,75"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None,
                  help="Measure codecs beside what one would use instead.")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the media are.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where results go, and are taken up again.")]
Codecs = Annotated[str | None, typer.Option("--codecs", metavar="A,B", show_default=False,
                                            help="enfold's; none for none; NAME@20 is NAME with --effort 20. "
                                                 "[default: all with weights at hand]")]
Peers = Annotated[str | None, typer.Option("--peers", metavar="A,B", show_default=False,
                                           help="Others; none for none. [default: all that 'enfold[bench]' brings]")]
Qualities = Annotated[list[str] | None, typer.Option("--qualities", metavar="[CODEC=]A,B,...", show_default=False,
                                                     help="For one codec, or for all of enfold's; can be repeated.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=0, help="Only the first N; 0 for all.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", metavar="N", min=0, help="Processes; 0 for one a core. "
                                                                            "Changes nothing but the time.")]
Timing = Annotated[bool, typer.Option("--timing/--no-timing", help="Measure speed and memory too.")]
Cores = Annotated[int, typer.Option("--cores", metavar="N", min=0, help="Cores for the timing; 0 for all.")]


@app.command("images", epilog=EXAMPLES)
def images(
    folder: Folder, *, codecs: Codecs = None, peers: Peers = None, qualities: Qualities = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", show_default=False,
                                                help="Of psnr_db, ms_ssim, ssimulacra2, haarpsi, lite0, lpips; or all. "
                                                     "[default: the first three]")] = None,
    anchor: Annotated[str, typer.Option("--anchor", help="The codec that BD-rates refer to.")] = "jpeg",
    bpp_range: Annotated[str | None, typer.Option("--bpp-range", metavar="LOW,HIGH", show_default=False,
                                                  help="BD-rates within these rates, too.")] = None,
    limit: Limit = 0, jobs: Jobs = 0, out: Out = Path("bench-images"), timing: Timing = True, cores: Cores = 0,
    json: Json = False,
) -> None:
    """Rate, distortion, speed and memory of picture codecs."""
    from enfold.bench import compressai_peers, scores
    from enfold.bench.images import bench_images, medium
    from enfold.bench.peers import DOWNSCALED, LOSSY
    from enfold.bench.running import Plan

    ours = _our_codecs(codecs)
    others = _names(peers, tuple(LOSSY), (*LOSSY, DOWNSCALED, *compressai_peers.PEERS))
    plan = Plan(folder, out, ours, others, anchor, _qualities(qualities, ours), _range(bpp_range), limit,
                jobs or _cores(), timing, cores)
    with _bar() as begin:
        results = bench_images(plan, _names(metrics, scores.DEFAULT), command=_command(folder, out), date=_today(),
                               begin=begin)
    _finish(results, medium(), folder, out, as_json=json)


SOUNDS = """\b
Examples:
  enfold bench audio music/ --limit 4 --seconds 5
  enfold bench audio music/ --peers opus,mp3 --qualities opus=16,32,64,96 --kbps-range 48,128"""
FILMS = """\b
Examples:
  enfold bench video films/ --frames 32 --gop 32
  enfold bench video films/ --peers x265-medium,svtav1 --anchor x265-medium --metrics psnr_db"""


@app.command("audio", epilog=SOUNDS)
def audio(
    folder: Folder, *,
    codecs: Codecs = None, peers: Peers = None, qualities: Qualities = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", show_default=False,
                                                help="Of psnr_db, si_sdr_db, lsd_db, visqol. [default: all]")] = None,
    anchor: Annotated[str, typer.Option("--anchor", help="The codec that BD-rates refer to.")] = "opus",
    kbps_range: Annotated[str | None, typer.Option("--kbps-range", metavar="LOW,HIGH", show_default=False,
                                                   help="BD-rates within these rates, too.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", min=0,
                                           help="Only so much of each sound; 0 for all.")] = 10,
    limit: Limit = 0, jobs: Jobs = 0, out: Out = Path("bench-audio"), timing: Timing = True, cores: Cores = 0,
    json: Json = False,
) -> None:
    """Rate, distortion, speed and memory of codecs of sound."""
    from enfold.bench.audio import METRICS, bench_audio, medium
    from enfold.bench.audio_peers import PEERS
    from enfold.bench.running import Plan

    ours = _our_codecs(codecs, "sound")
    plan = Plan(folder, out, ours, _names(peers, tuple(PEERS), tuple(PEERS)), anchor, _qualities(qualities, ours),
                _range(kbps_range, "--kbps-range"), limit, jobs or _cores(), timing, cores)
    with _bar() as begin:
        results = bench_audio(plan, _names(metrics, tuple(METRICS)), seconds, command=_command(folder, out),
                              date=_today(), begin=begin)
    _finish(results, medium(seconds), folder, out, as_json=json)


@app.command("video", epilog=FILMS)
def video(
    folder: Folder, *,
    codecs: Annotated[str, typer.Option("--codecs", metavar="A,B", help="enfold's; none for none.")] = "none",
    peers: Peers = None, qualities: Qualities = None,
    metrics: Annotated[str | None, typer.Option("--metrics", metavar="A,B", show_default=False,
                                                help="Of psnr_db, ms_ssim, vmaf. [default: all]")] = None,
    anchor: Annotated[str, typer.Option("--anchor", help="The codec that BD-rates refer to.")] = "x264-medium",
    bpp_range: Annotated[str | None, typer.Option("--bpp-range", metavar="LOW,HIGH", show_default=False,
                                                  help="BD-rates within these rates, too.")] = None,
    frames: Annotated[int, typer.Option("--frames", metavar="N", min=0,
                                        help="Only the first N of each film; 0 for all.")] = 32,
    gop: Annotated[int, typer.Option("--gop", metavar="N", min=1, help="Frames from key frame to key frame.")] = 32,
    limit: Limit = 0, jobs: Jobs = 0, out: Out = Path("bench-video"), timing: Timing = True, cores: Cores = 0,
    json: Json = False,
) -> None:
    """Rate, distortion, speed and memory of codecs of film."""
    from enfold.bench.running import Plan
    from enfold.bench.video import METRICS, bench_video, medium
    from enfold.bench.video_peers import PEERS

    ours = _our_codecs(codecs)
    plan = Plan(folder, out, ours, _names(peers, tuple(PEERS), tuple(PEERS)), anchor, _qualities(qualities, ours),
                _range(bpp_range), limit, jobs or _cores(), timing, cores)
    with _bar() as begin:
        results = bench_video(plan, _names(metrics, tuple(METRICS)), frames, gop, command=_command(folder, out),
                              date=_today(), begin=begin)
    metrics_had = [metric.name for metric in results.metrics]
    _finish(results, medium(frames, gop, metrics_had), folder, out, as_json=json)


def _finish(results: Results, medium: Medium, folder: Path, out: Path, *, as_json: bool) -> None:
    """Plots, the report, and the table."""
    from enfold.bench import plots, report, samples
    from enfold.bench.points import PointFile

    drawn = [path for path in plots.draw(results, out) if path.suffix == ".svg"]
    compared = samples.comparisons(results, medium, folder, PointFile(out / "points.jsonl"))
    report.write(results, drawn, compared, out / "report.html")
    _show(results, out, "results.json, report.html and plots", as_json=as_json)


@app.command("lossless")
def lossless(folder: Folder, *, codecs: Codecs = "none", peers: Peers = None, limit: Limit = 0, jobs: Jobs = 0,
             out: Out = Path("bench-lossless"), timing: Timing = True, cores: Cores = 0, json: Json = False) -> None:
    """Bits per dimension and speed of lossless picture codecs."""
    from enfold.bench.lossless import bench_lossless
    from enfold.bench.peers import LOSSLESS
    from enfold.bench.running import Plan

    others = _names(peers, tuple(LOSSLESS), LOSSLESS)
    ours = _our_codecs(codecs)
    plan = Plan(folder, out, ours, others, next(iter((*others, *ours)), "none"), limit=limit, jobs=jobs or _cores(),
                timing=timing, cores=cores)
    with _bar() as begin:
        results = bench_lossless(plan, command=_command(folder, out), date=_today(), begin=begin)
    _show(results, out, as_json=json)


@app.command("coder")
def coder(*, symbols: Annotated[int, typer.Option("--symbols", metavar="N", min=1024, help="How many.")] = 1 << 19,
          json: Json = False) -> None:
    """Symbols a second and bytes of the entropy coders."""
    from enfold.bench.coder import bench_coder
    from enfold.bench.table import show_coder

    results = bench_coder(symbols, command=_command(), date=_today())
    print_json(results) if json else show_coder(results)


@app.command("mosaic")
def mosaic(folder: Folder, *, codecs: Codecs = None,
           qualities: Annotated[str | None, typer.Option("--qualities", metavar="A,B,...", show_default=False,
                                                         help="Whole numbers. [default: 10,30,50,75,95]")] = None,
           limit: Limit = 0, json: Json = False) -> None:
    """Bytes of our symbols beside a lossless WebP of the same latents."""
    from enfold.bench.mosaic import QUALITIES, bench_mosaic
    from enfold.bench.table import show_mosaic

    wanted = QUALITIES if qualities is None else tuple(map(round, _numbers(qualities, "--qualities")))
    with _bar() as begin:
        results = bench_mosaic(folder, _our_codecs(codecs), wanted, limit=limit, command=_command(folder),
                               date=_today(), begin=begin)
    print_json(results) if json else show_mosaic(results)


@app.command("circuits")
def circuits(data: Annotated[Path, typer.Argument(metavar="DATA", help="An .npy or IDX file of grey pictures, or a "
                                                  "folder of them.", show_default=False)], *,
             codec: Annotated[str, typer.Option("--codec", "-c", help="A circuit made for them.")] = "circuit-mnist",
             limit: Limit = 0, json: Json = False) -> None:
    """Bytes and speed of a data set of small pictures, and what a circuit's size costs."""
    from enfold.bench.circuits import bench_circuits
    from enfold.bench.table import show_circuits
    from enfold.learners.tensors import read_tensors

    images = read_tensors(data)
    with _bar() as begin:
        results = bench_circuits(images[:limit] if limit else images, codec, name=data.name, command=_command(data),
                                 date=_today(), begin=begin)
    print_json(results) if json else show_circuits(results)


@app.command("circuit-prior")
def circuit_prior(
    training: Annotated[Path, typer.Argument(metavar="TRAINING", help="Pictures to train circuits on.",
                                             show_default=False)],
    folder: Folder, *, codec: Annotated[str, typer.Option("--codec", "-c", help="Whose symbols.")] = "walloc-rgb-16x",
    quality: Annotated[list[int] | None, typer.Option("--quality", "-q", metavar="N", show_default=False,
                                                      help="May be repeated. [default: 50]")] = None,
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", min=0, help="Of training each circuit.")] = 5.0,
    limit: Limit = 0, out: Out = Path("bench-circuit-prior"), json: Json = False,
) -> None:
    """A codec's symbols coded by its own prior, and by a circuit over patches of them."""
    from enfold.bench.circuit_prior import bench_circuit_prior
    from enfold.bench.table import show_circuit_prior

    with _bar() as begin:
        results = bench_circuit_prior(training, folder, out, codec, tuple(quality or (50,)), minutes=minutes,
                                      limit=limit, threads=_cores(), command=_command(training, folder, out),
                                      date=_today(), begin=begin)
    print_json(results) if json else show_circuit_prior(results)


def _show(results: Results, out: Path, made: str = "results.json", *, as_json: bool) -> None:
    if as_json:
        print_json(results)
        return
    from enfold.bench.table import show

    show(results)
    say(f"written to {out}: {made}")


def _names(given: str | None, default: Sequence[str], known: Iterable[str] | None = None,
           what: str = "peer") -> tuple[str, ...]:
    """A list of names; "none" is the empty one."""
    if given is None or given == "none":
        return tuple(default) if given is None else ()
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    for name in names:
        if known is not None and name not in known:
            raise UsageError(f"no {what} is called {name!r}; there are {', '.join(known)}, and none")
    return names


def _our_codecs(given: str | None, medium: str = "picture") -> tuple[str, ...]:
    """Those named, with an effort or without, or all of a medium with weights at hand; of sound, that take stereo."""
    import enfold
    from enfold import registry
    from enfold.bench.ours import split

    if given is not None:
        names = _names(given, ())
        for name in names:
            registry.entry(split(name)[0])
        return names
    found = []
    for name in (name for name, entry in registry.entries().items() if entry.medium == medium):
        try:
            codec: Any = enfold.load(name)
        except MissingWeightsError:
            say(f"{name} is left out: there are no weights for it at hand")
        else:
            if medium != "sound" or codec.latent_codec.sound_channels > 1:
                found.append(name)
    return tuple(found)


def _qualities(given: Sequence[str] | None, ours: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """From NAME=A,B,... or, for all of ours, A,B,..."""
    found = {}
    for text in given or ():
        name, _, numbers = text.rpartition("=")
        for codec in (name,) if name else ours:
            found[codec] = _numbers(numbers, "--qualities")
    return found


def _range(given: str | None, option: str = "--bpp-range") -> tuple[float, float] | None:
    if given is None:
        return None
    numbers = _numbers(given, option)
    if len(numbers) != 2 or not 0 < numbers[0] < numbers[1]:
        raise UsageError(f"{option} {given}: give two rates, the lower first, such as 0.3,1.5")
    return numbers[0], numbers[1]


def _numbers(given: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in given.split(","))
    except ValueError:
        raise UsageError(f"{option} {given}: give numbers with commas between them") from None


def _command(*paths: Path) -> str:
    """What was typed, with names in the place of paths, so that results can be passed on."""
    names = {str(path): path.resolve().name for path in paths}
    return shlex.join(["enfold", *(names.get(word.rstrip("/"), word) for word in sys.argv[1:])])


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _bar() -> Iterator[Callable[[int], Callable[[], None]]]:
    """A progress bar on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda count: lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        def begin(count: int) -> Callable[[], None]:
            task = progress.add_task("", total=count)
            return lambda: progress.advance(task)

        yield begin
