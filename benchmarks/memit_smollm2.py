"""MEMIT beside SFT and MixSD on SmolLM2-135M: twenty edits, several seeds, one table; and the sweep behind the recipe.

    uv run benchmarks/memit_smollm2.py [--seeds 0 1 2] [--out benchmarks/results/memit_smollm2] [key=value ...]
    uv run benchmarks/memit_smollm2.py --sweep --layers 3-12 8-16 --weights 50 500 5000

The first writes OUT.json and OUT.md. Each seed is a run of its own (coins, data order, random prefixes and text of the
covariance), resumable like any other; the reference samples are the same. "taught" counts the edits that SFT and MixSD
learn from: MixSD discards one where the model, shown the new fact, still does not say it. The second tries layer ranges
and covariance weights with one seed, over one set of target values a range, and writes OUT_sweep.json and OUT_sweep.md.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstart_seeds import machine

from nemo_mixsd.config import load_config
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.io import write_json, write_text
from nemo_mixsd.pipeline import Pipeline, run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.quiet import quiet_libraries

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart_memit.yaml"
FIGURES = {"train_accuracy": "edits", "paraphrase_accuracy": "paraphrases", "forgetting_nats": "forgetting"}


def compare(seeds: Sequence[int], run_dir: str, overrides: Sequence[str]) -> dict[str, dict[str, list[float | None]]]:
    """Run every seed; figures by method."""
    rows: dict[str, dict[str, list[float | None]]] = {}
    for seed in seeds:
        named = [f"run_dir={run_dir}/seed_{seed}", f"mixing.seed={seed}", f"memit.seed={seed}"]
        for name, row in run(make_plan(load_config(RECIPE, [*named, *overrides]))).methods.items():
            found = rows.setdefault(name, {figure: [] for figure in ("taught", *FIGURES, "seconds")})
            targets = Path(run_dir) / f"seed_{seed}" / "targets" / f"{name}.jsonl"
            found["taught"].append(len(targets.read_text().splitlines()) if targets.is_file() else None)
            for figure in FIGURES:
                found[figure].append(getattr(row, figure))
            found["seconds"].append(sum(row.seconds.values()))
    return rows


def comparison_table(rows: dict[str, dict[str, list[float | None]]], seeds: Sequence[int]) -> str:
    """Markdown: a row a method, each figure by seed and its mean."""
    lines = [
        f"{machine()}; seeds {' · '.join(map(str, seeds))}, mean in bold",
        "",
        "| method | taught | " + " | ".join(FIGURES.values()) + " | seconds |",
        "|---|" + "---|" * (len(FIGURES) + 2),
    ]
    for name, figures in rows.items():
        cells = [_cell(figures["taught"], "{:.0f}")]
        cells += [_cell(figures[figure], "{:.3f}") for figure in FIGURES] + [_cell(figures["seconds"], "{:.0f}")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return (
        " · ".join("–" if v is None else form.format(v) for v in values)
        + f" (**{form.format(statistics.mean(known))}**)"
    )


def sweep(
    ranges: Sequence[str], weights: Sequence[float], run_dir: str, overrides: Sequence[str]
) -> list[dict[str, Any]]:
    """Edit accuracy and forgetting for every range of layers and covariance weight."""
    from nemo_mixsd import models
    from nemo_mixsd.analysis.nll import Scored, TokenNLL, mean_nll, token_nll
    from nemo_mixsd.editing.edits import collect_edits
    from nemo_mixsd.editing.layers import down_proj
    from nemo_mixsd.editing.memit import apply_edits, prepare_moments, target_values
    from nemo_mixsd.editing.prefixes import random_prefixes
    from nemo_mixsd.editing.texts import make_source
    from nemo_mixsd.editing.values import edit_prompts
    from nemo_mixsd.evals.forgetting import ReferenceSample
    from nemo_mixsd.evals.recall import quick_accuracy
    from nemo_mixsd.io import read_jsonl
    from nemo_mixsd.mixing.engines.hf import HFEngine
    from nemo_mixsd.rundir import RunDirectory

    config = load_config(RECIPE, [f"run_dir={run_dir}/sweep", "method=base", *overrides])
    plan = make_plan(config)
    run(plan)  # the base model's reference samples
    directory = RunDirectory(config)
    pipeline = Pipeline(plan, directory, None)  # type: ignore[arg-type]
    settings, renderer = config.memit, pipeline.renderer
    base = directory.evals("base", 0)
    samples = [
        Scored(s.example_id, s.prompt_ids, s.token_ids) for s in read_jsonl(base / "reference.jsonl", ReferenceSample)
    ]
    before = mean_nll(read_jsonl(base / "reference_nll.jsonl", TokenNLL))
    model = models.load_model(pipeline.model_path, settings.precision).requires_grad_(False)
    prefixes = random_prefixes(model, renderer, settings.prefixes, settings.prefix_tokens, settings.seed)
    prompts = [edit_prompts(renderer, edit, prefixes) for edit in collect_edits(plan.examples["train"])[0]]
    source = make_source(settings.covariance, settings.seed)
    out: list[dict[str, Any]] = []
    for text in ranges:
        first, last = map(int, text.split("-"))
        layers = range(first, last + 1)
        begun = time.monotonic()
        moments = prepare_moments(model, layers, source, renderer, settings)
        work = directory.path / f"values_{last}"
        work.mkdir(exist_ok=True)
        values = target_values(model, last, prompts, settings, work)
        seconds = time.monotonic() - begun
        kept = {layer: down_proj(model, layer).weight.clone() for layer in layers}
        for weight in weights:
            chosen = settings.model_copy(update={"covariance_weight": weight})
            reached = apply_edits(model, layers, prompts, values, moments, chosen)
            row: dict[str, Any] = {"layers": text, "covariance_weight": weight, "reached": statistics.mean(reached)}
            for split, items in plan.examples.items():
                engine = HFEngine(model, pipeline.stop_ids, slots=config.evals.batch_size)
                row[split] = quick_accuracy(engine, renderer, plan.verifier, items, config.evals.max_new_tokens)
            after = mean_nll(token_nll(model, samples, config.analysis.batch_size))
            row["forgetting"] = after - before if after is not None and before is not None else None
            row["values_nll"] = statistics.mean(value.nll_after for value in values)
            row["seconds_for_values"] = round(seconds, 1)
            print(row, flush=True)
            out.append(row)
            for layer, saved in kept.items():
                down_proj(model, layer).weight.data.copy_(saved)
    return out


def sweep_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = list(rows[0])
    lines = [machine(), "", "| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += [
        "| " + " | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


@one_line_errors
def main() -> None:
    """Run the comparison or the sweep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--layers", nargs="+", default=["3-12", "6-15", "8-12", "10-18"])
    parser.add_argument("--weights", type=float, nargs="+", default=[50.0, 500.0, 5000.0])
    parser.add_argument("--run-dir", default="runs/memit_smollm2")
    parser.add_argument("--out", type=Path)
    args, overrides = parser.parse_known_args()
    setup_logging(verbose=False)
    quiet_libraries(verbose=False)
    if args.sweep:
        result: Any = sweep(args.layers, args.weights, args.run_dir, overrides)
        table, suffix = sweep_table(result), "_sweep"
    else:
        result = compare(args.seeds, args.run_dir, overrides)
        table, suffix = comparison_table(result, args.seeds), ""
    print(f"\n{table}")
    if args.out:
        write_json(args.out.with_name(f"{args.out.name}{suffix}.json"), {"machine": machine(), "rows": result})
        write_text(args.out.with_name(f"{args.out.name}{suffix}.md"), table)


if __name__ == "__main__":
    main()
