"""The local backend's teacher: the base model, the student itself or a moving average of it, given the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nemo_mixsd import models
from nemo_mixsd.config import RunConfig
from nemo_mixsd.training.distill_config import OpsdConfig
from nemo_mixsd.training.loop import TEACHER_FILE
from nemo_mixsd.training.rollouts import Sample
from nemo_mixsd.training.teacher import teacher_row

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Advice:
    """What the teacher thinks comes next, at each token of some responses, rows end to end: ``N`` tokens in all.

    Attributes:
        logits: ``[N, k]`` float32, the largest ones, in falling order.
        indices: ``[N, k]`` int64 token ids.
        logsumexp: ``[N]`` float32 over the whole vocabulary.
    """

    logits: torch.Tensor
    indices: torch.Tensor
    logsumexp: torch.Tensor


class LocalTeacher:
    """Reads the expert prompt and the student's response. Never has gradients, never leaves evaluation mode."""

    def __init__(self, model: PreTrainedModel, opsd: OpsdConfig) -> None:
        """Use a model.

        Args:
            model: The student for ``live``; a copy of the base model otherwise.
            opsd: ``teacher`` and ``ema_decay``.
        """
        self.kind = opsd.teacher
        self.model = model
        self._decay = opsd.ema_decay

    @classmethod
    def load(cls, config: RunConfig, model_path: str, student: PreTrainedModel) -> LocalTeacher:
        """The teacher that the recipe asks for; only ``base`` and ``ema`` load a second model.

        A moving average is kept in float32 whatever the precision: its steps are too small for less.
        """
        if config.opsd.teacher == "live":
            return cls(student, config.opsd)
        small = config.opsd.teacher == "base" and models.default_device() != "cpu"
        model = models.load_model(model_path, config.policy.precision if small else "float32")
        return cls(model.requires_grad_(False), config.opsd)

    @torch.no_grad()
    def advise(self, samples: Sequence[Sample], k: int, skip: int = 0) -> Advice:
        """The ``k`` likeliest next tokens at every token of the responses but their first ``skip`` ones.

        Rows are padded on the left, so that logits are made for the responses alone; of them only the top k are kept.
        """
        rows = [teacher_row(sample.prompt, sample.token_ids).ids for sample in samples]
        width, keep = max(map(len, rows)), max(len(sample.token_ids) for sample in samples) + 1
        device = self.model.device
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
        training = self.model.training
        self.model.eval()
        logits = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            logits_to_keep=keep,
        ).logits
        self.model.train(training)
        parts = []
        for row, sample in zip(logits, samples, strict=True):
            said = row[-len(sample.token_ids) - 1 : -1][skip:].float()
            parts.append((*torch.topk(said, k, dim=-1), said.logsumexp(-1)))
        values, indices, total = (torch.cat(column) for column in zip(*parts, strict=True))
        return Advice(values, indices, total)

    @torch.no_grad()
    def follow(self, student: PreTrainedModel) -> None:
        """After an optimizer step: a moving average moves towards the student."""
        if self.kind == "ema":
            for mine, other in zip(self.model.parameters(), student.parameters(), strict=True):
                mine.lerp_(other.to(mine), 1.0 - self._decay)

    def keep(self, checkpoint: Path) -> None:
        """Write a teacher that moves into a checkpoint; the others are there anyway."""
        if self.kind == "ema":
            from safetensors.torch import save_file

            save_file({name: p.contiguous() for name, p in self.model.named_parameters()}, checkpoint / TEACHER_FILE)

    @torch.no_grad()
    def restore(self, checkpoint: Path) -> None:
        """Take up what ``keep`` wrote."""
        if self.kind == "ema":
            from safetensors.torch import load_file

            weights = load_file(checkpoint / TEACHER_FILE)
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])
