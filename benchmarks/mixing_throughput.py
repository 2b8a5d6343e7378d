"""Mixed rollouts on vLLM against plain greedy decoding and against the per-token loop: one engine, one run.

    python benchmarks/mixing_throughput.py --rates 0 0.3 0.5 0.7 --json throughput.json

Rows, for each mixing rate, all over the same examples:

- plain     greedy decoding of the expert prompts, each to the length that its mixed target has: as many tokens.
- loop      the per-token loop: one request a token, all examples in lockstep (Eq. 4 word for word).
- segments  a run of equal coins is one request; vLLM's prefix cache is all that connects them.
- ours      the same with sessions: each conditional keeps its cache between segments.
- lockstep  lower bound of decoding every position under both prompts: plain decoding of both, to the same lengths.

Every target is accepted (no retries), so that all rows decode the same positions. ``loop``, ``segments`` and ``ours``
must give the same tokens; differences are counted and shown.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.mixing.coins import coins
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.engines.vllm import VLLMEngine
from nemo_mixsd.mixing.engines.vllm_core import LocalCore, RequestParams
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import VerifierName
from nemo_mixsd.models import load_tokenizer, resolve_model, stop_token_ids
from nemo_mixsd.prompts import PromptRenderer, choose_templates
from nemo_mixsd.types import MixRequest, Target

SHAPES = {
    "qwen3-0.6b": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16},
    "qwen3-1.7b": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16},
    "qwen3-8b": {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32},
}
"""Models with random weights, for speed alone: ``--random-model``."""


class AcceptAll:
    """A verifier that never rejects."""

    name: VerifierName = "contains"

    def verify(self, text: str, answers: Sequence[str]) -> bool:
        """Yes."""
        return True

    def explain(self, text: str, answers: Sequence[str]) -> str:
        """Never asked."""
        return ""

    def canonical(self, answer: str) -> str:
        """The answer."""
        return answer


@dataclass
class Row:
    """One measured way of decoding, at one mixing rate."""

    rate: float
    way: str
    seconds: float
    cpu: float
    tokens: int
    steps: int
    requests: int
    prefill: int
    different: int = 0

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


Tokens = dict[str, tuple[int, ...]]


def mixed(engine: VLLMEngine, requests: list[MixRequest], settings: MixerSettings) -> Tokens:
    outcomes = Mixer(engine, AcceptAll(), lambda ids: "", settings).run(requests)
    return {outcome.example_id: outcome.token_ids for outcome in outcomes if isinstance(outcome, Target)}


def per_token_loop(
    engine: VLLMEngine, requests: list[MixRequest], settings: MixerSettings, stop: frozenset[int]
) -> Tokens:
    """As the paper's research code does it: at each position one request a token for every unfinished example."""
    flips = {
        r.example_id: coins(settings.seed, r.example_id, 1, settings.max_new_tokens, settings.rate) for r in requests
    }
    out: dict[str, list[int]] = {r.example_id: [] for r in requests}
    unfinished = list(requests)
    for position in range(settings.max_new_tokens):
        for r in unfinished:
            prompt = r.naive_ids if flips[r.example_id][position] else r.expert_ids
            prompt = (*prompt, *out[r.example_id])
            engine.submit(SegmentRequest(r.example_id, r.example_id, prompt, 1, r.example_id, 1, position))
        while results := engine.poll():
            for result in results:
                out[result.key].extend(result.token_ids)
        unfinished = [r for r in unfinished if out[r.example_id][-1] not in stop]
    return {key: tuple(ids) for key, ids in out.items()}


def plain(engine: VLLMEngine, prompts: dict[str, tuple[int, ...]], lengths: dict[str, int]) -> Tokens:
    out: Tokens = {}
    for key, prompt in prompts.items():
        engine.submit(SegmentRequest(key, key, prompt, lengths[key], key))
    while results := engine.poll():
        out.update({result.key: result.token_ids for result in results})
    return out


class Bench:
    """One running vLLM, used in different ways."""

    def __init__(self, core: LocalCore, stop: frozenset[int], repeats: int) -> None:
        self.core, self.stop, self.repeats = core, stop, repeats
        self.stopping, self.endless = RequestParams(stop, Sampling()), RequestParams(frozenset(), Sampling())

    def measure(self, rate: float, way: str, run: Callable[[VLLMEngine], Tokens]) -> tuple[Row, Tokens]:
        """The fastest of a few runs, each with an empty prefix cache at its start."""
        best: tuple[Row, Tokens] | None = None
        for _ in range(self.repeats):
            row, tokens = self._once(rate, way, run)
            if best is None or row.seconds < best[0].seconds:
                best = row, tokens
        assert best is not None
        logging.info("%.1f %s: %.1f s", rate, way, best[0].seconds)
        return best

    def _once(self, rate: float, way: str, run: Callable[[VLLMEngine], Tokens]) -> tuple[Row, Tokens]:
        endless = way in ("plain", "lockstep")
        self.core.resumable = way == "ours"
        self.core.params = self.endless if endless else self.stopping
        self.core.forget()
        engine = VLLMEngine(self.core, frozenset() if endless else self.stop)
        start, start_cpu = time.perf_counter(), time.process_time()
        tokens = run(engine)
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        engine.release()
        count = engine.counters
        row = Row(rate, way, seconds, cpu, count.tokens, count.steps, count.requests, count.prefill)
        return row, tokens

    def rate(self, requests: list[MixRequest], settings: MixerSettings) -> list[Row]:
        """All ways at one mixing rate."""
        ours, tokens = self.measure(settings.rate, "ours", lambda e: mixed(e, requests, settings))
        lengths = {key: len(ids) for key, ids in tokens.items()}
        experts = {r.example_id: r.expert_ids for r in requests}
        both = {**experts, **{f"{r.example_id}/naive": r.naive_ids for r in requests}}
        twice = {**lengths, **{f"{key}/naive": length for key, length in lengths.items()}}
        rows = [ours]
        for way, run in {
            "segments": lambda e: mixed(e, requests, settings),
            "loop": lambda e: per_token_loop(e, requests, settings, self.stop),
            "plain": lambda e: plain(e, experts, lengths),
            "lockstep": lambda e: plain(e, both, twice),
        }.items():
            row, found = self.measure(settings.rate, way, run)
            if way in ("segments", "loop"):
                row.different = sum(found[key] != tokens[key] for key in tokens)
            row.tokens = ours.tokens if way == "lockstep" else row.tokens
            rows.append(row)
        return rows


def report(rows: list[Row]) -> str:
    """A table; cpu is the processor time of this process, which other work on the machine does not lengthen."""
    columns = ["rate", "way", "s", "cpu s", "tokens", "tokens/s", "steps", "requests", "prefill"]
    columns += ["wall/plain", "cpu/plain", "steps/plain", "speed/loop", "different"]
    cells = [columns]
    for row in rows:
        base = next(r for r in rows if r.rate == row.rate and r.way == "plain")
        loop = next(r for r in rows if r.rate == row.rate and r.way == "loop")
        counts = [row.steps, row.requests, row.prefill]
        ratios = [row.seconds / base.seconds, row.cpu / base.cpu, row.steps / base.steps, row.speed / loop.speed]
        cells.append(
            [str(row.rate), row.way, f"{row.seconds:.1f}", f"{row.cpu:.1f}", str(row.tokens), f"{row.speed:.0f}"]
            + [str(count) for count in counts]
            + [f"{ratio:.2f}" for ratio in ratios]
            + [str(row.different)]
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def random_model(shape: str, directory: Path) -> str:
    """A directory with the configuration of a Qwen3 of that size; vLLM fills in random weights."""
    from transformers import Qwen3Config

    sizes = SHAPES[shape]
    config = Qwen3Config(
        **sizes, head_dim=128, num_key_value_heads=8, vocab_size=151936, max_position_embeddings=4096,
        tie_word_embeddings=shape != "qwen3-8b", architectures=["Qwen3ForCausalLM"], eos_token_id=151645,
    )  # fmt: skip
    config.save_pretrained(directory)
    return str(directory)


def kgfact_requests(path: str, count: int) -> list[MixRequest]:
    """The first facts of KGFact, with their default prompts."""
    renderer = PromptRenderer(load_tokenizer(path), choose_templates("fact"))
    corpus = KGFactCorpus(KGFactConfig(size="large" if count > 100 else "small"))
    return [renderer.request(example) for example in corpus.load_split("train")[:count]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct", help="as in policy.model_name")
    parser.add_argument("--random-model", choices=SHAPES, help="random weights of this size, prompts of --model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0, 0.3, 0.5, 0.7])
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--in-flight", type=int, help="examples at the same time; by default all")
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each row; the fastest counts")
    parser.add_argument("--kv-cache-gib", type=int, default=2, help="on a CPU")
    parser.add_argument("--compile", action="store_true", help="let vLLM compile and use CUDA graphs")
    parser.add_argument("--json", type=Path, help="write the rows here as well")
    args = parser.parse_args()
    args.in_flight = args.in_flight or args.examples
    return args


def main() -> None:
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = resolve_model(args.model).path
    requests = kgfact_requests(path, args.examples)
    stop = stop_token_ids(load_tokenizer(path), path)
    options = VLLMOptions(
        dtype=args.dtype, max_model_len=2048, max_in_flight=args.in_flight, kv_cache_gib=args.kv_cache_gib,
        block_size=args.block_size, enforce_eager=not args.compile,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        if args.random_model:
            path = random_model(args.random_model, Path(directory))
            options = replace(options, extra={"load_format": "dummy", "skip_tokenizer_init": True})
        core = LocalCore(path, stop, Sampling(), options)
    bench = Bench(core, stop, args.repeats)
    warm = MixerSettings("warm", 0.5, max_new_tokens=4, accept_truncated=True, max_in_flight=args.in_flight)
    bench.rate(requests[:4], warm)
    rows: list[Row] = []
    for rate in args.rates:
        settings = MixerSettings(
            f"mixsd@{rate}", rate, max_new_tokens=args.max_new_tokens, max_total_tokens=2048, accept_truncated=True,
            max_retries=0, max_in_flight=args.in_flight,
        )  # fmt: skip
        rows += bench.rate(requests, settings)
    print(report(rows))
    if args.json:
        device = platform.processor() or platform.machine()
        record = {"device": device, "arguments": {key: str(value) for key, value in vars(args).items()}}
        args.json.write_text(json.dumps({**record, "rows": [asdict(row) for row in rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
