"""The report of a run, made from its files alone: ``report.json``, ``report.md`` and figures."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nemo_mixsd.analysis.cost import LEGEND as COST_LEGEND
from nemo_mixsd.analysis.cost import cost_table, method_cost
from nemo_mixsd.analysis.displacement_report import displacement_lines, draw_displacement, read_displacement
from nemo_mixsd.analysis.nll import THRESHOLDS, TokenNLL, summarise
from nemo_mixsd.analysis.tokens import overlap_record
from nemo_mixsd.distill_plan import SHUFFLED
from nemo_mixsd.evals.forgetting import forgetting
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.evals.heldout_report import RESERVED, heldout_lines, read_heldout
from nemo_mixsd.evals.recall import accuracy
from nemo_mixsd.evals.selection_report import draw_selections, reported, selection_lines
from nemo_mixsd.evals.taxonomy_plot import draw_errors
from nemo_mixsd.evals.taxonomy_report import Sorter, errors_lines
from nemo_mixsd.io import read_json, read_jsonl, write_json, write_text
from nemo_mixsd.mixing.auto_rate import PROBE_FILE, RateChoice, read_choice
from nemo_mixsd.reporting.words import markdown_table, number, percent
from nemo_mixsd.types import Discard, Method, Response, Target

if TYPE_CHECKING:
    from nemo_mixsd.reporting.build import ReportOptions

BASE = "base"
"""Report name of the model before training."""


@dataclass(slots=True)
class Checkpoint:
    """What was measured on one checkpoint; None where it was not.

    Attributes:
        step: Optimizer step; 0 for the base model.
        accuracy: Share of right answers by split.
        counts: Questions by split.
        forgetting_nats: Eq. 2, nats a token; 0 for the base model by definition.
        heldout: Held-out benchmarks by name.
        displacement: ``raw``, ``fisher_weighted``, ``fisher_mean``, ``alignment``; empty if not measured.
    """

    step: int
    accuracy: dict[str, float | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    forgetting_nats: float | None = None
    heldout: dict[str, HeldoutScore] = field(default_factory=dict)
    displacement: dict[str, float | None] = field(default_factory=dict)


@dataclass(slots=True)
class MethodRow:
    """One row of the report. A figure that was not measured is None, never 0.

    ``errors`` counts wrong responses by benchmark and kind; ``selected`` says why the row is about ``step``, where
    that is not the last checkpoint as a matter of course.
    """

    train_accuracy: float | None = None
    paraphrase_accuracy: float | None = None
    forgetting_nats: float | None = None
    targets: dict[str, float | int | None] = field(default_factory=dict)
    heldout: dict[str, float | None] = field(default_factory=dict)
    heldout_detail: dict[str, HeldoutScore] = field(default_factory=dict)
    displacement: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float | int | None] = field(default_factory=dict)
    step: int | None = None
    splits: dict[str, float | None] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    errors: dict[str, dict[str, int]] = field(default_factory=dict)
    selected: str | None = None
    overlap: dict[str, float | int | None] = field(default_factory=dict)

    @property
    def heldout_mean(self) -> float | None:
        """Mean over the held-out benchmarks; None unless every one was measured."""
        known = [value for value in self.heldout.values() if value is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(self.heldout) else None


@dataclass(slots=True)
class Report:
    """A run's results by report name: ``base``, ``sft``, ``mixsd@0.3``, ..."""

    model: str
    corpus: str
    methods: dict[str, MethodRow]
    rate_choice: RateChoice | None = None


def build_report(run_dir: Path) -> Report:
    """Collect what a run directory holds. Methods without a finished evaluation are left out."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    names = [p.name for p in (run_dir / "evals").iterdir() if p.is_dir()] if (run_dir / "evals").is_dir() else []
    seconds = run_dir / "analysis" / "seconds.json"
    timings = read_json(seconds) if seconds.is_file() else {}
    methods = {}
    for name in sorted(names, key=_order):
        row = _row(run_dir, name, config.get("evals") or {})
        if row is not None:
            row.seconds = timings.get(name, {})
            row.cost = method_cost(run_dir, name, row.seconds)
            row.overlap = overlap_record(run_dir, name)
            methods[name] = row
    _count_errors(run_dir, methods)
    choice = read_choice(run_dir / "analysis" / PROBE_FILE)
    return Report(config["policy"]["model_name"], config["corpus"]["name"], methods, choice)


_ORDER = tuple(m.value for m in (Method.BASE, Method.SFT, Method.OPSD, Method.OPSD_NLL, Method.MIXSD, Method.MIXSD_KL))


def _order(name: str) -> tuple[int, float, str]:
    """By method, the base model first and its controls after each, then by rate."""
    kind, _, rate = name.partition("@")
    method = kind.removesuffix(SHUFFLED)
    return _ORDER.index(method) if method in _ORDER else len(_ORDER), float(rate) if rate else 0.0, kind


def _count_errors(run_dir: Path, methods: dict[str, MethodRow]) -> None:
    """Sort the wrong responses to benchmarks, if there are any."""
    rows = {name: row for name, row in methods.items() if row.heldout and row.step is not None}
    sorter = Sorter.of_run(run_dir) if rows else None
    for name, row in rows.items():
        assert sorter is not None
        assert row.step is not None
        row.errors = sorter.counts(name, row.step)


def _row(run_dir: Path, name: str, evals: dict[str, Any]) -> MethodRow | None:
    steps = sorted(int(p.name) for p in (run_dir / "evals" / name).iterdir() if p.name.isdigit())
    checkpoints = [read_checkpoint(run_dir, name, step) for step in steps]
    checkpoints = [c for c in checkpoints if c.accuracy or c.heldout or c.forgetting_nats is not None]
    if not checkpoints:
        return None
    shown, selection, _ = reported(checkpoints, evals)
    return MethodRow(
        train_accuracy=shown.accuracy.get("train"),
        paraphrase_accuracy=shown.accuracy.get("paraphrase"),
        forgetting_nats=shown.forgetting_nats,
        heldout={benchmark: score.accuracy for benchmark, score in shown.heldout.items()},
        heldout_detail=shown.heldout,
        displacement=shown.displacement,
        targets=_targets(run_dir, name),
        step=shown.step,
        splits=shown.accuracy,
        counts=shown.counts,
        checkpoints=checkpoints if len(checkpoints) > 1 else [],
        selected=None if selection is None else selection.reason,
    )


def read_checkpoint(run_dir: Path, name: str, step: int) -> Checkpoint:
    """What was measured on one checkpoint, from the files of its evaluations."""
    directory = run_dir / "evals" / name / str(step)
    found = Checkpoint(step, heldout=read_heldout(directory), displacement=read_displacement(run_dir, name, step))
    for path in sorted(directory.glob("*.jsonl")):
        if path.stem in RESERVED or path.name.startswith("."):
            continue
        responses = list(read_jsonl(path, Response))
        found.accuracy[path.stem] = accuracy(responses)
        found.counts[path.stem] = len(responses)
    own, base = directory / "reference_nll.jsonl", run_dir / "evals" / BASE / "0" / "reference_nll.jsonl"
    if own.is_file() and base.is_file():
        found.forgetting_nats = forgetting(list(read_jsonl(own, TokenNLL)), list(read_jsonl(base, TokenNLL)))
    return found


def _targets(run_dir: Path, name: str) -> dict[str, float | int | None]:
    path = run_dir / "targets" / f"{name}.jsonl"
    if not path.is_file():
        return {}
    targets = list(read_jsonl(path, Target))
    discards = run_dir / "targets" / "discarded.jsonl"
    lost = [d for d in read_jsonl(discards, Discard) if d.name == name] if discards.is_file() else []
    summary: dict[str, float | int | None] = {"n": len(targets), "discarded": len(lost)}
    scored = run_dir / "analysis" / "target_nll" / f"{name}.jsonl"
    nothing: dict[str, float | int | None] = {"mean_nll": None, **{f"frac_nll_gt_{t}": None for t in THRESHOLDS}}
    tokens = sum(len(t.token_ids) for t in targets)
    summary |= summarise(list(read_jsonl(scored, TokenNLL))) if scored.is_file() else {"tokens": tokens, **nothing}
    naive = sum(sum(t.from_naive) for t in targets)
    summary["frac_naive"] = naive / tokens if tokens else None
    summary["mean_attempts"] = sum(t.attempts for t in targets) / len(targets) if targets else None
    return summary


def write_report(run_dir: Path, options: ReportOptions | None = None) -> Report:
    """Write ``report.json``, ``report.md``, ``report.html`` and ``figures/*.png``."""
    from nemo_mixsd.analysis.plots import draw_figures
    from nemo_mixsd.reporting.build import ReportOptions, run_extras

    report = build_report(run_dir)
    extras = run_extras(run_dir, report, options or ReportOptions())
    write_json(run_dir / "report.json", asdict(report) | extras.record)
    evals = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")).get("evals") or {}
    figures = [
        *draw_figures(report, run_dir),
        *draw_errors(report, run_dir),
        *draw_displacement(report, run_dir),
        *draw_selections(report, run_dir, evals),
    ]
    write_text(run_dir / "report.md", to_markdown(report, figures) + extras.markdown)
    write_text(run_dir / "report.html", extras.html)
    return report


def result_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """The main table as header and rows of text."""
    splits = [s for s in _splits(report) if s not in ("train", "paraphrase")]
    header = ["method", "train", "paraphrase", *splits, "forgetting", "targets", "discarded", "target NLL", "> 8 nats"]
    rows = []
    for name, row in report.methods.items():
        rows.append(
            [
                name,
                percent(row.train_accuracy),
                percent(row.paraphrase_accuracy),
                *[percent(row.splits.get(split)) for split in splits],
                number(row.forgetting_nats),
                _count(row.targets.get("n")),
                _count(row.targets.get("discarded")),
                number(row.targets.get("mean_nll")),
                percent(row.targets.get("frac_nll_gt_8")),
            ]
        )
    return header, rows


def to_markdown(report: Report, figures: list[Path]) -> str:
    """The report as Markdown."""
    header, rows = result_table(report)
    parts = [f"# {report.corpus} on {report.model}", "", *markdown_table(header, rows), "", _legend(report)]
    parts += selection_lines(report)
    parts += heldout_lines({name: row.heldout_detail for name, row in report.methods.items()})
    parts += errors_lines({name: row.errors for name, row in report.methods.items()})
    targets = [(name, row) for name, row in report.methods.items() if row.targets]
    if targets:
        header = ["targets", "tokens", "naive tokens", "attempts", "mean NLL", *[f"> {t} nats" for t in THRESHOLDS]]
        body = [
            [
                name,
                _count(row.targets.get("tokens")),
                percent(row.targets.get("frac_naive")),
                number(row.targets.get("mean_attempts"), 2),
                number(row.targets.get("mean_nll")),
                *[percent(row.targets.get(f"frac_nll_gt_{t}")) for t in THRESHOLDS],
            ]
            for name, row in targets
        ]
        parts += ["", "## Targets under the base model", "", *markdown_table(header, body)]
    curves = [(name, row) for name, row in report.methods.items() if row.checkpoints]
    if curves:
        body = [
            [name, str(c.step), percent(c.accuracy.get("train")), percent(c.accuracy.get("paraphrase")),
             number(c.forgetting_nats)]
            for name, row in curves
            for c in row.checkpoints
        ]  # fmt: skip
        parts += ["", "## By checkpoint", ""]
        parts += markdown_table(["method", "step", "train", "paraphrase", "forgetting"], body)
    parts += displacement_lines(report)
    header, body = cost_table({name: row.cost for name, row in report.methods.items()})
    if body:
        parts += ["", "## Cost", "", *markdown_table(header, body), "", COST_LEGEND]
    stages = sorted({stage for row in report.methods.values() for stage in row.seconds})
    if stages:
        body = [[n, *[number(r.seconds.get(s), 1) for s in stages]] for n, r in report.methods.items()]
        parts += ["", "## Seconds", "", *markdown_table(["method", *stages], body)]
    for figure in figures:
        parts += ["", f"![{figure.stem.replace('_', ' ')}](figures/{figure.name})"]
    return "\n".join(parts) + "\n"


def _legend(report: Report) -> str:
    counts = {s: n for row in report.methods.values() for s, n in row.counts.items()}
    asked = ", ".join(f"{split} {counts[split]}" for split in _splits(report))
    return (
        f"Accuracies are shares of right greedy answers (questions: {asked}). Forgetting is the rise, in nats a token, "
        "of the loss on samples that the base model itself wrote (Eq. 2 of the paper; 0 is none). Target NLL is the "
        "mean a token under the base model (Eq. 3); `> 8 nats` is the share of target tokens that it finds that "
        "unlikely. A dash is a figure that was not measured."
    )


def _splits(report: Report) -> list[str]:
    return list(dict.fromkeys(s for row in report.methods.values() for s in ("train", *row.splits) if s in row.splits))


def _count(value: Any) -> str:
    return "–" if value is None else f"{value:d}"
