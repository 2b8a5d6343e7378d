"""The ``mixing`` section of a recipe: how targets are generated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from nemo_mixsd.section import Rate, Section
from nemo_mixsd.types import VerifierName


class VllmConfig(Section):
    """How the ``vllm`` engine is run; none of it changes a target, but in bfloat16 within near ties."""

    mode: Literal["local", "async"] = "local"
    """``local`` steps an ``LLMEngine`` in this process, ``async`` runs ``AsyncLLM``."""
    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share each layer."""
    data_parallel: int = Field(1, ge=1)
    """Engines, each in a process of its own with its own GPUs; examples are spread over them."""
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1)
    """Part of each GPU's memory that vLLM takes."""
    kv_cache_gib: int | None = Field(None, ge=1)
    """Key-value cache on a CPU, in GiB."""
    block_size: int | None = Field(None, ge=1)
    """Tokens a block of the prefix cache; null is 32 on a CPU, else vLLM's default."""
    enforce_eager: bool = False
    """No compilation and no CUDA graphs: a faster start, slower steps."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of vLLM's ``EngineArgs``."""


class AutoRateConfig(Section):
    """How ``mixing.rate: auto`` chooses λ; see ``mixing.auto_rate``. A rule of ours, not the paper's."""

    candidates: list[Rate] = Field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7], min_length=1)
    """Mixing rates to try, in ascending order, until one is too dear."""
    examples: int = Field(32, ge=1)
    """Training examples of the probe, drawn at random by ``mixing.seed``."""
    max_discarded: Rate = 0.05
    """Largest share of the probe that may be discarded: facts that would not be taught."""
    max_attempts: float = Field(4.0, ge=1)
    """Most attempts an example, on average: what generation may cost."""
    tolerance: Rate = 0.01
    """A smaller λ is taken if its share of tokens above 8 nats is at most so much larger than the lowest one."""


_RateField = Annotated[
    Annotated[list[Rate], Field(min_length=1), Tag("list")] | Annotated[Literal["auto"], Tag("str")],
    Discriminator(lambda value: "str" if isinstance(value, str) else "list"),
]


class MixingConfig(Section):
    """How targets are generated."""

    rate: _RateField = Field(default_factory=lambda: [0.3])
    """λ = P(naive) of Eq. 4; a list runs each, a single number is a list of one, ``auto`` chooses one by a probe."""
    auto: AutoRateConfig = Field(default_factory=AutoRateConfig)
    """How ``rate: auto`` chooses."""
    engine: Literal["auto", "hf", "vllm", "nemo_rl"] = "auto"
    """What generates. ``auto`` is ``nemo_rl`` where NeMo-RL trains on GPUs, else ``vllm`` where it and a GPU
    are there, else ``hf``."""
    seed: int = 0
    """Seed of coins and sampling noise."""
    verifier: Literal["auto", VerifierName] = "auto"
    """Which rule accepts a target; ``auto`` is what the corpus suggests."""
    max_retries: int = Field(10, ge=0)
    """Retries with new coins after a rejected rollout, then the example is discarded."""
    temperature: float = Field(0.0, ge=0.0)
    """0 is greedy decoding, the paper's setting."""
    top_k: int | None = Field(None, ge=1)
    """Sample among the k likeliest tokens only; needs a temperature above 0."""
    max_new_tokens: int = Field(8192, ge=1)
    """Longest target."""
    max_total_tokens: int = Field(10_000, ge=2)
    """Longest prompt and target together, for either conditional."""
    max_in_flight: int = Field(64, ge=1)
    """Examples generated at the same time; does not change the targets."""
    accept_truncated: bool = False
    """Accept a target that holds the answer but was cut at a length limit, so that no end-of-sequence is trained."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype of the generating model; ``auto`` is float32 on a CPU and ``policy.precision`` on a GPU."""
    vllm: VllmConfig = Field(default_factory=VllmConfig)
    """Options of the ``vllm`` engine."""

    @field_validator("rate", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) or value == "auto" else [value]

    @model_validator(mode="after")
    def _sampling_fits(self) -> MixingConfig:
        if self.top_k is not None and self.temperature == 0:
            raise ValueError("top_k is set but temperature is 0 (greedy); set mixing.temperature or drop mixing.top_k")
        return self
