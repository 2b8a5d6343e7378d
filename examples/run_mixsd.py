#!/usr/bin/env python3
"""Run a recipe from facts to report.

    uv run examples/run_mixsd.py --config recipes/quickstart.yaml [--dry-run] [key=value ...]

Overrides are in Hydra's grammar, as for NeMo-RL's own examples: ``mixing.rate=[0,0.3,0.5]``, ``method=sft``,
``policy.optimizer.kwargs.lr=1e-5``. The same command after an interruption goes on where it stopped.
"""

import argparse

from nemo_mixsd.cli import run_recipe


def main() -> None:
    """Parse the command line as NeMo-RL's examples do: known options first, the rest are overrides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="recipe (YAML)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    parser.add_argument("--verbose", "-v", action="store_true", help="log everything")
    args, overrides = parser.parse_known_args()
    unknown = [o for o in overrides if o.startswith("-")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}; overrides are written key=value")
    run_recipe(args.config, overrides, args.dry_run, args.verbose)


if __name__ == "__main__":
    main()
