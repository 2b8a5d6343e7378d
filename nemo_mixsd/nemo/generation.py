"""Generation for NeMo-RL's interface on a transformers model: one batch, a cache, and a token loop one can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from nemo_mixsd.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How tokens are chosen and when a response ends.

    Attributes:
        max_new_tokens: Longest response.
        max_total_tokens: Longest prompt and response together.
        temperature: 0 is greedy.
        top_k: Only among the k likeliest; None is all.
        top_p: Only among the likeliest that together have this probability.
        stop_ids: Ids that end a response and belong to it.
        pad_id: Fills the right side of the result.
    """

    max_new_tokens: int
    max_total_tokens: int
    temperature: float
    top_k: int | None
    top_p: float
    stop_ids: frozenset[int]
    pad_id: int

    @classmethod
    def from_host(
        cls, policy: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, greedy: bool
    ) -> GenerationSettings:
        """Settings of the host's ``policy`` section.

        Raises:
            ConfigError: It has no ``generation``.
        """
        section = policy.get("generation")
        if not section:
            raise ConfigError("policy.generation is missing; this loop generates, so the recipe must say how")
        stop = set(section.get("stop_token_ids") or [])
        if tokenizer.eos_token_id is not None:
            stop.add(int(tokenizer.eos_token_id))
        return cls(
            max_new_tokens=section["max_new_tokens"],
            max_total_tokens=policy["max_total_sequence_length"],
            temperature=0.0 if greedy else section["temperature"],
            top_k=section.get("top_k"),
            top_p=section.get("top_p", 1.0),
            stop_ids=frozenset(stop),
            pad_id=int(tokenizer.pad_token_id),
        )


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: BatchedDataDict[Any],
    settings: GenerationSettings,
    random: torch.Generator | None = None,
) -> BatchedDataDict[Any]:
    """Continue right-padded prompts.

    Args:
        model: In evaluation mode.
        tokenizer: Decodes responses where ``data`` has stop strings.
        data: ``input_ids`` ``[B, S]``, ``input_lengths`` ``[B]``, and perhaps ``stop_strings`` ``[B]`` (lists or None).
        settings: See there.
        random: Draws the tokens; torch's own generator by default.

    Returns:
        ``output_ids`` ``[B, S']`` right-padded prompts with responses, ``generation_lengths`` ``[B]``,
        ``unpadded_sequence_lengths`` ``[B]``, ``logprobs`` ``[B, S']`` float32 of the generated tokens under the
        untruncated distribution at temperature 1 (0 elsewhere), ``truncated`` ``[B]`` bool: a length limit was met.
    """
    prompts = [row[:length].tolist() for row, length in zip(data["input_ids"], data["input_lengths"], strict=True)]
    strings = [s or [] for s in data.get("stop_strings") or [None] * len(prompts)]
    responses: list[list[int]] = [[] for _ in prompts]
    scores: list[list[float]] = [[] for _ in prompts]
    limits = [min(settings.max_new_tokens, settings.max_total_tokens - len(prompt)) for prompt in prompts]
    ended = [False] * len(prompts)

    width = max(map(len, prompts))
    # Left padding, so that the last column is the last prompt token of every row.
    ids = torch.tensor([[settings.pad_id] * (width - len(p)) + p for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = None
    while not all(done or len(r) >= limit for done, r, limit in zip(ended, responses, limits, strict=True)):
        out = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits = out.logits[:, -1].float()
        chosen = choose(logits, settings, random)
        logprobs = logits.log_softmax(-1).gather(1, chosen.unsqueeze(1)).squeeze(1)
        for i, (token, score) in enumerate(zip(chosen.tolist(), logprobs.tolist(), strict=True)):
            if ended[i] or len(responses[i]) >= limits[i]:
                continue
            responses[i].append(token)
            scores[i].append(score)
            ended[i] = token in settings.stop_ids or _has_any(tokenizer, responses[i], strings[i])
        ids = chosen.unsqueeze(1)
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return _pack(prompts, responses, scores, ended, settings.pad_id)


def choose(logits: torch.Tensor, settings: GenerationSettings, random: torch.Generator | None = None) -> torch.Tensor:
    """Next tokens ``[B]`` from logits ``[B, V]``: greedy, or sampled after temperature, top-k and top-p."""
    if settings.temperature == 0:
        return logits.argmax(-1)
    logits = logits / settings.temperature
    if settings.top_k is not None and 0 < settings.top_k < logits.shape[-1]:
        lowest = logits.topk(settings.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, float("-inf"))
    if settings.top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        ordered = ordered.masked_fill(before >= settings.top_p, float("-inf"))
        logits = torch.full_like(logits, float("-inf")).scatter(1, order, ordered)
    return torch.multinomial(logits.softmax(-1), 1, generator=random).squeeze(1)


def _has_any(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], strings: list[str]) -> bool:
    return bool(strings) and any(string in str(tokenizer.decode(token_ids)) for string in strings)


def _pack(
    prompts: list[list[int]], responses: list[list[int]], scores: list[list[float]], ended: list[bool], pad_id: int
) -> BatchedDataDict[Any]:
    rows = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    width = max(map(len, rows))
    output = torch.full((len(rows), width), pad_id)
    logprobs = torch.zeros(len(rows), width)
    for i, row in enumerate(rows):
        output[i, : len(row)] = torch.tensor(row)
        logprobs[i, len(prompts[i]) : len(row)] = torch.tensor(scores[i])
    return BatchedDataDict(
        output_ids=output,
        generation_lengths=torch.tensor([len(response) for response in responses]),
        unpadded_sequence_lengths=torch.tensor([len(row) for row in rows]),
        logprobs=logprobs,
        truncated=torch.tensor([not done for done in ended]),
    )
