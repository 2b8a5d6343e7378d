"""``nemo-mixsd corpus``: build, show and check a corpus."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemo_mixsd.console import one_line_errors
from nemo_mixsd.errors import ConfigError, ModelNotFoundError

if TYPE_CHECKING:
    from nemo_mixsd.corpora.base import Corpus

corpus_app = typer.Typer(help="Build, show and check corpora.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A corpus, or the path of a .jsonl file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Keys of the corpus section, like limit=100.")
]


@corpus_app.command()
@one_line_errors
def build(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")],
    overrides: Overrides = None,
) -> None:
    """Write every split as JSONL, in our schema and as chat messages, with a manifest."""
    from nemo_mixsd.corpora.export import build_corpus

    manifest = build_corpus(_corpus(name, overrides), out)
    for split, count in manifest.splits.items():
        typer.echo(f"{out / split}.jsonl: {count} examples")


@corpus_app.command()
@one_line_errors
def show(
    name: Name,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option("--split", "-s", help="Which split.")] = "train",
    count: Annotated[int, typer.Option("-n", min=1, help="How many examples.")] = 3,
) -> None:
    """Print the first examples of a split as JSON."""
    from nemo_mixsd.types import to_record

    corpus = _corpus(name, overrides)
    typer.echo(f"splits: {', '.join(corpus.split_names())}", err=True)
    for example in islice(corpus.iter_split(split), count):
        typer.echo(json.dumps(to_record(example), indent=2, ensure_ascii=False))


@corpus_app.command()
@one_line_errors
def check(
    name: Name,
    overrides: Overrides = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Count prompt lengths with this model's tokenizer.")
    ] = None,
    max_prompt_tokens: Annotated[
        int | None, typer.Option("--max-prompt-tokens", min=1, help="The most tokens of context and question.")
    ] = None,
) -> None:
    """Look for contradictions, leaks, overlap, and empty or over-long fields. Exit code 1 if any is an error."""
    from rich.console import Console

    from nemo_mixsd.corpora.check import CheckOptions, check_corpus, has_errors, render_findings

    if (tokenizer is None) != (max_prompt_tokens is None):
        raise ConfigError("--tokenizer and --max-prompt-tokens go together; give both or neither")
    options = CheckOptions()
    if tokenizer is not None and max_prompt_tokens is not None:
        options = CheckOptions(count_tokens=token_counter(tokenizer), max_prompt_tokens=max_prompt_tokens)
    findings = check_corpus(_corpus(name, overrides), options)
    if findings:
        Console().print(render_findings(findings))
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{errors} errors, {len(findings) - errors} warnings")
    if has_errors(findings):
        raise typer.Exit(1)


def token_counter(name: str) -> Callable[[str], int]:
    """A function that counts the tokens of a text under the tokenizer of the model ``name``, special tokens apart.

    Raises:
        ModelNotFoundError: There is no such tokenizer here or on the hub.
    """
    from transformers import AutoTokenizer

    from nemo_mixsd.models import resolve_model

    path = resolve_model(name).path if name.startswith("bundled:") else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelNotFoundError(
            f"--tokenizer {name!r}: no such tokenizer ({reason}); give a model's folder or its name on the hub"
        ) from error

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    return count


def _corpus(name: str, overrides: list[str] | None) -> Corpus[Any]:
    from nemo_mixsd.corpora import CORPORA, make_corpus
    from nemo_mixsd.corpora.overrides import corpus_config

    return make_corpus(corpus_config(name, overrides or [], CORPORA))
