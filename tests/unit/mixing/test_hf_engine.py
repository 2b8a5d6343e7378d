"""The hf engine on its own: plain decoding, slots, cache reuse, near ties, errors. The mixer's loop is tested apart."""

import numpy as np
import pytest
import torch

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.coins import gumbel
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.engines.hf import HFEngine, choose, supports_slots
from nemo_mixsd.mixing.engines.slots import SlotCache
from tests.tiny import EOS, VOCABULARY, make_model

STOP = frozenset({EOS})


def prompt(i, length=None):
    rng = np.random.default_rng(i)
    return tuple(int(x) for x in rng.integers(2, VOCABULARY, length or rng.integers(1, 40)))


def ask(i, length=None, max_tokens=8, **changes):
    fields = {"key": f"k{i}", "stream": f"s{i}", "prompt_ids": prompt(i, length), "max_tokens": max_tokens}
    return SegmentRequest(**{**fields, "example_id": f"e{i}", **changes})


def drain(engine):
    out = {}
    while results := engine.poll():
        for result in results:
            assert result.key not in out
            out[result.key] = result
    return out


@torch.no_grad()
def greedy(model, ids, count, stop=STOP):
    ids = list(ids)
    out = []
    while len(out) < count and not (out and out[-1] in stop):
        out.append(int(model(torch.tensor([ids + out])).logits[0, -1].argmax()))
    return tuple(out)


@pytest.mark.parametrize("slots", [1, 2, 5, 64])
def test_greedy_decoding_at_any_number_of_slots(tiny_model, slots):
    engine = HFEngine(tiny_model, STOP, slots=slots)
    requests = [ask(i, max_tokens=1 + i % 9) for i in range(20)]
    for request in requests:
        engine.submit(request)
    results = drain(engine)
    assert len(results) == 20
    for request in requests:
        result = results[request.key]
        assert result.token_ids == greedy(tiny_model, request.prompt_ids, request.max_tokens)
        assert (result.finish_reason == "stop") == (result.token_ids[-1] == EOS)
        assert EOS not in result.token_ids[:-1]
    assert engine.poll() == []


def test_any_stop_id_stops(tiny_model):
    free = greedy(tiny_model, prompt(3), 8, stop=frozenset())
    engine = HFEngine(tiny_model, frozenset({EOS, free[2]}), slots=4)
    engine.submit(ask(3))
    (result,) = engine.poll()
    first = min(i for i, t in enumerate(free) if t in (EOS, free[2]))
    assert (result.token_ids, result.finish_reason) == (free[: first + 1], "stop")


def test_requests_of_one_stream_wait_for_each_other(tiny_model):
    engine = HFEngine(tiny_model, STOP, slots=4)
    for key in "abc":
        engine.submit(ask(1, key=key, prompt_ids=prompt(ord(key))))
    results = drain(engine)
    for key in "abc":
        assert results[key].token_ids == greedy(tiny_model, prompt(ord(key)), 8)


def test_a_continued_stream_feeds_only_its_new_tokens(tiny_model):
    """What is cached is not computed again; a stream that is not continued starts where it differs."""
    fed = []

    class Spy(HFEngine):
        def _forward(self, rows):
            fed.append(sum(row.pending() for row in rows))
            return super()._forward(rows)

    engine = Spy(tiny_model, frozenset(), slots=2)
    start = prompt(1, 30)
    engine.submit(ask(1, prompt_ids=start, max_tokens=3))
    (first,) = engine.poll()
    assert fed == [30, 1, 1]
    fed.clear()
    engine.submit(ask(1, prompt_ids=(*start, *first.token_ids, 7, 8), max_tokens=2))
    (second,) = engine.poll()
    assert fed == [3, 1]  # the last token of the first request was never fed
    assert second.token_ids == greedy(tiny_model, (*start, *first.token_ids, 7, 8), 2, frozenset())
    fed.clear()
    engine.submit(ask(1, prompt_ids=(*start[:10], 9, 9), max_tokens=1))
    (third,) = engine.poll()
    assert fed == [2]
    assert third.token_ids == greedy(tiny_model, (*start[:10], 9, 9), 1, frozenset())
    fed.clear()
    engine.submit(ask(1, prompt_ids=start[:10], max_tokens=1))  # all cached: the last id is fed again for its logits
    (fourth,) = engine.poll()
    assert fed == [1]
    assert fourth.token_ids == greedy(tiny_model, start[:10], 1, frozenset())


def test_the_stream_unused_for_longest_gives_up_its_slot(tiny_model):
    engine = HFEngine(tiny_model, frozenset(), slots=2)
    for i in (1, 2, 1, 3):  # 3 takes the slot of 2
        engine.submit(ask(i, 12, max_tokens=2))
        engine.poll()
    assert set(engine._slot_ids) == {"s1", "s3"}
    for i in (2, 1, 3):
        engine.submit(ask(i, 12, max_tokens=2))
    results = drain(engine)
    for i in (1, 2, 3):
        assert results[f"k{i}"].token_ids == greedy(tiny_model, prompt(i, 12), 2, frozenset())


def test_prompts_longer_than_the_first_capacity_grow_the_cache(tiny_model):
    engine = HFEngine(tiny_model, frozenset(), slots=3)
    requests = [ask(1, 20, max_tokens=6), ask(2, 200, max_tokens=6), ask(3, 127, max_tokens=6)]
    for request in requests:
        engine.submit(request)
    results = drain(engine)
    assert engine._cache.capacity == 256
    for request in requests:
        assert results[request.key].token_ids == greedy(tiny_model, request.prompt_ids, 6, frozenset())


def test_a_batch_is_fewer_passes_than_its_rows(tiny_model):
    engine = HFEngine(tiny_model, frozenset(), slots=16)
    for i in range(16):
        engine.submit(ask(i, 20, max_tokens=10))
    drain(engine)
    assert engine.forward_passes == 10


def test_close_forgets_everything(tiny_model):
    engine = HFEngine(tiny_model, STOP, slots=2)
    for i in range(5):
        engine.submit(ask(i))
    engine.poll()
    engine.close()
    assert engine.poll() == []
    engine.submit(ask(9))
    (result,) = engine.poll()
    assert result.token_ids == greedy(tiny_model, prompt(9), 8)


def test_refused_requests_name_their_example(tiny_model):
    engine = HFEngine(tiny_model, STOP)
    with pytest.raises(EngineError, match="example 'e4': its prompt has 256 tokens, the model's context is 256"):
        engine.submit(ask(4, 256))
    with pytest.raises(EngineError, match="example 'e5': a request for 0 tokens"):
        engine.submit(ask(5, max_tokens=0))
    assert engine.poll() == []


def test_a_model_that_fails_names_the_examples():
    class Broken(HFEngine):
        def _forward(self, rows):
            raise RuntimeError("device lost")

    engine = Broken(make_model(), STOP)
    for i in range(5):
        engine.submit(ask(i, 4))
    with pytest.raises(EngineError, match=r"failed while decoding 'e0', 'e1', 'e2' and others: device lost"):
        engine.poll()


def test_every_near_tie_is_decided_alone(tiny_model, monkeypatch):
    """With a margin that makes every choice a near tie, only unbatched passes decide: same tokens."""
    engine = HFEngine(tiny_model, STOP, slots=8)
    engine._margin = 1e9
    requests = [ask(i, max_tokens=5) for i in range(8)]
    for request in requests:
        engine.submit(request)
    results = drain(engine)
    assert engine.ties == sum(len(r.token_ids) for r in results.values())
    for request in requests:
        assert results[request.key].token_ids == greedy(tiny_model, request.prompt_ids, 5)


def test_noise_in_the_batched_logits_does_not_change_tokens(tiny_model):
    """The batched pass may be wrong by less than half the margin; what is decided stays the unbatched choice."""

    class Noisy(HFEngine):
        def _forward(self, rows):
            logits = super()._forward(rows)
            half = self._margin / 2
            return logits + torch.empty_like(logits).uniform_(-half * 0.99, half * 0.99)

    torch.manual_seed(0)
    for sampling in (Sampling(), Sampling(0.7), Sampling(1.3, 3)):
        outs = []
        for kind in (HFEngine, Noisy):
            engine = kind(tiny_model, STOP, sampling, slots=8)
            engine._margin = 0.2
            for i in range(12):
                engine.submit(ask(i, max_tokens=6))
            outs.append(drain(engine))
        assert outs[0] == outs[1]


@pytest.mark.parametrize("top_k", [None, 1, 4])
def test_choose_is_the_gumbel_argmax_of_the_top_k(top_k):
    rng = np.random.default_rng(0)
    for i in range(200):
        logits = rng.normal(size=50).astype(np.float32)
        noise = gumbel(1, f"e{i}", 1, 0, 50)
        sampling = Sampling(0.7, top_k, 1)
        allowed = sorted(range(50), key=lambda t: -logits[t])[: top_k or 50]
        expected = max(allowed, key=lambda t: float(logits[t]) / 0.7 + noise[t])
        assert choose(logits, noise, sampling, 0.0) == expected
        assert choose(logits, noise, sampling, 0.05) in (expected, None)


def test_choose_knows_when_it_is_not_sure():
    noise = np.zeros(4)
    logits = np.array([1.0, 0.99, 0.5, 0.0], dtype=np.float32)
    assert choose(logits, noise, Sampling(1.0), 0.005) == 0
    assert choose(logits, noise, Sampling(1.0), 0.02) is None
    # The winner is barely within the top 2: errors could push it out.
    close = np.array([5.0, 1.0, 0.999, 0.0], dtype=np.float32)
    assert choose(close, np.array([0.0, 9.0, 0.0, 0.0]), Sampling(1.0, 2), 0.0) == 1
    assert choose(close, np.array([0.0, 9.0, 0.0, 0.0]), Sampling(1.0, 2), 0.02) is None


def test_sampling_from_the_engine_follows_the_model(tiny_model):
    """2,000 one-token samples of one prompt against the softmax (chi-square over the likely tokens)."""
    engine = HFEngine(tiny_model, STOP, Sampling(1.0, None, 5), slots=500)
    ids = prompt(1, 6)
    for i in range(2000):
        engine.submit(ask(i, prompt_ids=ids, max_tokens=1))
    counts = np.bincount([r.token_ids[0] for r in drain(engine).values()], minlength=VOCABULARY)
    with torch.no_grad():
        expected = 2000 * tiny_model(torch.tensor([ids])).logits[0, -1].softmax(-1).double().numpy()
    likely = expected >= 8
    statistic = ((counts - expected) ** 2 / expected)[likely].sum()
    degrees = likely.sum()
    assert statistic < degrees + 4.5 * np.sqrt(2 * degrees)


def test_samples_of_one_prompt_differ_by_attempt_and_position_only(tiny_model):
    def sample(**changes):
        engine = HFEngine(tiny_model, frozenset(), Sampling(2.0, None, changes.pop("seed", 0)), slots=4)
        engine.submit(ask(1, 6, max_tokens=12, **changes))
        (result,) = engine.poll()
        return result.token_ids

    first = sample()
    assert sample(key="other", stream="other") == first
    assert len({first, sample(attempt=2), sample(position=3), sample(example_id="x"), sample(seed=1)}) == 5


@pytest.mark.parametrize(
    ("changes", "supported"),
    [
        ({}, True),
        ({"layer_types": ["full_attention", "full_attention"]}, True),
        ({"layer_types": ["sliding_attention", "full_attention"]}, False),
        ({"layer_types": ["linear_attention", "full_attention"]}, False),
        ({"sliding_window": 8}, False),
        ({"sliding_window": 8, "use_sliding_window": False}, True),
        ({"model_type": "mamba"}, False),
    ],
)
def test_which_architectures_the_cache_is_for(changes, supported):
    model = make_model()
    for key, value in changes.items():
        setattr(model.config, key, value)
    assert supports_slots(model) is supported


def test_slot_cache_keeps_rows_apart_and_grows():
    cache = SlotCache(3)
    keys = torch.arange(2 * 1 * 2 * 4).reshape(2, 1, 2, 4).float() + 1
    cache.select([2, 0], torch.tensor([[0, 1], [-1, 0]]), 2)
    k, v = cache.update(keys, 10 * keys, 0)
    assert k.shape == (2, 1, 2, 4)
    assert torch.equal(k[0], keys[0])
    assert torch.equal(k[1, :, 0], keys[1, :, 1])  # the padding went to the spare column
    assert torch.equal(k[1, :, 1], torch.zeros(1, 4))
    assert torch.equal(v, 10 * k)
    more = torch.full((1, 1, 1, 4), 7.0)
    cache.select([0], torch.tensor([[140]]), 141)
    k, _ = cache.update(more, more, 0)
    assert cache.capacity == 256
    assert k.shape == (1, 1, 141, 4)
    assert torch.equal(k[0, :, 0], keys[1, :, 1])
    assert torch.equal(k[0, 0, 140], more[0, 0, 0])
    cache.select([2], torch.tensor([[2]]), 3)
    k, _ = cache.update(more, more, 0)
    assert torch.equal(k[0, :, :2], keys[0])
    assert (cache.get_seq_length(), cache.get_mask_sizes()) == (0, (3, 0))
