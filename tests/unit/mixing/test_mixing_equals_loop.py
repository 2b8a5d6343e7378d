"""Mixing against a per-token loop written on its own: no cache, no batch, one coin and one forward pass a token."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.mixing.coins import coin, gumbel
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine, supports_slots
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.types import Discard, MixRequest, Target
from tests.tiny import EOS, VOCABULARY, make_model

MODELS = {seed: make_model(seed) for seed in range(3)}


class EvenLength:
    """A verifier with a simple rule of its own: the text holds an even number of tokens."""

    name = "contains"

    def verify(self, text, answers):
        return len(text.split()) % 2 == 0

    def explain(self, text, answers):
        return "odd"

    def canonical(self, answer):
        return answer


def decode(ids):
    return " ".join(map(str, ids))


@torch.no_grad()
def loop(model, request, rate, seed, limit, retries, temperature=0.0, top_k=None):
    """Eq. 4 word for word."""
    for attempt in range(1, retries + 2):
        out, naive_flags = [], []
        for position in range(limit):
            naive = coin(seed, request.example_id, attempt, position, rate)
            prompt = request.naive_ids if naive else request.expert_ids
            logits = model(torch.tensor([[*prompt, *out]])).logits[0, -1].numpy()
            if temperature == 0:
                token = int(logits.argmax())
            else:
                allowed = np.argsort(-logits)[: top_k or len(logits)]
                noise = gumbel(seed, request.example_id, attempt, position, len(logits))
                token = int(max(allowed, key=lambda t: logits[t] / temperature + noise[t]))
            out.append(token)
            naive_flags.append(naive)
            if token == EOS:
                break
        if len(out) % 2 == 0 and out[-1] == EOS:
            return out, naive_flags, attempt
        if temperature == 0 and rate in (0.0, 1.0):
            break
    return None


def requests(rng, count):
    def ids(n):
        return tuple(int(i) for i in rng.integers(2, VOCABULARY, n))

    return [MixRequest(f"e{i}", ids(rng.integers(1, 12)), ids(rng.integers(1, 30)), "x") for i in range(count)]


def mix(model, reqs, rate, seed=0, limit=12, retries=3, batch=7, sampling=None):
    sampling = sampling or Sampling(seed=seed)
    engine = HFEngine(model, frozenset({EOS}), sampling, slots=2 * batch)
    setup = MixerSettings(
        "mixsd", rate, seed, retries, limit, 200, deterministic=sampling.temperature == 0, max_in_flight=batch
    )
    return {o.example_id: o for o in Mixer(engine, EvenLength(), decode, setup).run(reqs)}


@settings(max_examples=25, deadline=None)
@given(
    model=st.sampled_from(list(MODELS)),
    rate=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    batch=st.integers(1, 9),
    limit=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    data=st.integers(0, 2**31),
)
def test_equals_per_token_loop(model, rate, batch, limit, seed, data):
    reqs = requests(np.random.default_rng(data), 6)
    outcomes = mix(MODELS[model], reqs, rate, seed, limit, batch=batch)
    assert sorted(outcomes) == sorted(r.example_id for r in reqs)
    for request in reqs:
        expected = loop(MODELS[model], request, rate, seed, limit, retries=3)
        outcome = outcomes[request.example_id]
        if expected is None:
            assert isinstance(outcome, Discard)
        else:
            assert isinstance(outcome, Target)
            assert (list(outcome.token_ids), list(outcome.from_naive), outcome.attempts) == expected
            assert outcome.prompt_ids == request.naive_ids


@settings(max_examples=15, deadline=None)
@given(rate=st.floats(0, 1), batch=st.integers(1, 9), top_k=st.sampled_from([None, 1, 3, 20]), seed=st.integers(0, 99))
def test_sampling_equals_per_token_loop(rate, batch, top_k, seed):
    reqs = requests(np.random.default_rng(seed), 5)
    sampling = Sampling(temperature=0.8, top_k=top_k, seed=seed)
    outcomes = mix(MODELS[0], reqs, rate, seed, 10, batch=batch, sampling=sampling)
    for request in reqs:
        expected = loop(MODELS[0], request, rate, seed, 10, 3, temperature=0.8, top_k=top_k)
        outcome = outcomes[request.example_id]
        got = (
            None
            if isinstance(outcome, Discard)
            else (list(outcome.token_ids), list(outcome.from_naive), outcome.attempts)
        )
        assert got == expected


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ends_of_the_range_are_plain_greedy_decoding(rate):
    reqs = requests(np.random.default_rng(5), 12)
    model = MODELS[1]
    outcomes = mix(model, reqs, rate, limit=16)
    seen = 0
    for request in reqs:
        outcome = outcomes[request.example_id]
        prompt = torch.tensor([request.naive_ids if rate else request.expert_ids])
        plain = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False, pad_token_id=0
        )[0, prompt.shape[1] :].tolist()
        if isinstance(outcome, Target):
            seen += 1
            assert list(outcome.token_ids) == plain
            assert set(outcome.from_naive) == {bool(rate)}
        else:
            assert outcome.last_text == decode(plain)
    assert len(outcomes) == 12


def test_same_targets_at_any_batch_size_and_order():
    reqs = requests(np.random.default_rng(9), 40)
    first = mix(MODELS[2], reqs, 0.4, batch=1)
    for batch, order in ((7, reqs[::-1]), (32, reqs), (3, sorted(reqs, key=lambda r: r.naive_ids))):
        assert mix(MODELS[2], order, 0.4, batch=batch) == first


def test_exact_ties_do_not_depend_on_the_batch():
    """A model whose logits are all equal: every choice is a tie, the lowest id wins, everywhere."""
    model = make_model(0)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    engine_1 = mix(model, requests(np.random.default_rng(1), 5), 0.5, limit=4, batch=1)
    engine_7 = mix(model, requests(np.random.default_rng(1), 5), 0.5, limit=4, batch=7)
    assert engine_1 == engine_7
    assert all(o.last_text == "0 0 0 0" for o in engine_1.values())


def test_architectures_without_plain_attention_are_decoded_without_cache():
    model = make_model(0)
    assert supports_slots(model)
    reqs = requests(np.random.default_rng(2), 6)
    cached = mix(model, reqs, 0.5)
    model.config.layer_types = ["sliding_attention", "full_attention"]
    assert not supports_slots(model)
    assert mix(model, reqs, 0.5) == cached
