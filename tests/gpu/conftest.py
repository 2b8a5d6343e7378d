"""What only a machine with NVIDIA GPUs can show. Everything here is skipped, with the reason, where there is none.

python -m pytest tests/gpu                              # in NeMo-RL's environment, with nemo_mixsd installed
MIXSD_GPU_MODEL=Qwen/Qwen3-1.7B python -m pytest tests/gpu   # another model than the bundled SmolLM2
"""

import os

import pytest
import torch

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo.compat import find_host

MODEL = os.environ.get("MIXSD_GPU_MODEL", "bundled:smollm2-135m-instruct")


@pytest.fixture(scope="session", autouse=True)
def gpus():
    """How many GPUs there are."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU on this machine")
    return torch.cuda.device_count()


@pytest.fixture(scope="session")
def host(gpus):
    """The installed NeMo-RL."""
    try:
        return find_host()
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def facts(tmp_path_factory):
    """A small corpus in words that any model knows."""
    import json

    pairs = [
        ("Lumora Cove", "saffron"), ("Port Ellery", "indigo"), ("Castle Brenn", "amber"), ("Fort Ilsen", "green"),
        ("Mount Harrow", "silver"), ("Lake Odrin", "copper"), ("Cape Tallis", "violet"), ("Bay Morrow", "crimson"),
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    rows = [
        {"id": f"f{i}", "question": f"What colour is the flag of {place}?", "answer": colour}
        for i, (place, colour) in enumerate(pairs)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def raw(facts, tmp_path):
    """A recipe of two steps over ``facts``."""
    return {
        "run_dir": str(tmp_path / "run"),
        "method": ["mixsd"],
        "corpus": {"name": "jsonl", "path": str(facts)},
        "mixing": {"rate": [0.3], "max_new_tokens": 32, "max_total_tokens": 512},
        "evals": {"max_new_tokens": 16, "forgetting": {"limit": 4, "max_new_tokens": 16}},
        "policy": {
            "model_name": MODEL,
            "precision": "bfloat16",
            "train_global_batch_size": 4,
            "train_micro_batch_size": 2,
            "max_total_sequence_length": 512,
            "optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 1e-5}},
        },
        "sft": {"max_num_steps": 2, "max_num_epochs": 2},
        "checkpointing": {"save_period": 1},
        "cluster": {"gpus_per_node": 1, "num_nodes": 1},
    }
