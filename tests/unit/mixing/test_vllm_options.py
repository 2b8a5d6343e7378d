"""vLLM's arguments from ours, with a stand-in for vLLM's platform."""

import os
import sys
import types

import pytest

from nemo_mixsd.errors import ConfigError, EngineError
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.vllm import make_vllm_engine
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions, engine_arguments


@pytest.fixture(params=["cpu", "gpu"])
def platform(request, monkeypatch):
    module = types.ModuleType("vllm.platforms")
    module.current_platform = types.SimpleNamespace(is_cpu=lambda: request.param == "cpu")
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", module)
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "7"})
    return request.param


def test_defaults(platform):
    arguments = engine_arguments("model", Sampling(), VLLMOptions(max_in_flight=10, tensor_parallel=4), False)
    assert arguments["model"] == "model"
    assert arguments["max_num_seqs"] == 20
    assert arguments["tensor_parallel_size"] == 4
    assert arguments["enable_prefix_caching"] is True
    assert arguments["async_scheduling"] is False
    assert arguments.get("block_size") == (32 if platform == "cpu" else None)
    assert "logits_processors" not in arguments
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert os.environ.get("VLLM_CPU_OMP_THREADS_BIND") == ("nobind" if platform == "cpu" else None)


def test_sampling_loads_the_noise_and_asynchronous_schedules_as_vllm_likes(platform):
    arguments = engine_arguments("model", Sampling(temperature=1.0), VLLMOptions(block_size=64), True)
    assert arguments["logits_processors"] == ["nemo_mixsd.mixing.engines.vllm_noise:NoiseProcessor"]
    assert "async_scheduling" not in arguments
    assert arguments["block_size"] == 64


def test_extra_arguments_are_passed_on(platform):
    assert engine_arguments("m", Sampling(), VLLMOptions(extra={"swap_space": 1}), False)["swap_space"] == 1


def test_extra_arguments_cannot_contradict_ours(platform):
    with pytest.raises(ConfigError, match=r"mixing\.vllm\.extra sets 'dtype'"):
        engine_arguments("m", Sampling(), VLLMOptions(extra={"dtype": "half"}), False)


def test_without_vllm_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(EngineError, match=r"vLLM cannot be imported here .*mixing\.engine=hf"):
        make_vllm_engine("model", frozenset(), Sampling())
