"""How the student answers while it trains, and how many steps a distillation has. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.training.steps import total_steps
from nemo_mixsd.types import Method


@dataclass(frozen=True, slots=True)
class Rollouts:
    """How the student answers while it trains.

    Attributes:
        num_generations: Responses a prompt (n).
        temperature: 0 is greedy; no top-k, no top-p.
        max_new_tokens: Longest response.
    """

    num_generations: int
    temperature: float
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class DistillSchedule:
    """The arithmetic of a distillation. A step is a batch of rollouts; checkpoints and callbacks count steps.

    Attributes:
        prompts_per_step: Prompts a step draws, in ``training.data.data_order`` by ``sft.seed``.
        num_generations: Responses a prompt.
        updates_per_step: Optimizer steps a step, each on ``policy.train_global_batch_size`` consecutive samples, where
            the n samples of a prompt stand side by side. The learning rate changes once a step.
        steps: Steps in all.
    """

    prompts_per_step: int
    num_generations: int
    updates_per_step: int
    steps: int

    @property
    def samples_per_step(self) -> int:
        """Responses a step."""
        return self.prompts_per_step * self.num_generations


def rollouts(config: RunConfig, method: Method) -> Rollouts:
    """How ``opsd`` or ``opsd_nll`` answers.

    Raises:
        ValueError: The method has no rollouts of its own (``mixsd_kl`` replays mixed targets).
    """
    opsd = config.opsd
    longest = opsd.max_new_tokens or config.mixing.max_new_tokens
    if method == Method.OPSD:
        return Rollouts(opsd.num_generations, opsd.temperature, longest)
    if method == Method.OPSD_NLL:
        return Rollouts(opsd.nll_num_generations, opsd.nll_temperature, longest)
    raise ValueError(f"{method.value} has no rollouts of the student")


def distill_schedule(config: RunConfig, method: Method, count: int) -> DistillSchedule:
    """Steps of one distillation.

    Args:
        config: The recipe.
        method: One of ``DISTILLED``.
        count: Training prompts (``opsd``, ``opsd_nll``) or targets (``mixsd_kl``).

    Raises:
        ConfigError: Rollouts do not divide into global batches.
    """
    batch = config.policy.train_global_batch_size
    if method == Method.MIXSD_KL:
        return DistillSchedule(batch, 1, 1, total_steps(config, count))
    opsd, n = config.opsd, rollouts(config, method).num_generations
    key = "opsd.num_generations" if method == Method.OPSD else "opsd.nll_num_generations"
    # A count that fits one method's n may not fit the other's: prompts_per_step is that of opsd.
    chosen = opsd.prompts_per_step if method == Method.OPSD else None
    if chosen is None and batch % n:
        raise ConfigError(
            f"{key}={n} does not divide policy.train_global_batch_size={batch}: the rollouts of a prompt would fall "
            "into two optimizer steps; change one of them, or set opsd.prompts_per_step"
        )
    prompts = chosen or batch // n
    if prompts * n % batch:
        raise ConfigError(
            f"opsd.prompts_per_step={prompts} times {key}={n} is {prompts * n} rollouts a step, no multiple of "
            f"policy.train_global_batch_size={batch}; change one of them"
        )
    passes = opsd.max_num_epochs or config.sft.max_num_epochs
    limit = opsd.max_num_steps or config.sft.max_num_steps
    return DistillSchedule(prompts, n, prompts * n // batch, max(1, min(limit, passes * count // prompts)))


def local_schedule(config: RunConfig, method: Method, count: int) -> DistillSchedule:
    """The steps of a distillation on the local backend, where a step is an optimizer step.

    Raises:
        ConfigError: Rollouts do not divide into global batches, or a step would have several optimizer steps.
    """
    schedule = distill_schedule(config, method, count)
    if schedule.updates_per_step > 1:
        raise ConfigError(
            f"opsd.prompts_per_step={config.opsd.prompts_per_step} is {schedule.updates_per_step} optimizer steps on "
            "one set of rollouts, which only NeMo-RL takes; the local backend learns from each rollout with the "
            "weights that made it: leave opsd.prompts_per_step null, or raise policy.train_global_batch_size to "
            f"{schedule.samples_per_step}"
        )
    return schedule
