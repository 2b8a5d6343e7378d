"""Real vLLM on a CPU with the bundled SmolLM2. Runs in the environment of tests/vllm/env, not in the project's own.

UV_PROJECT_ENVIRONMENT=$PWD/.ci/venvs/vllm uv sync --project tests/vllm/env
.ci/venvs/vllm/bin/python -m pytest tests/vllm
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")

import pytest

from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.vllm_core import LocalCore
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions
from nemo_mixsd.models import load_tokenizer, resolve_model, stop_token_ids
from nemo_mixsd.prompts import PromptRenderer, choose_templates

OPTIONS = VLLMOptions(
    dtype="float32", max_model_len=1024, max_in_flight=32, kv_cache_gib=1, enforce_eager=True, block_size=32
)


@pytest.fixture(scope="session")
def model_path():
    return resolve_model("bundled:smollm2-135m-instruct").path


@pytest.fixture(scope="session")
def tokenizer(model_path):
    return load_tokenizer(model_path)


@pytest.fixture(scope="session")
def stop(tokenizer, model_path):
    return stop_token_ids(tokenizer, model_path)


@pytest.fixture(scope="session")
def requests(tokenizer):
    """The 100 facts of the small KGFact, with their default prompts."""
    renderer = PromptRenderer(tokenizer, choose_templates("fact"))
    return [renderer.request(example) for example in KGFactCorpus(KGFactConfig()).load_split("train")]


@pytest.fixture(scope="session")
def core(model_path, stop):
    """One vLLM for the whole session; its noise processor is loaded, greedy requests do not meet it."""
    core = LocalCore(model_path, stop, Sampling(temperature=0.8, seed=5), OPTIONS)
    yield core
    core.close()
