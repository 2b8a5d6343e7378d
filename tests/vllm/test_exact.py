"""Token for token in float32 greedy decoding: sessions on real vLLM, the per-token loop on it, and the hf engine."""

from dataclasses import replace

import pytest

from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.mixing.engines.vllm import VLLMEngine, make_vllm_engine
from nemo_mixsd.mixing.engines.vllm_core import RequestParams
from nemo_mixsd.models import load_model
from tests.vllm.compare import assert_equal_but_for_ties, loop, mix, setup
from tests.vllm.conftest import OPTIONS

RATES = [0.0, 0.3, 0.5, 0.7, 1.0]
SAMPLING = Sampling(temperature=0.8, top_k=20, seed=5)


@pytest.fixture(scope="module")
def model(model_path):
    return load_model(model_path, "float32", "cpu")


@pytest.fixture
def engine(core, stop):
    """Greedy, with sessions, on an empty prefix cache."""
    core.params = RequestParams(stop, Sampling())
    core.resumable = True
    core.forget()
    engine = VLLMEngine(core, stop)
    yield engine
    engine.release()
    core.resumable = True


@pytest.fixture(scope="module")
def found():
    """Targets of the sessions, by rate: compared twice."""
    return {}


def ours(found, engine, requests, rate):
    if rate not in found:
        found[rate] = mix(engine, requests, setup(rate))
    return found[rate]


@pytest.mark.parametrize("rate", RATES)
def test_equals_the_hf_engine(engine, found, model, requests, stop, rate):
    settings = setup(rate)
    reference = mix(HFEngine(model, stop, slots=64), requests, settings)
    assert_equal_but_for_ties(model, requests, settings, ours(found, engine, requests, rate), reference)


@pytest.mark.parametrize("rate", [r if r == 0.3 else pytest.param(r, marks=pytest.mark.slow) for r in RATES])
def test_equals_the_per_token_loop(core, engine, found, model, requests, stop, rate):
    settings = setup(rate)
    targets = ours(found, engine, requests, rate)
    engine.release()
    core.resumable = False
    reference = loop(VLLMEngine(core, stop), requests, settings, stop)
    assert_equal_but_for_ties(model, requests, settings, targets, reference)


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "capacity"), [(3, None), (64, 400)])
def test_equal_with_little_room(core, engine, found, model, requests, stop, slots, capacity, monkeypatch):
    """Sessions are given up and opened again all the time."""
    targets = ours(found, engine, requests, 0.5)
    monkeypatch.setattr(core, "slots", slots)
    monkeypatch.setattr(core, "capacity", capacity)
    small = VLLMEngine(core, stop)
    some = requests[:30]
    again = mix(small, some, setup(0.5))
    assert small.counters.given_up > 30
    small.release()
    assert_equal_but_for_ties(model, some, setup(0.5), again, {r.example_id: targets[r.example_id] for r in some})


@pytest.mark.slow
@pytest.mark.parametrize("resumable", [True, False])
def test_samples_do_not_depend_on_engine_or_segments(core, engine, model, requests, stop, resumable):
    core.params = RequestParams(stop, SAMPLING)
    core.resumable = resumable
    settings = setup(0.5, deterministic=False)
    some = requests[:20]
    engine = VLLMEngine(core, stop)
    targets = mix(engine, some, settings)
    engine.release()  # the core is shared with other tests: no idle session may be left in its batch
    reference = mix(HFEngine(model, stop, SAMPLING, slots=40), some, settings)
    assert targets == reference
    greedy = mix(HFEngine(model, stop, slots=40), some, settings)
    assert sum(targets[key] != greedy[key] for key in targets) > 4


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"mode": "async"}, {"data_parallel": 2}])
def test_equal_in_other_processes(core, engine, found, model, model_path, requests, stop, changes):
    """``AsyncLLM``, and two processes."""
    some = requests[:30]
    targets = ours(found, engine, requests, 0.5)
    other = make_vllm_engine(model_path, stop, Sampling(), replace(OPTIONS, **changes))
    try:
        again = mix(other, some, setup(0.5))
    finally:
        other.close()
    assert_equal_but_for_ties(model, some, setup(0.5), again, {r.example_id: targets[r.example_id] for r in some})
