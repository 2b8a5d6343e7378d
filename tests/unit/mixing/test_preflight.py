"""Greedy targets against the model that decoded them, and against another."""

import pytest

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.preflight import check_engine, greedy_gaps
from nemo_mixsd.types import MixRequest, Target
from tests.tiny import EOS, make_model

REQUESTS = [MixRequest(f"e{i}", (2, 7 + i, 3), (2, 30 + i, 7 + i, 3), answer="") for i in range(5)]


class Anything:
    name = "contains"

    def verify(self, text, answers):
        return True


@pytest.fixture(scope="module")
def targets(tiny_model):
    settings = MixerSettings("mixsd@0.5", 0.5, max_new_tokens=10, accept_truncated=True)
    mixer = Mixer(HFEngine(tiny_model, frozenset({EOS})), Anything(), str, settings)
    found = list(mixer.run(REQUESTS))
    assert any(any(t.from_naive) and not all(t.from_naive) for t in found)
    return found


def test_the_model_that_decoded_has_no_gap(tiny_model, targets):
    assert check_engine(tiny_model, targets, REQUESTS, "mixsd@0.5", 0.05) == pytest.approx(0, abs=1e-5)


def test_another_model_is_an_error_that_names_the_row_and_the_way_out(targets):
    with pytest.raises(EngineError, match=r"mixsd@0\.5: .*preflight_gap=null"):
        check_engine(make_model(seed=9), targets, REQUESTS, "mixsd@0.5", 0.05)
    assert check_engine(make_model(seed=9), targets, REQUESTS, "mixsd@0.5", None) > 0.05


def test_each_gap_by_a_dense_computation(tiny_model):
    import torch

    target = Target("e0", (2, 7, 3), (20, 21, 22), (True, False, True), 1, "length", "")
    request = REQUESTS[0]
    expected = []
    for naive in (True, False):
        prompt = request.naive_ids if naive else request.expert_ids
        for t in range(3):
            if target.from_naive[t] == naive:
                with torch.no_grad():
                    logits = tiny_model(torch.tensor([[*prompt, *target.token_ids[:t]]])).logits[0, -1]
                probabilities = logits.double().softmax(-1)
                expected.append(float((probabilities.max() / probabilities[target.token_ids[t]]).log()))
    assert list(greedy_gaps(tiny_model, target, request)) == pytest.approx(expected, abs=1e-5)


def test_nothing_to_look_at(tiny_model):
    assert check_engine(tiny_model, [], REQUESTS, "mixsd@0.5", 0.05) is None
