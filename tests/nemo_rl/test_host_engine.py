"""The ``nemo_rl`` engine over real Ray actors: workers of the host up to the seam where vLLM begins."""

import os

import pytest
import ray
from transformers import AutoModelForCausalLM

from nemo_mixsd.config import load_config
from nemo_mixsd.errors import EngineError
from nemo_mixsd.evals.respond import Prompt, respond
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.nemo import mix_worker
from nemo_mixsd.nemo.host_engine import HostEngine
from tests.integration import conftest as world
from tests.nemo_rl.test_mixing import STOP, FakeLLM, decode, job
from tests.tiny import make_model, run_config

recipe, tiny_world = world.recipe, world.tiny_world  # fixtures
PROMPTS = [Prompt(f"p{i}", (2, 7 + i, 3)) for i in range(11)]


class Worker:
    """The two methods that the plugin adds to the host's worker, over the fake engine."""

    def __init__(self, dies=False, path=None):
        self.llm = FakeLLM()
        if path is not None:
            self.llm.model = AutoModelForCausalLM.from_pretrained(path)
        self.dies = dies

    async def mix(self, work):
        async for outcome in mix_worker.mix(self.llm, work, lambda segment: segment.max_tokens, decode):
            yield outcome

    async def respond(self, request):
        if self.dies:
            os._exit(1)
        if request.example_id == "refused":
            raise EngineError("example 'refused': too long")
        return await mix_worker.respond(self.llm, request, request.max_tokens, STOP)


def make_engine(workers, path=None):
    actors = [ray.remote(Worker).options(num_cpus=0).remote(dies, path) for dies in workers]
    starters = [lambda work, actor=actor: map(ray.get, actor.mix.remote(work)) for actor in actors]

    def shutdown():
        for actor in actors:
            ray.kill(actor)

    return HostEngine(starters, [actor.respond.remote for actor in actors], job(), shutdown)


def answers(engine, prompts=PROMPTS):
    return dict(respond(engine, prompts, 8, 5))


@pytest.fixture(scope="module")
def expected():
    return answers(HFEngine(make_model(), STOP, Sampling(), 8))


def test_responses_are_those_of_the_hf_engine(ray_cluster, expected):
    engine = make_engine([False, False])
    assert answers(engine) == expected
    engine.close()


def test_what_a_dead_worker_held_goes_to_another(ray_cluster, expected, caplog):
    engine = make_engine([True, False])
    assert answers(engine) == expected
    assert "worker 0 died" in caplog.text
    engine.close()


def test_no_worker_is_left(ray_cluster):
    engine = make_engine([True])
    with pytest.raises(EngineError, match=r"example 'p\d': all workers died"):
        answers(engine)


def test_a_refused_request_is_an_error_that_names_it(ray_cluster):
    engine = make_engine([False])
    with pytest.raises(EngineError, match="'refused': too long"):
        answers(engine, [Prompt("refused", (2, 3))])
    engine.close()


def test_a_whole_run_gives_what_the_hf_engine_gives(ray_cluster, recipe, tmp_path, monkeypatch):
    """Mixed rollouts and evaluations of base and checkpoints: same targets, responses and accuracies."""
    models = []

    def start(config, path, tokenizer, stop_ids, sampling):
        models.append(path)
        return make_engine([False, False], path)

    monkeypatch.setattr(HostEngine, "start", staticmethod(start))
    changes = ["backend=local", "evals.forgetting.enabled=false", "sft.max_num_steps=2", "cluster.gpus_per_node=1"]
    for engine in ("hf", "nemo_rl"):
        run_config(load_config(recipe, [*changes, f"run_dir={tmp_path}/{engine}", f"mixing.engine={engine}"]))
    assert len(models) == 3, "one start serves the base evaluation and mixing, and one each checkpoint"
    files = sorted((tmp_path / "hf").rglob("*.jsonl"))
    assert any(file.parent.name == "targets" for file in files)
    for file in files:
        twin = tmp_path / "nemo_rl" / file.relative_to(tmp_path / "hf")
        assert twin.read_bytes() == file.read_bytes(), file
