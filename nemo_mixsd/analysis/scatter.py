"""Scatter plots of forgetting over displacement, one point a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nemo_mixsd.analysis.correlation import Against, Floats, MetricCorrelation, Point
from nemo_mixsd.io import atomic_writer

_SFT_COLOUR = "#c0392b"
"""As in the other figures."""

_FORGETTING: dict[Against, str] = {
    "nats": "forgetting (nats a token, less is better)",
    "heldout": "mean drop on held-out benchmarks (points, less is better)",
}

LABELS = {
    "raw": "raw displacement, sum of squared differences",
    "fisher_weighted": "Fisher-weighted displacement",
    "alignment": "Fisher alignment ratio (1: a direction at random)",
}


def draw_scatter(
    points: Sequence[Point], correlations: Sequence[MetricCorrelation], path: Path, against: Against = "nats"
) -> None:
    """Draw forgetting over each metric, one panel a metric, as one PNG."""
    panels = [row for row in correlations if row.n > 0]
    figure = scatter_figure(points, panels, _FORGETTING[against])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    with atomic_writer(path, "wb") as handle:
        handle.write(buffer.getvalue())


def scatter_figure(points: Sequence[Point], panels: Sequence[MetricCorrelation], label: str) -> Any:
    """The figure: a colour a method, Pearson and Spearman in each title."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(4.4 * max(len(panels), 1), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    names = list(dict.fromkeys(sorted(p.name for p in points)))
    shades = colormaps["viridis"](np.linspace(0.1, 0.85, len(names)))
    colours = {name: _SFT_COLOUR if name == "sft" else shade for name, shade in zip(names, shades, strict=True)}
    for i, row in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        for name in names:
            own = [p for p in points if p.name == name and getattr(p, row.metric) is not None]
            x, y = [getattr(p, row.metric) for p in own], [p.forgetting for p in own]
            axes.scatter(x, y, s=28, color=[colours[name]], alpha=0.8, label=name)
        values = _positive(points, row.metric)
        if row.metric != "alignment" and len(values) and values.max() > 20 * values.min() > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(LABELS[row.metric])
        axes.set_title(f"Pearson {_text(row.pearson.value)}, Spearman {_text(row.spearman.value)}", fontsize=10)
        if i == 0:
            axes.set_ylabel(label)
            axes.legend(frameon=False, fontsize=8)
    return figure


def _positive(points: Sequence[Point], metric: str) -> Floats:
    return np.array([getattr(p, metric) for p in points if getattr(p, metric) is not None], dtype=np.float64)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
