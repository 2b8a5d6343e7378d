"""Our numbers beside the paper's: same model, same corpus, same method, or a plain word that there is none.

The paper's numbers are ``data/paper_tables.json``. They carry no intervals, so a difference is judged by ours: 95 %,
Wilson's for a share of questions, whole targets as sampling units for shares of tokens; over several seeds the wider
of that and Student's for the mean of the runs.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from nemo_mixsd.analysis.distribution import Z95, above, wilson
from nemo_mixsd.reporting.collect import Group, RunView, spread
from nemo_mixsd.types import Method

Verdict = Literal["inside", "outside", "not judged"]

_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95 % quantiles of Student's t for 1 to 10 degrees of freedom; 1.96 stands in above."""

_SPLITS: dict[str, dict[str, str]] = {
    "kgfact-small": {"train": "train", "retrieval": "retrieval"},
    "kgfact-large": {"train": "train", "retrieval": "retrieval"},
    "kgfunc": {"test": "test", "unseen": "unseen"},
    "simpleqa": {"train": "train"},
    "mquake": {"train": "train", "retrieval": "retrieval"},
}
"""Our splits and the paper's columns, by the paper's corpora."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of a table of the paper.

    Attributes:
        table: Its number.
        corpus: ``kgfact-small``, ``kgfact-large``, ``kgfunc``, ``simpleqa`` or ``mquake``.
        model: As the paper calls it.
        method: Ours.
        rate: λ, or None where there is none or the paper's text does not show it.
        variant: What else distinguishes it from the plain method; may be empty.
        values: By metric; percentages as shares.
    """

    table: str
    corpus: str
    model: str
    method: str
    rate: float | None
    variant: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PaperTables:
    """The data file: rows, the paper's model names with the names that models go by, the five held-out benchmarks."""

    rows: tuple[PaperRow, ...]
    models: Mapping[str, tuple[str, ...]]
    heldout: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One number of ours beside the paper's.

    Attributes:
        method: Report name.
        metric: ``train``, ``gsm8k``, ``heldout_mean``, ``frac_nll_gt_8``, ``overlap``, ``alignment``, ...
        ours: Mean over the runs; a share, or the metric's own unit.
        low: Lower end of our interval; None where there is none.
        high: Upper end.
        paper: The paper's value; several where it has rows whose λ its text does not show.
        table: Where it stands.
        verdict: Whether the paper's value lies in our interval.
        note: Why it was not judged, or what is special about the row.
    """

    method: str
    metric: str
    ours: float
    low: float | None
    high: float | None
    paper: tuple[float, ...]
    table: str
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True, slots=True)
class PaperComparison:
    """All comparisons of a group of runs.

    Attributes:
        model: The paper's name of the model, or None if it has none.
        corpus: The paper's corpus, or None.
        reason: Why there is no number of the paper; empty where there are some.
        rows: The comparisons.
        without: Report names that the paper has no row for.
    """

    model: str | None
    corpus: str | None
    reason: str
    rows: tuple[Comparison, ...] = ()
    without: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def paper_tables() -> PaperTables:
    """The paper's numbers."""
    raw = json.loads(resources.files("nemo_mixsd.data").joinpath("paper_tables.json").read_text("utf-8"))
    rows = tuple(
        PaperRow(
            table=row["table"],
            corpus=row["corpus"],
            model=row["model"],
            method=row["method"],
            rate=row.get("rate"),
            variant=row.get("variant", ""),
            values={k: v / 100 for k, v in row.get("percent", {}).items()} | row.get("value", {}),
        )
        for row in raw["rows"]
    )
    return PaperTables(rows, {k: tuple(v) for k, v in raw["models"].items()}, tuple(raw["heldout"]))


def paper_model(name: str) -> str | None:
    """The paper's name of a model that a recipe names by hub id, directory or cache folder; None for any other."""
    cached = re.search(r"models--[^/]+--([^/]+)(?:/|$)", name)
    last = cached.group(1) if cached else name.rstrip("/").rsplit("/", 1)[-1]
    known = {alias: model for model, aliases in paper_tables().models.items() for alias in aliases}
    return known.get(last.casefold())


def paper_corpus(config: Mapping[str, Any]) -> tuple[str | None, str]:
    """The paper's corpus that a ``corpus`` section makes, or None and why it is none of them."""
    name = config["name"]
    if name == "kgfact":
        size = config.get("size", "small")
        return (f"kgfact-{size}", "") if size in ("small", "large") else (None, "corpus.size is custom")
    settings: dict[str, dict[str, Any]] = {
        "kgfunc": {"train_count": 1600, "train_per_operation": None, "shots": 10},
        "mquake": {"edits": 100},
        "simpleqa": {"limit": None},
    }
    if name not in settings:
        return None, f"the paper has no corpus {name!r}"
    for key, value in settings[name].items():
        if config.get(key, value) != value:
            return None, f"corpus.{key} is {config[key]}, the paper's setting is {'all' if value is None else value}"
    return name, ""


def compare(group: Group) -> PaperComparison:
    """Put every number of a group beside the paper's."""
    config = group.first.config
    model = paper_model(config["policy"]["model_name"])
    corpus, why = paper_corpus(config["corpus"])
    nothing = "no number of the paper for this model and corpus"
    if model is None:
        return PaperComparison(None, corpus, f"{nothing}: it has no results for {config['policy']['model_name']}")
    if corpus is None:
        return PaperComparison(model, None, f"{nothing}: {why}")
    mine = [row for row in paper_tables().rows if row.model == model and row.corpus == corpus]
    if not mine:
        return PaperComparison(model, corpus, f"{nothing}: it did not train {model} on {corpus}")
    found: list[Comparison] = []
    without: list[str] = []
    for name in group.methods:
        rows = _rows_for(name, mine)
        compared = [c for metric in _metrics(rows) for c in _compare(group, name, metric, rows)]
        found += compared
        if not compared:
            without.append(name)
    return PaperComparison(model, corpus, "" if found else nothing, tuple(found), tuple(without))


def _rows_for(name: str, rows: Sequence[PaperRow]) -> list[PaperRow]:
    """The paper's rows of a report name: of its λ, and those whose λ is not shown."""
    method, _, rate = name.partition("@")
    if not rate:
        return [row for row in rows if row.method == method]
    return [
        row
        for row in rows
        if row.method == method and (row.rate is None or math.isclose(row.rate, float(rate), abs_tol=1e-9))
    ]


def _metrics(rows: Sequence[PaperRow]) -> list[str]:
    return list(dict.fromkeys(metric for row in rows for metric in row.values))


def _compare(group: Group, name: str, metric: str, rows: Sequence[PaperRow]) -> list[Comparison]:
    """Comparisons of one metric: one a table of the paper that has it."""
    measured = _ours(group, name, metric)
    if measured is None:
        return []
    ours, low, high = measured
    out = []
    tables = dict.fromkeys(row.table for row in rows if metric in row.values)
    for table in tables:
        here = [row for row in rows if row.table == table and metric in row.values]
        plain = [row for row in here if not row.variant] or here
        values = tuple(row.values[metric] for row in plain)
        rateless = name.partition("@")[0] in (Method.MIXSD, Method.MIXSD_KL) and plain[0].rate is None
        if rateless:
            note = "λ not shown in the paper's text"
        elif plain[0].variant:
            note = plain[0].variant
        else:
            note = "" if low is not None else "no interval"
        if note or low is None or high is None:
            verdict: Verdict = "not judged"
        else:  # a printed percentage is rounded to one digit
            verdict = "inside" if low - 0.0005 <= values[0] <= high + 0.0005 else "outside"
        out.append(Comparison(name, metric, ours, low, high, values, table, verdict, note))
    return out


Measured = tuple[float, float | None, float | None]


def _ours(group: Group, name: str, metric: str) -> Measured | None:
    """Our mean of a metric and its interval, or None if no run measured it."""
    runs = [run for run in group.runs if name in run.report.methods]
    single: Callable[[RunView], Measured | None]
    if metric in ("raw_displacement", "alignment"):
        single = _plain(name, metric.removesuffix("_displacement"))
    elif metric.startswith("frac_nll_gt_"):
        single = _token_share(name, metric)
    elif metric == "overlap":
        single = _overlap(name)
    elif metric == "heldout_mean":
        single = _heldout_mean(name)
    else:
        single = _accuracy(name, metric)
    return _over_runs([value for run in runs if (value := single(run)) is not None])


def _over_runs(values: Sequence[Measured]) -> Measured | None:
    found = spread([value[0] for value in values])
    if found is None:
        return None
    if any(low is None or high is None for _, low, high in values):
        return found.mean, None, None
    below = math.fsum(value - low for value, low, _ in values if low is not None) / found.n
    over = math.fsum(high - value for value, _, high in values if high is not None) / found.n
    if found.sd is not None:
        student = _STUDENT[found.n - 2] if found.n - 2 < len(_STUDENT) else Z95
        half = student * found.sd / math.sqrt(found.n)
        below, over = max(below, half), max(over, half)
    return found.mean, found.mean - below, found.mean + over


def _share(value: float, count: int | None) -> Measured:
    if not count:
        return value, None, None
    return (value, *wilson(value * count, count))


def _accuracy(name: str, metric: str) -> Callable[[RunView], Measured | None]:
    def single(run: RunView) -> Measured | None:
        row = run.report.methods[name]
        splits = _SPLITS.get(paper_corpus(run.config["corpus"])[0] or "", {})
        if metric in splits:
            value = row.splits.get(metric)
            return None if value is None else _share(value, row.counts.get(metric))
        score = row.heldout_detail.get(metric)
        return None if score is None else (score.accuracy, score.low, score.high)

    return single


def _heldout_mean(name: str) -> Callable[[RunView], Measured | None]:
    def single(run: RunView) -> Measured | None:
        row, names = run.report.methods[name], paper_tables().heldout
        scores = [row.heldout_detail[benchmark] for benchmark in names if benchmark in row.heldout_detail]
        if len(scores) < len(names):
            return None
        mean = math.fsum(score.accuracy for score in scores) / len(names)
        halves = [(s.high - s.low) / 2 for s in scores if s.low is not None and s.high is not None]
        if len(halves) < len(names):
            return mean, None, None
        half = math.sqrt(math.fsum(h * h for h in halves)) / len(names)
        return mean, mean - half, mean + half

    return single


def _token_share(name: str, metric: str) -> Callable[[RunView], Measured | None]:
    def single(run: RunView) -> Measured | None:
        if name not in run.nll or not metric.removeprefix("frac_nll_gt_").isdigit():
            return None
        found = above(run.nll[name], float(metric.removeprefix("frac_nll_gt_")))
        return None if found.share is None else (found.share, found.low, found.high)

    return single


def _overlap(name: str) -> Callable[[RunView], Measured | None]:
    def single(run: RunView) -> Measured | None:
        record = run.report.methods[name].overlap
        mean = record.get("mean")
        return None if mean is None else (mean, record.get("low"), record.get("high"))

    return single


def _plain(name: str, metric: str) -> Callable[[RunView], Measured | None]:
    def single(run: RunView) -> Measured | None:
        value = run.report.methods[name].displacement.get(metric)
        return None if value is None else (value, None, None)

    return single
