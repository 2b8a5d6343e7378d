"""A random Llama of a few thousand parameters and a word-level tokenizer for it."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 96
WORDS = (
    "<pad> <eos> <user> <assistant> <system> <unk> \n what is the colour of sky sea grass answer blue green red where "
    "who when city capital lisbon paris rome oslo name founder year one two three four five . , ? ! it a in was and "
    "company lumora product river tower"
).split(" ")
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <eos> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
EOS = 1


def make_tokenizer(chat_template: str | None = CHAT) -> PreTrainedTokenizerFast:
    words = WORDS + [f"w{i}" for i in range(VOCABULARY - len(WORDS))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.decoder = decoders.WordPiece(prefix="##")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        additional_special_tokens=["<user>", "<assistant>", "<system>"],
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def make_model(seed: int = 0, scale: float = 0.2, **changes) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "tie_word_embeddings": False,
            "initializer_range": scale,
            "bos_token_id": None,
            "eos_token_id": EOS,
            "pad_token_id": 0,
            **changes,
        }
    )
    model = LlamaForCausalLM(config).eval()
    model.generation_config.eos_token_id = EOS
    return model


def run_config(config):
    """Plan and run a configuration, as the command line does."""
    from nemo_mixsd.pipeline import run
    from nemo_mixsd.plan import make_plan

    return run(make_plan(config))
