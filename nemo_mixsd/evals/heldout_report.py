"""Held-out results for the report: read from the files of the evaluations, and laid out as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nemo_mixsd.evals.benchmarks import BENCHMARKS
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.io import read_json
from nemo_mixsd.reporting.words import markdown_table
from nemo_mixsd.types import from_record

LM_EVAL = "lm_eval"
"""Folder beside the responses that holds the results of lm-eval, and prefix of their names."""
NOT_A_SHARE = ("perplexity", "bits_per", "loss", "likelihood")
"""Metrics of lm-eval that are no share."""

RESERVED = ("reference", "reference_nll", *BENCHMARKS)
"""Files beside the responses to the splits in ``evals/<name>/<step>/``."""
LEGEND = (
    "Held-out capability, with 95 % intervals: Wilson's for one sample a problem, a bootstrap over problems for avg@n, "
    "the harness's own standard error for tasks of lm-eval. A benchmark that was not run in full says how many "
    "problems were taken, and by which seed. The average is over the benchmarks, not over tasks of lm-eval. A dash is "
    "a figure that was not measured."
)

Scores = Mapping[str, HeldoutScore]


def read_heldout(directory: Path) -> dict[str, HeldoutScore]:
    """Finished results in ``evals/<name>/<step>/``, by benchmark; tasks of lm-eval come last."""
    files = [directory / f"{name}.json" for name in BENCHMARKS]
    files += sorted((directory / LM_EVAL).glob("*.json"))
    scores = [from_record(HeldoutScore, read_json(file)) for file in files if file.is_file()]
    return {score.benchmark: score for score in scores}


def heldout_table(rows: Mapping[str, Scores]) -> tuple[list[str], list[list[str]]]:
    """Methods by benchmarks, as header and rows of text; no rows if nothing was measured.

    Results over different problems stand in different columns.
    """
    labels = list(dict.fromkeys(score.label for scores in rows.values() for score in scores.values()))
    ours = [label for label in labels if not label.startswith(f"{LM_EVAL}/")]
    header = ["method", *labels, *(["average"] if len(ours) > 1 else [])]
    body = []
    for name, scores in rows.items():
        by_label = {score.label: score for score in scores.values()}
        if not by_label:
            continue
        cells = [cell(by_label[label]) if label in by_label else "–" for label in labels]
        if len(ours) > 1:
            cells.append(average({label: by_label[label] for label in ours if label in by_label}, len(ours)))
        body.append([name, *cells])
    return header, body


def cell(score: HeldoutScore) -> str:
    """``41.2 % [38.5, 44.0]``; another metric than a share as a plain number."""
    if any(word in score.metric for word in NOT_A_SHARE):
        return f"{score.accuracy:.4g}"
    text = f"{100 * score.accuracy:.1f} %"
    if score.low is None or score.high is None:
        return text
    return f"{text} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def average(scores: Scores, wanted: int) -> str:
    """The mean over benchmarks; a dash if one is missing."""
    if len(scores) < wanted:
        return "–"
    return f"{100 * sum(score.accuracy for score in scores.values()) / len(scores):.1f} %"


def heldout_lines(rows: Mapping[str, Scores]) -> list[str]:
    """The section of ``report.md``; empty if nothing was measured."""
    header, body = heldout_table(rows)
    if not body:
        return []
    table = markdown_table(header, body)
    cut = [
        f"{name}: {score.truncated} of {score.problems * score.samples} responses to {score.label} were cut off"
        for name, scores in rows.items()
        for score in scores.values()
        if score.truncated
    ]
    notes = ["", "Cut off by the length limit: " + "; ".join(cut) + "."] if cut else []
    return ["", "## Held-out benchmarks", "", *table, "", LEGEND, *notes]
