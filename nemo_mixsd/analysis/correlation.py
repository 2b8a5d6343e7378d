"""Which measure of displacement goes with forgetting: correlation over checkpoints (Table 6 of the paper)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.io import read_json
from nemo_mixsd.randomness import KeyedRandom

if TYPE_CHECKING:
    from nemo_mixsd.report import Checkpoint

logger = logging.getLogger(__name__)

METRICS = ("raw", "fisher_weighted", "alignment")
"""Figures of a displacement record that are compared."""

RESAMPLES = 2000
"""Bootstrap resamples of an interval."""

Against = Literal["nats", "heldout"]
"""``nats``: Eq. 2; ``heldout``: the mean drop over held-out benchmarks in points, which the paper's Table 6 takes."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """One checkpoint: what was forgotten, and how far it moved.

    Attributes:
        run: The run directory's name.
        name: Report name of the method.
        step: Optimizer step.
        forgetting: In nats a token (Eq. 2), or whatever else it is to be compared with.
        raw: Sum of squared differences.
        fisher_weighted: Sum of those times the Fisher.
        alignment: Alignment ratio.
    """

    run: str
    name: str
    step: int
    forgetting: float
    raw: float
    fisher_weighted: float | None = None
    alignment: float | None = None


@dataclass(frozen=True, slots=True)
class Correlation:
    """A coefficient, and its 95 % percentile interval over resampled checkpoints; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class MetricCorrelation:
    """How one metric goes with forgetting over ``n`` checkpoints."""

    metric: str
    n: int
    pearson: Correlation
    spearman: Correlation


def pearson(x: Floats, y: Floats) -> float | None:
    """Pearson's r of two vectors ``[n]``; None if one of them is constant or ``n < 2``."""
    if len(x) < 2:
        return None
    a, b = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    # A constant vector leaves rounding, not zero: compare with what rounding can leave.
    if scale == 0 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.clip((a @ b) / scale, -1.0, 1.0))


def ranks(x: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)


def spearman(x: Floats, y: Floats) -> float | None:
    """Spearman's rho: Pearson's r of the ranks."""
    return pearson(ranks(x), ranks(y))


def bootstrap(
    coefficient: Callable[[Floats, Floats], float | None], x: Floats, y: Floats, *, seed: int, resamples: int
) -> Correlation:
    """A coefficient with its 95 % percentile interval; resamples in which it is not defined are left out.

    Args:
        coefficient: Of two vectors.
        x: ``[n]``.
        y: ``[n]``.
        seed: Same seed, same interval.
        resamples: How many; with 0 there is no interval.
    """
    value = coefficient(x, y)
    if value is None:
        return Correlation(None, None, None)
    found = []
    for k in range(resamples):
        random = KeyedRandom(seed, "bootstrap", k)
        rows = np.array([random.below(len(x)) for _ in range(len(x))])
        drawn = coefficient(x[rows], y[rows])
        if drawn is not None:
            found.append(drawn)
    if not found:
        return Correlation(value, None, None)
    low, high = np.quantile(found, [0.025, 0.975])
    return Correlation(value, float(low), float(high))


def correlate(points: Sequence[Point], seed: int = 0, resamples: int = RESAMPLES) -> list[MetricCorrelation]:
    """Correlation of each metric with forgetting, over the checkpoints that have it.

    Raises:
        AnalysisError: Fewer than three checkpoints.
    """
    if len(points) < 3:
        raise AnalysisError(
            f"a correlation needs at least three checkpoints, there are {len(points)}; evaluate more of them "
            "(evals.checkpoints=all), or name more runs"
        )
    out = []
    for metric in METRICS:
        pairs = [(getattr(p, metric), p.forgetting) for p in points if getattr(p, metric) is not None]
        x = np.array([a for a, _ in pairs], dtype=np.float64)
        y = np.array([b for _, b in pairs], dtype=np.float64)
        out.append(
            MetricCorrelation(
                metric,
                len(pairs),
                bootstrap(pearson, x, y, seed=seed, resamples=resamples),
                bootstrap(spearman, x, y, seed=seed, resamples=resamples),
            )
        )
    return out


def collect_points(run_dirs: Iterable[Path], against: Against = "nats") -> list[Point]:
    """Every checkpoint of some runs that has both a displacement and a forgetting.

    Args:
        run_dirs: Runs of one base model.
        against: What counts as forgetting.

    Raises:
        AnalysisError: A directory is no run.
    """
    from nemo_mixsd.report import BASE, read_checkpoint

    points = []
    fishers = set()
    for run in run_dirs:
        if not (run / "config.yaml").is_file():
            raise AnalysisError(f"{run} is no run directory: it has no config.yaml")
        folder, base = run / "analysis" / "displacement", read_checkpoint(run, BASE, 0)
        for path in sorted(folder.glob("*/*.json"), key=lambda p: (p.parent.name, int(p.stem))):
            name, step = path.parent.name, int(path.stem)
            if name == BASE or not (run / "evals" / name / str(step)).is_dir():
                continue
            forgetting = _forgetting(read_checkpoint(run, name, step), base, against)
            if forgetting is None:
                continue
            found = read_json(path)
            fishers.add((found.get("fisher") or {}).get("key"))
            points.append(
                Point(
                    run.name, name, step, forgetting, found["raw"], found["fisher_weighted"], found["alignment"]
                )
            )  # fmt: skip
    if len(fishers) > 1:
        logger.warning("the checkpoints were weighted by %d different Fishers: compare runs of one model", len(fishers))
    return points


def _forgetting(trained: Checkpoint, base: Checkpoint, against: Against) -> float | None:
    """Nats a token, or the mean drop in points over the benchmarks that both were measured on."""
    from nemo_mixsd.evals.heldout_report import LM_EVAL  # whose metrics need not be shares

    if against == "nats":
        return trained.forgetting_nats
    drops = [
        100 * (base.heldout[name].accuracy - score.accuracy)
        for name, score in trained.heldout.items()
        if not name.startswith(LM_EVAL) and name in base.heldout and base.heldout[name].label == score.label
    ]
    return sum(drops) / len(drops) if drops else None


def correlation_table(correlations: Sequence[MetricCorrelation]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of text, as the paper's Table 6, with intervals."""
    header = ["metric", "checkpoints", "Pearson", "95 % interval", "Spearman", "95 % interval"]
    rows = []
    for row in correlations:
        cells = [row.metric.replace("_", " "), str(row.n)]
        for found in (row.pearson, row.spearman):
            cells.append("–" if found.value is None else f"{found.value:.2f}")
            known = found.low is not None and found.high is not None
            cells.append(f"{found.low:.2f} to {found.high:.2f}" if known else "–")
        rows.append(cells)
    return header, rows
