"""Our held-out runner against lm-evaluation-harness on the same problems with the same prompt, in float32.

Answers two questions on GSM8K and on the STEM subjects of MMLU: does the batch size change a response (it must not),
and does our accuracy lie within the interval of the harness (a task file of ours gives it the same prompt and its own
extraction rule). Run it with a folder that holds ``gsm8k_test.jsonl`` and ``mmlu_stem_test.jsonl``:

    uv run --extra lm-eval python benchmarks/heldout_vs_lm_eval.py --data DIR --out benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nemo_mixsd import models
from nemo_mixsd.analysis.distribution import wilson
from nemo_mixsd.evals.benchmarks import BenchmarkResponse
from nemo_mixsd.evals.config import EvalsConfig, LmEvalConfig
from nemo_mixsd.evals.heldout import HeldoutScore, HeldoutSet, Limits, evaluate_benchmarks
from nemo_mixsd.evals.heldout_plan import heldout_sets
from nemo_mixsd.evals.heldout_report import read_heldout
from nemo_mixsd.evals.lm_eval_bridge import HarnessModel, run_lm_eval
from nemo_mixsd.io import read_jsonl, write_json
from nemo_mixsd.mixing.engines.base import Engine, Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.prompts import PromptRenderer, choose_templates

FILES = {"gsm8k": "gsm8k_test.jsonl", "mmlu": "mmlu_stem_test.jsonl"}
EXTRACTION = {
    "gsm8k": {"regex_pattern": r"(-?\$?\d[\d,]*(?:\.\d+)?)", "group_select": -1},
    "mmlu": {
        "regex_pattern": r"\\boxed\{\s*(?:\\text\{)?\(?([A-D])\b|[Aa]nswer is:?\s*\**\(?([A-D])\b",
        "group_select": -1,
    },
}
"""What the harness takes for the answer: its own flexible rule for GSM8K; for MMLU the last letter that is boxed, or
that follows "answer is", as in its own tasks with a chain of thought."""


def main() -> None:
    """Measure and write ``heldout_vs_lm_eval.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bundled:smollm2-135m-instruct")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--benchmarks", default="gsm8k,mmlu")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="keeps responses, so that a second start goes on; a temporary folder")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="heldout-vs-lm-eval-"))
    path = models.resolve_model(options.model).path
    names = options.benchmarks.split(",")
    evals = EvalsConfig.model_validate(
        {
            "benchmarks": names,
            "benchmarks_limit": options.problems,
            "benchmark": {
                n: {"path": str(options.data / FILES[n]), "max_new_tokens": options.max_new_tokens} for n in names
            },
        }
    )
    sets = heldout_sets(evals)
    ours = {batch: run_ours(path, sets, work / f"batch_{batch}" / "0", batch) for batch in (1, 16)}
    harness = run_harness(path, sets, work)
    results = {s.name: compare(s.name, work, ours, harness[f"lm_eval/heldout_{s.name}"]) for s in sets}
    for name, result in results.items():
        print(f"{name}: {json.dumps(result, indent=2)}")
    settings = {"model": options.model, "problems": options.problems, "max_new_tokens": options.max_new_tokens}
    write_json(options.out / "heldout_vs_lm_eval.json", {**settings, "results": results})


def run_ours(path: str, sets: tuple[HeldoutSet, ...], where: Path, batch: int) -> dict[str, HeldoutScore]:
    """Our runner with a batch size, on the CPU or GPU, in float32."""
    tokenizer = models.load_tokenizer(path)
    stop_ids = models.stop_token_ids(tokenizer, path)

    @contextmanager
    def open_engine(sampling: Sampling, longest: int) -> Iterator[Engine]:
        yield HFEngine(models.load_model(path, "float32"), stop_ids, sampling, batch)

    renderer = PromptRenderer(tokenizer, choose_templates("fact"))
    return evaluate_benchmarks(open_engine, renderer, sets, where, Limits(batch, models.context_length(path)))


def run_harness(path: str, sets: tuple[HeldoutSet, ...], work: Path) -> dict[str, HeldoutScore]:
    """The harness on the same problems: task files with our prompt, its chat template applied once."""
    tasks = work / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    for chosen in sets:
        docs = tasks / f"{chosen.name}.jsonl"
        lines = (json.dumps({"prompt": p.prompt, "gold": p.gold[0]}) + "\n" for p in chosen.problems)
        docs.write_text("".join(lines), encoding="utf-8")
        (tasks / f"heldout_{chosen.name}.yaml").write_text(yaml.safe_dump(task_file(chosen, docs)), encoding="utf-8")
    names = [f"heldout_{chosen.name}" for chosen in sets]
    model = HarnessModel(path, None, "float32", models.default_device())
    run_lm_eval(names, model, work, LmEvalConfig(include_path=str(tasks), chat_template=True, batch_size=1))
    return read_heldout(work)


def task_file(chosen: HeldoutSet, docs: Path) -> dict[str, Any]:
    """A task of the harness over our prompts."""
    return {
        "task": f"heldout_{chosen.name}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(docs)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{gold}}",
        "generation_kwargs": {"until": [], "max_gen_toks": chosen.max_new_tokens, "do_sample": False},
        "filter_list": [
            {
                "name": "answer",
                "filter": [{"function": "regex", **EXTRACTION[chosen.name]}, {"function": "take_first"}],
            }
        ],
        "metric_list": [
            {
                "metric": "exact_match",
                "aggregation": "mean",
                "higher_is_better": True,
                "regexes_to_ignore": [",", r"\$", r"\.0+$"],
            }
        ],
    }


def compare(name: str, work: Path, ours: dict[int, dict[str, HeldoutScore]], theirs: HeldoutScore) -> dict[str, Any]:
    """Accuracies, and how many responses are the same text."""
    one, many = (list(read_jsonl(work / f"batch_{b}" / "0" / f"{name}.jsonl", BenchmarkResponse)) for b in (1, 16))
    samples = work / "lm_eval" / f"heldout_{name}.samples.jsonl"
    records = sorted(map(json.loads, samples.read_text(encoding="utf-8").splitlines()), key=lambda r: r["doc_id"])
    said = [record["resps"][0][0] for record in records]
    score = ours[1][name]
    low, high = wilson(sum(bool(record["exact_match"]) for record in records), len(records))  # its own is 0 wide at 0
    return {
        "problems": score.problems,
        "accuracy": score.accuracy,
        "interval": [score.low, score.high],
        "accuracy_batch_16": ours[16][name].accuracy,
        "same_token_ids_batch_1_and_16": sum(a.token_ids == b.token_ids for a, b in zip(one, many, strict=True)),
        "lm_eval_accuracy": theirs.accuracy,
        "lm_eval_interval": [low, high],
        "within_lm_eval_interval": low <= score.accuracy <= high,
        "same_text_as_lm_eval": sum(a.response.strip() == b.strip() for a, b in zip(one, said, strict=True)),
        "judged_differently": [
            {"id": a.problem_id, "ours": a.correct, "extracted": a.extracted, "gold": a.gold[0]}
            for a, record in zip(one, records, strict=True)
            if a.correct != bool(record["exact_match"])
        ],
    }


if __name__ == "__main__":
    main()
