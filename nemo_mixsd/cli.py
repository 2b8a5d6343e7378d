"""The command line: parse, validate, import late, call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nemo_mixsd import __version__
from nemo_mixsd.analysis.commands import analyze_app
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.corpora.commands import corpus_app
from nemo_mixsd.evals.commands import evaluate
from nemo_mixsd.evals.errors_command import errors
from nemo_mixsd.reporting.commands import report_runs

if TYPE_CHECKING:
    from nemo_mixsd.report import Report

app = typer.Typer(
    name="nemo-mixsd",
    help="Teach a language model new facts without making it forget the rest.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@one_line_errors
def run_recipe(config: str, overrides: list[str], dry_run: bool = False, verbose: bool = False) -> None:
    """Run a recipe, or print its plan; what ``examples/run_mixsd.py`` and ``nemo-mixsd run`` both do.

    Raises:
        SystemExit: With status 2 and one line on stderr if something is wrong with the input.
    """
    setup_logging(verbose)
    from nemo_mixsd.config import load_config
    from nemo_mixsd.errors import ModelNotFoundError
    from nemo_mixsd.plan import make_plan
    from nemo_mixsd.small import small_command

    settings = load_config(config, overrides)
    try:
        plan = make_plan(settings)
    except ModelNotFoundError as error:
        if settings.policy.model_name.startswith("bundled:"):
            raise
        raise ModelNotFoundError(
            f"{error}\nThe same recipe runs small, here and now, with the bundled model:\n\n"
            f"    {small_command(config, settings.corpus.name)}\n"
        ) from error
    if dry_run:
        show_plan(plan.lines())
        return
    from nemo_mixsd.quiet import quiet_libraries

    quiet_libraries(verbose)
    from nemo_mixsd.pipeline import run

    report = run(plan)
    show_report(report, Path(settings.run_dir))


def show_plan(lines: list[tuple[str, str]]) -> None:
    """Print a plan to stdout."""
    table = Table("stage", "plan", show_header=False, box=None, pad_edge=False)
    for name, text in lines:
        table.add_row(f"[bold]{name}[/bold]", text)
    console = Console()
    console.print(table)
    console.print("dry run: nothing was loaded or written", style="dim")


def show_report(report: Report, run_dir: Path) -> None:
    """Print the main table of a report to stdout, and where the rest is."""
    from nemo_mixsd.analysis.cost import cost_table
    from nemo_mixsd.report import result_table

    console = Console()
    results, costs = result_table(report), cost_table({name: row.cost for name, row in report.methods.items()})
    for title, (header, rows) in ((f"{report.corpus} on {report.model}", results), ("cost", costs)):
        table = Table(title=title, pad_edge=False)
        for i, name in enumerate(header):
            table.add_column(name, no_wrap=i == 0, overflow="fold", justify="left" if i == 0 else "right")
        for row in rows:
            table.add_row(*row)
        if rows:
            console.print(table)
    console.print(f"{run_dir}/report.html, report.md, report.json, figures/", highlight=False)


@app.command()
def run(
    config: Annotated[str, typer.Option("--config", help="Recipe (YAML).")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value, +key=value or ~key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
) -> None:
    """Run a recipe: corpus, mixed targets, training, evaluation, report."""
    run_recipe(config, overrides or [], dry_run, verbose)


app.add_typer(corpus_app, name="corpus")
app.add_typer(analyze_app, name="analyze")
app.command("report")(report_runs)
app.command("eval")(evaluate)
app.command("errors")(errors)


@app.command()
@one_line_errors
def doctor() -> None:
    """Print versions, GPUs and NeMo-RL, what would run here, and what is missing."""
    setup_logging(False)
    from nemo_mixsd.doctor import diagnose

    found = diagnose()
    table = Table("what", "found", show_header=False, box=None, pad_edge=False)
    for name, text in [*found.lines, *(("missing", text) for text in found.missing)]:
        table.add_row(Text(name, style="bold"), Text(text))
    Console().print(table)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
