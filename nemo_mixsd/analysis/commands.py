"""``nemo-mixsd analyze``: the analyses of a run, pointed at any models, checkpoints and files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemo_mixsd.analysis.nll_command import nll
from nemo_mixsd.console import one_line_errors, setup_logging
from nemo_mixsd.errors import AnalysisError, ConfigError
from nemo_mixsd.reporting.words import short

if TYPE_CHECKING:
    from nemo_mixsd.analysis.nll import Scored

analyze_app = typer.Typer(help="Why it forgets: target NLL, Fisher, displacement, correlation.", no_args_is_help=True)
analyze_app.command("nll")(nll)

Model = Annotated[str, typer.Option("--model", help="Directory, hub id or bundled:NAME.")]
Samples = Annotated[
    list[Path] | None,
    typer.Option("--samples", help="JSONL of targets, responses, or prompt and response; may be given several times."),
]
Precision = Annotated[str, typer.Option(help="Dtype of the weights: float32, bfloat16 or float16.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; the GPU if there is one, by default.")]


@analyze_app.command()
@one_line_errors
def fisher(
    out: Annotated[Path, typer.Option(help="The Fisher, a safetensors file.")],
    model: Annotated[str | None, typer.Option("--model", help="The base model.")] = None,
    samples: Samples = None,
    count: Annotated[int | None, typer.Option(min=1, help="Draw this many samples at random.")] = None,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    precision: Precision = "float32",
    device: Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples of one pass.")] = 8,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of one pass.")] = 2048,
    memory: Annotated[str, typer.Option(help="Where the sums are kept: device, host or disk.")] = "device",
    save_every: Annotated[int, typer.Option(min=1, help="Samples between two saves.")] = 64,
    shard: Annotated[str | None, typer.Option(help="i/n: this process takes the i-th of n shares, from 0.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Shares to compute at the same time, one a GPU.")] = 1,
    name: Annotated[str | None, typer.Option(help="What the file says the model is; --model by default.")] = None,
    merge: Annotated[list[Path] | None, typer.Option(help="Merge finished shards; may be given several times.")] = None,
) -> None:
    """Compute the diagonal Fisher of a model (Eq. 7), or go on with an interrupted one, or merge shards."""
    setup_logging(False)
    from nemo_mixsd.analysis.fisher import FisherSettings, compute_fisher
    from nemo_mixsd.analysis.fisher_samples import choose_samples
    from nemo_mixsd.analysis.fisher_shards import compute_in_processes, merge_fisher

    if merge:
        info = merge_fisher(merge, out)
    else:
        if model is None:
            raise ConfigError("--model is missing; name the base model, or shards to --merge")
        if memory not in ("device", "host", "disk"):
            raise ConfigError(f"--memory {memory!r}: choose device, host or disk")
        index, shards = _shard(shard)
        settings = FisherSettings(batch_size, batch_tokens, memory, save_every, index, shards)  # type: ignore[arg-type]
        chosen = choose_samples(_samples(samples, model), count, seed)
        if processes > 1:
            if shard is not None:
                raise ConfigError("--processes and --shard exclude each other; give one of them")
            devices = _devices(processes, device)
            info = compute_in_processes(_path(model), precision, chosen, out, settings, devices, name or model)
        else:
            info = compute_fisher(_load(model, precision, device), chosen, out, settings, name or model)
    what = "Fisher" if info.kind == "mean" else f"shard {info.shard} of {info.shards}"
    mean = info.log_likelihood / info.tokens if info.tokens else 0.0
    typer.echo(f"{what} of {info.model}: {info.done} samples, {info.tokens} tokens, {-mean:.3f} nats a token")


@analyze_app.command()
@one_line_errors
def displacement(
    base: Annotated[str, typer.Argument(help="The base model: directory, hub id or bundled:NAME.")],
    trained: Annotated[Path, typer.Argument(help="Directory of the trained checkpoint.")],
    fisher: Annotated[Path | None, typer.Option(help="A Fisher at the base model.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep everything there, as JSON.")] = None,
    by: Annotated[str, typer.Option(help="Rows of the table: kind or layer.")] = "kind",
) -> None:
    """Print how far a checkpoint moved from its base, and whether along sensitive directions (Eq. 8 to 11)."""
    setup_logging(False)
    from nemo_mixsd.analysis.displacement import displacement as compare
    from nemo_mixsd.analysis.weights import checkpoint_directory
    from nemo_mixsd.io import write_json

    if by not in ("kind", "layer"):
        raise ConfigError(f"--by {by!r}: choose kind or layer")
    table = compare(checkpoint_directory(base), trained, fisher)
    if out is not None:
        write_json(out, table.record())
    groups = table.kinds if by == "kind" else table.layers
    rows = [
        [name, str(g.parameters), short(g.raw), short(g.fisher_weighted), short(g.alignment)]
        for name, g in [*groups.items(), ("total", table.total)]
    ]
    _print_table([by, "parameters", "raw", "Fisher-weighted", "alignment"], rows)


@analyze_app.command()
@one_line_errors
def correlate(
    runs: Annotated[list[Path], typer.Argument(help="Run directories with measured checkpoints.")],
    out: Annotated[Path | None, typer.Option(help="Keep points and coefficients there, as JSON.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the scatter plots there, as PNG.")] = None,
    against: Annotated[
        str, typer.Option(help="nats (Eq. 2), or heldout: mean drop over benchmarks, in points.")
    ] = "nats",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Print which measure of displacement goes with forgetting over the checkpoints of some runs (Table 6)."""
    setup_logging(False)
    from dataclasses import asdict

    from nemo_mixsd.analysis.correlation import collect_points, correlation_table
    from nemo_mixsd.analysis.correlation import correlate as relate
    from nemo_mixsd.analysis.scatter import draw_scatter
    from nemo_mixsd.io import write_json

    if against not in ("nats", "heldout"):
        raise ConfigError(f"--against {against!r}: choose nats or heldout")
    points = collect_points(runs, against)  # type: ignore[arg-type]
    found = relate(points, seed)
    if out is not None:
        write_json(out, {"points": [asdict(p) for p in points], "correlations": [asdict(c) for c in found]})
    if plot is not None:
        draw_scatter(points, found, plot, against)  # type: ignore[arg-type]
    _print_table(*correlation_table(found))


def _samples(paths: list[Path] | None, model: str) -> list[Scored]:
    from nemo_mixsd.analysis.fisher_samples import ChatEncoder, read_samples
    from nemo_mixsd.models import load_tokenizer

    if not paths:
        raise ConfigError("--samples is missing; name a JSONL file, for example runs/NAME/targets/sft.jsonl")
    found = read_samples(paths, lambda: ChatEncoder(load_tokenizer(model)))
    if not found:
        raise AnalysisError(f"no samples in {', '.join(map(str, paths))}")
    return found


def _path(model: str) -> str:
    from nemo_mixsd.models import resolve_model

    return resolve_model(model).path


def _load(model: str, precision: str, device: str | None) -> Any:
    from nemo_mixsd.models import load_model

    if precision not in ("float32", "bfloat16", "float16"):
        raise ConfigError(f"--precision {precision!r}: choose float32, bfloat16 or float16")
    return load_model(_path(model), precision, device)  # type: ignore[arg-type]


def _shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ConfigError(f"--shard {text!r}: write i/n with i from 0 to n-1, like 0/4")
    return int(index), int(count)


def _devices(processes: int, device: str | None) -> list[str]:
    from nemo_mixsd.analysis.fisher_stage import shard_devices

    return [device] * processes if device else shard_devices(processes)


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
