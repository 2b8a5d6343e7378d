"""``nemo-mixsd errors``: what a run's methods do when they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nemo_mixsd.console import one_line_errors, setup_logging


@one_line_errors
def errors(
    run_dir: Annotated[Path, typer.Argument(help="A run directory.")],
    examples: Annotated[int | None, typer.Option("--examples", min=0, help="Responses of each kind to show.")] = None,
) -> None:
    """Sort the wrong responses of a run into format, leakage, collapse and genuine errors, with examples."""
    setup_logging(False)
    from nemo_mixsd.errors import RunDirectoryError
    from nemo_mixsd.evals.taxonomy_report import Sorter, errors_table, write_errors
    from nemo_mixsd.report import build_report

    if not (run_dir / "config.yaml").is_file():
        raise RunDirectoryError(f"{run_dir} is no run directory: it has no config.yaml")
    report = build_report(run_dir)
    sorter = Sorter.of_run(run_dir)
    if examples is not None:
        sorter = Sorter(run_dir, sorter.config.model_copy(update={"examples": examples}), sorter.entities)
    steps = {name: row.step for name, row in report.methods.items() if row.step is not None}
    record = write_errors(sorter, steps)
    if not record["methods"]:
        raise RunDirectoryError(f"{run_dir} has no responses to held-out benchmarks; set evals.benchmarks and run it")
    console = Console()
    console.print(_table(*errors_table({name: found["benchmarks"] for name, found in record["methods"].items()})))
    for name, found in record["methods"].items():
        _show_examples(console, name, found["examples"])
    looked = f"{record['entities']} invented names were looked for" if record["entities"] else "leakage not looked for"
    console.print(f"{looked}; {run_dir}/analysis/errors.json", highlight=False)


def _table(header: list[str], rows: list[list[str]]) -> Table:
    """As in the report, but narrow enough for a terminal of 80 columns: "3 of 12" in place of two columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate([*header[:2], *header[3:]]):
        table.add_column(name, no_wrap=i == 0, overflow="fold", justify="left" if i < 2 else "right")
    for name, benchmark, responses, wrong, *kinds in rows:
        table.add_row(name, benchmark, f"{wrong} of {responses}", *kinds)
    return table


def _show_examples(console: Console, name: str, examples: dict[str, list[dict[str, Any]]]) -> None:
    for benchmark, items in examples.items():
        for item in items:
            console.print(Text(f"\n{name} {benchmark} {item['problem_id']}: {item['kind']}", style="bold"))
            console.print(Text(f"({item['evidence']})"))
            console.print(Text(item["response"], style="dim"))
