"""Results on the terminal: the curves, then a line for each codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from enfold.bench.results import BdRate, Curve, Results

if TYPE_CHECKING:
    from enfold.bench.circuit_prior import PriorResults
    from enfold.bench.circuits import CircuitResults
    from enfold.bench.coder import CoderResults
    from enfold.bench.mosaic import MosaicResults

DIGITS = {"psnr_db": 2, "ms_ssim": 4, "haarpsi": 4, "ssimulacra2": 1, "lite0": 4, "lpips": 4}


def show(results: Results) -> None:
    """Prints what was found; enfold's own codecs are bold."""
    tables = [curves(results), summary(results)] if results.metrics else [summary(results)]
    _print(*tables, *notes(results))


def show_coder(results: CoderResults) -> None:
    table = Table("coder", "symbols", box=SIMPLE_HEAD)
    for name in ("threads", "encode\nMsym/s", "decode\nMsym/s", "bytes", "over entropy"):
        table.add_column(name, justify="right")
    for row in results.rows:
        table.add_row(row.coder, row.workload, str(row.threads), f"{row.encode_msym_per_s:.1f}",
                      f"{row.decode_msym_per_s:.1f}", f"{row.bytes:,}", f"{100 * row.overhead:+.3f} %")
    costs = ", ".join(f"{name} {bits:.3f} bits" for name, bits in results.entropy_bits.items())
    _print(table, f"{results.symbols:,} symbols ({costs} each); {results.machine.cpu}, {results.machine.cores} cores",
           *results.notes)


def show_mosaic(results: MosaicResults) -> None:
    table = Table("codec", box=SIMPLE_HEAD)
    for name in ("quality", "our bytes", "WebP mosaic", "ours / WebP", "clipped for WebP"):
        table.add_column(name, justify="right")
    for row in results.rows:
        table.add_row(row.codec, str(row.quality), f"{row.our_bytes:,}", f"{row.webp_bytes:,}", f"{row.ratio:.3f}",
                      f"{row.clipped:,} of {row.symbols:,}")
    _print(table, f"{results.pictures} pictures of {results.data}")


def show_circuits(results: CircuitResults) -> None:
    coders = Table("coder", box=SIMPLE_HEAD)
    for name in ("bytes", "bits/dim", "encode\npictures/cpu s", "decode\npictures/cpu s"):
        coders.add_column(name, justify="right")
    for row in results.coders:
        coders.add_row(row.coder, f"{row.bytes:,}", f"{row.bits_per_dim:.4f}", f"{row.encode:,.0f}",
                       f"{row.decode:,.0f}")
    costs = Table(box=SIMPLE_HEAD)
    for name in ("states", "D", "|p|", "encode\nms a picture", "decode\nms a picture"):
        costs.add_column(name, justify="right")
    for cost in results.costs:
        costs.add_row(str(cost.states), str(cost.dimensions), f"{cost.parameters:,}", f"{cost.encode_ms:.3f}",
                      f"{cost.decode_ms:.3f}")
    _print(coders, costs, f"{results.pictures:,} pictures of {results.data}")


def show_circuit_prior(results: PriorResults) -> None:
    table = Table("codec", box=SIMPLE_HEAD)
    for name in ("quality", "own prior", "circuit", "circuit / own"):
        table.add_column(name, justify="right")
    for row in results.rows:
        table.add_row(row.codec, str(row.quality), f"{row.own_bytes:,}", f"{row.circuit_bytes:,}", f"{row.ratio:.3f}")
    _print(table, f"{results.pictures} pictures of {results.data}, circuits trained on {results.trained_on} "
                  f"for {results.minutes:g} minutes each")


def _print(*parts: Table | str) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)       # a file has no width to keep to
    for part in parts:
        console.print(Text(part, "dim") if isinstance(part, str) else part)


def curves(results: Results) -> Table:
    """A line for each codec and quality: means over the items."""
    table = Table("codec", box=SIMPLE_HEAD)
    for name in ("quality", results.rate_unit, *(metric.label for metric in results.metrics)):
        table.add_column(name, justify="right")
    for curve in results.curves:
        for number, point in enumerate(curve.points):
            scores = [_score(metric.name, point.scores[metric.name]) for metric in results.metrics]
            table.add_row(_name(curve) if number == 0 else "", f"{point.quality:g}", f"{point.rate:.3f}", *scores,
                          end_section=number == len(curve.points) - 1)
    return table


def summary(results: Results) -> Table:
    """A line for each codec: BD-rates, speed, memory."""
    table = Table("codec", box=SIMPLE_HEAD)
    if not results.metrics:
        table.add_column(results.rate_unit, justify="right")
    for cut in results.rate_ranges:
        where = "" if cut is None else f"\n{cut[0]:g} to {cut[1]:g} {results.rate_unit}"
        for metric in results.metrics:
            table.add_column(f"BD-rate\n{metric.label}{where}", justify="right")
    timed = any(curve.speed for curve in results.curves)
    for name in ("encode", "decode", "memory") if timed else ():
        table.add_column(f"{name}\n{'MB' if name == 'memory' else results.speed_unit}", justify="right")
    for curve in results.curves:
        cells = [] if results.metrics else [f"{curve.points[0].rate:.3f}"]
        cells += [_percent(curve, results.bd_rate(curve.codec, metric.name, cut))
                  for cut in results.rate_ranges for metric in results.metrics]
        if timed:
            cells += [f"{curve.speed.encode:.2f}", f"{curve.speed.decode:.2f}"] if curve.speed else ["", ""]
            cells.append(f"{curve.memory.peak_mb - curve.memory.before_mb:.0f}" if curve.memory else "")
        table.add_row(_name(curve), *cells)
    return table


def notes(results: Results) -> list[str]:
    """What the tables do not say by themselves."""
    anchors = sorted({results.curve(bd.anchor).label for bd in results.bd_rates})
    said = [f"{results.data.items} {results.medium} of {results.data.name}; {results.machine.cpu}, "
            f"{results.machine.cores} cores"]
    said += [f"BD-rate: bytes more (+) or fewer (-) than {', '.join(anchors)} takes at equal score"] if anchors else []
    said += [f"speed: {results.timing}; memory: what encoding and decoding one adds"] if results.timing else []
    cuts = {cut: f", {cut[0]:g} to {cut[1]:g} {results.rate_unit}" if cut else "" for cut in results.rate_ranges}
    said += [f"{bd.codec}, {bd.metric}{cuts[bd.rate_range]}: no BD-rate: {bd.note}"
             for bd in results.bd_rates if bd.percent is None]
    return [*said, *results.notes]


def _name(curve: Curve) -> Text:
    return Text(curve.label, "bold" if curve.ours else "")


def _score(metric: str, score: float | None) -> str:
    return "inf" if score is None else f"{score:.{DIGITS.get(metric, 3)}f}"


def _percent(curve: Curve, bd: BdRate | None) -> str:
    if bd is None:
        return "anchor" if curve.points else ""
    return "none" if bd.percent is None else f"{bd.percent:+.1f} %"
