"""Results as pictures, PNG and SVG: a plot of rate and score for each metric, and one of speed.

Curves are labelled where they end. enfold's are thick and warm, peers thin; the colours (Okabe and
Ito's) can be told apart by colour-blind people. The same results give the same files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from enfold.bench.results import Curve, Metric, Results

OURS = ("#d55e00", "#0072b2", "#882255", "#117733")
PEERS = ("#7f7f7f", "#56b4e9", "#009e73", "#cc79a7", "#c9a227", "#999933", "#44aa99")
INK, FAINT = "#222222", "#dddddd"
STYLE: Any = {"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "text.color": INK,
         "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.edgecolor": "#888888",
         "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "svg.hashsalt": "enfold",
         "svg.fonttype": "path", "figure.dpi": 150, "axes.titlelocation": "left", "axes.titlesize": 11,
         "axes.titleweight": "bold", "axes.titlepad": 12}
TICKS = (1, 1.5, 2, 3, 5, 7)
LOG_TICKS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.997, 0.998, 0.999, 0.9995)
HALO = [withStroke(linewidth=3, foreground="white")]


def draw(results: Results, folder: Path) -> list[Path]:
    """Writes the plots into a folder; returns their paths."""
    with rc_context(STYLE):
        figures = {f"rate-{metric.name}": rate_plot(results, metric) for metric in results.metrics}
        if any(curve.speed for curve in results.curves) and results.bd_rates:
            figures |= {f"speed-{results.metrics[0].name}": speed_plot(results, results.metrics[0])}
        return [path for name, figure in figures.items() for path in _saved(figure, folder / name)]


def rate_plot(results: Results, metric: Metric) -> Figure:
    """Score over rate, a line for each codec."""
    figure = Figure((7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    ends = []
    for curve, colour in _coloured(results.curves):
        points = [(p.rate, score) for p in curve.points if (score := p.scores[metric.name]) is not None]
        if not points:
            continue
        axes.plot(*zip(*[(rate, metric.axis(score)) for rate, score in points], strict=True), color=colour,
                  marker="o", markersize=4.5 if curve.ours else 2.6, linewidth=2.6 if curve.ours else 1.2,
                  zorder=3 if curve.ours else 2)
        ends.append((points[-1][0], metric.axis(points[-1][1]), curve, colour))
    _rate_axis(axes, [point.rate for curve in results.curves for point in curve.points], results.rate_unit)
    if metric.log:
        axes.yaxis.set_major_locator(FixedLocator([metric.axis(score) for score in LOG_TICKS]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1 - 10 ** (-value / 10):.4g}"))
    elif not metric.higher_is_better:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{-value:.3g}"))
    axes.set_title(f"{metric.label}, {results.data.items} {results.medium} of {results.data.name}")
    axes.grid(color=FAINT, linewidth=0.6)
    _label(figure, axes, ends)
    return figure


def speed_plot(results: Results, metric: Metric) -> Figure:
    """BD-rate over the speed of encoding and of decoding; better is lower and further right."""
    figure = Figure((8.6, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    anchor = results.bd_rates[0].anchor
    for axes, way in zip(panels, ("encode", "decode"), strict=True):
        places, speeds = [], []
        for curve, colour in _coloured(results.curves):
            bd = results.bd_rate(curve.codec, metric.name)
            percent = bd.percent if bd else 0.0 if curve.codec == anchor else None
            if curve.speed is None or percent is None:
                continue
            speed = getattr(curve.speed, way)
            speeds.append(speed)
            axes.plot(speed, percent, "o", color=colour, markersize=10 if curve.ours else 6.5, zorder=3)
            places.append((speed, percent, curve, colour))
        axes.set_xscale("log")
        if speeds:
            axes.set_xlim(min(speeds) / 1.6, max(speeds) * 2.6)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.axhline(0, color="#888888", linewidth=0.8, zorder=1)
        axes.grid(color=FAINT, linewidth=0.6)
        axes.margins(y=0.12)
        axes.set_xlabel(f"{way}, {results.speed_unit}, faster →")
        _label(figure, axes, places)
    panels[0].set_ylabel(f"BD-rate against {results.curve(anchor).label}, %\n← smaller files")
    panels[0].set_title(f"Speed and size at equal {metric.label}")
    return figure


def _rate_axis(axes: Axes, rates: Sequence[float], unit: str) -> None:
    low, high = min(rates), max(rates)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.1, high * 1.1)
    decades = (10.0**power for power in range(-4, 6))
    axes.xaxis.set_major_locator(FixedLocator([tick * decade for decade in decades for tick in TICKS]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    axes.set_xlabel(unit)


def _coloured(curves: Sequence[Curve]) -> list[tuple[Curve, str]]:
    """Peers first, so that enfold's are drawn over them."""
    ours = [curve for curve in curves if curve.ours]
    peers = [curve for curve in curves if not curve.ours]
    return [*((c, PEERS[n % len(PEERS)]) for n, c in enumerate(peers)),
            *((c, OURS[n % len(OURS)]) for n, c in enumerate(ours))]


def _label(figure: Figure, axes: Axes, places: Sequence[tuple[float, float, Curve, str]]) -> None:
    """Names beside points, moved up or down until they cover no other name and no other point."""
    figure.draw_without_rendering()     # places and text have no size before
    spots = [axes.transData.transform((x, y)) for x, y, _, _ in places]
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in spots]
    for number in sorted(range(len(places)), key=lambda number: places[number][1]):
        x, y, curve, colour = places[number]
        text = axes.annotate(curve.label, (x, y), (8, 0), textcoords="offset points", color=colour, va="center",
                             fontweight="bold" if curve.ours else "normal", fontsize=10 if curve.ours else 9,
                             zorder=5, path_effects=HALO, annotation_clip=False)
        for shift in (0, *(sign * step for step in range(4, 90, 4) for sign in (1, -1))):
            text.set_position((8, shift))
            box = text.get_window_extent()
            if not any(box.overlaps(other) for other in (*taken[:number], *taken[number + 1:])):
                break
        taken.append(box)


def _saved(figure: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_suffix(suffix) for suffix in (".png", ".svg")]
    figure.savefig(paths[0], metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    return paths
