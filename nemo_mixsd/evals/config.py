"""The ``evals`` section of a recipe: what is measured on a checkpoint."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nemo_mixsd.section import Section


class ForgettingConfig(Section):
    """How forgetting (Eq. 2) is measured: on samples of the base model itself."""

    enabled: bool = True
    """Whether it is measured at all."""
    prompts: str | None = None
    """JSONL with a ``prompt`` a line; null is the set of general prompts in the package."""
    limit: int | None = Field(None, ge=1)
    """Use only the first prompts."""
    samples_per_prompt: int = Field(1, ge=1)
    """Base-model samples for each prompt."""
    max_new_tokens: int = Field(64, ge=1)
    """Length of a sample."""
    temperature: float = Field(1.0, gt=0)
    """1.0 samples the base model's own distribution, as Eq. 1 asks."""
    seed: int = 0
    """Seed of the samples."""


class StopConfig(Section):
    """Ends a training early, when the facts are known. Not on a cluster of NeMo-RL."""

    train_accuracy: float | None = Field(None, gt=0, le=1)
    """Greedy accuracy on the training questions that is enough; null trains to the last step."""
    period: int = Field(10, ge=1)
    """Optimizer steps between two looks."""


class EvalsConfig(Section):
    """What is measured on a checkpoint."""

    splits: list[str] | None = None
    """Splits of the corpus to answer greedily; null is all it has."""
    limit: int | None = Field(None, ge=1)
    """Evaluate only the first examples of each split; shown as such in the report."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest response."""
    batch_size: int = Field(32, ge=1)
    """Responses generated at the same time; does not change them."""
    checkpoints: Literal["last", "all"] = "last"
    """Evaluate the last checkpoint of each method or every one."""
    stop: StopConfig = Field(default_factory=StopConfig)
    """When to end a training early."""
    forgetting: ForgettingConfig = Field(default_factory=ForgettingConfig)
    """Forgetting as the paper defines it."""
