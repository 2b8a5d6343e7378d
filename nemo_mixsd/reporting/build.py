"""Putting the report together: sections of a group of runs, and the files of one or several runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import yaml

from nemo_mixsd.analysis.tokens import HIGH_NLL, keep_pieces
from nemo_mixsd.errors import MixSDError, RunDirectoryError
from nemo_mixsd.io import write_json, write_text
from nemo_mixsd.report import Report
from nemo_mixsd.reporting import tables
from nemo_mixsd.reporting.collect import Group, RunView, group_runs, open_runs, seeds
from nemo_mixsd.reporting.coloured import coloured_targets
from nemo_mixsd.reporting.figures import figures
from nemo_mixsd.reporting.html import Html, folded, page, paragraph, section, table
from nemo_mixsd.reporting.paper import PaperComparison, compare
from nemo_mixsd.reporting.tables import Table, markdown
from nemo_mixsd.reporting.words import plural

logger = logging.getLogger(__name__)

RESULT_NOTE = (
    "Accuracies are shares of right greedy answers. Forgetting is the rise, in nats a token, of the loss on samples "
    "that the base model itself wrote (Eq. 2 of the paper; 0 is none). Target NLL is the mean a token under the base "
    "model (Eq. 3). A dash is a figure that was not measured."
)
OVERLAP_NOTE = (
    "Of the token types above 8 nats in SFT's target of an example, the share that stands anywhere in the other target "
    "of the same example (Table 9 of the paper). Discarded examples are left out; the interval takes examples as the "
    "sampling unit."
)
TOKENS_NOTE = "␣ is a space that belongs to the token, ⏎ a line break."
PAPER_NOTE = (
    "The corpora are generated or drawn anew, with names and wordings of their own; sizes and structure are the "
    "paper's. The paper prints no intervals: a value is outside if the 95 % interval of the measurement here does not "
    "hold it."
)
RATE_NOTE = "The rule is ours, not the paper's."
SPREAD_NOTE = "Mean ± standard deviation (n - 1) over runs that differ in their seeds alone."


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the report shows beside the results.

    Attributes:
        paper: Put the paper's numbers beside ours.
        examples: Examples whose targets are shown token by token.
    """

    paper: bool = False
    examples: int = 20


def html_report(groups: Sequence[Group], options: ReportOptions) -> str:
    """The page of one or several groups of runs."""
    one = len(groups) == 1
    title = groups[0].title if one else f"{sum(len(g.runs) for g in groups)} runs"
    links: list[tuple[str, str]] = []
    body = f"<h1>{escape(title)}</h1>\n"
    for i, group in enumerate(groups):
        prefix = "" if one else f"g{i + 1}-"
        if not one:
            links.append((f"g{i + 1}", group.title))
            body += f'<h1 id="g{i + 1}">{escape(group.title)}</h1>\n'
        parts = _sections(group, prefix, options)
        links += [(identity, name) for identity, name, content in parts if content and one]
        body += _runs_line(group) + "".join(section(identity, name, content) for identity, name, content in parts)
    return page(title, links, body)


def _sections(group: Group, prefix: str, options: ReportOptions) -> list[tuple[str, str, str]]:
    """(id, title, markup) of every section of a group; the markup is empty where there is nothing to show."""
    run = group.first
    drawn = figures(group, prefix)
    several = len(group.runs) > 1
    note = paragraph(RESULT_NOTE + (f" {SPREAD_NOTE}" if several else ""), "soft")
    choice = run.choice
    reason = "" if choice is None else paragraph(f"λ={choice.rate:g}: {choice.reason}. {RATE_NOTE}")
    overlap, probe = tables.overlaps(run), None if choice is None else tables.probe(choice)
    parts = [
        ("results", "Results", _html(tables.results(group)) + note),
        ("paper", "Beside the paper", paper_html(compare(group)) if options.paper else ""),
        ("figures", "Figures", f'<div class="figures">{drawn}</div>\n' if drawn else ""),
        ("rate", "Why this mixing rate", reason + (_html(probe) if probe else "")),
        ("targets", "Targets under the base model", _html(tables.targets(run))),
        ("overlap", "What of the new stays in the targets", _html(overlap, paragraph(OVERLAP_NOTE, "soft"))),
        ("tokens", "Which tokens are unlikely", _unlikely(run)),
        ("text", "Targets, token by token", coloured_targets(run, options.examples) if options.examples else ""),
        ("checkpoints", "By checkpoint", _html(tables.checkpoints(run))),
        ("cost", "Cost", _html(tables.costs(run))),
        ("recipe", "Recipe", _recipe(run)),
    ]
    if several:
        shown = ("rate", "targets", "overlap", "tokens", "text", "checkpoints", "cost", "recipe")
        parts = [
            (i, t, f'<p class="soft">Of the run {escape(run.label)}.</p>\n{c}' if c and i in shown else c)
            for i, t, c in parts
        ]
    return [(prefix + identity, title, content) for identity, title, content in parts]


def _html(found: Table, after: str = "") -> str:
    return table(found.header, found.rows, found.marks, found.left) + after if found.rows else ""


def paper_html(found: PaperComparison) -> str:
    """The comparison as a table, or the plain word that there is none."""
    if found.reason:
        return f'<p class="notice">{escape(found.reason)}.</p>\n'
    compared = tables.paper(found)
    rows: list[list[str | Html]] = []
    for row in compared.rows:
        mark = Html('<span class="out">≠ outside</span>')
        rows.append([mark if cell == "outside" else cell for cell in row])
    return table(compared.header, rows, (), 2) + paragraph(_paper_note(found), "soft")


def _unlikely(run: RunView) -> str:
    out = ""
    for name in run.names:
        found = tables.unlikely(run, name)
        out += f"<div><h3>{escape(name)}</h3>\n{_html(found)}</div>\n" if found.rows else ""
    out = f'<div class="pair">{out}</div>\n' if out else ""
    return (
        out + paragraph(f"Token types above {HIGH_NLL:g} nats, most frequent first. {TOKENS_NOTE}", "soft")
        if out
        else ""
    )


def _recipe(run: RunView) -> str:
    text = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
    return folded("the resolved configuration", f"<pre>{escape(text)}</pre>\n")


def _runs_line(group: Group) -> str:
    if len(group.runs) == 1:
        return paragraph(f"Run directory {group.first.label}.", "soft")
    listed = "; ".join(f"{run.label} ({seeds(run)})" for run in group.runs)
    return paragraph(f"{plural(len(group.runs), 'run')}: {listed}.", "soft")


def extra_markdown(group: Group, options: ReportOptions) -> str:
    """What ``report.md`` says beside the tables of ``nemo_mixsd.report``: λ's choice, the overlap, the paper."""
    run, parts = group.first, []
    if run.choice is not None:
        why = f"λ={run.choice.rate:g}: {run.choice.reason}. {RATE_NOTE}"
        parts += ["## Why this mixing rate", "", why, "", *markdown(tables.probe(run.choice)), ""]
    overlaps = tables.overlaps(run)
    if overlaps.rows:
        parts += ["## What of the new stays in the targets", "", *markdown(overlaps), "", OVERLAP_NOTE, ""]
    if options.paper:
        parts += paper_markdown(compare(group))
    return "\n" + "\n".join(parts) if parts else ""


def paper_markdown(found: PaperComparison) -> list[str]:
    """The comparison as lines of Markdown."""
    if found.reason:
        return ["## Beside the paper", "", f"{found.reason}.", ""]
    compared = tables.paper(found)
    rows = [["**outside**" if cell == "outside" else cell for cell in row] for row in compared.rows]
    return ["## Beside the paper", "", *markdown(Table(compared.header, rows)), "", _paper_note(found), ""]


def _paper_note(found: PaperComparison) -> str:
    """What stands below the comparison."""
    without = f"The paper has no row for {', '.join(found.without)}. " if found.without else ""
    return f"{without}{PAPER_NOTE}"


def complete_pieces(run: RunView) -> None:
    """Keep the token texts of a run that was made without them, if its tokenizer is at hand; else say so in the log."""
    missing = [name for name in run.names if not run.pieces.get(name)]
    if not missing:
        return
    from nemo_mixsd import models

    settings = run.config["policy"].get("tokenizer") or {}
    name = settings.get("name") or run.config["policy"]["model_name"]
    try:
        found = models.check_model(name)
        tokenizer = models.load_tokenizer(
            name if found.source == "bundled" else found.path, settings.get("chat_template")
        )
    except (MixSDError, OSError, ValueError) as error:
        logger.info("token texts of %s: the tokenizer is not at hand (%s)", run.path, error)
        return
    decode = partial(tokenizer.decode, clean_up_tokenization_spaces=False)
    for target in missing:
        keep_pieces(decode, run.targets[target], run.path / "analysis" / "token_text" / f"{target}.jsonl")
    del run.pieces


@dataclass(frozen=True, slots=True)
class RunExtras:
    """What is added to a single run's ``report.json`` and ``report.md``, and its page."""

    record: dict[str, Any]
    markdown: str
    html: str


def run_extras(run_dir: Path, report: Report, options: ReportOptions) -> RunExtras:
    """The page of one run and what its other reports say beside ``report``."""
    run = RunView(run_dir, report)
    complete_pieces(run)
    group = Group((run,))
    record = {"paper": asdict(compare(group))} if options.paper else {}
    return RunExtras(record, extra_markdown(group, options), html_report([group], options))


def report_record(groups: Sequence[Group], options: ReportOptions) -> dict[str, Any]:
    """``report.json`` of several runs: each run's report, and figures over runs of equal configuration."""
    record: dict[str, Any] = {
        "runs": [{"run": run.label, "seeds": seeds(run), **asdict(run.report)} for g in groups for run in g.runs],
        "groups": [
            {
                "model": group.first.report.model,
                "corpus": group.first.report.corpus,
                "runs": [run.label for run in group.runs],
                "methods": {
                    name: {metric: asdict(value) for metric, value in group.spreads(name).items()}
                    for name in group.methods
                },
                **({"paper": asdict(compare(group))} if options.paper else {}),
            }
            for group in groups
        ],
    }
    return record


def write_reports(paths: Sequence[Path], out: Path, options: ReportOptions) -> list[Group]:
    """Write ``report.json``, ``report.md`` and ``report.html`` of several runs into ``out``.

    Raises:
        RunDirectoryError: A path is no run, one is named twice, or ``out`` is a run itself.
    """
    if (out / "config.yaml").exists():
        raise RunDirectoryError(f"--out {out} is a run directory; its own report would be lost. Give another folder")
    runs = open_runs(paths)
    for run in runs:
        complete_pieces(run)
    groups = group_runs(runs)
    lines = [f"# {plural(len(runs), 'run')}", ""]
    for group in groups:
        lines += [f"## {group.title}", "", *markdown(tables.results(group)), ""]
        lines += [f"- {run.label}: {seeds(run)}" for run in group.runs]
        lines += ["", f"{RESULT_NOTE} {SPREAD_NOTE}" if len(group.runs) > 1 else RESULT_NOTE, ""]
        lines += [line.replace("## ", "### ", 1) if line.startswith("## ") else line
                  for line in extra_markdown(group, options).split("\n")]  # fmt: skip
    write_json(out / "report.json", report_record(groups, options))
    write_text(out / "report.md", "\n".join(lines).rstrip() + "\n")
    write_text(out / "report.html", html_report(groups, options))
    return groups
