"""Mixed rollouts on the host's workers, up to the seam where vLLM begins: there a fake decodes with a tiny model."""

import asyncio
from types import SimpleNamespace

import pytest
import ray
import torch
from nemo_rl.distributed.ray_actor_environment_registry import get_actor_python_env
from nemo_rl.models.generation.vllm.vllm_worker_async import VllmAsyncGenerationWorkerImpl

from nemo_mixsd.errors import BackendError, ConfigError, EngineError
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.nemo import names, register
from nemo_mixsd.nemo.backend import check_gpus
from nemo_mixsd.nemo.generation_config import NOISE, vllm_section
from nemo_mixsd.nemo.mix_worker import MixJob, mix
from nemo_mixsd.nemo.mixing import HostMixer
from nemo_mixsd.nemo.vllm_worker import MixingWorkerImpl
from nemo_mixsd.types import MixRequest, Target
from tests.tiny import EOS, make_model, make_tokenizer

STOP = frozenset({EOS})
SETTINGS = MixerSettings(name="mixsd@0.5", rate=0.5, seed=3, max_retries=2, max_new_tokens=12, accept_truncated=True)
REQUESTS = tuple(
    MixRequest(f"e{i}", (2, 7 + i, 3), (2, 30 + i, 7 + i, 3), answer=("w50", "blue", "w60")[i % 3]) for i in range(9)
)


class FakeLLM:
    """What ``AsyncLLM`` shows to the worker: greedy tokens, one request at a time, outputs growing as they come."""

    def __init__(self):
        self.model = make_model()
        self.names = set()

    async def generate(self, *, prompt, sampling_params, request_id):
        assert request_id not in self.names
        self.names.add(request_id)
        ids, out = list(prompt["prompt_token_ids"]), []
        while len(out) < sampling_params and (not out or out[-1] not in STOP):
            await asyncio.sleep(0)
            with torch.inference_mode():
                out.append(int(self.model(torch.tensor([ids + out])).logits[0, -1].argmax()))
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=list(out))])


def decode(ids):
    return make_tokenizer().decode(list(ids), skip_special_tokens=True)


def job(tokenizer="", requests=REQUESTS):
    return MixJob(requests, SETTINGS, Sampling(), STOP, "contains", str(tokenizer))


@pytest.fixture(scope="module")
def expected():
    """The same rollouts by the ``hf`` engine in this process."""
    mixer = Mixer(HFEngine(make_model(), STOP, Sampling(), 8), make_verifier("contains"), decode, SETTINGS)
    return {outcome.example_id: outcome for outcome in mixer.run(REQUESTS)}


async def collect(llm, work):
    return [outcome async for outcome in mix(llm, work, lambda segment: segment.max_tokens, decode)]


def test_outcomes_are_those_of_the_hf_engine(expected):
    found = asyncio.run(collect(FakeLLM(), job()))
    assert {outcome.example_id: outcome for outcome in found} == expected
    kinds = {isinstance(outcome, Target) for outcome in found}
    assert kinds == {True, False}, "the example is to have targets and discards"


class BrokenLLM:
    async def generate(self, *, prompt, sampling_params, request_id):
        raise RuntimeError("device lost")
        yield


def test_a_failing_engine_names_the_example():
    with pytest.raises(EngineError, match=r"example 'e\d'.*device lost"):
        asyncio.run(collect(BrokenLLM(), job()))


class Worker(MixingWorkerImpl):
    """The host's worker without its GPU: the engine is the fake."""

    def __init__(self):
        self.llm = FakeLLM()

    async def mix(self, job):
        async for outcome in mix(self.llm, job, lambda segment: segment.max_tokens, decode):
            yield outcome


def test_a_stream_from_real_actors(ray_cluster, expected):
    register()
    actors = [ray_cluster.remote(Worker).options(num_cpus=0).remote() for _ in range(2)]
    starters = [lambda work, actor=actor: map(ray_cluster.get, actor.mix.remote(work)) for actor in actors]
    found = list(HostMixer(starters, job(requests=())).run(REQUESTS))
    assert {outcome.example_id: outcome for outcome in found} == expected
    for actor in actors:
        ray_cluster.kill(actor)


def test_the_worker_is_the_hosts_in_the_hosts_vllm_environment():
    register()
    assert issubclass(MixingWorkerImpl, VllmAsyncGenerationWorkerImpl)
    host = "nemo_rl.models.generation.vllm.vllm_worker_async.VllmAsyncGenerationWorker"
    assert get_actor_python_env(names.WORKER_CLASS) == get_actor_python_env(host)


def starter(log, dies_after=None, fails=None):
    def start(work):
        log.append(work)
        for i, request in enumerate(work.requests):
            if dies_after is not None and i == dies_after:
                raise ray.exceptions.RayActorError
            if fails is not None:
                raise fails
            yield Target(request.example_id, (2,), (1,), (True,), 1, "stop", "")

    return start


def test_examples_are_dealt_out_and_in_flight_is_shared():
    logs = [[], [], []]
    found = list(HostMixer([starter(log) for log in logs], job()).run(REQUESTS))
    assert sorted(outcome.example_id for outcome in found) == [f"e{i}" for i in range(9)]
    assert [len(log[0].requests) for log in logs] == [3, 3, 3]
    assert {log[0].settings.max_in_flight for log in logs} == {22}  # 64 over three, rounded up


def test_a_dead_worker_is_reported_and_its_examples_go_to_another(caplog):
    logs = [[], []]
    workers = [starter(logs[0]), starter(logs[1], dies_after=1)]
    found = list(HostMixer(workers, job()).run(REQUESTS))
    assert sorted(outcome.example_id for outcome in found) == [f"e{i}" for i in range(9)]
    assert "worker 1 died" in caplog.text
    assert [len(log) for log in logs] == [2, 1]
    assert {r.example_id for r in logs[0][1].requests} == {r.example_id for r in logs[1][0].requests[1:]}


def test_when_all_workers_die_the_examples_left_are_counted():
    workers = [starter([], dies_after=0), starter([], dies_after=2)]
    with pytest.raises(EngineError, match=r"all workers died; 7 examples are left"):
        list(HostMixer(workers, job()).run(REQUESTS))


def test_an_engine_error_is_no_death():
    with pytest.raises(EngineError, match="too long"):
        list(HostMixer([starter([], fails=EngineError("too long"))], job()).run(REQUESTS))


GENERATION = {"vllm_cfg": {"async_engine": True, "tensor_parallel_size": 2, "load_format": "dummy"}, "top_k": None}


def test_the_hosts_own_generation_takes_the_section(tiny_tokenizer):
    from nemo_rl.models.generation import configure_generation_config
    from nemo_rl.models.generation.vllm.config import VllmConfig

    section = configure_generation_config(vllm_section(GENERATION, sampled=False), tiny_tokenizer, is_eval=True)
    assert section["vllm_cfg"]["load_format"] == "auto"
    assert not [key for key in VllmConfig.__required_keys__ if key not in section]


@pytest.mark.parametrize(
    ("nodes", "asked", "fits"),
    [([4], (4, 1), True), ([4, 4], (4, 2), True), ([8, 2], (4, 2), False), ([], (1, 1), False), ([0], (1, 1), False)],
)
def test_the_gpus_of_the_cluster_are_compared_with_the_recipe(monkeypatch, nodes, asked, fits):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"GPU": n, "CPU": 8}} for n in nodes])
    if fits:
        check_gpus(*asked)
        return
    with pytest.raises(BackendError, match=r"cluster\.gpus_per_node=0"):
        check_gpus(*asked)


def test_base_weights_come_from_disk_and_noise_where_it_samples():
    section = vllm_section(GENERATION, sampled=False)
    assert section["vllm_cfg"]["load_format"] == "auto"
    assert section["vllm_cfg"]["tensor_parallel_size"] == 2
    assert section["vllm_kwargs"] == {}
    assert vllm_section(GENERATION, sampled=True)["vllm_kwargs"] == {"logits_processors": [NOISE]}
    assert GENERATION["vllm_cfg"]["load_format"] == "dummy"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"vllm_cfg": {"async_engine": False}}, "async_engine is off"),
        ({}, "async_engine is off"),
        ({**GENERATION, "vllm_kwargs": {"seed": 1}}, r"vllm_kwargs\.seed is set"),
        ({**GENERATION, "vllm_kwargs": {"worker_extension_cls": "x"}}, r"vllm_kwargs\.worker_extension_cls is set"),
    ],
)
def test_sections_that_the_host_would_choke_on(section, message):
    with pytest.raises(ConfigError, match=message):
        vllm_section(section, sampled=False)
