"""All methods on the facts of the quickstart over several seeds: accuracy and forgetting by seed, costs in the mean.

    uv run benchmarks/methods_seeds.py [--seeds 0 1 2] [--out benchmarks/results/methods.json] [key=value ...]

Each seed is a run of its own (coins, rollouts, data order), resumable like any other; the reference samples are the
same. Add ``method=[opsd,mixsd_kl] opsd.shuffled_context=true`` for the controls: they become rows of the same runs.
"""

import argparse
import json
import statistics
from pathlib import Path

from quickstart_seeds import machine

from nemo_mixsd.config import load_config
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.pipeline import run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.quiet import quiet_libraries
from nemo_mixsd.report import MethodRow

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart_all.yaml"
FIGURES = {"train_accuracy": "train", "paraphrase_accuracy": "paraphrase", "forgetting_nats": "forgetting"}
COSTS = {
    "step": "steps",
    "generated_tokens": "generated tokens",
    "teacher_tokens": "teacher tokens",
    "trained_tokens": "trained tokens",
    "seconds": "seconds",
}

Values = list[float | None]


def figures_of(row: MethodRow) -> dict[str, float | None]:
    """What a row of a report says about one seed."""
    found = {figure: getattr(row, figure) for figure in FIGURES}
    return {**found, **{name: row.cost.get(name) for name in COSTS}, "step": row.step}


def mean(values: Values) -> float | None:
    """Mean of a figure that every seed has, or None."""
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known and len(known) == len(values) else None


def cell(name: str, values: Values) -> str:
    """A mean with the single seeds behind it; counts are rounded."""
    found = mean(values)
    if found is None:
        return "–"
    if name in COSTS:
        return f"{found:,.0f}".replace(",", " ")
    each = " · ".join("–" if value is None else f"{value:.2f}" for value in values)
    return f"{found:.2f}" + (f" ({each})" if len(values) > 1 else "")


def markdown(rows: dict[str, dict[str, Values]]) -> str:
    """One line a method: accuracies and forgetting with every seed, costs in the mean."""
    columns = {**FIGURES, **COSTS}
    lines = ["| method | " + " | ".join(columns.values()) + " |", "|---|" + "---|" * len(columns)]
    for method, figures in rows.items():
        lines.append(f"| {method} | " + " | ".join(cell(name, figures[name]) for name in columns) + " |")
    return "\n".join(lines)


@one_line_errors
def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run-dir", default="runs/methods_seeds")
    parser.add_argument("--out", type=Path)
    args, overrides = parser.parse_known_args()
    setup_logging(verbose=False)
    quiet_libraries(verbose=False)
    rows: dict[str, dict[str, Values]] = {}
    for i, seed in enumerate(args.seeds):
        seeded = [f"{key}={seed}" for key in ("mixing.seed", "opsd.seed", "sft.seed")]
        config = load_config(RECIPE, [f"run_dir={args.run_dir}/seed_{seed}", *seeded, *overrides])
        for method, row in run(make_plan(config)).methods.items():
            for name, value in figures_of(row).items():
                values = rows.setdefault(method, {}).setdefault(name, [None] * len(args.seeds))
                values[i] = value
    print(f"\n{machine()}\nseeds {args.seeds}\n\n{markdown(rows)}")
    if args.out:
        result = {"machine": machine(), "seeds": args.seeds, "overrides": overrides, "rows": rows}
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        args.out.with_suffix(".md").write_text(markdown(rows) + "\n")


if __name__ == "__main__":
    main()
