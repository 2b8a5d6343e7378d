"""The plain way to a Fisher, and small models of several kinds to take it from."""

import numpy as np
import torch

from nemo_mixsd.analysis.nll import Scored
from tests.tiny import VOCABULARY, make_model


def scored(count=7, seed=4, low=1, high=9):
    rng = np.random.default_rng(seed)

    def ids(size):
        return tuple(int(i) for i in rng.integers(0, VOCABULARY, size))  # id 0 is the padding of some models too

    return [Scored(f"e{i:02d}", ids(rng.integers(low, high + 4)), ids(rng.integers(1, high))) for i in range(count)]


def one_at_a_time(model, samples):
    """Batch 1, autograd's whole gradient, squared and averaged."""
    sums = {n: torch.zeros_like(p) for n, p in model.named_parameters()}
    for s in samples:
        model.zero_grad()
        logits = model(torch.tensor([[*s.prompt_ids, *s.token_ids]]), use_cache=False).logits[0]
        logs = torch.log_softmax(logits, -1)
        first = len(s.prompt_ids)
        sum(logs[first + t - 1, token] for t, token in enumerate(s.token_ids)).backward()
        for n, p in model.named_parameters():
            if p.grad is not None:
                sums[n] += p.grad.to(sums[n].dtype) ** 2
    model.zero_grad()
    return {n: total / len(samples) for n, total in sums.items()}


SMALL = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
    "initializer_range": 0.3, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1,
}  # fmt: skip


def models():
    """Name to maker, each a causal model with other kinds of parameters."""
    import transformers as hf

    def small(cls, config, **changes):
        def make():
            torch.manual_seed(1)
            model = cls(config(**{**SMALL, **changes})).eval()
            model.config._experts_implementation = "eager"  # grouped products of experts are not for float64
            return model

        return make

    gpt2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    moe = {"num_local_experts": 4, "num_experts_per_tok": 2}
    return {
        "llama": make_model,
        "llama tied": lambda: make_model(tie_word_embeddings=True),
        "llama tied, padding is a token": lambda: make_model(tie_word_embeddings=True, pad_token_id=None),
        "llama with biases": lambda: make_model(attention_bias=True, mlp_bias=True),
        "qwen3": small(hf.Qwen3ForCausalLM, hf.Qwen3Config, tie_word_embeddings=True),
        "gemma2": small(hf.Gemma2ForCausalLM, hf.Gemma2Config, final_logit_softcapping=5.0),
        "gemma3": small(hf.Gemma3ForCausalLM, hf.Gemma3TextConfig, tie_word_embeddings=True),
        "gpt2": small(hf.GPT2LMHeadModel, hf.GPT2Config, **gpt2),
        "phi": small(hf.PhiForCausalLM, hf.PhiConfig, num_key_value_heads=2),
        "mixtral": small(hf.MixtralForCausalLM, hf.MixtralConfig, **moe),
    }
