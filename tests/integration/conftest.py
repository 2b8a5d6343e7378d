"""A recipe that runs whole in seconds: the tiny random model, and facts whose answers it happens to say."""

import json
from collections import Counter

import pytest
import yaml

from nemo_mixsd.mixing.engines.base import SegmentRequest
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.tiny import EOS, WORDS, make_model, make_tokenizer

NAMES = [w for w in WORDS if w.isalpha() and len(w) > 2][:24]


def said(model, tokenizer, texts):
    """What the model greedily answers to each text, in one batch."""
    renderer = PromptRenderer(tokenizer, PromptTemplates("{question}", "{context} {question}"))
    engine = HFEngine(model, frozenset({EOS}), slots=len(texts))
    for i, text in enumerate(texts):
        engine.submit(SegmentRequest(str(i), str(i), renderer.encode(text), 12, str(i)))
    out = {}
    while results := engine.poll():
        out |= {int(r.key): renderer.decode(r.token_ids) for r in results}
    return [out[i] for i in range(len(texts))]


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory):
    """A directory with ``model/``, ``facts.jsonl`` and ``prompts.jsonl``."""
    root = tmp_path_factory.mktemp("world")
    model, tokenizer = make_model(3, scale=0.4), make_tokenizer()
    model.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    contexts = [f"the {a} of {b} is {c}" for a, b, c in zip(NAMES, NAMES[5:], NAMES[9:])]
    questions = [f"what is the {a} of {b} ?" for a, b in zip(NAMES, NAMES[5:])]
    facts = []
    for i, (context, question, answer) in enumerate(
        zip(contexts, questions, said(model, tokenizer, [f"{c} {q}" for c, q in zip(contexts, questions)]))
    ):
        words = [w for w in answer.split() if w.isalnum()]
        if words:
            common = Counter(words).most_common(1)[0][0]
            facts.append(
                {"id": f"f{i}", "question": question, "answer": common, "context": context,
                 "paraphrases": [f"{question} what ?"]}
            )  # fmt: skip
    assert len(facts) >= 10
    (root / "facts.jsonl").write_text("".join(json.dumps(f) + "\n" for f in facts))
    (root / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"who {w} ?"}) + "\n" for w in NAMES[:6]))
    return root


def write_recipe(world, base):
    """A recipe over a world; its run directory is ``base/run``."""
    content = {
        "run_dir": str(base / "run"),
        "method": ["sft", "mixsd"],
        "corpus": {"name": "jsonl", "path": str(world / "facts.jsonl")},
        "mixing": {"rate": 0.3, "engine": "hf", "max_new_tokens": 12, "accept_truncated": True},
        "evals": {
            "max_new_tokens": 8,
            "forgetting": {"prompts": str(world / "prompts.jsonl"), "max_new_tokens": 10},
        },
        "policy": {
            "model_name": str(world / "model"),
            "precision": "float32",
            "train_global_batch_size": 4,
            "train_micro_batch_size": 2,
            "optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 1e-3}},
        },
        "sft": {"max_num_epochs": 4},
        "checkpointing": {"save_period": 3},
    }
    path = base / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def recipe(tiny_world, tmp_path):
    """Path of a recipe over ``tiny_world``; its run directory is ``tmp_path/run``."""
    return write_recipe(tiny_world, tmp_path)


@pytest.fixture(scope="session")
def make_recipe(tiny_world):
    """``make_recipe(base)`` for tests that share a run."""
    return lambda base: write_recipe(tiny_world, base)
