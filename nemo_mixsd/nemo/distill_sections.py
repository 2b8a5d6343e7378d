"""What a recipe of a distillation must be for NeMo-RL, checked without the host: before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import ConfigError, CorpusError
from nemo_mixsd.training.distill_steps import DistillSchedule, distill_schedule, rollouts
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Method


def check_host_distill(config: RunConfig, method: Method, prompts: Iterable[TeacherPrompt]) -> None:
    """Refuse whatever ``train_nemo_distill`` would refuse of a recipe and its prompts.

    Raises:
        ConfigError: The host's sections contradict ``opsd``, or the host cannot do it.
        CorpusError: Two training examples have one question and different contexts.
    """
    check_distill(config, method)
    loss_section(config)
    prompts = list(prompts)
    prompt_table(prompts)
    distillation_section(config, method, distill_schedule(config, method, len(prompts)))


def check_distill(config: RunConfig, method: Method) -> None:
    """Refuse what the host's loop or its workers cannot do.

    Raises:
        ConfigError: Names the key, the reason and what would work.
    """
    opsd = config.opsd
    if opsd.teacher == "ema":
        raise ConfigError(
            "opsd.teacher=ema is for the local backend: NeMo-RL's workers offer no average of their weights; use base "
            "or live, or backend=local"
        )
    if config.cluster.gpus_per_node == 0:
        return
    if opsd.outside_topk == "bucket" and method != Method.OPSD_NLL:
        raise ConfigError(
            "opsd.outside_topk=bucket needs the teacher's logsumexp over the vocabulary, which NeMo-RL's GPU workers "
            "do not return; use zero or renormalize, or cluster.gpus_per_node=0"
        )
    if method != Method.MIXSD_KL and rollouts(config, method).temperature not in (0.0, 1.0):
        raise ConfigError(
            f"{method.value}: rollouts at temperature {rollouts(config, method).temperature} are not to be had on "
            "NeMo-RL's GPU workers without dividing the logits of the loss by it too; use 1 or 0 (greedy), or "
            "cluster.gpus_per_node=0"
        )


def _agree(config: RunConfig, section: str, ours: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """The host's keys from ours; a recipe may repeat a value, and may not contradict it."""
    given = getattr(config, section)
    for key, (name, value) in ours.items():
        if key in given and given[key] != value:
            raise ConfigError(
                f"{section}.{key}={given[key]!r} contradicts {name}, which makes it {value!r}; drop {section}.{key} "
                f"and set {name}"
            )
    return {**given, **{key: value for key, (_, value) in ours.items()}}


def loss_section(config: RunConfig) -> dict[str, Any]:
    """``loss_fn``.

    Raises:
        ConfigError: The recipe's own contradicts ``opsd``.
    """
    opsd = config.opsd
    return _agree(
        config,
        "loss_fn",
        {
            "kl_type": ("opsd.kl_type", opsd.kl_type),
            "mixed_kl_weight": ("opsd.mixed_kl_weight", opsd.mixed_kl_weight),
            "zero_outside_topk": ("opsd.outside_topk", opsd.outside_topk == "zero"),
        },
    )


def distillation_section(config: RunConfig, method: Method, schedule: DistillSchedule) -> dict[str, Any]:
    """``distillation``.

    Raises:
        ConfigError: The recipe's own contradicts ``opsd``, or asks for a validation.
    """
    for key in ("val_period", "val_at_start", "val_at_end"):
        if config.distillation.get(key):
            raise ConfigError(
                f"distillation.{key} is set, but the checkpoints of a run are measured by its evals; drop it, and set "
                "evals.checkpoints=all to measure each"
            )
    # A recipe may have several methods; what it says here is taken to be said of ``opsd``.
    said: dict[str, tuple[str, Any]] = {
        "topk_logits_k": ("opsd.topk", config.opsd.topk),
        "num_generations_per_prompt": ("opsd.num_generations", config.opsd.num_generations),
        "seed": ("opsd.seed", config.opsd.seed),
    }
    if method == Method.OPSD:
        said["num_prompts_per_step"] = ("opsd.prompts_per_step", schedule.prompts_per_step)
        said["max_num_steps"] = ("opsd.max_num_steps", schedule.steps)
    return {
        "max_rollout_turns": 1,
        "val_batch_size": 1,
        "max_val_samples": 0,
        **_agree(config, "distillation", said),
        "topk_logits_k": 1 if method == Method.OPSD_NLL else config.opsd.topk,  # one token is all that the NLL sees
        "num_generations_per_prompt": schedule.num_generations,
        "num_prompts_per_step": schedule.prompts_per_step,
        "max_num_steps": schedule.steps,
        "max_num_epochs": 1,
        "val_period": 0,
        "val_at_start": False,
        "val_at_end": False,
    }


def prompt_table(prompts: Iterable[TeacherPrompt]) -> dict[tuple[int, ...], TeacherPrompt]:
    """Training prompts by their naive token ids, which is how a row of the loop is recognised.

    Raises:
        CorpusError: Two examples have one naive prompt and different expert prompts.
    """
    table: dict[tuple[int, ...], TeacherPrompt] = {}
    for prompt in prompts:
        other = table.setdefault(prompt.naive_ids, prompt)
        if other.expert_ids != prompt.expert_ids:
            raise CorpusError(
                f"examples {other.example_id!r} and {prompt.example_id!r} ask the same question with different "
                "contexts; NeMo-RL's distillation loop knows a sample by its prompt alone, so questions must differ. "
                "Change one of them, or use backend=local"
            )
    return table
