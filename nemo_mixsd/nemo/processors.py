"""From a target to what NeMo-RL's loops take: token ids as they were sampled, never text that is tokenized again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from nemo_rl.data.interfaces import DatumSpec, TaskDataSpec
    from transformers import PreTrainedTokenizerBase

MASKED_TOKENS = 4
"""Tokens a message that an over-long sample keeps: it stays in the batch for its shape, with weight 0."""


def mixsd_processor(
    datum_dict: dict[str, Any],
    task_data_spec: TaskDataSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_length: int | None,
    idx: int,
    **_text_options: bool,
) -> DatumSpec:
    """One target as a message log: the prompt's ids as ``user``, the target's ids as ``assistant``.

    The host trains on the messages of the role ``assistant``, so the loss covers the target and nothing else.

    Args:
        datum_dict: A row of ``TargetsDataset``.
        task_data_spec: The host's; its prompt files do not apply, the prompt is rendered already.
        tokenizer: Decodes the prompt for people to read in the host's logs; no id comes from it.
        max_seq_length: A sample of this many tokens or more is masked, as the host masks it: its messages are cut to
            a few tokens and its weight is 0. None is no limit.
        idx: Index of the row.
        _text_options: ``add_bos``, ``add_eos``, ``add_generation_prompt``: they change text, and there is none.

    Returns:
        ``message_log`` with int64 ``token_ids`` of shape ``[P]`` and ``[T]``; ``length`` P + T before any cut;
        ``loss_multiplier`` 1.0 or 0.0; ``extra_env_info`` with ``answers``, ``verifier`` and ``example_id``.
    """
    prompt = _message("user", tokenizer.decode(datum_dict["prompt_ids"]), datum_dict["prompt_ids"])
    target = _message("assistant", datum_dict["text"], datum_dict["token_ids"])
    return _datum([prompt, target], datum_dict, max_seq_length, idx)


def mixsd_prompt_processor(
    datum_dict: dict[str, Any],
    task_data_spec: TaskDataSpec,
    tokenizer: PreTrainedTokenizerBase,
    max_seq_length: int | None,
    idx: int,
    **_text_options: bool,
) -> DatumSpec:
    """The prompt of a target alone, for a policy that answers it: validation by generation and distillation.

    Arguments and result as for ``mixsd_processor``, with the one message of the role ``user``.
    """
    prompt = _message("user", tokenizer.decode(datum_dict["prompt_ids"]), datum_dict["prompt_ids"])
    return _datum([prompt], datum_dict, max_seq_length, idx)


def _message(role: str, content: str, token_ids: list[int]) -> dict[str, Any]:
    return {"role": role, "content": content, "token_ids": torch.tensor(token_ids, dtype=torch.int64)}


def _datum(messages: list[dict[str, Any]], row: dict[str, Any], max_seq_length: int | None, idx: int) -> DatumSpec:
    length = sum(len(message["token_ids"]) for message in messages)
    weight = 1.0
    if max_seq_length is not None and length >= max_seq_length:
        keep = min(MASKED_TOKENS, max_seq_length // len(messages))
        for message in messages:
            message["token_ids"] = message["token_ids"][:keep]
        weight = 0.0
    datum: DatumSpec = {
        "message_log": messages,
        "length": length,
        "extra_env_info": {
            "answers": list(row["answers"]),
            "verifier": row["verifier"],
            "example_id": row["example_id"],
        },
        "loss_multiplier": weight,
        "idx": idx,
        "task_name": row["task_name"],
    }
    return datum
