"""What a distillation is given, on either backend: its method, both prompts of every example, perhaps targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nemo_mixsd import models
from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Method


@dataclass(frozen=True, slots=True)
class DistillSource:
    """What a distillation learns from.

    Attributes:
        method: One of ``distill_config.DISTILLED``.
        prompts: Both prompts of every training example, in corpus order.
        targets_path: ``mixsd_kl``: JSONL of ``Target``, the mixed rollouts; None for the others.
    """

    method: Method
    prompts: Sequence[TeacherPrompt]
    targets_path: Path | None = None


def longest_sequence(config: RunConfig, model_path: str) -> int:
    """Most tokens that prompt and response may have together, for student and teacher."""
    limits = [config.mixing.max_total_tokens, config.policy.max_total_sequence_length]
    context = models.context_length(model_path)
    return min(limits if context is None else [*limits, context])


def check_topk(config: RunConfig, method: Method, model_path: str) -> None:
    """Refuse a top-k that is wider than the vocabulary; OPSD-NLL asks for one token alone.

    Raises:
        ConfigError: Names both numbers.
    """
    vocabulary = models.vocabulary_size(model_path)
    if method != Method.OPSD_NLL and vocabulary is not None and config.opsd.topk > vocabulary:
        raise ConfigError(
            f"opsd.topk={config.opsd.topk} is more than the {vocabulary} tokens of the model's vocabulary; lower it"
        )
