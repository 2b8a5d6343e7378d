"""The ``memit`` section of a recipe: how facts are written into the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from nemo_mixsd.section import Section


class CovarianceConfig(Section):
    """Over which text the second moment of the keys is taken: what the edits are to leave alone."""

    source: Literal["wikitext", "file", "base_model"] = "wikitext"
    """``wikitext``: WikiText-103 from the hub, the paper's; ``file``: ``path``; ``base_model``: chats that the base
    model itself writes about a list of everyday topics, for machines without a network."""
    path: str | None = None
    """A ``.jsonl`` file with a ``text`` a line, or a text file whose paragraphs (between blank lines) are samples."""
    samples: int = Field(100_000, ge=1)
    """How many samples; fewer if the source has no more."""
    max_tokens: int = Field(512, ge=2)
    """A sample is cut after so many tokens; for ``base_model``, the longest reply."""
    batch_size: int = Field(16, ge=1)
    """Samples a forward pass."""
    chunk: int = Field(5_000, ge=1)
    """Samples between two saves; a killed run goes on from the last."""
    cache_dir: str | None = None
    """Where finished moments are kept for all runs; null is ``memit`` in the package's cache directory."""

    @model_validator(mode="after")
    def _path_fits(self) -> CovarianceConfig:
        if (self.source == "file") != (self.path is not None):
            raise ValueError(
                f"source is {self.source!r} and path {self.path!r}; set memit.covariance.path exactly for source=file"
            )
        return self


class MemitConfig(Section):
    """How MEMIT edits. The defaults are the paper's (E.5) where it gives them, else EasyEdit's for Qwen."""

    layers: tuple[int, int] | None = None
    """First and last layer whose ``down_proj`` is edited, 0-based and inclusive; null is by model (docs/memit.md)."""
    steps: int = Field(25, ge=1)
    """Gradient steps for a target value vector."""
    lr: float = Field(0.5, gt=0)
    """Adam's learning rate for it."""
    weight_decay: float = Field(1e-3, ge=0)
    """Weight of the squared length of the change relative to the hidden state's."""
    kl_factor: float = Field(0.0625, ge=0)
    """Weight of the KL divergence on a prompt about the subject alone."""
    clamp_norm_factor: float = Field(4.0, gt=0)
    """Longest change of the hidden state, as a multiple of the hidden state's own length."""
    stop_loss: float = Field(0.05, ge=0)
    """A vector is finished once its loss is below this; 0 always takes all steps."""
    prefixes: int = Field(5, ge=0)
    """Random texts put before the question, beside the bare question, so that the edit does not hang on position."""
    prefix_tokens: int = Field(10, ge=1)
    """Length of such a text, which the base model itself writes."""
    covariance_weight: float = Field(15_000.0, gt=0)
    """MEMIT's λ: how much the keys of ordinary text weigh against those of the edits."""
    seed: int = 0
    """Seed of the random prefixes and of the ``base_model`` text."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Dtype of the model that is edited and saved; sums and systems are in float64 whatever it is."""
    batch_size: int = Field(32, ge=1)
    """Prompts a forward pass when keys and hidden states are read."""
    covariance: CovarianceConfig = Field(default_factory=CovarianceConfig)
    """The text that the edits are to leave alone."""

    @field_validator("layers")
    @classmethod
    def _in_order(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError("is [first, last], 0-based and inclusive, for example [3, 11]")
        return value
