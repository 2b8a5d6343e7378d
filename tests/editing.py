"""For tests of edits: tiny models of both families, and a plain witness of a changed forward pass."""

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from nemo_mixsd.editing.layers import decoder_layers
from tests.tiny import EOS, VOCABULARY, make_model

LAYERS = 5


def whole_pass(model, row, layer, delta):
    """Log-probabilities of a full pass without a cache, with ``delta`` added at the position by a plain hook."""

    def hook(module, args, output):
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, row.position] += delta
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = decoder_layers(model)[layer].register_forward_hook(hook)
    logits = model(torch.tensor([row.ids]), use_cache=False).logits
    handle.remove()
    return torch.log_softmax(logits[0], -1)


def make_family(name: str):
    """``llama`` or ``qwen``, five layers, ready to be edited."""
    if name == "llama":
        model = make_model(3, scale=0.2, num_hidden_layers=LAYERS)
    else:
        torch.manual_seed(5)
        config = Qwen3Config(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=256,
            tie_word_embeddings=True, initializer_range=0.2, bos_token_id=None, eos_token_id=EOS, pad_token_id=0,
        )  # fmt: skip
        model = Qwen3ForCausalLM(config).eval()
        model.generation_config.eos_token_id = EOS
    return model.requires_grad_(False)
