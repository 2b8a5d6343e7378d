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
from nemo_mixsd.nemo.distill_sections import check_distill, distillation_section, loss_section
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
        "loss_fn": loss_section(config),
        "distillation": distillation_section(config, method, schedule),
        "checkpointing": checkpointing_section(config, directory),
        "logger": {"num_val_samples_to_print": 0, **logger_section(config, directory.name)},
        # The loop divides rates by the number of GPUs, so a CPU counts as one.
        "cluster": {**config.cluster.model_dump(), "gpus_per_node": config.cluster.gpus_per_node or 1},
    }
    try:
        return MasterConfig(**sections)
    except ValidationError as error:
        raise ConfigError(f"NeMo-RL does not take this recipe: {describe(error, RunConfig)}") from error


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
