"""Figures of a report: memorisation against retention, and the distribution of target NLL."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.io import atomic_writer, read_jsonl

if TYPE_CHECKING:
    from nemo_mixsd.report import Report

_BASE_COLOUR, _SFT_COLOUR = "#555555", "#c0392b"


def draw_figures(report: Report, run_dir: Path) -> list[Path]:
    """Draw every figure that the run has data for, as PNG below ``figures/``; return their paths."""
    drawn = []
    for name, draw in (("tradeoff", _tradeoff), ("target_nll_cdf", _target_nll_cdf)):
        figure = draw(report, run_dir)
        if figure is not None:
            drawn.append(save_figure(figure, run_dir / "figures" / f"{name}.png"))
    return drawn


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, atomically; return its path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    with atomic_writer(path, "wb") as handle:
        handle.write(buffer.getvalue())
    return path


def new_figure() -> tuple[Any, Any]:
    """A figure of the report's size and style, and its axes; no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _colours(names: list[str]) -> dict[str, Any]:
    from matplotlib import colormaps

    others = [n for n in names if n not in ("base", "sft")]
    shades = colormaps["viridis"](np.linspace(0.15, 0.8, max(len(others), 1)))
    return {"base": _BASE_COLOUR, "sft": _SFT_COLOUR, **dict(zip(others, shades, strict=False))}


def _tradeoff(report: Report, run_dir: Path) -> Any:
    """Accuracy on what was taught over forgetting, one point a method; top left is best."""
    split = headline_split(report)
    rows = {
        name: row
        for name, row in report.methods.items()
        if row.splits.get(split) is not None and row.forgetting_nats is not None
    }
    if len(rows) < 2:
        return None
    figure, axes = new_figure()
    colours = _colours(list(rows))
    for name, row in rows.items():
        curve = [c for c in row.checkpoints if c.forgetting_nats is not None and c.accuracy.get(split) is not None]
        axes.plot(
            [c.forgetting_nats for c in curve],
            [100 * (c.accuracy[split] or 0.0) for c in curve],
            color=colours[name], alpha=0.4, linewidth=1,
        )  # fmt: skip
        x, y = row.forgetting_nats, 100 * (row.splits[split] or 0.0)
        axes.scatter([x], [y], s=60, color=[colours[name]], zorder=3, label=name)
        axes.annotate(name, (x, y), xytext=(0, -14), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xlabel("forgetting (nats a token, less is better)")
    axes.set_ylabel(f"{split} accuracy (%)")
    axes.set_ylim(-8, 106)
    axes.margins(x=0.12)
    axes.set_title(f"What is learned against what is lost\n{report.corpus}, {report.model}", fontsize=10)
    return figure


def headline_split(report: Report) -> str:
    """The split that shows what was taught: ``train``, or the first evaluated one where that is left out."""
    splits = [split for row in report.methods.values() for split in row.splits]
    return "train" if "train" in splits or not splits else splits[0]


def _target_nll_cdf(report: Report, run_dir: Path) -> Any:
    """Empirical CDF of target NLL under the base model, one line a set of targets (Figure 3 of the paper)."""
    values = {}
    for name in report.methods:
        path = run_dir / "analysis" / "target_nll" / f"{name}.jsonl"
        if path.is_file():
            tokens = np.array([v for record in read_jsonl(path, TokenNLL) for v in record.nll])
            if len(tokens):
                values[name] = np.sort(tokens)
    if not values:
        return None
    figure, axes = new_figure()
    colours = _colours(list(values))
    for name, tokens in values.items():
        share = np.arange(1, len(tokens) + 1) / len(tokens)
        axes.step(np.r_[0, tokens], np.r_[0, share], where="post", color=colours[name], label=name, linewidth=1.8)
    axes.axvline(8, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, max(12.0, *(float(np.quantile(t, 0.995)) for t in values.values())))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("NLL of a target token under the base model (nats)")
    axes.set_ylabel("share of target tokens below")
    axes.set_title(f"How likely the targets are to the base model\n{report.corpus}, {report.model}", fontsize=10)
    axes.legend(frameon=False, loc="lower right")
    return figure
