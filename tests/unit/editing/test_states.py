"""Keys, hidden states and changed tails against plain full passes, with both families."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3MoeConfig, Qwen3MoeForCausalLM

from nemo_mixsd.editing.layers import choose_layers, decoder_layers, default_layers, down_proj
from nemo_mixsd.editing.states import last_hidden, last_keys, read_keys
from nemo_mixsd.editing.subject import LocatedPrompt
from nemo_mixsd.editing.tail import Tail, make_tails
from nemo_mixsd.errors import BackendError, ConfigError
from tests.editing import whole_pass

ROWS = [(2, 10, 11, 12), (2, 9), (2, 30, 31, 32, 33, 34, 35)]


def plain_key(model, layer, row):
    """By the layer's own parts: act(gate(x)) * up(x)."""
    states = model(torch.tensor([row]), output_hidden_states=True, use_cache=False).hidden_states
    block = decoder_layers(model)[layer]
    seen = []
    handle = block.post_attention_layernorm.register_forward_hook(lambda m, a, out: seen.append(out))
    model(torch.tensor([row]), use_cache=False)
    handle.remove()
    mlp = block.mlp
    assert len(states) == len(decoder_layers(model)) + 1
    return (mlp.act_fn(mlp.gate_proj(seen[0])) * mlp.up_proj(seen[0]))[0]


def test_keys(family):
    expected = [torch.cat([plain_key(family, layer, row) for row in ROWS]) for layer in (1, 3)]
    found = read_keys(family, [1, 3], ROWS)
    torch.testing.assert_close(found[1], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[3], expected[1], atol=1e-5, rtol=1e-4)
    ends = torch.stack([plain_key(family, 3, row)[-1] for row in ROWS]).double()
    torch.testing.assert_close(last_keys(family, 3, ROWS, 2), ends, atol=1e-5, rtol=1e-4)


def test_hooks_are_taken_off_again(family):
    read_keys(family, [1, 3], ROWS)
    last_hidden(family, 2, ROWS, 2)
    make_tails(family, TAILS)[0].log_probs(1, torch.ones(32), 2)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in family.modules())


def test_hidden_states(family):
    for layer in (0, 2):
        expected = [
            family(torch.tensor([row]), output_hidden_states=True, use_cache=False).hidden_states[layer + 1][0, -1]
            for row in ROWS
        ]
        found = last_hidden(family, layer, ROWS, 2)
        torch.testing.assert_close(found, torch.stack(expected).double(), atol=1e-5, rtol=1e-4)


TAILS = [
    LocatedPrompt((2, 10, 11, 12, 13, 14), 3),
    LocatedPrompt((2, 40, 41, 42, 43, 10, 11, 12, 13, 14), 7),
    LocatedPrompt((2, 11, 12, 13), 1),
]


@pytest.mark.parametrize("layer", [0, 2, 4])
def test_a_changed_tail_is_a_changed_whole_pass(family, layer):
    torch.manual_seed(0)
    delta = torch.randn(32)
    (tail,) = make_tails(family, TAILS)
    for _ in range(2):  # the cache is as before after a pass
        found = tail.log_probs(layer, delta, 3)
        for i, row in enumerate(TAILS):
            torch.testing.assert_close(found[i], whole_pass(family, row, layer, delta)[-3:], atol=2e-5, rtol=1e-4)


def test_a_subject_at_the_very_start(family):
    row = LocatedPrompt((10, 11, 12), 0)
    delta = torch.full((32,), 0.3)
    found = Tail(family, [row]).log_probs(1, delta, 3)[0]
    torch.testing.assert_close(found, whole_pass(family, row, 1, delta), atol=2e-5, rtol=1e-4)


def test_rows_of_other_lengths_have_a_tail_of_their_own(family):
    tails = make_tails(family, [*TAILS, LocatedPrompt((2, 10, 11), 2)])
    assert [(tail.rows, tail.ids.shape[1]) for tail in tails] == [(3, 3), (1, 1)]


def test_the_gradient_of_a_change(family):
    """Against finite differences; the steps are wide, for norms are in float32 whatever the model."""
    (tail,) = make_tails(family, TAILS)
    delta = torch.zeros(32, requires_grad=True)

    def loss(log_probs):
        return log_probs[0, 20] + 2 * log_probs[1, 21]

    loss(tail.log_probs(1, delta, 2)[0]).backward()
    for i in (0, 7, 31):
        step = torch.zeros(32)
        step[i] = 2e-2
        up, down = (loss(whole_pass(family, TAILS[0], 1, change)[-2:].double()) for change in (step, -step))
        assert float(delta.grad[i]) == pytest.approx(float(up - down) / 4e-2, rel=2e-2, abs=2e-3)


def test_where_an_edit_ends_up_is_a_dense_down_proj(family):
    assert down_proj(family, 2) is decoder_layers(family)[2].mlp.down_proj
    gpt = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=32, n_positions=16))
    with pytest.raises(BackendError, match="Llama and Qwen families with dense MLPs; GPT2LMHeadModel is none"):
        down_proj(gpt, 0)
    moe = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, head_dim=8, num_experts=2, num_experts_per_tok=1,
        )
    )  # fmt: skip
    with pytest.raises(BackendError, match=r"layer 0 has no dense mlp\.down_proj"):
        down_proj(moe, 0)


@pytest.mark.parametrize(
    ("model", "layers"),
    [
        (("qwen3", 28, 2048), (3, 11)),  # Qwen3-1.7B, 4B and 8B: the ranges of the paper's E.5
        (("qwen3", 36, 2560), (4, 14)),
        (("qwen3", 36, 4096), (5, 14)),
        (("llama", 28, 2048), (3, 11)),
        (("llama", 16, 2048), (2, 6)),
        (("llama", 30, 576), (3, 12)),
        (("llama", 2, 32), (0, 1)),
        (("llama", 1, 32), (0, 0)),
    ],
)
def test_the_default_range(model, layers):
    assert default_layers(*model) == layers


def test_the_range_of_a_recipe(family):
    assert choose_layers((1, 4), family.config) == (1, 4)
    assert choose_layers(None, family.config) == (1, 2)
    with pytest.raises(ConfigError, match=r"memit\.layers is \[1, 5\], but the model has 5 layers, 0 to 4"):
        choose_layers((1, 5), family.config)
