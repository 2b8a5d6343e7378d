"""What the report is made from: run directories, read once, and runs of equal configuration put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.analysis.tokens import read_pieces
from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.auto_rate import PROBE_FILE, RateChoice, read_choice
from nemo_mixsd.recipe import flatten
from nemo_mixsd.report import MethodRow, Report, build_report
from nemo_mixsd.rundir import is_neutral
from nemo_mixsd.types import Example, Target

BASE = "base"


class RunView:
    """A run directory as the report sees it. Files are read when they are first asked for."""

    def __init__(self, path: Path, report: Report | None = None) -> None:
        """Read the configuration, and the results unless they are given.

        Raises:
            RunDirectoryError: The directory holds no run.
        """
        self.path = Path(path)
        if not (self.path / "config.yaml").is_file():
            raise RunDirectoryError(f"{path} is no run directory: it has no config.yaml")
        self.config: dict[str, Any] = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        self.report: Report = build_report(self.path) if report is None else report
        self.label = self.path.resolve().name

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The configuration by dotted key."""
        return flatten(self.config)

    @cached_property
    def names(self) -> list[str]:
        """Report names with targets, in the report's order, then those whose training is not evaluated yet."""
        kept = sorted(p.stem for p in (self.path / "targets").glob("*.jsonl") if p.stem != "discarded")
        known = [name for name in self.report.methods if name in kept]
        return known + [name for name in kept if name not in known]

    @cached_property
    def targets(self) -> dict[str, list[Target]]:
        """Targets by report name."""
        return {name: list(read_jsonl(self.path / "targets" / f"{name}.jsonl", Target)) for name in self.names}

    @cached_property
    def nll(self) -> dict[str, list[TokenNLL]]:
        """Per-token NLL of the targets under the base model, by report name, where it was measured."""
        paths = {name: self.path / "analysis" / "target_nll" / f"{name}.jsonl" for name in self.names}
        return {name: list(read_jsonl(path, TokenNLL)) for name, path in paths.items() if path.is_file()}

    @cached_property
    def pieces(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Texts of the tokens of the targets: by report name, then by example."""
        folder = self.path / "analysis" / "token_text"
        return {name: read_pieces(folder / f"{name}.jsonl") for name in self.names}

    @cached_property
    def examples(self) -> list[Example]:
        """The training examples."""
        path = self.path / "corpus" / "train.jsonl"
        return list(read_jsonl(path, Example)) if path.is_file() else []

    @cached_property
    def choice(self) -> RateChoice | None:
        """The decision of ``mixing.rate: auto``, if there was one."""
        return read_choice(self.path / "analysis" / PROBE_FILE)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over runs: mean, standard deviation (n - 1) or None for one run, and the number of runs."""

    mean: float
    sd: float | None
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation, or None without a value."""
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)), len(values))


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seeds alone (and in what changes no result)."""

    runs: tuple[RunView, ...]

    @property
    def first(self) -> RunView:
        """The run that stands for the others where one has to."""
        return self.runs[0]

    @property
    def title(self) -> str:
        """Corpus and model."""
        return f"{self.first.report.corpus} on {self.first.report.model}"

    @property
    def methods(self) -> list[str]:
        """Every report name of any run, in the order of the first run that has it."""
        return list(dict.fromkeys(name for run in self.runs for name in run.report.methods))

    def rows(self, name: str) -> list[MethodRow]:
        """The rows of one method, a run each."""
        return [run.report.methods[name] for run in self.runs if name in run.report.methods]

    def metrics(self, name: str) -> dict[str, list[float]]:
        """Values by metric, a run each, where measured."""
        out: dict[str, list[float]] = {}
        for row in self.rows(name):
            for metric, value in row_metrics(row).items():
                out.setdefault(metric, []).append(value)
        return out

    def spreads(self, name: str) -> dict[str, Spread]:
        """Mean and deviation by metric."""
        found = {metric: spread(values) for metric, values in self.metrics(name).items()}
        return {metric: value for metric, value in found.items() if value is not None}


def row_metrics(row: MethodRow) -> dict[str, float]:
    """Every measured figure of a row under one flat name.

    ``split:<name>`` and ``heldout:<name>`` (shares), ``heldout_mean``, ``forgetting_nats``, ``mean_nll``,
    ``frac_nll_gt_<t>``, ``overlap``, ``displacement:<name>``.
    """
    found: dict[str, Any] = {f"split:{split}": value for split, value in row.splits.items()}
    found |= {f"heldout:{name}": value for name, value in row.heldout.items()}
    found["heldout_mean"] = row.heldout_mean
    found["forgetting_nats"] = row.forgetting_nats
    found |= {key: row.targets.get(key) for key in row.targets if key == "mean_nll" or key.startswith("frac_nll")}
    found["overlap"] = row.overlap.get("mean")
    found |= {f"displacement:{name}": value for name, value in row.displacement.items()}
    numbers = (int, float)
    return {k: float(v) for k, v in found.items() if isinstance(v, numbers) and not isinstance(v, bool)}


def open_runs(paths: Sequence[Path]) -> list[RunView]:
    """Read run directories; their labels are made different from each other.

    Raises:
        RunDirectoryError: One of them holds no run, or the same one is named twice.
    """
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise RunDirectoryError(f"{path} is named twice (also as {seen[path.resolve()]}); name each run once")
        seen[path.resolve()] = path
    runs = [RunView(path) for path in paths]
    labels = [run.label for run in runs]
    for run in runs:
        if labels.count(run.label) > 1:
            run.label = f"{run.path.resolve().parent.name}/{run.path.resolve().name}"
    return runs


def group_runs(runs: Sequence[RunView]) -> list[Group]:
    """Put runs of equal configuration together, in the order of their first runs."""
    groups: list[tuple[dict[str, Any], list[RunView]]] = []
    for run in runs:
        key = _without_seeds(run.flat)
        members = next((members for known, members in groups if _agree(known, key)), None)
        if members is None:
            groups.append((key, [run]))
        else:
            members.append(run)
    return [Group(tuple(members)) for _, members in groups]


def seeds(run: RunView) -> str:
    """The seeds of a run that make it differ from its group."""
    return ", ".join(f"{key}={value}" for key, value in sorted(run.flat.items()) if _is_seed(key))


def _is_seed(key: str) -> bool:
    return key == "seed" or key.endswith(".seed")


def _without_seeds(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in flat.items() if not _is_seed(key) and not is_neutral(key)}


def _agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal in every key that both have: a run of an older version lacks keys that a newer one writes."""
    return all(one[key] == other[key] for key in one.keys() & other.keys())
