"""The ``opsd`` section of a recipe: on-policy self-distillation and its relatives.

One section serves both backends. For NeMo-RL it is mapped onto the host's ``distillation``, ``loss_fn`` and
``teacher``; a recipe that says there what ``opsd`` says is refused, so that nothing stands in two places.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from nemo_mixsd.section import Rate, Section
from nemo_mixsd.types import Method

TeacherKind = Literal["base", "live", "ema"]
KLType = Literal["forward", "reverse", "mixed"]
OutsideTopK = Literal["renormalize", "zero", "bucket"]
LongContext = Literal["error", "keep_head", "keep_tail"]

DISTILLED: tuple[Method, ...] = (Method.OPSD, Method.OPSD_NLL, Method.MIXSD_KL)
"""The methods that have a teacher while they train."""


class OpsdConfig(Section):
    """On-policy self-distillation: who teaches, on which rollouts, by which divergence."""

    teacher: TeacherKind = "base"
    """Who reads the expert prompt: the frozen base model (the paper), the student itself as it is (``live``, no second
    copy in memory), or a moving average of the student (``ema``, local backend)."""
    ema_decay: float = Field(0.99, ge=0.0, lt=1.0)
    """``ema``: share of the old average that a step keeps."""
    kl_type: KLType = "forward"
    """``forward`` is KL(teacher ‖ student), ``reverse`` KL(student ‖ teacher), ``mixed`` a weighted sum."""
    mixed_kl_weight: Rate = 0.5
    """``mixed``: weight of the forward KL."""
    topk: int = Field(64, ge=1)
    """Tokens of the teacher's distribution that the divergence sees at each position, the likeliest ones."""
    outside_topk: OutsideTopK = "renormalize"
    """The mass beyond the top-k: both distributions are renormalised over the top-k (the host's default), the teacher's
    is taken as ``zero`` (the host's ``zero_outside_topk``), or it is one token more (``bucket``)."""
    kl_clip: float | None = Field(None, gt=0.0)
    """Largest divergence a position counts with, in nats; beyond it the position has no gradient. Null is none."""
    skip_first_tokens: int = Field(0, ge=0)
    """First tokens of each response that are left out of the loss and of its denominator."""
    num_generations: int = Field(8, ge=1)
    """``opsd``: rollouts a prompt."""
    temperature: float = Field(1.0, ge=0.0)
    """``opsd``: temperature of the rollouts; 0 is greedy."""
    nll_num_generations: int = Field(1, ge=1)
    """``opsd_nll``: rollouts a prompt."""
    nll_temperature: float = Field(0.0, ge=0.0)
    """``opsd_nll``: temperature of the rollouts; 0 is greedy."""
    mixsd_kl_rate: list[Rate] = Field(default_factory=lambda: [0.0], min_length=1)
    """``mixsd_kl``: λ of the mixed rollouts that take the student's place; a list runs each."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest rollout; ``mixing.max_new_tokens`` if null."""
    prompts_per_step: int | None = Field(None, ge=1)
    """Prompts a step takes rollouts of; null is as many as make one optimizer step, so that every rollout comes from
    the weights that it updates. With more, a step has several optimizer steps."""
    max_num_steps: int | None = Field(None, ge=1)
    """Upper bound on steps of ``opsd`` and ``opsd_nll``; ``sft.max_num_steps`` if null."""
    max_num_epochs: int | None = Field(None, ge=1)
    """Passes over the prompts of ``opsd`` and ``opsd_nll``; ``sft.max_num_epochs`` if null."""
    max_expert_tokens: int | None = Field(None, ge=2)
    """Longest expert prompt; null leaves it to ``mixing.max_total_tokens``."""
    on_long_context: LongContext = "error"
    """An expert prompt beyond the limit: an ``error``, or its context keeps only its head or its tail."""
    shuffled_context: bool = False
    """The control: every teacher sees the context and the answer of another example."""
    seed: int = 0
    """Seed of the rollouts' sampling and of the shuffled contexts. The order of the prompts is ``sft.seed``'s."""

    @field_validator("mixsd_kl_rate", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @model_validator(mode="after")
    def _rollouts_differ(self) -> OpsdConfig:
        for count, temperature, prefix in (
            (self.num_generations, self.temperature, ""),
            (self.nll_num_generations, self.nll_temperature, "nll_"),
        ):
            if count > 1 and temperature == 0:
                raise ValueError(
                    f"{prefix}num_generations is {count} but {prefix}temperature is 0 (greedy): all rollouts of a "
                    f"prompt would be equal; set opsd.{prefix}temperature, or opsd.{prefix}num_generations=1"
                )
        return self
