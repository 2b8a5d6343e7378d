"""The ``analysis`` section of a recipe: what is computed about targets and checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from nemo_mixsd.section import Section


class FisherConfig(Section):
    """The diagonal Fisher at the base model, and with it the displacement of every checkpoint (Section 7.1, E.1)."""

    enabled: bool = False
    """Compute it before the first training, and measure each checkpoint against it."""
    source: list[str] = Field(default_factory=lambda: ["reference"], min_length=1)
    """Samples: ``reference`` (the base model's own), ``targets/<method>``, or JSONL files; a list mixes them."""
    samples: int | None = Field(256, ge=1)
    """How many of them, drawn at random; null takes all."""
    seed: int = 0
    """Which ones are drawn."""
    batch_size: int = Field(8, ge=1)
    """Samples of one pass; each keeps its own gradient, so this changes nothing but speed and memory."""
    batch_tokens: int = Field(2048, ge=1)
    """Most tokens of one pass, padding counted."""
    memory: Literal["device", "host", "disk"] = "device"
    """Where the sums are kept while they grow: beside the model, in RAM, or in a file."""
    save_every: int = Field(64, ge=1)
    """Samples after which the sums are saved, to go on from after an interruption."""
    processes: int | None = Field(None, ge=1)
    """How many processes share the samples; null is one a GPU."""

    @field_validator("source", mode="before")
    @classmethod
    def _as_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class AnalysisConfig(Section):
    """What is computed about targets."""

    target_nll: bool = True
    """Per-token NLL of the targets under the base model (Eq. 3)."""
    batch_size: int = Field(16, ge=1)
    """Sequences scored at the same time."""
    fisher: FisherConfig = Field(default_factory=FisherConfig)
    """Fisher and displacement."""
