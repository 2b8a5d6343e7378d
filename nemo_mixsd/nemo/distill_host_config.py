"""From our recipe to the ``MasterConfig`` of NeMo-RL's distillation: ``opsd`` onto the host's own sections."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_rl.algorithms.distillation import MasterConfig
from pydantic import ValidationError

from nemo_mixsd.config import RunConfig, describe
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.nemo.generation_config import GENERATION, VLLM
from nemo_mixsd.nemo.host_config import checkpointing_section, is_in_process, logger_section, policy_section
from nemo_mixsd.nemo.names import DATASET_CLASS, ENVIRONMENT, PROMPT_PROCESSOR
from nemo_mixsd.training.distill_steps import DistillSchedule, rollouts
from nemo_mixsd.types import Method

_VLLM_SHARE = 0.6
"""Of a GPU's memory, for vLLM beside student and teacher; the host's own default for a distillation."""


def distill_master_config(
    config: RunConfig, method: Method, model_path: str, directory: Path, schedule: DistillSchedule
) -> MasterConfig:
    """The host's configuration of one distillation.

    Args:
        config: The recipe.
        method: One of ``DISTILLED``.
        model_path: The base model, resolved: student and teacher.
        directory: Gets the checkpoints.
        schedule: Steps; all epochs are laid end to end, so the host sees one epoch of this many batches.

    Raises:
        ConfigError: The host's sections say what ``opsd`` says, batch sizes do not fit, or the host cannot do it.
    """
    check_distill(config, method)
    policy = policy_section(config, model_path)
    policy.setdefault("logprob_batch_size", policy["train_micro_batch_size"])  # the teacher's micro-batch
    policy["generation"] = _generation(config, method, policy)
    sections = {
        "policy": policy,
        "teacher": _teacher(config, policy),
        "data": _data(config),
        "env": {**config.env, ENVIRONMENT: {"num_workers": 0, **config.env.get(ENVIRONMENT, {})}},
        "loss_fn": _loss(config, method),
        "distillation": _distillation(config, method, schedule),
        "checkpointing": checkpointing_section(config, directory),
        "logger": {"num_val_samples_to_print": 0, **logger_section(config, directory.name)},
        # The loop divides rates by the number of GPUs, so a CPU counts as one.
        "cluster": {**config.cluster.model_dump(), "gpus_per_node": config.cluster.gpus_per_node or 1},
    }
    try:
        return MasterConfig(**sections)
    except ValidationError as error:
        raise ConfigError(f"NeMo-RL does not take this recipe: {describe(error, RunConfig)}") from error


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
    if is_in_process(config):
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


def _loss(config: RunConfig, method: Method) -> dict[str, Any]:
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


def _distillation(config: RunConfig, method: Method, schedule: DistillSchedule) -> dict[str, Any]:
    for key in ("val_period", "val_at_start", "val_at_end"):
        if config.distillation.get(key):
            raise ConfigError(
                f"distillation.{key} is set, but the checkpoints of a run are measured by its evals; drop it, and set "
                "evals.checkpoints=all to measure each"
            )
    count = "opsd.nll_num_generations" if method == Method.OPSD_NLL else "opsd.num_generations"
    fixed = _agree(
        config,
        "distillation",
        {
            # One token is all that the NLL looks at.
            "topk_logits_k": ("opsd.topk", 1 if method == Method.OPSD_NLL else config.opsd.topk),
            "num_generations_per_prompt": (count, schedule.num_generations),
            "num_prompts_per_step": ("opsd.prompts_per_step", schedule.prompts_per_step),
            "max_num_steps": ("opsd.max_num_steps", schedule.steps),
            "seed": ("opsd.seed", config.opsd.seed),
        },
    )
    return {
        "max_rollout_turns": 1,
        "val_batch_size": 1,
        "max_val_samples": 0,
        **fixed,
        "max_num_epochs": 1,
        "val_period": 0,
        "val_at_start": False,
        "val_at_end": False,
    }


def _generation(config: RunConfig, method: Method, policy: Mapping[str, Any]) -> dict[str, Any]:
    """``policy.generation``: greedy rollouts are asked for by the caller, at temperature 1 here."""
    given = dict(policy.get("generation") or {})
    longest, temperature = policy["max_total_sequence_length"], 1.0
    if method != Method.MIXSD_KL:
        how = rollouts(config, method)
        longest, temperature = min(how.max_new_tokens, longest), how.temperature or 1.0
    in_process = is_in_process(config)
    section = {
        **GENERATION,
        **given,
        "backend": "in_process" if in_process else given.get("backend", "vllm"),
        "max_new_tokens": longest,
        "temperature": temperature,
        "top_p": 1.0,
        "top_k": None,
    }
    if not in_process:
        section["vllm_cfg"] = {
            **VLLM,
            "async_engine": False,
            "gpu_memory_utilization": _VLLM_SHARE,
            **(given.get("vllm_cfg") or {}),
        }
        if method == Method.MIXSD_KL:
            section["vllm_cfg"]["async_engine"] = False  # what is replayed comes as one batch
        for key, value in (
            ("precision", policy["precision"]),
            ("max_model_len", policy["max_total_sequence_length"]),
        ):
            section["vllm_cfg"][key] = section["vllm_cfg"][key] or value
        section["vllm_kwargs"] = dict(given.get("vllm_kwargs") or {})
    return section


def _teacher(config: RunConfig, policy: Mapping[str, Any]) -> dict[str, Any]:
    """The policy once more, never trained, with room for the expert prompt."""
    given = config.teacher
    name = given.get("model_name")
    if name not in (None, config.policy.model_name, policy["model_name"]):
        raise ConfigError(
            f"teacher.model_name={name!r} is another model than policy.model_name={config.policy.model_name!r}; in "
            "self-distillation the teacher is the base model itself: drop the key"
        )
    teacher = {**copy.deepcopy(dict(policy)), **given, "model_name": policy["model_name"]}
    longest = max(config.mixing.max_total_tokens, policy["max_total_sequence_length"])
    teacher["max_total_sequence_length"] = longest
    for batching in ("dynamic_batching", "sequence_packing"):
        section = dict(teacher.get(batching) or {})
        if section.get("enabled"):
            section["logprob_mb_tokens"] = max(section.get("logprob_mb_tokens", 0), longest)
            teacher[batching] = section
    return teacher


def _data(config: RunConfig) -> dict[str, Any]:
    for key in ("train", "default", "validation"):
        if config.data.get(key):
            raise ConfigError(
                f"data.{key} is set, but a distillation of nemo_mixsd draws its own training prompts; drop the key, or "
                "start NeMo-RL's examples/run_distillation.py with your data section"
            )
    return {
        "num_workers": 0,
        **config.data,
        "shuffle": False,
        # The host masks prompts of this length or more: a prompt must leave room for one token.
        "max_input_seq_length": config.policy.max_total_sequence_length,
        "train": {
            "dataset_name": DATASET_CLASS,
            "processor": PROMPT_PROCESSOR,
            "data_path": str(Path(config.run_dir) / "corpus" / "train.jsonl"),
            "env_name": ENVIRONMENT,
        },
    }
