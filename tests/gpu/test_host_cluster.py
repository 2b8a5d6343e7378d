"""The host's Ray cluster with CUDA: its vLLM workers mix and answer, its DTensor and Megatron policies train."""

import importlib.util
import signal
import time

import pytest
from transformers import AutoModelForCausalLM

from nemo_mixsd.config import validate_config
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.models import load_model, load_tokenizer, resolve_model, stop_token_ids
from nemo_mixsd.pipeline import run
from nemo_mixsd.plan import make_plan
from nemo_mixsd.prompts import PromptRenderer, choose_templates
from nemo_mixsd.types import Target

pytestmark = pytest.mark.usefixtures("host")


def test_workers_of_the_host_decode_what_transformers_decodes(raw):
    """float32, greedy, λ = 0.5: the same targets token for token."""
    from nemo_mixsd.mixing.engines.base import Sampling
    from nemo_mixsd.nemo.host_engine import HostEngine

    raw["policy"]["precision"] = "float32"
    config = validate_config(raw, "test")
    path = resolve_model(config.policy.model_name).path
    tokenizer = load_tokenizer(path)
    stop = stop_token_ids(tokenizer, path)
    examples = make_plan(config).examples["train"]
    renderer = PromptRenderer(tokenizer, choose_templates("fact"))
    requests = list(renderer.requests(examples, 512))
    settings = MixerSettings("mixsd@0.5", 0.5, max_retries=0, max_new_tokens=32, max_total_tokens=512)
    engine = HostEngine.start(config, path, tokenizer, stop, Sampling())
    try:
        found = {outcome.example_id: outcome for outcome in engine.mixer(settings, "contains").run(requests)}
    finally:
        engine.close()
    here = HFEngine(load_model(path, "float32"), stop, Sampling(), 16)
    mixer = Mixer(here, make_verifier("contains"), renderer.decode, settings)
    assert found == {outcome.example_id: outcome for outcome in mixer.run(requests)}


def test_a_run_on_dtensor(raw):
    report = run(make_plan(validate_config({**raw, "backend": "nemo_rl"}, "test")))
    assert report.methods["mixsd@0.3"].forgetting_nats is not None


def test_several_gpus_share_the_examples(raw, gpus):
    if gpus < 2:
        pytest.skip("one GPU only")
    raw["cluster"]["gpus_per_node"] = 2
    config = validate_config({**raw, "backend": "nemo_rl"}, "test")
    run(make_plan(config))
    targets = list(read_jsonl(f"{raw['run_dir']}/targets/mixsd@0.3.jsonl", Target))
    assert len({t.example_id for t in targets}) == len(targets)


def test_a_run_on_megatron(raw):
    if importlib.util.find_spec("megatron") is None:
        pytest.skip("Megatron is not installed in this environment")
    import yaml

    with open("examples/configs/nemo_rl_megatron.yaml", encoding="utf-8") as file:
        section = yaml.safe_load(file)["policy"]["megatron_cfg"]
    raw["policy"] |= {"dtensor_cfg": {"enabled": False}, "megatron_cfg": section, "optimizer": None}
    report = run(make_plan(validate_config({**raw, "backend": "nemo_rl"}, "test")))
    step = report.methods["mixsd@0.3"].step
    AutoModelForCausalLM.from_pretrained(f"{raw['run_dir']}/checkpoints/mixsd@0.3/step_{step}")


def test_a_killed_worker_is_survived(raw, gpus, caplog):
    """One of two workers is killed in the middle of mixing; its examples go to the other."""
    if gpus < 2:
        pytest.skip("one GPU only")
    import os
    import threading

    import ray

    from nemo_mixsd.mixing.engines.base import Sampling
    from nemo_mixsd.nemo.host_engine import HostEngine

    raw["cluster"]["gpus_per_node"] = 2
    config = validate_config(raw, "test")
    path = resolve_model(config.policy.model_name).path
    tokenizer = load_tokenizer(path)
    stop = stop_token_ids(tokenizer, path)
    requests = list(
        PromptRenderer(tokenizer, choose_templates("fact")).requests(make_plan(config).examples["train"], 512)
    )
    settings = MixerSettings("mixsd@0.5", 0.5, max_new_tokens=256, max_total_tokens=512, accept_truncated=True)
    engine = HostEngine.start(config, path, tokenizer, stop, Sampling())

    def kill():
        time.sleep(1)
        victims = [a for a in ray.util.state.list_actors() if "MixingWorker" in a.class_name and a.state == "ALIVE"]
        os.kill(victims[0].pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    try:
        found = list(engine.mixer(settings, "contains").run(requests))
    finally:
        engine.close()
    assert sorted(outcome.example_id for outcome in found) == sorted(r.example_id for r in requests)
    assert "died" in caplog.text
