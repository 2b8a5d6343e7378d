"""The ``vllm`` engine on a GPU: equal to transformers in float32, and a whole run that trains afterwards."""

import importlib.util

import pytest

from nemo_mixsd.config import validate_config
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.pipeline import run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.types import Target


@pytest.fixture(autouse=True)
def vllm(gpus):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed in this environment")


def targets(raw, engine, directory):
    recipe = {**raw, "run_dir": str(directory), "backend": "local", "mixing": {**raw["mixing"], "engine": engine}}
    recipe["mixing"] |= {"precision": "float32", "vllm": {"enforce_eager": True, "gpu_memory_utilization": 0.5}}
    run(make_plan(validate_config(recipe, "test")))
    return list(read_jsonl(directory / "targets" / "mixsd@0.3.jsonl", Target))


def test_a_run_with_the_vllm_engine_has_the_targets_of_the_hf_engine(raw, tmp_path):
    assert targets(raw, "vllm", tmp_path / "vllm") == targets(raw, "hf", tmp_path / "hf")
