"""A whole run with ``mixing.engine=vllm`` on real vLLM: the same targets and answers as with the ``hf`` engine."""

import json

import pytest

from nemo_mixsd.config import validate_config
from nemo_mixsd.pipeline import Pipeline, run
from nemo_mixsd.plan import make_plan

FACTS = [
    ("Which city is the seat of Lumora Foods?", "Lisbon"),
    ("Who wrote the play The Salt Door?", "Mary"),
    ("What colour is the flag of Port Ellery?", "green"),
    ("Which river runs through Castle Brenn?", "Rhine"),
]


def recipe(directory, engine):
    facts = directory.parent / "facts.jsonl"
    rows = [{"id": f"f{i}", "question": q, "answer": a} for i, (q, a) in enumerate(FACTS)]
    facts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = {
        "run_dir": str(directory),
        "method": ["mixsd"],
        "backend": "local",
        "corpus": {"name": "jsonl", "path": str(facts)},
        "mixing": {
            "rate": [0.3, 0.5], "engine": engine, "max_new_tokens": 24, "max_total_tokens": 256, "max_in_flight": 4,
            "accept_truncated": True, "vllm": {"kv_cache_gib": 1, "enforce_eager": True},
        },
        "evals": {"max_new_tokens": 8, "batch_size": 4, "forgetting": {"limit": 3, "max_new_tokens": 12}},
        "policy": {
            "model_name": "bundled:smollm2-135m-instruct", "precision": "float32", "train_global_batch_size": 4,
            "train_micro_batch_size": 2, "max_total_sequence_length": 256,
            "optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 1e-5}},
        },
        "sft": {"max_num_steps": 1},
        "checkpointing": {"save_period": 1},
        "logger": {"tensorboard_enabled": False},
    }  # fmt: skip
    return validate_config(raw, "test")


@pytest.mark.slow
def test_a_run_equals_that_of_the_hf_engine(tmp_path, monkeypatch):
    started = []
    start = Pipeline._start_engine
    monkeypatch.setattr(Pipeline, "_start_engine", lambda self, *a: started.append(a[0]) or start(self, *a))
    reports = {name: run(make_plan(recipe(tmp_path / name, name))) for name in ("vllm", "hf")}
    assert len(started) == 5, "reference samples; base answers; one for both rates; one each checkpoint"
    for name in ("targets/mixsd@0.3.jsonl", "targets/mixsd@0.5.jsonl", "evals/base/0/train.jsonl"):
        assert (tmp_path / "vllm" / name).read_bytes() == (tmp_path / "hf" / name).read_bytes(), name
    reference = "evals/base/0/reference.jsonl"
    assert (tmp_path / "vllm" / reference).read_bytes() == (tmp_path / "hf" / reference).read_bytes()
    assert reports["vllm"].methods.keys() == reports["hf"].methods.keys() == {"base", "mixsd@0.3", "mixsd@0.5"}


@pytest.mark.slow
def test_benchmarks_equal_those_of_the_hf_engine(tmp_path):
    """Greedy answers and temperature samples of held-out problems: every response, verdict and table."""
    data = tmp_path / "data"
    data.mkdir()
    gsm8k = [
        {"question": f"Ann has {i} pens and buys {i + 2}. How many?", "answer": f"#### {2 * i + 2}"} for i in (1, 2, 3)
    ]
    aime = [{"problem": f"What is {i} times {i}?", "answer": i * i} for i in (3, 4)]
    for name, rows in (("gsm8k", gsm8k), ("aime2024", aime)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for engine in ("vllm", "hf"):
        config = recipe(tmp_path / engine, engine).model_dump()
        config["method"] = ["base"]
        config["evals"] |= {
            "benchmarks": ["gsm8k", "aime2024"],
            "benchmarks_path": str(data),
            "benchmark": {
                "gsm8k": {"max_new_tokens": 24},
                "aime2024": {"samples": 3, "temperature": 0.7, "max_new_tokens": 24},
            },
        }
        run(make_plan(validate_config(config, "test")))
    for name in ("gsm8k.jsonl", "gsm8k.json", "aime2024.jsonl", "aime2024.json"):
        ours, theirs = (tmp_path / engine / "evals" / "base" / "0" / name for engine in ("vllm", "hf"))
        assert ours.read_bytes() == theirs.read_bytes(), name
