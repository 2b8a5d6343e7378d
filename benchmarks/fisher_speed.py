"""The Fisher of this package against the plain loop (batch 1, full backward, square): time, results, memory.

    uv run benchmarks/fisher_speed.py [--samples 16] [--lengths 32 64 0] [--file samples.jsonl] [--out FILE.json]

Each way and length has a process of its own, one after another: the plain loop, sums beside the model, sums on disk. A
length cuts prompt and target so that a sample has about that many tokens; 0 leaves it whole. ``ratio`` is the plain
loop's time over ours. ``floor`` is the share of our time that the matrix products take which no exact method can
leave out (forward, gradient by input, gradient by weight), at the speed of a matrix product on this machine: what is
not reached of a ratio there, is not to be had.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from quickstart_seeds import machine

from nemo_mixsd import models
from nemo_mixsd.analysis.fisher import FisherSettings, batches
from nemo_mixsd.analysis.fisher_samples import ChatEncoder, read_samples
from nemo_mixsd.analysis.fisher_squares import SquaredGradients
from nemo_mixsd.analysis.fisher_store import MemoryMode, make_store
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.analysis.tensorfile import TensorFiles, write_tensors
from nemo_mixsd.evals.forgetting import load_prompts
from nemo_mixsd.io import write_jsonl, write_text

DEFAULT = FisherSettings()
MODES = ("plain", "device", "disk")


def plain_loop(model: Any, samples: list[Scored]) -> Callable[[str], Any]:
    """Batch 1, autograd's whole gradient, squared in float32, added up."""
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in model.named_parameters()}
    for sample in samples:
        model.zero_grad()
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(sample.prompt_ids) - 1 : -1]
        torch.nn.functional.cross_entropy(logits.float(), torch.tensor(sample.token_ids), reduction="sum").backward()
        for name, parameter in model.named_parameters():
            sums[name] += parameter.grad.float() ** 2
    return lambda name: sums[name].detach().numpy()


def ours(model: Any, samples: list[Scored], mode: MemoryMode, folder: Path) -> Callable[[str], Any]:
    """What ``compute_fisher`` does between reading and writing files."""
    layout = {name: tuple(p.shape) for name, p in model.named_parameters()}
    store = make_store(mode, layout, torch.float32, model.device, folder)
    ordered = sorted(samples, key=lambda s: -len(s.prompt_ids) - len(s.token_ids))
    with SquaredGradients(model, store) as squares:
        for batch in batches(ordered, DEFAULT.batch_size, DEFAULT.batch_tokens):
            squares.add(batch)
    return store.read


def cut(samples: list[Scored], length: int) -> list[Scored]:
    """Samples of about ``length`` tokens, half of them target; 0 leaves them whole."""
    half = length // 2
    return [Scored(s.id, s.prompt_ids[-half:], s.token_ids[:half]) if length else s for s in samples]


def reset_peak() -> None:
    """Let the kernel's peak of this process's memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> float:
    """``VmHWM`` (peak) or ``VmRSS`` (now) in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def product_speed() -> float:
    """Multiply-adds a second of a matrix product of the shape that a layer's weight gradient has."""
    g, a = torch.randn(96, 512), torch.randn(96, 576)
    out = torch.empty(512, 576)
    torch.mm(g.T, a, out=out)
    start, count = time.process_time(), 0
    while time.process_time() - start < 1:
        torch.mm(g.T, a, out=out)
        count += 1
    return count * 96 * 512 * 576 / (time.process_time() - start)


def products(model: Any, samples: list[Scored]) -> float:
    """Multiply-adds that an exact method needs: three products a weight, the output layer at target positions only."""
    head = model.get_output_embeddings().weight.numel()
    inner = sum(p.numel() for p in model.parameters()) - head  # embedding and output layer are tied here
    tokens = sum(len(s.prompt_ids) + len(s.token_ids) for s in samples)
    return 3.0 * (inner * tokens + head * sum(len(s.token_ids) for s in samples))


def child(mode: Literal["plain", "device", "disk"], file: Path, length: int, folder: Path) -> None:
    """One way at one length; prints one line of JSON."""
    model = models.load_model(models.resolve_model("bundled:smollm2-135m-instruct").path, "float32", "cpu")
    whole = read_samples([file], lambda: ChatEncoder(None))
    samples = cut(whole, length)
    speed = product_speed()
    before = memory("VmRSS")
    for run in (cut(whole, 16)[:1], samples):  # the first one warms up
        reset_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        read = plain_loop(model, run) if mode == "plain" else ours(model, run, mode, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    row = {
        "mode": mode, "length": length, "samples": len(samples), "threads": torch.get_num_threads(),
        "tokens": sum(len(s.prompt_ids) + len(s.token_ids) for s in samples) / len(samples),
        "wall_s": wall / len(samples), "cpu_s": cpu / len(samples),
        "floor_s": products(model, samples) / speed / len(samples),
        "model_mib": before, "peak_mib": memory("VmHWM"),
    }  # fmt: skip
    layout = {n: tuple(p.shape) for n, p in model.named_parameters()}
    write_tensors(folder / f"{mode}.safetensors", layout, "F32", read, {})
    print(json.dumps(row), flush=True)


def difference(one: Path, other: Path) -> float:
    """Largest relative difference of a parameter's Fisher, in norm."""
    a, b = TensorFiles.of_file(one), TensorFiles.of_file(other)
    return max(float((a.whole(n) - b.whole(n)).norm() / b.whole(n).norm()) for n in a.shapes)


def make_samples(count: int, path: Path, new_tokens: int = 64) -> None:
    """General prompts of the package, answered by the model at temperature 1: what a run's Fisher is taken on."""
    from nemo_mixsd.evals.forgetting import ReferenceSet, sample_reference
    from nemo_mixsd.mixing.engines.base import Sampling
    from nemo_mixsd.mixing.engines.hf import HFEngine
    from nemo_mixsd.prompts import PromptRenderer, PromptTemplates

    place = models.resolve_model("bundled:smollm2-135m-instruct").path
    tokenizer = models.load_tokenizer(place)
    renderer = PromptRenderer(tokenizer, PromptTemplates("{question}", "{context} {question}"))
    model = models.load_model(place, "float32", "cpu")
    engine = HFEngine(model, models.stop_token_ids(tokenizer, place), Sampling(1.0, None, 0), 2 * count)
    sample_reference(engine, renderer, ReferenceSet(load_prompts(None, count), 1, new_tokens, count), path)


def main() -> None:
    """Run every way and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 64, 0])
    parser.add_argument("--file", type=Path, help="samples of one's own, JSONL of token ids")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", nargs=2, metavar=("MODE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.file, args.lengths[0], Path(args.child[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "samples.jsonl"
        if args.file is None:
            make_samples(args.samples, file)
        else:
            write_jsonl(file, read_samples([args.file], lambda: ChatEncoder(None))[: args.samples])
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for length in args.lengths:
            for mode in MODES:
                command = [
                    sys.executable,
                    __file__,
                    "--child",
                    mode,
                    name,
                    "--file",
                    str(file),
                    "--lengths",
                    str(length),
                ]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                row = rows[mode, length] = json.loads(done.stdout)
                plain = rows["plain", length]
                row["ratio_wall"], row["ratio_cpu"] = plain["wall_s"] / row["wall_s"], plain["cpu_s"] / row["cpu_s"]
                row["floor"] = row["floor_s"] / row["cpu_s"]
                row["best_ratio"] = plain["cpu_s"] / row["floor_s"]
                row["difference"] = difference(folder / f"{mode}.safetensors", folder / "plain.safetensors")
    print(f"\n{machine()}, {next(iter(rows.values()))['threads']} thread(s), {args.samples} samples\n")
    print(
        "| tokens | way | s a sample (wall) | s (CPU) | ratio (wall) | ratio (CPU) | floor | model MiB | peak MiB "
        "| difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for (mode, _), row in sorted(rows.items(), key=lambda item: (item[1]["tokens"], MODES.index(item[0][0]))):
        print(
            f"| {row['tokens']:.0f} | {mode} | {row['wall_s']:.3f} | {row['cpu_s']:.3f} | {row['ratio_wall']:.2f} | "
            f"{row['ratio_cpu']:.2f} | {row['floor']:.2f} | {row['model_mib']:.0f} | {row['peak_mib']:.0f} | "
            f"{row['difference']:.1e} |"
        )
    best = {row["tokens"]: row["best_ratio"] for row in rows.values() if row["mode"] == "plain"}
    print(
        "\nhighest ratio (CPU) that the products leave: "
        + ", ".join(f"{b:.2f} at {t:.0f} tokens" for t, b in best.items())
    )
    if args.out:
        write_text(args.out, json.dumps({"machine": machine(), "rows": list(rows.values())}, indent=2) + "\n")


if __name__ == "__main__":
    main()
