"""Data parallel: several processes with a fake vLLM each."""

import pytest

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import SegmentRequest
from nemo_mixsd.mixing.engines.vllm_shards import ShardedEngine, own_devices
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from tests.unit.mixing.fake_vllm import StartFake
from tests.unit.mixing.test_vllm_engine import EvenSum, check, decode, requests


@pytest.fixture
def start():
    engines = []

    def build(**changes):
        engines.append(ShardedEngine(StartFake(**changes), 2))
        return engines[-1]

    yield build
    for engine in engines:
        engine.close()
        assert not any(process.is_alive() for process in engine._processes)


def run(engine, reqs, in_flight=12):
    setup = MixerSettings("mixsd", 0.4, 3, 3, 30, 200, accept_truncated=True, max_in_flight=in_flight)
    return {o.example_id: o for o in Mixer(engine, EvenSum(), decode, setup).run(reqs)}


def test_same_targets_as_one_process_and_both_work(start):
    engine = start()
    reqs = requests(60)
    check(run(engine, reqs), reqs, 0.4, 3, 30)
    assert {engine._home[r.example_id] for r in reqs} == {0, 1}
    assert engine.poll() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"die_at": 5}, r"vLLM process 1 died \(exit code -9\) while decoding 'e\d+'"),
        ({"fail_at": 5}, r"vLLM process 1 failed while decoding 'e\d+'.*device lost"),
    ],
)
def test_a_process_that_fails_is_an_error_that_names_an_example(start, changes, message):
    with pytest.raises(EngineError, match=message):
        run(start(**changes), requests(60))


def test_what_a_shard_refuses_names_the_example(start):
    engine = start()
    engine.submit(SegmentRequest("k", "s", (2,) * 20_000, 1, "Lisbon"))
    with pytest.raises(EngineError, match="'Lisbon': its prompt has 20000 tokens"):
        engine.poll()


def test_a_process_that_cannot_start_is_an_error():
    with pytest.raises(EngineError, match="no such device"):
        ShardedEngine(StartFake(refuse_start=1), 2)


@pytest.mark.parametrize(
    ("shard", "each", "visible", "own"),
    [
        (0, 1, None, "0"),
        (3, 2, None, "6,7"),
        (1, 2, "4,5,6,7", "6,7"),
        (1, 1, "GPU-a,GPU-b", "GPU-b"),
        (1, 1, "", ""),
    ],
)
def test_each_shard_has_gpus_of_its_own(shard, each, visible, own):
    assert own_devices(shard, each, visible) == own


def test_too_few_gpus_are_an_error():
    with pytest.raises(EngineError, match=r"needs GPU number 4, but CUDA_VISIBLE_DEVICES has 3 \(0,1,2\)"):
        own_devices(1, 2, "0,1,2")
