"""From our recipe to NeMo-RL's ``MasterConfig``: what the recipe says, and a default for each key the loop reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_rl.algorithms.sft import MasterConfig
from pydantic import ValidationError

from nemo_mixsd.config import RunConfig, describe
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.nemo.names import DATASET_CLASS, PROCESSOR
from nemo_mixsd.training.optim import DEFAULT_SCHEDULER

DTENSOR: dict[str, Any] = {
    "_v2": True,
    "enabled": True,
    "tensor_parallel_size": 1,
    "context_parallel_size": 1,
    "sequence_parallel": False,
    "activation_checkpointing": False,
    "cpu_offload": False,
    "custom_parallel_plan": None,
    "env_vars": {},
}
"""Defaults of ``policy.dtensor_cfg``: data parallel over all GPUs."""


KEEP_ALL = 10**9
"""``checkpointing.keep_top_k`` for all checkpoints: the host wants a number."""


def is_in_process(config: RunConfig) -> bool:
    """``cluster.gpus_per_node=0`` asks for the policy in this process, on the CPU."""
    return config.cluster.gpus_per_node == 0


def master_config(config: RunConfig, model_path: str, targets_path: Path, directory: Path, steps: int) -> MasterConfig:
    """The host's configuration of one training.

    Args:
        config: The recipe.
        model_path: The base model, resolved.
        targets_path: JSONL of ``Target``.
        directory: Gets the checkpoints.
        steps: Optimizer steps; all epochs are laid end to end, so the host sees one epoch of this many batches.

    Raises:
        ConfigError: Batch sizes do not fit, or a key would be overruled by this function.
    """
    sections = {
        "policy": policy_section(config, model_path),
        "data": _data(config, targets_path),
        "sft": _sft(config, steps),
        "checkpointing": checkpointing_section(config, directory),
        "logger": logger_section(config, directory.name),
        # The loop divides rates by the number of GPUs, so a CPU counts as one.
        "cluster": {**config.cluster.model_dump(), "gpus_per_node": config.cluster.gpus_per_node or 1},
    }
    try:
        return MasterConfig(**sections)
    except ValidationError as error:
        raise ConfigError(f"NeMo-RL does not take this recipe: {describe(error, RunConfig)}") from error


def policy_section(config: RunConfig, model_path: str) -> dict[str, Any]:
    """``policy`` with every key that the host reads.

    Raises:
        ConfigError: Batch sizes do not fit, or Megatron lacks its optimizer.
    """
    policy = config.policy.model_dump()
    if policy["train_global_batch_size"] % policy["train_micro_batch_size"]:
        raise ConfigError(
            f"policy.train_global_batch_size={policy['train_global_batch_size']} is not a multiple of "
            f"policy.train_micro_batch_size={policy['train_micro_batch_size']}"
        )
    policy["model_name"] = model_path
    tokenizer = {key: value for key, value in policy["tokenizer"].items() if value is not None}
    if tokenizer.get("name") in (None, config.policy.model_name):
        tokenizer["name"] = model_path
    policy["tokenizer"] = tokenizer
    schedule = policy["scheduler"] or DEFAULT_SCHEDULER
    # The host's configuration takes lists only; one schedule alone is a sequence without a change.
    policy["scheduler"] = [schedule, {"milestones": []}] if isinstance(schedule, dict) else schedule
    megatron = policy.setdefault("megatron_cfg", {"enabled": False})
    if megatron.get("enabled"):
        policy.setdefault("dtensor_cfg", {"enabled": False})
        _check_megatron(policy)
    else:
        policy["dtensor_cfg"] = {**DTENSOR, **policy.get("dtensor_cfg", {})}
        if policy["optimizer"] is not None and not is_in_process(config):
            # Sharded parameters take neither the foreach nor the fused implementation.
            policy["optimizer"]["kwargs"] = {"foreach": False, "fused": False, **policy["optimizer"]["kwargs"]}
    for key in ("dynamic_batching", "sequence_packing"):
        policy.setdefault(key, {"enabled": False})
    policy.setdefault("make_sequence_length_divisible_by", _sequence_multiple(policy))
    return policy


def _check_megatron(policy: Mapping[str, Any]) -> None:
    if not policy["megatron_cfg"].get("optimizer"):
        raise ConfigError(
            "policy.megatron_cfg.optimizer is missing: Megatron policies do not read policy.optimizer; inherit "
            "examples/configs/nemo_rl_megatron.yaml, or add the section"
        )


def _sequence_multiple(policy: Mapping[str, Any]) -> int:
    """Sequences are padded to a multiple of the tensor-parallel size, which sequence parallelism needs."""
    if policy["megatron_cfg"].get("enabled"):
        return int(policy["megatron_cfg"].get("tensor_model_parallel_size", 1))
    return int(policy["dtensor_cfg"].get("tensor_parallel_size", 1))


def _data(config: RunConfig, targets_path: Path) -> dict[str, Any]:
    data = dict(config.data)
    for key in ("train", "default"):
        if data.get(key):
            raise ConfigError(
                f"data.{key} is set, but a run of nemo_mixsd trains on its own targets; drop the key, or start "
                "NeMo-RL's examples/run_sft.py with your data section"
            )
    return {
        "num_workers": 0,
        # The processor ignores these; the host reads them.
        "add_bos": False,
        "add_eos": False,
        "add_generation_prompt": False,
        **data,
        "shuffle": False,
        # The host masks samples of this length or more, and max_total_sequence_length itself still fits.
        "max_input_seq_length": config.policy.max_total_sequence_length + 1,
        "train": {"dataset_name": DATASET_CLASS, "processor": PROCESSOR, "data_path": str(targets_path)},
    }


def _sft(config: RunConfig, steps: int) -> dict[str, Any]:
    validates = bool(config.data.get("validation"))
    if not validates and config.sft.model_dump().get("val_period", 0) > 0:
        raise ConfigError(
            "sft.val_period is set, but there is nothing to validate on; add data.validation.data_path (targets as "
            "JSONL), or set sft.val_period=0"
        )
    return {
        "val_period": config.checkpointing.save_period if validates else 0,
        "val_at_start": validates,
        "val_batches": -1,
        "val_global_batch_size": config.policy.train_global_batch_size,
        "val_micro_batch_size": config.policy.train_micro_batch_size,
        **config.sft.model_dump(),
        "max_num_epochs": 1,
        "max_num_steps": steps,
    }


def checkpointing_section(config: RunConfig, directory: Path) -> dict[str, Any]:
    """``checkpointing`` with every key that the host reads."""
    section = config.checkpointing.model_dump()
    if section["keep_top_k"] is None:
        section["keep_top_k"] = KEEP_ALL
    megatron = config.policy.model_dump().get("megatron_cfg", {}).get("enabled", False)
    formats = (
        {} if megatron or is_in_process(config) else {"model_save_format": "safetensors", "save_consolidated": True}
    )
    return {
        "metric_name": None,
        "higher_is_better": False,
        "checkpoint_must_save_by": None,
        "save_optimizer": True,
        **formats,
        **section,
        "enabled": True,
        "checkpoint_dir": str(directory),
    }


def logger_section(config: RunConfig, name: str) -> dict[str, Any]:
    """``logger`` with every key that the host reads."""
    section = config.logger.model_dump()
    return {
        "swanlab_enabled": False,
        "mlflow_enabled": False,
        "monitor_gpus": False,
        "gpu_monitoring": {"collection_interval": 10, "flush_interval": 10},
        "tensorboard": {},
        **section,
        "wandb": {"project": "nemo_mixsd", "name": name, **section["wandb"]},
        "log_dir": str(Path(section["log_dir"] or Path(config.run_dir) / "logs") / name),
    }
