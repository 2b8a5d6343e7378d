"""Sampling inside vLLM with this package's own noise, so that a sample does not depend on how it was scheduled.

vLLM's seeds belong to a request, and a request here is a segment: its samples would change with the segmentation.
This processor, loaded by vLLM in the process that holds the logits, leaves of each row only the token that the Gumbel
trick chooses with the noise of (seed, example, attempt, position); vLLM's greedy argmax then takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from nemo_mixsd.mixing.coins import gumbel
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import choose

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the batch: its noise's key, and the tokens that its segment has so far (a list that vLLM appends to)."""

    sampling: Sampling
    example_id: str
    attempt: int
    position: int
    output: list[int]


class NoiseProcessor(LogitsProcessor):  # type: ignore[misc]
    """Replaces a row's logits by minus infinity everywhere but at the sampled token."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self._rows: dict[int, _Row] = {}

    def is_argmax_invariant(self) -> bool:
        """False: it decides the argmax."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the batch as requests come, go and move."""
        process_dict_updates(self._rows, batch_update, _new_row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Sample.

        Args:
            logits: ``[B, V]`` float32; changed in place.
        """
        if not self._rows:
            return logits
        indices = list(self._rows)
        values = logits[indices].float().cpu().numpy()
        tokens = []
        for row, scores in zip(self._rows.values(), values, strict=True):
            position = row.position + len(row.output)
            noise = gumbel(row.sampling.seed, row.example_id, row.attempt, position, len(scores))
            token = choose(scores, noise, row.sampling, 0.0)
            assert token is not None
            tokens.append(token)
        logits[indices] = float("-inf")
        logits[indices, tokens] = 0.0
        return logits


def _new_row(params: SamplingParams, prompt_ids: list[int] | None, output: list[int]) -> _Row | None:
    extra: dict[str, Any] | None = (params.extra_args or {}).get("mixsd")
    if extra is None:
        return None
    sampling = Sampling(extra["temperature"], extra["top_k"], extra["seed"])
    return _Row(sampling, extra["example_id"], extra["attempt"], extra["position"], output)
