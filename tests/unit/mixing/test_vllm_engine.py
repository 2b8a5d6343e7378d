"""The vllm engine's own part, on a fake vLLM that checks every session it is given."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines import vllm
from nemo_mixsd.mixing.engines.base import SegmentRequest
from nemo_mixsd.mixing.engines.vllm import VLLMEngine
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.types import Discard, MixRequest, Target
from tests.unit.mixing.fake_vllm import EOS, FakeCore, loop


class EvenSum:
    name = "contains"

    def verify(self, text, answers):
        return sum(map(int, text.split())) % 2 == 0

    def explain(self, text, answers):
        return "odd"

    def canonical(self, answer):
        return answer


def decode(ids):
    return " ".join(map(str, ids))


def requests(count, seed=0):
    rng = np.random.default_rng(seed)

    def ids(n):
        return tuple(int(i) for i in rng.integers(2, 50, n))

    return [MixRequest(f"e{i}", ids(rng.integers(1, 12)), ids(rng.integers(1, 30)), "x") for i in range(count)]


def mix(core, reqs, rate, seed=0, limit=30, retries=3, in_flight=6):
    engine = VLLMEngine(core, frozenset({EOS}))
    setup = MixerSettings("mixsd", rate, seed, retries, limit, 200, accept_truncated=True, max_in_flight=in_flight)
    return engine, {o.example_id: o for o in Mixer(engine, EvenSum(), decode, setup).run(reqs)}


def expected(request, rate, seed, limit, retries):
    for attempt in range(1, retries + 2):
        tokens, flags = loop(request, rate, seed, limit, attempt)
        if sum(tokens) % 2 == 0:
            return tokens, flags, attempt
        if rate in (0.0, 1.0):
            break
    return None


def check(outcomes, reqs, rate, seed, limit, retries=3):
    assert sorted(outcomes) == sorted(r.example_id for r in reqs)
    for request in reqs:
        outcome = outcomes[request.example_id]
        target = expected(request, rate, seed, limit, retries)
        if target is None:
            assert isinstance(outcome, Discard)
        else:
            assert isinstance(outcome, Target)
            assert (outcome.token_ids, outcome.from_naive, outcome.attempts) == target


@settings(max_examples=80, deadline=None)
@given(
    rate=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    slots=st.integers(1, 20),
    in_flight=st.integers(1, 12),
    batch=st.integers(1, 20),
    capacity=st.one_of(st.none(), st.integers(1, 400)),
    resumable=st.booleans(),
    limit=st.integers(1, 40),
    seed=st.integers(0, 2**31),
)
def test_equals_per_token_loop_whatever_the_room(rate, slots, in_flight, batch, capacity, resumable, limit, seed):
    core = FakeCore(slots, capacity, resumable=resumable, batch=batch)
    reqs = requests(10, seed)
    engine, outcomes = mix(core, reqs, rate, seed, limit, in_flight=in_flight)
    check(outcomes, reqs, rate, seed, limit)
    engine.release()
    assert not core.held and not core.busy


@pytest.mark.parametrize("rate", [0.3, 0.5])
def test_with_room_every_token_is_computed_once_a_conditional_and_a_step_never_waits(rate):
    core = FakeCore(slots=40)
    reqs = requests(20)
    engine, _ = mix(core, reqs, rate, limit=30, retries=0, in_flight=20)
    decoded = sum(len(loop(r, rate, 0, 30)[0]) for r in reqs)
    # One step a token of the longest target, not one more: handing over costs no step.
    assert engine.counters.steps == max(len(loop(r, rate, 0, 30)[0]) for r in reqs)
    assert engine.counters.opened <= 2 * len(reqs)
    assert engine.counters.tokens == decoded
    # Each prompt once, and each token at most once for each conditional.
    assert core.computed <= sum(len(r.naive_ids) + len(r.expert_ids) for r in reqs) + 2 * decoded
    assert engine.counters.prefill < core.computed


def test_without_sessions_every_segment_is_a_request_of_its_own():
    core = FakeCore(slots=40, resumable=False)
    engine, _ = mix(core, requests(5), 0.5, retries=0)
    assert engine.counters.opened == engine.counters.requests > 5


def test_idle_sessions_give_way_before_the_cache_overflows():
    core = FakeCore(slots=100, capacity=300)
    mix(core, requests(60), 0.5, in_flight=4, limit=40)
    # Four examples in flight, each with at most 29 + 40 ids twice; finished ones hold what is left.
    assert core.most_held <= 300 + 4 * 70


def test_retry_starts_its_sessions_anew():
    reqs = [r for r in requests(60) if (found := expected(r, 0.5, 0, 30, 3)) and found[2] > 1]
    assert len(reqs) > 5
    _, outcomes = mix(FakeCore(slots=100), reqs, 0.5)
    check(outcomes, reqs, 0.5, 0, 30)


def segment(**changes):
    base = {"key": "k", "stream": "s", "prompt_ids": (2, 3), "max_tokens": 2, "example_id": "Lisbon"}
    return SegmentRequest(**{**base, **changes})


def test_too_long_a_prompt_is_refused_at_once():
    core = FakeCore(context=8)
    engine = VLLMEngine(core, frozenset({EOS}))
    with pytest.raises(EngineError, match=r"'Lisbon': its prompt has 8 tokens, vLLM was started for 8"):
        engine.submit(segment(prompt_ids=(2,) * 8))
    engine.submit(segment(prompt_ids=(2,) * 7))


def test_a_request_for_nothing_is_refused():
    with pytest.raises(EngineError, match="'Lisbon': a request for 0 tokens"):
        VLLMEngine(FakeCore(), frozenset({EOS})).submit(segment(max_tokens=0))


def test_what_vllm_refuses_names_the_example_and_leaves_the_engine_whole():
    core = FakeCore()
    core.refuse = "Lisbon"
    engine = VLLMEngine(core, frozenset({EOS}))
    with pytest.raises(EngineError, match=r"'Lisbon': vLLM refused the request: no such token id"):
        engine.submit(segment())
    assert engine.poll() == []
    engine.submit(segment(example_id="Oslo"))
    assert len(engine.poll()) == 1


def test_a_failing_engine_names_examples_in_flight():
    core = FakeCore()
    core.fail_at = 1
    engine = VLLMEngine(core, frozenset({EOS}))
    for i in range(5):
        engine.submit(segment(key=f"k{i}", stream=f"s{i}", example_id=f"e{i}"))
    with pytest.raises(EngineError, match=r"while decoding 'e0', 'e1', 'e2' and others: RuntimeError\('CUDA error"):
        engine.poll()


def test_a_request_that_vllm_gives_up_names_its_example():
    core = FakeCore()
    engine = VLLMEngine(core, frozenset({EOS}))
    engine.submit(segment())
    core.end_with_error = next(iter(core.busy))
    with pytest.raises(EngineError, match="'Lisbon': vLLM ended its request"):
        engine.poll()


def test_a_stuck_engine_first_loses_its_idle_sessions_then_is_an_error(monkeypatch):
    monkeypatch.setattr(vllm, "PATIENCE", 100)
    core = FakeCore()
    engine = VLLMEngine(core, frozenset({EOS}))
    engine.submit(segment())
    engine.poll()
    engine.submit(segment(stream="t", example_id="Oslo"))
    core.step = lambda: []
    assert len(core.held) == 2
    with pytest.raises(EngineError, match="no token for 100 steps while decoding 'Oslo'"):
        engine.poll()
    assert len(core.held) == 1


def test_close_ends_vllm():
    core = FakeCore()
    VLLMEngine(core, frozenset()).close()
    assert core.closed


def test_one_stream_twice_at_a_time_waits_for_itself():
    engine = VLLMEngine(FakeCore(), frozenset({EOS}))
    engine.submit(segment(key="a"))
    engine.submit(segment(key="b"))
    keys = [r.key for r in engine.poll()] + [r.key for r in engine.poll()]
    assert keys == ["a", "b"]
    assert engine.poll() == []


@pytest.mark.slow
def test_memory_is_flat_in_the_number_of_examples():
    import tracemalloc

    class Accept(EvenSum):
        def verify(self, text, answers):
            return True

    def peak(count):
        def stream():
            for i in range(count):
                yield MixRequest(f"e{i}", (2, 3, i % 40), (4, 5, 6, i % 40), "x")

        engine = VLLMEngine(FakeCore(slots=128, capacity=4000), frozenset({EOS}))
        setup = MixerSettings("mixsd", 0.3, max_new_tokens=4, accept_truncated=True, max_in_flight=64)
        tracemalloc.start()
        done = sum(1 for _ in Mixer(engine, Accept(), decode, setup).run(stream()))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert done == count
        return most

    small, large = peak(2_000), peak(100_000)
    assert large < small + 200_000
