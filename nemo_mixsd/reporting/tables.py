"""The tables of a group of runs, as header and rows of text; the HTML and the Markdown report show the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nemo_mixsd.analysis.cost import cost_table
from nemo_mixsd.analysis.distribution import above_all
from nemo_mixsd.analysis.nll import THRESHOLDS
from nemo_mixsd.analysis.tokens import unlikely_types
from nemo_mixsd.mixing.auto_rate import RateChoice
from nemo_mixsd.reporting.collect import Group, RunView, Spread, row_metrics
from nemo_mixsd.reporting.paper import Comparison, PaperComparison
from nemo_mixsd.reporting.words import DASH, count, number, percent

SHARE, NATS = "share", "nats"


@dataclass(frozen=True, slots=True)
class Table:
    """Header, rows, and a mark for each row (``sum`` for a mean over runs)."""

    header: list[str]
    rows: list[list[str]]
    marks: tuple[str, ...] = ()
    left: int = 1


def columns(group: Group) -> list[tuple[str, str, str]]:
    """What the main table shows: (metric, heading, kind), of what any run measured."""
    seen = dict.fromkeys(m for run in group.runs for row in run.report.methods.values() for m in row_metrics(row))
    splits = [m for m in seen if m.startswith("split:")]
    order = {"split:train": 0, "split:paraphrase": 1}
    splits.sort(key=lambda m: (order.get(m, 2), m))
    heldout = [m for m in seen if m.startswith("heldout:")]
    out = [(m, m.removeprefix("split:"), SHARE) for m in splits]
    out += [("forgetting_nats", "forgetting", NATS)] if "forgetting_nats" in seen else []
    out += [(m, m.removeprefix("heldout:"), SHARE) for m in heldout]
    out += [("heldout_mean", "held-out mean", SHARE)] if len(heldout) > 1 else []
    out += [("mean_nll", "target NLL", NATS)] if "mean_nll" in seen else []
    out += [("frac_nll_gt_8", "> 8 nats", SHARE)] if "frac_nll_gt_8" in seen else []
    out += [("overlap", "SFT's high-NLL types kept", SHARE)] if "overlap" in seen else []
    displaced = [m for m in seen if m.startswith("displacement:")]
    return out + [(m, m.removeprefix("displacement:").replace("_", " "), "value") for m in displaced]


def _cell(value: float | None, kind: str) -> str:
    if kind == SHARE:
        return percent(value)
    if kind == NATS:
        return number(value)
    return DASH if value is None else f"{value:.3g}"


def _spread_cell(value: Spread | None, kind: str) -> str:
    if value is None or value.sd is None:
        return _cell(None if value is None else value.mean, kind)
    if kind == SHARE:
        return f"{100 * value.mean:.1f} ± {100 * value.sd:.1f} %"
    if kind == NATS:
        return f"{value.mean:.3f} ± {value.sd:.3f}"
    return f"{value.mean:.3g} ± {value.sd:.2g}"


def results(group: Group) -> Table:
    """One row a method and run; over several runs, before them, their means and deviations."""
    shown = columns(group)
    several = len(group.runs) > 1
    header = ["method", *(["run"] if several else []), *[heading for _, heading, _ in shown]]
    rows, marks = [], []
    for name in group.methods:
        if several:
            found = group.spreads(name)
            cells = [_spread_cell(found.get(metric), kind) for metric, _, kind in shown]
            rows.append([name, f"mean of {len(group.rows(name))}", *cells])
            marks.append("sum")
        for run in group.runs:
            if name in run.report.methods:
                values = row_metrics(run.report.methods[name])
                cells = [_cell(values.get(metric), kind) for metric, _, kind in shown]
                rows.append([name, *([run.label] if several else []), *cells])
                marks.append("")
    return Table(header, rows, tuple(marks), 2 if several else 1)


def targets(run: RunView) -> Table:
    """Tokens, attempts and counts above each threshold, one row a method (Tables 7 and 8 of the paper)."""
    header = ["targets", "n", "discarded", "tokens", "naive", "attempts", "mean NLL"]
    header += [f"> {t} nats" for t in THRESHOLDS]
    rows = []
    for name, row in run.report.methods.items():
        found = row.targets
        if not found:
            continue
        counts = above_all(run.nll[name]) if name in run.nll else None
        cells = [
            DASH if each.share is None else f"{count(each.count)} ({percent(each.share)})" for each in counts or ()
        ] or [DASH] * len(THRESHOLDS)
        rows.append(
            [
                name, count(found.get("n")), count(found.get("discarded")), count(found.get("tokens")),
                percent(found.get("frac_naive")), number(found.get("mean_attempts"), 2), number(found.get("mean_nll")),
                *cells,
            ]
        )  # fmt: skip
    return Table(header, rows)


def overlaps(run: RunView) -> Table:
    """Table 9 of the paper: how many of SFT's high-NLL token types a method's targets keep."""
    header = ["targets", "kept, mean over examples", "95 % interval", "kept, all types", "types", "examples"]
    rows = []
    for name, row in run.report.methods.items():
        found = row.overlap
        if found.get("mean") is not None:
            low, high = found.get("low"), found.get("high")
            interval = DASH if low is None or high is None else f"{percent(low)} to {percent(high)}"
            rows.append(
                [name, percent(found["mean"]), interval, percent(found.get("pooled")), count(found.get("types")),
                 count(found.get("examples"))]
            )  # fmt: skip
    return Table(header, rows)


def unlikely(run: RunView, name: str, most: int = 15) -> Table:
    """The most frequent high-NLL token types of one method."""
    types = unlikely_types(run.targets[name], run.nll.get(name, []), run.pieces.get(name, {}))
    rows = [[_visible(t.text), count(t.count), count(t.occurrences), number(t.mean_nll, 1)] for t in types[:most]]
    return Table(["token", "above 8 nats", "occurrences", "mean NLL"], rows)


def _visible(text: str) -> str:
    """A token's text with its spaces and breaks made visible."""
    return text.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥")


def checkpoints(run: RunView) -> Table:
    """Accuracy and forgetting by optimizer step, of methods with several evaluated checkpoints."""
    header = ["method", "step", "train", "paraphrase", "forgetting"]
    rows = [
        [name, str(c.step), percent(c.accuracy.get("train")), percent(c.accuracy.get("paraphrase")),
         number(c.forgetting_nats)]
        for name, row in run.report.methods.items()
        for c in row.checkpoints
    ]  # fmt: skip
    return Table(header, rows)


def costs(run: RunView) -> Table:
    """What each method has cost."""
    header, rows = cost_table({name: row.cost for name, row in run.report.methods.items()})
    return Table(header, rows)


def probe(choice: RateChoice) -> Table:
    """What ``mixing.rate: auto`` measured at each candidate."""
    header = ["λ", "rollouts that pass", "attempts an example", "discarded", "> 8 nats", "mean NLL"]
    rows = [
        [f"{p.rate:g}", percent(p.pass_rate), number(p.expected_attempts, 2), f"{p.discarded} of {p.examples}",
         percent(p.high_nll), number(p.mean_nll)]
        for p in choice.probes
    ]  # fmt: skip
    return Table(header, rows, tuple("sum" if p.rate == choice.rate else "" for p in choice.probes))


def paper(found: PaperComparison) -> Table:
    """Ours beside the paper's; a difference beyond our interval reads ``outside``."""
    header = ["method", "metric", "here", "paper", "paper's is", "95 % interval here", "table"]
    return Table(header, [_paper_row(row) for row in found.rows], tuple(r.verdict for r in found.rows), 2)


def _paper_row(row: Comparison) -> list[str]:
    plain = row.metric in ("raw_displacement", "alignment")
    show: Callable[[float | None], str] = (lambda v: DASH if v is None else f"{v:.3g}") if plain else percent
    interval = DASH if row.low is None or row.high is None else f"{show(row.low)} to {show(row.high)}"
    verdict = {"inside": "inside", "outside": "outside", "not judged": f"not judged: {row.note}"}[row.verdict]
    values = " / ".join(show(value) for value in row.paper)
    return [row.method, metric_name(row.metric), show(row.ours), values, verdict, interval, row.table]


def metric_name(metric: str) -> str:
    """A metric's name for people."""
    names = {
        "heldout_mean": "held-out mean",
        "overlap": "high-NLL types kept",
        "raw_displacement": "raw displacement",
        "alignment": "Fisher alignment ratio",
    }
    if metric.startswith("frac_nll_gt_"):
        return f"tokens > {metric.removeprefix('frac_nll_gt_')} nats"
    return names.get(metric, metric)


def markdown(table: Table) -> list[str]:
    """A table as lines of Markdown."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(table.header), "|" + "---|" * len(table.header), *[line(row) for row in table.rows]]
