"""NeMo-RL's own sections of a recipe: the keys that the local backend reads are typed, the others pass."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class HostSection(BaseModel):
    """One of NeMo-RL's sections: keys that we do not read pass."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True, protected_namespaces=())


class TokenizerConfig(HostSection):
    """``policy.tokenizer``."""

    name: str | None = None
    """Tokenizer; that of the model by default."""
    chat_template: str | None = None
    """A Jinja chat template or the path of one."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables for the chat template, beside ``enable_thinking: false``."""


class OptimizerConfig(HostSection):  # type: ignore[no-redef]
    """``policy.optimizer``: a class of ``torch.optim`` and its arguments."""

    name: str = "torch.optim.AdamW"
    """Dotted class name."""
    kwargs: dict[str, Any] = Field(default={"lr": 5.0e-6, "weight_decay": 0.01})
    """Its arguments."""


class PolicyConfig(HostSection):
    """``policy``: the model and how it is trained."""

    model_name: str
    """``bundled:NAME``, a directory, or a hub id."""
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    """The tokenizer."""
    train_global_batch_size: int = Field(16, ge=1)
    """Examples an optimizer step."""
    train_micro_batch_size: int = Field(8, ge=1)
    """Examples a forward pass of the local backend."""
    max_total_sequence_length: int = Field(10_000, ge=2)
    """Longest training sequence; longer ones are left out with a warning, as the host masks them."""
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Compute dtype; weights and optimizer state stay in float32."""
    max_grad_norm: float | None = Field(1.0, gt=0)
    """Gradient clipping; null is none."""
    optimizer: OptimizerConfig | None = Field(default_factory=OptimizerConfig)
    """The optimizer of the local backend and of DTensor policies."""
    scheduler: list[dict[str, Any]] | dict[str, Any] | None = None
    """Learning-rate schedule in the host's grammar; null is the paper's: 20 linear warm-up steps, then constant."""
    preflight_gap: float | None = Field(0.05, ge=0)
    """Largest mean gap, in nats a token, between the engine that generated targets, the base model in this process and
    NeMo-RL's policy; null allows any."""


class SftConfig(HostSection):
    """``sft``: how long to train."""

    max_num_epochs: int = Field(20, ge=1)
    """Passes over the targets."""
    max_num_steps: int = Field(1_000_000, ge=1)
    """Upper bound on optimizer steps."""
    seed: int = 42
    """Seed of the data order."""


class CheckpointingConfig(HostSection):
    """``checkpointing``."""

    save_period: int = Field(20, ge=1)
    """Optimizer steps between two checkpoints; the last step always has one."""
    keep_top_k: int | None = Field(None, ge=1)
    """Keep only the newest checkpoints; null keeps all."""


class LoggerConfig(HostSection):
    """``logger``."""

    log_dir: str | None = None
    """Where TensorBoard files go; ``logs`` in the run directory by default."""
    tensorboard_enabled: bool = False
    """Write TensorBoard files."""
    wandb_enabled: bool = False
    """Log to Weights & Biases."""
    wandb: dict[str, Any] = Field(default_factory=dict)
    """``project`` and ``name`` for Weights & Biases."""


class ClusterConfig(HostSection):
    """``cluster``."""

    gpus_per_node: int = Field(1, ge=0)
    """GPUs a node that NeMo-RL takes."""
    num_nodes: int = Field(1, ge=1)
    """Nodes that NeMo-RL takes."""
