"""Who speaks in NeMo-RL's distillation loop when it is not the student at a temperature: greedy, or a replay."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo.listening import Wrapper
from nemo_mixsd.types import Target


class GreedyGeneration(Wrapper):
    """A generation, or a policy that generates, which takes the likeliest token whatever the loop asks.

    The loop always samples, and a temperature of 0 in ``policy.generation`` would divide the policy's logits by 0.
    """

    def generate(self, data: BatchedDataDict[Any], greedy: bool = False) -> BatchedDataDict[Any]:
        """As the inner one, greedily."""
        return self._inner.generate(data, greedy=True)

    def generate_async(self, data: BatchedDataDict[Any], greedy: bool = False) -> AsyncGenerator[Any, None]:
        """As the inner one, greedily."""
        found: AsyncGenerator[Any, None] = self._inner.generate_async(data, greedy=True)
        return found


class ReplayPolicy(Wrapper):
    """The student's policy, whose answers are given beforehand (MixSD-KL): the loop trains it on mixed rollouts.

    Handed to the loop as the student with no generation beside it, it is asked for its answers itself.
    """

    def __init__(self, inner: Any, targets: Mapping[tuple[int, ...], Target], pad_id: int) -> None:
        """Wrap a policy.

        Args:
            inner: The student.
            targets: What it answers, by the token ids of the naive prompt.
            pad_id: Fills the right side of the result.
        """
        super().__init__(inner)
        self._targets = targets
        self._pad_id = pad_id

    def generate(self, data: BatchedDataDict[Any], greedy: bool = False) -> BatchedDataDict[Any]:
        """Give the targets as responses; shapes as ``nemo_mixsd.nemo.generation.generate`` has them.

        Raises:
            BackendError: A prompt has no target.
        """
        prompts = [
            tuple(row[:length].tolist()) for row, length in zip(data["input_ids"], data["input_lengths"], strict=True)
        ]
        unknown = [prompt for prompt in prompts if prompt not in self._targets]
        if unknown:
            raise BackendError(f"no target for a prompt of {len(unknown[0])} tokens ({list(unknown[0][:8])}...)")
        targets = [self._targets[prompt] for prompt in prompts]
        rows = [[*prompt, *target.token_ids] for prompt, target in zip(prompts, targets, strict=True)]
        width = max(map(len, rows))
        return BatchedDataDict(
            output_ids=torch.tensor([row + [self._pad_id] * (width - len(row)) for row in rows]),
            generation_lengths=torch.tensor([len(target.token_ids) for target in targets]),
            unpadded_sequence_lengths=torch.tensor([len(row) for row in rows]),
            logprobs=torch.zeros(len(rows), width),  # nothing in this loop reads them
            truncated=torch.tensor([target.finish_reason == "length" for target in targets]),
        )

    def prepare_for_generation(self, *args: Any, **kwargs: Any) -> bool:
        """Nothing to wake."""
        return True

    def finish_generation(self, *args: Any, **kwargs: Any) -> bool:
        """Make room for the teacher, as the loop does when weights go to a generation of its own."""
        self._inner.offload_before_refit()
        self._inner.offload_after_refit()
        return True
