"""``nemo-mixsd analyze nll``: how likely any file of targets is to any model."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemo_mixsd.console import one_line_errors, setup_logging

if TYPE_CHECKING:
    from nemo_mixsd.analysis.nll import TokenNLL
    from nemo_mixsd.analysis.score_file import TargetFile


@one_line_errors
def nll(
    files: Annotated[list[Path], typer.Argument(help="JSONL of targets, such as runs/NAME/targets/sft.jsonl.")],
    model: Annotated[str, typer.Option("--model", help="Directory, hub id or bundled:NAME; the base model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the results.")] = Path("nll"),
    against: Annotated[
        Path | None, typer.Option("--against", help="SFT's targets: report how much of what is new in them is kept.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32, bfloat16 or float16.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Targets a forward pass.")] = 16,
    examples: Annotated[int, typer.Option("--examples", min=0, help="Targets shown in nll.html.")] = 50,
) -> None:
    """Per-token NLL of targets under a model: nll.json, nll.html, and a line of NLL and of token texts a target."""
    setup_logging(False)
    from transformers import AutoTokenizer

    from nemo_mixsd import models
    from nemo_mixsd.analysis.score_file import check_tokenizer, overlap_with, read_targets, score_file, summary
    from nemo_mixsd.errors import ConfigError
    from nemo_mixsd.io import write_json, write_text
    from nemo_mixsd.quiet import quiet_libraries

    chosen: dict[str, models.Precision] = {
        "auto": models.auto_precision(),
        "float32": "float32",
        "bfloat16": "bfloat16",
        "float16": "float16",
    }
    if precision not in chosen:
        raise ConfigError(f"--precision: {precision!r} is none of {', '.join(chosen)}")
    quiet_libraries(False)
    path = models.resolve_model(model).path
    paths = [*files, *([against] if against is not None and against not in files else [])]
    vocabulary = models.vocabulary_size(path)
    given = {file: read_targets(file, vocabulary) for file in paths}
    names = [file.name for file in given.values()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two files are called {twice}.jsonl; results go by that name, so score them one by one")
    tokenizer = AutoTokenizer.from_pretrained(path)
    for checked in given.values():
        check_tokenizer(checked, tokenizer)
    loaded = models.load_model(path, chosen[precision])
    scores = {file: score_file(given[file], loaded, tokenizer, out, batch_size) for file in paths}
    found = []
    for file in files:
        kept = None
        if against is not None and file != against:
            kept = overlap_with(given[against], scores[against], given[file])
        found.append(summary(given[file].name, scores[file], kept))
    write_json(out / "nll.json", {"model": model, "precision": chosen[precision], "files": found})
    write_text(out / "nll.html", _page(model, [(given[file], scores[file]) for file in files], out, examples))
    _show(found, out)


def _page(model: str, scored: list[tuple[TargetFile, list[TokenNLL]]], out: Path, limit: int) -> str:
    from nemo_mixsd.analysis.tokens import read_pieces
    from nemo_mixsd.reporting.coloured import line, scale
    from nemo_mixsd.reporting.html import page, section

    body = f"<h1>Targets under {escape(model)}</h1>\n{scale()}"
    for file, records in scored:
        pieces = read_pieces(out / f"{file.name}.tokens.jsonl")
        lines = "".join(
            line(t.example_id, t, r.nll, pieces.get(t.example_id))
            for t, r in zip(file.targets[:limit], records[:limit], strict=True)
        )
        rest = len(file.targets) - limit
        notice = f'<p class="notice">{rest} more are left out here.</p>\n' if rest > 0 else ""
        body += section(file.name, file.name, f'<div class="tokens">{lines}</div>\n{notice}')
    return page(f"Targets under {model}", [(file.name, file.name) for file, _ in scored], body)


def _show(found: list[dict[str, Any]], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("targets", "n", "tokens", "mean NLL", "> 3 nats", "> 8 nats", "high-NLL types kept", pad_edge=False)
    for row in found:
        shares = {each["threshold"]: f"{each['count']} ({100 * each['share']:.1f} %)" for each in row["above"]}
        kept = row["overlap"]["mean"] if row["overlap"] else None
        table.add_row(
            row["name"], str(row["targets"]), str(row["tokens"]), f"{row['mean_nll']:.3f}", shares[3], shares[8],
            "–" if kept is None else f"{100 * kept:.1f} %",
        )  # fmt: skip
    console = Console()
    console.print(table)
    console.print(f"{out}/nll.html, nll.json", highlight=False, markup=False)
