"""Squared per-sample gradients against autograd, one sample at a time, in float64."""

import numpy as np
import pytest
import torch

from nemo_mixsd.analysis.fisher_rules import find_rules
from nemo_mixsd.analysis.fisher_squares import SquaredGradients, sum_dtype
from nemo_mixsd.analysis.fisher_store import make_store
from nemo_mixsd.errors import AnalysisError
from tests.tiny import make_model
from tests.unit.analysis.fisher_witness import models, one_at_a_time, scored


def fisher(model, samples, batch, tmp_path, memory="device"):
    layout = {n: tuple(p.shape) for n, p in model.named_parameters()}
    store = make_store(memory, layout, sum_dtype(model), model.device, tmp_path)
    with SquaredGradients(model, store) as squares:
        for start in range(0, len(samples), batch):
            squares.add(samples[start : start + batch])
    found = {n: torch.tensor(store.read(n)) / len(samples) for n in layout}
    store.close()
    return found


def assert_equal(found, wanted, relative):
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=relative, atol=1e-14, msg=name)


@pytest.mark.parametrize("kind", list(models()))
def test_equals_autograd_one_sample_at_a_time(kind, tmp_path):
    model = models()[kind]().double()
    samples = scored()
    wanted = one_at_a_time(model, samples)
    assert all(bool(value.any()) for value in wanted.values()) or kind in ("gpt2", "phi")  # the test has power
    assert_equal(fisher(model, samples, 4, tmp_path), wanted, 1e-6)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("memory", ["device", "host", "disk"])
def test_neither_batch_nor_memory_changes_it(batch, memory, tmp_path):
    model = make_model(tie_word_embeddings=True).double()
    samples = scored()
    assert_equal(fisher(model, samples, batch, tmp_path, memory), one_at_a_time(model, samples), 1e-6)
    assert list(tmp_path.iterdir()) == []


def test_blocks_smaller_than_a_layer_change_nothing(tmp_path, monkeypatch):
    model = make_model(tie_word_embeddings=True).double()
    samples = scored()
    monkeypatch.setitem(__import__("nemo_mixsd.analysis.fisher_squares", fromlist=["BLOCK"]).BLOCK, "cpu", 70)
    assert_equal(fisher(model, samples, 7, tmp_path), one_at_a_time(model, samples), 1e-6)


def test_softmax_regression_by_hand(tmp_path):
    """Without layers, the output layer is a softmax regression on normed embeddings: F = mean (sum (y - p) h^T)^2."""
    model = make_model(num_hidden_layers=0).double()
    samples = scored()
    embedding, weight = (m.weight.detach().numpy() for m in (model.model.embed_tokens, model.lm_head))
    total = np.zeros_like(weight)
    for s in samples:
        ids = [*s.prompt_ids, *s.token_ids]
        gradient = np.zeros_like(weight)
        for t in range(len(s.prompt_ids), len(ids)):
            h = embedding[ids[t - 1]]
            h = h / np.sqrt((h**2).mean() + model.config.rms_norm_eps)
            scores = np.exp(weight @ h)
            gradient += np.outer(np.eye(len(weight))[ids[t]] - scores / scores.sum(), h)
        total += gradient**2
    found = fisher(model, samples, 4, tmp_path)["lm_head.weight"].numpy()
    np.testing.assert_allclose(found, total / len(samples), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("tied", [False, True])
def test_bfloat16_weights(tied, tmp_path):
    model = make_model(tie_word_embeddings=tied).bfloat16()
    samples = scored()
    found = fisher(model, samples, 4, tmp_path)
    exact = one_at_a_time(make_same(model, tied), samples)
    plain = one_at_a_time(model, samples)
    for name, value in found.items():
        assert value.dtype == torch.float32
        own = relative(value.double(), exact[name])
        assert own < 0.1, name  # what bfloat16 activations leave
        assert own < 2 * relative(plain[name].double(), exact[name]) + 0.01, name  # no worse than autograd's


def make_same(model, tied):
    """The same weights in float64."""
    twin = make_model(tie_word_embeddings=tied).double()
    twin.load_state_dict({n: p.double() for n, p in model.state_dict().items()})
    return twin


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_float32_is_close_to_float64(tmp_path):
    samples = scored()
    wanted = one_at_a_time(make_model().double(), samples)
    for name, value in fisher(make_model(), samples, 4, tmp_path).items():
        assert relative(value.double(), wanted[name]) < 1e-4, name


def test_which_parameters_have_a_rule():
    assert find_rules(make_model()).rest == {}
    tied = find_rules(make_model(tie_word_embeddings=True))
    assert tied.rest == {} and tied.tied == "model.embed_tokens.weight"
    assert find_rules(models()["qwen3"]()).rest == {}
    experts = find_rules(models()["mixtral"]()).rest
    assert experts and all("mlp" in name for name in experts)


def test_the_model_is_left_as_it_was(tmp_path):
    model = make_model(tie_word_embeddings=True)
    model.lm_head.weight.requires_grad_(False)
    before = {n: p.requires_grad for n, p in model.named_parameters()}
    fisher(model, scored(), 4, tmp_path)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == before
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_nan_weights_are_refused(tmp_path):
    model = make_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 2] = float("nan")
    with pytest.raises(AnalysisError, match=r"e00.*NaN weights"):
        fisher(model, scored(), 1, tmp_path)
