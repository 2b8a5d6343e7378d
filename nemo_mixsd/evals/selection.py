"""Which checkpoint of a training is reported (Appendix D of the paper).

"The earliest checkpoint after convergence, defined as the first checkpoint that achieves the best training performance
observed so far while maintaining stable validation performance, i.e., without a validation performance drop greater
than 5 % over the following two consecutive checkpoints."

As a rule: a checkpoint is a candidate if no earlier one has a better training performance and if none of the two after
it has a validation performance more than 0.05 below its own. Of the candidates the one with the best training
performance is chosen, and among equals the earliest. The paper leaves two things open. Whether 5 % is relative: here
it is five points of accuracy. And what becomes of a checkpoint with fewer than two after it: here it is judged by
those there are, and by the two before it as well, for an end in mid-fall is not stable because nothing follows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from nemo_mixsd.errors import ConfigError

if TYPE_CHECKING:
    from nemo_mixsd.report import Checkpoint

MAX_DROP = 0.05
"""Largest fall of validation performance, in points of accuracy (0.05 is five)."""
WINDOW = 2
"""How many following checkpoints are looked at."""
_ROUNDING = 1e-9
"""0.85 - 0.80 is a little more than 0.05 in floating point."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One checkpoint: optimizer step, training and validation performance, each from 0 to 1."""

    step: int
    train: float
    validation: float


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen checkpoint.

    Attributes:
        step: Its optimizer step.
        reason: Why, in one sentence.
        stable: Whether the rule chose it; False where no checkpoint fits the rule and the last one stands in.
    """

    step: int
    reason: str
    stable: bool


def select_checkpoint(curve: Sequence[CurvePoint]) -> Selection:
    """Choose a checkpoint.

    Args:
        curve: Checkpoints by ascending step.

    Raises:
        ValueError: The curve is empty, or its steps do not ascend.
    """
    steps = [point.step for point in curve]
    if not curve or any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"a curve has one checkpoint or more, by ascending step; got {steps}")
    candidates = []
    best = -1.0
    for i, point in enumerate(curve):
        following = curve[i + 1 : i + 1 + WINDOW]
        before = curve[max(0, i - WINDOW) : i] if len(following) < WINDOW else []
        falls = [point.validation - later.validation for later in following]
        fallen = [earlier.validation - point.validation for earlier in before]
        drop = max([0.0, *falls, *fallen])
        if point.train >= best and drop <= MAX_DROP + _ROUNDING:
            candidates.append((point, len(following)))
        best = max(best, point.train)
    if not candidates:
        last = curve[-1]
        why = f"no checkpoint is stable (validation falls by more than {MAX_DROP:g} at or after each); this is the last"
        return Selection(last.step, why, False)
    chosen, looked_at = max(candidates, key=lambda candidate: (candidate[0].train, -candidate[0].step))
    after = "no checkpoint after it" if looked_at == 0 else f"the {looked_at} after it" if looked_at > 1 else "the next"
    return Selection(
        chosen.step,
        f"earliest with train {chosen.train:.3f}, the best of stable ones; validation {chosen.validation:.3f}, "
        f"judged by {after}",
        True,
    )


def validation_name(splits: Sequence[str], wanted: str | None) -> str:
    """What counts as validation: ``wanted``, else ``paraphrase``, else the first split that is not trained on.

    Args:
        splits: The splits that are evaluated.
        wanted: ``evals.select_validation``: a split, or a held-out benchmark.

    Raises:
        ConfigError: There is none.
    """
    if wanted is not None:
        return wanted
    others = [split for split in splits if split != "train"]
    if not others:
        raise ConfigError(
            "evals.select=paper needs a validation performance, and only the split 'train' is evaluated; set "
            "evals.select_validation to a held-out benchmark, or evals.select=last"
        )
    return "paraphrase" if "paraphrase" in others else others[0]


def read_curve(checkpoints: Sequence[Checkpoint], validation: str) -> list[CurvePoint]:
    """The curve of evaluated checkpoints; those without training or validation performance are left out."""
    curve = []
    for checkpoint in checkpoints:
        train = checkpoint.accuracy.get("train")
        score = checkpoint.heldout.get(validation)
        value = score.accuracy if score is not None else checkpoint.accuracy.get(validation)
        if train is not None and value is not None:
            curve.append(CurvePoint(checkpoint.step, train, value))
    return curve


def selection_figure(curve: Sequence[CurvePoint], selection: Selection, validation: str, title: str) -> Any:
    """Training and validation performance by step, the choice marked."""
    from nemo_mixsd.analysis.plots import new_figure

    figure, axes = new_figure()
    steps = [point.step for point in curve]
    axes.plot(steps, [100 * p.train for p in curve], marker="o", color="#2f6f9f", label="train")
    axes.plot(
        steps, [100 * p.validation for p in curve], marker="s", color="#c0392b", label=f"validation ({validation})"
    )
    how = "chosen" if selection.stable else "none is stable: last"
    axes.axvline(selection.step, color="#555555", linestyle="--", linewidth=1, label=f"{how} (step {selection.step})")
    axes.set_ylim(-3, 103)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(f"Checkpoint selection\n{title}", fontsize=10)
    axes.legend(frameon=False, fontsize=9)
    return figure
