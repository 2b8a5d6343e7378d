"""Whether the Fisher alignment ratio goes with forgetting better than raw displacement, on the quickstart (Table 6).

    uv run benchmarks/alignment_vs_forgetting.py [--seeds 0 1 2] [--rates 0.2 0.5 0.8] [--steps 12] [key=value ...]
    uv run benchmarks/alignment_vs_forgetting.py --runs runs/a runs/b      (finished runs with analysis.fisher.enabled)

Trains SFT and MixSD at every rate and seed for the same number of steps, saves and measures every fourth step, and
correlates over all checkpoints, and over those of each step alone. Writes JSON, Markdown and a plot. Every run is
resumable like any other; the checkpoints of a finished one are deleted.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from quickstart_seeds import RECIPE, machine

from nemo_mixsd.analysis.correlation import Point, collect_points, correlate, correlation_table
from nemo_mixsd.analysis.scatter import draw_scatter
from nemo_mixsd.config import load_config
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.io import write_text
from nemo_mixsd.pipeline import run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.quiet import quiet_libraries

RESULTS = Path(__file__).parent / "results"
FEW_ANSWERS = ["evals.splits=[train]", "evals.limit=8"]
"""Answers to questions are not what is compared here; forgetting needs none."""


def train(args: argparse.Namespace, overrides: list[str]) -> list[Path]:
    """Run every seed; return the run directories."""
    directories = []
    for seed in args.seeds:
        directory = f"{args.run_dir}/seed_{seed}"
        rates = ",".join(map(str, args.rates))
        settings = [
            f"run_dir={directory}", "method=[sft,mixsd]", f"mixing.rate=[{rates}]", f"mixing.seed={seed}",
            "evals.checkpoints=all", "evals.stop.train_accuracy=null", f"sft.max_num_steps={args.steps}",
            f"checkpointing.save_period={args.period}", "analysis.fisher.enabled=true", "analysis.target_nll=false",
        ]  # fmt: skip
        if not (Path(directory) / "report.json").is_file():  # written last
            run(make_plan(load_config(RECIPE, [*settings, *FEW_ANSWERS, *overrides])))
        shutil.rmtree(Path(directory) / "checkpoints", ignore_errors=True)  # measured; they are gigabytes
        directories.append(Path(directory))
    return directories


def by_method(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Mean over seeds of each method's checkpoints (Table 5), by step."""
    groups: dict[tuple[int, str], list[Point]] = {}
    for point in sorted(points, key=lambda p: (p.step, p.name)):
        groups.setdefault((point.step, point.name), []).append(point)
    rows = []
    for (step, name), own in groups.items():
        row = [name, str(step)]
        for figure in ("raw", "fisher_weighted", "alignment", "forgetting"):
            values = [v for v in (getattr(p, figure) for p in own) if v is not None]
            row.append(f"{sum(values) / len(values):.4g}" if values else "–")
        rows.append(row)
    return ["method", "step", "raw", "Fisher-weighted", "alignment", "forgetting"], rows


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


@one_line_errors
def main() -> None:
    """Run what is missing, correlate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.5, 0.8])
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--period", type=int, default=4, help="steps between two checkpoints")
    parser.add_argument("--run-dir", default="runs/alignment")
    parser.add_argument("--runs", type=Path, nargs="+", help="correlate over these runs instead of training")
    parser.add_argument("--out", type=Path, default=RESULTS / "alignment_vs_forgetting.json")
    parser.add_argument("--plot", type=Path, default=RESULTS.parents[1] / "docs/images/alignment_vs_forgetting.png")
    args, overrides = parser.parse_known_args()
    setup_logging(verbose=False)
    quiet_libraries(verbose=False)
    points = collect_points(args.runs or train(args, overrides))
    pooled = correlate(points)
    sections = [f"{len(points)} checkpoints; {machine()}", "", markdown(*by_method(points)), "", "All checkpoints:", ""]
    sections += [markdown(*correlation_table(pooled))]
    result = {"machine": machine(), "points": [asdict(p) for p in points], "all": [asdict(c) for c in pooled]}
    for step in sorted({p.step for p in points}):
        own = [p for p in points if p.step == step]
        if len(own) >= 3:
            equal = correlate(own)
            sections += ["", f"Checkpoints of step {step}:", "", markdown(*correlation_table(equal))]
            result[f"step_{step}"] = [asdict(c) for c in equal]
    text = "\n".join(sections) + "\n"
    print(f"\n{text}")
    write_text(args.out, json.dumps(result, indent=2) + "\n")
    write_text(args.out.with_suffix(".md"), text)
    draw_scatter(points, pooled, args.plot)
    print(f"{args.out}, {args.out.with_suffix('.md')}, {args.plot}")


if __name__ == "__main__":
    main()
