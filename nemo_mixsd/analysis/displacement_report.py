"""Displacement in a run's report: figures of a checkpoint, the table of Table 5, scatter plots with Table 6."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.analysis.correlation import Point, correlate, correlation_table
from nemo_mixsd.io import read_json
from nemo_mixsd.reporting.words import number, short

if TYPE_CHECKING:
    from nemo_mixsd.report import Checkpoint, MethodRow, Report

FIGURES = ("raw", "fisher_weighted", "fisher_mean", "alignment")
LEGEND = (
    "Raw displacement is the sum of squared weight differences to the base model (Eq. 9), Fisher-weighted the same "
    "with each weighted by the base model's diagonal Fisher (Eq. 10), alignment their quotient over the Fisher's mean "
    "(Eq. 11): 1 is a direction taken at random, more is a direction that the base model is sensitive to."
)


def read_displacement(run_dir: Path, name: str, step: int) -> dict[str, float | None]:
    """Figures of one checkpoint; empty where it was not measured."""
    path = run_dir / "analysis" / "displacement" / name / f"{step}.json"
    if not path.is_file():
        return {}
    found = read_json(path)
    return {figure: found.get(figure) for figure in FIGURES}


def measured(report: Report) -> list[tuple[str, int | None, Checkpoint | MethodRow]]:
    """(name, step, figures) of every checkpoint with a displacement."""
    out: list[tuple[str, int | None, Checkpoint | MethodRow]] = []
    for name, row in report.methods.items():
        steps: list[tuple[int | None, Checkpoint | MethodRow]] = [(c.step, c) for c in row.checkpoints]
        out += [(name, step, found) for step, found in steps or [(row.step, row)] if found.displacement]
    return out


def report_points(report: Report) -> list[Point]:
    """The checkpoints of a report as points of a scatter plot."""
    points = []
    for name, step, found in measured(report):
        raw = found.displacement.get("raw")
        if raw is not None and found.forgetting_nats is not None:
            weighted, alignment = found.displacement.get("fisher_weighted"), found.displacement.get("alignment")
            points.append(Point("", name, step or 0, found.forgetting_nats, raw, weighted, alignment))
    return points


def displacement_lines(report: Report) -> list[str]:
    """Markdown: a row a checkpoint, and the correlations with forgetting where there are at least three."""
    rows = [
        [name, str(step), *_cells(found.displacement), number(found.forgetting_nats)]
        for name, step, found in measured(report)
    ]
    if not rows:
        return []
    header = ["method", "step", "raw", "Fisher-weighted", "alignment", "forgetting"]
    lines = ["", "## Displacement", "", *_table(header, rows), "", LEGEND]
    points = report_points(report)
    if len(points) >= 3:
        lines += ["", "Correlation with forgetting over these checkpoints (Table 6):", ""]
        lines += _table(*correlation_table(correlate(points)))
    return lines


def draw_displacement(report: Report, run_dir: Path) -> list[Path]:
    """The scatter plot of a run with at least three measured checkpoints."""
    from nemo_mixsd.analysis.scatter import draw_scatter

    points = report_points(report)
    if len(points) < 3:
        return []
    path = run_dir / "figures" / "displacement_scatter.png"
    draw_scatter(points, correlate(points, resamples=0), path)
    return [path]


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows]]


def _cells(found: Mapping[str, float | None]) -> list[str]:
    return [short(found.get(figure)) for figure in ("raw", "fisher_weighted", "alignment")]
