"""Checkpoint selection in a run: what the plan checks, which checkpoint a row is about, lines and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.selection import Selection, read_curve, select_checkpoint, selection_figure, validation_name

if TYPE_CHECKING:
    from nemo_mixsd.evals.config import EvalsConfig
    from nemo_mixsd.report import Checkpoint, Report


def check_selection(evals: EvalsConfig, splits: Sequence[str]) -> str:
    """What counts as validation, for the plan; empty where the last checkpoint is reported.

    Args:
        evals: The section.
        splits: Splits of the corpus.

    Raises:
        ConfigError: The rule needs a performance that is not measured.
    """
    if evals.select == "last":
        return ""
    evaluated = evals.splits or list(splits)
    if "train" not in evaluated:
        raise ConfigError("evals.select=paper needs the training performance; add 'train' to evals.splits")
    name = validation_name(evaluated, evals.select_validation)
    if name not in (*evaluated, *evals.benchmarks):
        raise ConfigError(
            f"evals.select_validation={name}: neither a split that is evaluated ({', '.join(evaluated)}) nor one of "
            "evals.benchmarks"
        )
    return name


def reported(checkpoints: Sequence[Checkpoint], evals: Mapping[str, Any]) -> tuple[Checkpoint, Selection | None, str]:
    """The checkpoint that a row is about, why, and what counted as validation.

    Args:
        checkpoints: Evaluated checkpoints of a method by step; at least one.
        evals: The ``evals`` section of the run's ``config.yaml``.

    Returns:
        Without a choice (``select: last``, or one checkpoint only): the last one, None and an empty text.
    """
    last = checkpoints[-1]
    if evals.get("select", "last") != "paper" or len(checkpoints) == 1:
        return last, None, ""
    validation = validation_name(list(last.accuracy), evals.get("select_validation"))
    curve = read_curve(checkpoints, validation)
    if not curve:
        why = f"no checkpoint has both train and {validation} measured; the last one is shown"
        return last, Selection(last.step, why, False), validation
    selection = select_checkpoint(curve)
    return next(c for c in checkpoints if c.step == selection.step), selection, validation


def selection_lines(report: Report) -> list[str]:
    """Lines for ``report.md``: which checkpoint each row is about; none where it is the last one anyway."""
    return [
        line
        for name, row in report.methods.items()
        if row.selected
        for line in ("", f"The row {name} is about step {row.step}: {row.selected}.")
    ]


def draw_selections(report: Report, run_dir: Path, evals: Mapping[str, Any]) -> list[Path]:
    """``figures/selection_<method>.png`` for each row that was chosen by the rule."""
    from nemo_mixsd.analysis.plots import save_figure

    drawn = []
    for name, row in report.methods.items():
        if not row.selected:
            continue
        _, selection, validation = reported(row.checkpoints, evals)
        curve = read_curve(row.checkpoints, validation)
        if selection is not None and curve:
            figure = selection_figure(curve, selection, validation, f"{name}, {report.corpus} on {report.model}")
            drawn.append(save_figure(figure, run_dir / "figures" / f"selection_{name}.png"))
    return drawn
