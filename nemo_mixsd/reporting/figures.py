"""The figures of the HTML report, each left out where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from nemo_mixsd.analysis.distribution import cdf_points, token_values
from nemo_mixsd.analysis.plots import headline_split
from nemo_mixsd.analysis.tokens import HIGH_NLL
from nemo_mixsd.report import Checkpoint, MethodRow
from nemo_mixsd.reporting.collect import BASE, Group, Spread
from nemo_mixsd.reporting.svg import LEFT, RIGHT, WIDTH, Panel, colour, figure, legend, padded
from nemo_mixsd.reporting.words import number, percent
from nemo_mixsd.types import rate_name

ERROR_KINDS = ("format", "leakage", "collapse", "genuine")
"""In the paper's order of priority; classes ``e0`` ... ``e3``."""


@dataclass(frozen=True, slots=True)
class Dot:
    """A method of a run in a scatter plot."""

    name: str
    run: int
    x: float
    y: float
    tip: str


def figures(group: Group, prefix: str) -> str:
    """All figures of a group as HTML."""
    draw: tuple[Callable[[Group, str], str], ...] = (
        pareto,
        heldout_tradeoff,
        nll_cdf,
        rate_sweep,
        error_bars,
        fisher_scatter,
    )
    return "".join(part(group, prefix) for part in draw)


def pareto(group: Group, prefix: str) -> str:
    """Accuracy on what was taught over forgetting; top left is best."""
    split = headline_split(group.first.report)

    def at(row: MethodRow | Checkpoint) -> tuple[float | None, float | None]:
        accuracy = row.splits if isinstance(row, MethodRow) else row.accuracy
        return row.forgetting_nats, accuracy.get(split)

    return _tradeoff(
        group, at, f"{prefix}pareto", "What is learned against what is lost.",
        ("forgetting (nats a token; less is better)", f"{split} accuracy (%)"), lower_is_better=True,
    )  # fmt: skip


def heldout_tradeoff(group: Group, prefix: str) -> str:
    """Accuracy on what was taught over the mean of the held-out benchmarks; top right is best."""
    split = headline_split(group.first.report)

    def at(row: MethodRow | Checkpoint) -> tuple[float | None, float | None]:
        if isinstance(row, Checkpoint):
            return None, None
        return None if row.heldout_mean is None else 100 * row.heldout_mean, row.splits.get(split)

    return _tradeoff(
        group, at, f"{prefix}heldout", "What is learned against what is kept.",
        ("mean of the held-out benchmarks (%; more is better)", f"{split} accuracy (%)"), lower_is_better=False,
    )  # fmt: skip


Place = Callable[[MethodRow | Checkpoint], tuple[float | None, float | None]]


def _tradeoff(
    group: Group, at: Place, identity: str, title: str, labels: tuple[str, str], lower_is_better: bool
) -> str:
    dots: list[Dot] = []
    curves: list[tuple[str, list[tuple[float, float]]]] = []
    for i, run in enumerate(group.runs):
        for name, row in run.report.methods.items():
            x, y = at(row)
            if x is None or y is None:
                continue
            tip = f"{name}, {run.label}: {labels[0].partition(' (')[0]} {number(x)}, {percent(y)}"
            dots.append(Dot(name, i, x, 100 * y, tip))
            places = [at(checkpoint) for checkpoint in row.checkpoints]
            curves.append((name, [(a, 100 * b) for a, b in places if a is not None and b is not None]))
    if len({dot.name for dot in dots}) < 2:
        return ""
    names = group.methods
    panel = Panel(padded([dot.x for dot in dots], 0.1), (-4, 104), labels)
    for name, points in curves:
        panel.line(points, f"faint {colour(name, names)}")
    panel.line(_frontier(dots, lower_is_better), "front")
    for dot in dots:
        panel.point((dot.x, dot.y), colour(dot.name, names), dot.tip, dot.run)
    labelled: set[str] = set()
    for dot in dots:
        if dot.name not in labelled:
            labelled.add(dot.name)
            panel.label((dot.x, dot.y), dot.name)
    note = "Dashed: the methods that no other one beats in both."
    note += " One marker shape a run." if len(group.runs) > 1 else ""
    note += " Faint: earlier checkpoints." if any(len(points) > 1 for _, points in curves) else ""
    shown = [name for name in names if any(dot.name == name for dot in dots)]
    return figure(identity, title, note, panel.svg(), legend([(n, colour(n, names), 0) for n in shown]))


def _frontier(dots: Sequence[Dot], lower_is_better: bool) -> list[tuple[float, float]]:
    """The dots that no other one beats in both directions, from left to right."""
    sign = 1 if lower_is_better else -1
    best: list[tuple[float, float]] = []
    for dot in sorted(dots, key=lambda d: (sign * d.x, -d.y)):
        if not best or dot.y > best[-1][1]:
            best.append((dot.x, dot.y))
    return sorted(best)


def nll_cdf(group: Group, prefix: str) -> str:
    """Share of target tokens below an NLL under the base model (Figure 3 of the paper)."""
    names = group.methods
    known = list(dict.fromkeys(name for run in group.runs for name in run.nll))
    values = {name: token_values([r for run in group.runs for r in run.nll.get(name, ())]) for name in known}
    values = {name: tokens for name, tokens in values.items() if len(tokens)}
    if not values:
        return ""
    right = max(12.0, *(float(np.quantile(tokens, 0.995)) for tokens in values.values()))
    panel = Panel((0, right), (0, 1), ("NLL of a target token under the base model (nats)", "share of tokens below"))
    panel.rule(f"{HIGH_NLL:g} nats", x=HIGH_NLL)
    for name, tokens in values.items():
        panel.steps(cdf_points(tokens), colour(name, [*names, *known]))
    shown = [(name, colour(name, [*names, *known]), 0) for name in values]
    note = "The further left and up, the likelier the targets are to the model that is to learn them."
    return figure(f"{prefix}cdf", "How likely the targets are.", note, panel.svg(), legend(shown))


def rate_sweep(group: Group, prefix: str) -> str:
    """Accuracy and forgetting over λ, with SFT as a dashed line."""
    rates = sorted({float(n.partition("@")[2]) for n in group.methods if n.startswith("mixsd@")})
    if len(rates) < 2:
        return ""
    spreads = {rate: group.spreads(rate_name("mixsd", rate)) for rate in rates}
    sft = group.spreads("sft") if "sft" in group.methods else {}
    splits = [s for s in ("train", "paraphrase") if any(f"split:{s}" in found for found in spreads.values())]
    splits = splits or [headline_split(group.first.report)]
    x = padded(rates, 0.06)
    upper = Panel(x, (-4, 104), ("", "accuracy (%)"), 0, 190)
    lower_top = 170.0
    for i, split in enumerate(splits):
        upper.line(_series(spreads, f"split:{split}", 100), f"m{2 + i}")
        for rate, found in spreads.items():
            _dot(upper, rate, found.get(f"split:{split}"), 100, f"m{2 + i}", f"λ={rate:g}, {split}")
    if f"split:{splits[0]}" in sft:
        upper.rule(f"SFT, {splits[0]}", y=100 * sft[f"split:{splits[0]}"].mean, css="m1")
    losses = [found["forgetting_nats"].mean for found in spreads.values() if "forgetting_nats" in found]
    body, height = upper.svg(), 190.0
    if losses:
        if "forgetting_nats" in sft:
            losses.append(sft["forgetting_nats"].mean)
        lower = Panel(x, padded(losses, 0.12, 0.0), ("mixing rate λ", "forgetting"), lower_top, 200)
        lower.line(_series(spreads, "forgetting_nats", 1), "m5")
        for rate, found in spreads.items():
            _dot(lower, rate, found.get("forgetting_nats"), 1, "m5", f"λ={rate:g}, forgetting")
        if "forgetting_nats" in sft:
            lower.rule("SFT", y=sft["forgetting_nats"].mean, css="m1")
        body, height = body + lower.svg(), lower_top + 200
    names = [(f"{split} accuracy", f"m{2 + i}", 0) for i, split in enumerate(splits)]
    names += [("forgetting (nats a token)", "m5", 0)] if losses else []
    return figure(f"{prefix}sweep", "The mixing rate.", "Dashed: SFT.", body, legend(names), height)


def _series(spreads: dict[float, dict[str, Spread]], metric: str, scale: float) -> list[tuple[float, float]]:
    return [(rate, scale * found[metric].mean) for rate, found in spreads.items() if metric in found]


def _dot(panel: Panel, rate: float, value: Spread | None, scale: float, css: str, tip: str) -> None:
    if value is None:
        return
    y = scale * value.mean
    if value.sd:
        panel.line([(rate, y - scale * value.sd), (rate, y + scale * value.sd)], f"bar {css}")
    panel.point((rate, y), css, f"{tip}: {y:.3g}" + (f" ± {scale * value.sd:.2g}" if value.sd is not None else ""))


def error_bars(group: Group, prefix: str) -> str:
    """Wrong responses by kind, as shares of all responses: one bar a method, grouped by benchmark."""
    bars: list[tuple[str, str, dict[str, float]]] = []
    benchmarks = dict.fromkeys(b for name in group.methods for row in group.rows(name) for b in row.errors)
    for benchmark in benchmarks:
        for name in group.methods:
            counted = [row.errors.get(benchmark, {}) for row in group.rows(name)]
            found = [counts for counts in counted if counts.get("responses")]
            if found:
                total = sum(counts["responses"] for counts in found)
                shares = {k: sum(counts.get(k, 0) for counts in found) / total for k in ERROR_KINDS}
                bars.append((benchmark, name, shares))
    if not bars:
        return ""
    left, step, head = LEFT + 62, 17, 20
    wide = WIDTH - left - RIGHT
    y, body, before = 6.0, [], ""
    for benchmark, name, shares in bars:
        if benchmark != before:
            body.append(f'<text class="label" x="4" y="{y + 13:.0f}">{escape(benchmark)}</text>')
            y, before = y + head, benchmark
        body.append(f'<text class="tick" x="{left - 6}" y="{y + 11:.0f}" text-anchor="end">{escape(name)}</text>')
        x = float(left)
        for i, kind in enumerate(ERROR_KINDS):
            width = wide * shares[kind]
            tip = f"{benchmark}, {name}: {kind} {percent(shares[kind])}"
            if width > 0:
                body.append(
                    f'<rect class="e{i}" x="{x:.1f}" y="{y:.0f}" width="{width:.1f}" height="13">'
                    f"<title>{escape(tip)}</title></rect>"
                )
            x += width
        body.append(f'<path class="grid" d="M{left} {y + 13.5:.1f}H{left + wide}"/>')
        y += step
    body.append(f'<text class="tick" x="{left}" y="{y + 12:.0f}">0 %</text>')
    body.append(f'<text class="tick" x="{left + wide}" y="{y + 12:.0f}" text-anchor="end">100 % of responses</text>')
    names = [(kind, f"e{i}", 1) for i, kind in enumerate(ERROR_KINDS)]
    note = "Shares of all responses; the length of a bar is the error rate."
    return figure(f"{prefix}errors", "What wrong responses look like.", note, "".join(body), legend(names), y + 20)


def fisher_scatter(group: Group, prefix: str) -> str:
    """Forgetting over raw displacement and over the Fisher alignment ratio, a point a checkpoint."""
    names, out = group.methods, ""
    for metric, title, label in (
        ("raw", "How far the weights moved.", "raw displacement"),
        ("alignment", "In which direction they moved.", "Fisher alignment ratio (1: a direction at random)"),
    ):
        dots: list[Dot] = []
        for i, run in enumerate(group.runs):
            for name, row in run.report.methods.items():
                places: list[MethodRow | Checkpoint] = [*row.checkpoints] or [row]
                for where in places:
                    x = getattr(where, "displacement", {}).get(metric)
                    y = where.forgetting_nats
                    if x is not None and y is not None and name != BASE:
                        tip = f"{name}, {run.label}, step {where.step}: {x:.3g}, {y:.3f} nats"
                        dots.append(Dot(name, i, x, y, tip))
        if len(dots) < 2:
            continue
        ys = padded([dot.y for dot in dots], 0.1, 0.0)
        panel = Panel(padded([dot.x for dot in dots], 0.1), ys, (label, "forgetting (nats a token)"))
        for dot in dots:
            panel.point((dot.x, dot.y), colour(dot.name, names), dot.tip, dot.run)
        shown = [(n, colour(n, names), 0) for n in names if any(dot.name == n for dot in dots)]
        out += figure(f"{prefix}fisher-{metric}", title, "A point a checkpoint.", panel.svg(), legend(shown))
    return out
