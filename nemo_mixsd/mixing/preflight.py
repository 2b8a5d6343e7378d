"""A check of the engine: greedy tokens are the likeliest ones under the base model as everything else here loads it.

An engine with other weights, another precision or other prompts than the model that scores and trains would give
targets that nobody notices to be wrong. Under greedy decoding each token of a target is the likeliest one of the
conditional that its coin chose, so the distance to the likeliest token is 0 nats, up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from nemo_mixsd.errors import EngineError
from nemo_mixsd.types import MixRequest, Target

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

COUNT = 8
"""Targets that are looked at."""


@torch.inference_mode()
def greedy_gaps(model: PreTrainedModel, target: Target, request: MixRequest) -> Iterator[float]:
    """How far each token of a target is from the likeliest one, under the conditional of its coin.

    Args:
        model: The base model, in evaluation mode.
        target: From greedy decoding.
        request: Its prompts.

    Yields:
        Nats, at least 0, one for each token, naive positions first.
    """
    tokens = torch.tensor(target.token_ids, device=model.device)
    naive = torch.tensor(target.from_naive, device=model.device)
    for prompt, chosen in ((request.naive_ids, naive), (request.expert_ids, ~naive)):
        if not chosen.any():
            continue
        ids = torch.tensor([[*prompt, *target.token_ids[:-1]]], device=model.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=len(tokens)).logits[0].float()
        gaps = logits.max(-1).values - logits.gather(-1, tokens[:, None])[:, 0]
        yield from gaps[chosen].tolist()


def check_engine(
    model: PreTrainedModel, targets: Sequence[Target], requests: Sequence[MixRequest], name: str, limit: float | None
) -> float | None:
    """Compare the engine that generated targets greedily with the base model in this process.

    Args:
        model: The base model.
        targets: Of one rate; the first ones are looked at.
        requests: Both prompts of every example.
        name: The report name, for the error.
        limit: Largest mean distance in nats a token; None allows any.

    Returns:
        The mean distance in nats a token, or None without targets.

    Raises:
        EngineError: It is above the limit.
    """
    prompts = {request.example_id: request for request in requests}
    chosen = [target for target in targets if target.example_id in prompts][:COUNT]
    gaps = [gap for target in chosen for gap in greedy_gaps(model, target, prompts[target.example_id])]
    if not gaps:
        return None
    mean = sum(gaps) / len(gaps)
    logger.info("%s: tokens are %.4f nats from the likeliest one on average (%d tokens)", name, mean, len(gaps))
    if limit is not None and not mean <= limit:
        raise EngineError(
            f"{name}: the engine's greedy tokens are {mean:.3f} nats a token below the likeliest ones of the base "
            f"model (allowed: {limit}), so it does not decode with the model that is trained. Likely causes: other "
            "weights (dummy ones, another checkpoint), a lower precision (mixing.precision), tied weights that were "
            "not tied on loading. Give another run_dir after the cause is removed; policy.preflight_gap=null allows any"
        )
    return mean
