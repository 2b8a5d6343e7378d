"""Figure of error kinds: stacked bars, one a method, a panel a benchmark (Figures 4 to 13 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd.evals.taxonomy import KINDS
from nemo_mixsd.evals.taxonomy_report import ErrorCounts

if TYPE_CHECKING:
    from nemo_mixsd.report import Report

COLOURS = {"format": "#9aa5b1", "leakage": "#c0392b", "collapse": "#e08e0b", "genuine": "#2f6f9f"}
COLUMNS = 3


def draw_errors(report: Report, run_dir: Path) -> list[Path]:
    """``figures/errors.png``, if any benchmark was run."""
    from nemo_mixsd.analysis.plots import save_figure

    rows = {name: row.errors for name, row in report.methods.items() if row.errors}
    figure = errors_figure(rows, f"{report.corpus} on {report.model}")
    return [] if figure is None else [save_figure(figure, run_dir / "figures" / "errors.png")]


def errors_figure(rows: Mapping[str, Mapping[str, ErrorCounts]], title: str) -> Any:
    """Draw the counts of ``rows`` (by report name, by benchmark); None if there is nothing to draw.

    Bars are shares of all responses, so that their height is the error rate.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    benchmarks = list(dict.fromkeys(benchmark for found in rows.values() for benchmark in found))
    if not benchmarks:
        return None
    columns = min(COLUMNS, len(benchmarks))
    height = -(-len(benchmarks) // columns)
    figure = Figure(figsize=(1.2 + 3.4 * columns, 0.9 + 2.7 * height), layout="constrained")
    FigureCanvasAgg(figure)
    for index, benchmark in enumerate(benchmarks):
        axes = figure.add_subplot(height, columns, index + 1)
        _panel(axes, {name: found[benchmark] for name, found in rows.items() if benchmark in found})
        axes.set_title(benchmark, fontsize=10)
        if index % columns == 0:
            axes.set_ylabel("share of responses (%)")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(KINDS), frameon=False, fontsize=9)
    figure.suptitle(f"Wrong responses by kind\n{title}", fontsize=10)
    return figure


def _panel(axes: Any, bars: Mapping[str, ErrorCounts]) -> None:
    bottom = [0.0] * len(bars)
    for kind in KINDS:
        heights = [100 * found[kind] / found["responses"] for found in bars.values()]
        axes.bar(list(bars), heights, bottom=bottom, color=COLOURS[kind], label=kind, width=0.7)
        bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelrotation=30, labelsize=8)
