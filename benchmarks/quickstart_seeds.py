"""The quickstart over several seeds: accuracy, forgetting and their ratio, with the spread and the machine named.

    uv run benchmarks/quickstart_seeds.py [--seeds 0 1 2] [--out benchmarks/results/quickstart.json] [key=value ...]

Each seed is a run of its own (coins, data order), resumable like any other; the reference samples are the same.
"""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path

from nemo_mixsd.config import load_config
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.pipeline import run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.quiet import quiet_libraries

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
FIGURES = ("train_accuracy", "paraphrase_accuracy", "forgetting_nats")


def machine() -> str:
    """Processor, cores and library versions, as the results are to be read with."""
    import torch
    import transformers

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = lines[0] if lines else name
    return (
        f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )


@one_line_errors
def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run-dir", default="runs/quickstart_seeds")
    parser.add_argument("--out", type=Path)
    args, overrides = parser.parse_known_args()
    setup_logging(verbose=False)
    quiet_libraries(verbose=False)
    rows: dict[str, dict[str, list[float]]] = {}
    for seed in args.seeds:
        config = load_config(RECIPE, [f"run_dir={args.run_dir}/seed_{seed}", f"mixing.seed={seed}", *overrides])
        for name, row in run(make_plan(config)).methods.items():
            for figure in FIGURES:
                rows.setdefault(name, {}).setdefault(figure, []).append(getattr(row, figure))
            rows[name].setdefault("seconds", []).append(sum(row.seconds.values()))
            rows[name].setdefault("target_nll", []).append(row.targets.get("mean_nll"))
    print(f"\n{machine()}\nseeds {args.seeds}\n")
    print("| method | figure | " + " | ".join(f"seed {s}" for s in args.seeds) + " | mean |")
    print("|---|---|" + "---|" * (len(args.seeds) + 1))
    for name, figures in rows.items():
        for figure, values in figures.items():
            known = [v for v in values if v is not None]
            mean = f"{statistics.mean(known):.3f}" if known else "–"
            cells = " | ".join("–" if v is None else f"{v:.3f}" for v in values)
            print(f"| {name} | {figure} | {cells} | {mean} |")
    sft = statistics.mean(rows["sft"]["forgetting_nats"])
    for name in rows:
        if name.startswith("mixsd"):
            ratio = statistics.mean(rows[name]["forgetting_nats"]) / sft
            print(f"\nforgetting of {name} is {ratio:.2f} of SFT's (ratio of the means)")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"machine": machine(), "seeds": args.seeds, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
