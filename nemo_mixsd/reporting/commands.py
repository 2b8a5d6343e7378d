"""``nemo-mixsd report``: the report of one run again, or of several runs together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nemo_mixsd.console import one_line_errors, setup_logging


@one_line_errors
def report_runs(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the common report; needed for several runs.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="Put the paper's numbers beside ours.")] = False,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Examples shown token by token.")] = 20,
) -> None:
    """Make report.html, report.md and report.json again, from the files of one or several runs."""
    setup_logging(False)
    from rich.console import Console

    from nemo_mixsd.cli import show_report
    from nemo_mixsd.errors import ConfigError, RunDirectoryError
    from nemo_mixsd.report import write_report
    from nemo_mixsd.reporting.build import ReportOptions, write_reports

    options = ReportOptions(paper=paper, examples=examples)
    for run in runs:
        if not (run / "config.yaml").is_file():
            raise RunDirectoryError(f"{run} is no run directory: it has no config.yaml")
    if len(runs) == 1 and out is None:
        show_report(write_report(runs[0], options), runs[0])
        return
    if out is None:
        raise ConfigError(f"--out is missing: {len(runs)} runs need a folder for their common report (--out DIR)")
    groups = write_reports(runs, out, options)
    for group in groups:
        Console().print(f"{group.title}: {', '.join(run.label for run in group.runs)}", highlight=False, markup=False)
    Console().print(f"{out}/report.html, report.md, report.json", highlight=False, markup=False)
