"""Optimizer and learning-rate schedule from the recipe's ``policy`` section, in the host's grammar."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.host_sections import OptimizerConfig

WARMUP_STEPS = 20
"""Linear warm-up of Appendix D, after which the learning rate stays."""

DEFAULT_SCHEDULER: list[dict[str, Any]] = [
    {
        "name": "torch.optim.lr_scheduler.LinearLR",
        "kwargs": {"start_factor": 1 / WARMUP_STEPS, "end_factor": 1.0, "total_iters": WARMUP_STEPS},
    },
    {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0, "total_iters": 1}},
    {"milestones": [WARMUP_STEPS]},
]
"""The schedule where the recipe has none."""


def make_optimizer(parameters: Iterable[torch.nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of ``policy.optimizer``, over all parameters alike, as the host makes it.

    Raises:
        ConfigError: The class cannot be imported or does not take its arguments.
    """
    kwargs = {k: tuple(v) if isinstance(v, list) else v for k, v in config.kwargs.items()}
    optimizer = _call("policy.optimizer", config.name, [p for p in parameters if p.requires_grad], kwargs)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"policy.optimizer.name: {config.name!r} is not an optimizer; e.g. torch.optim.AdamW")
    return optimizer


def make_scheduler(
    optimizer: torch.optim.Optimizer, config: list[dict[str, Any]] | dict[str, Any] | None
) -> LRScheduler:
    """The schedule of ``policy.scheduler``: one class, or several in sequence with a last entry ``milestones``.

    Raises:
        ConfigError: An entry is neither, or a class cannot be made.
    """
    entries = DEFAULT_SCHEDULER if config is None else [config] if isinstance(config, dict) else config
    schedulers: list[LRScheduler] = []
    milestones: list[int] = []
    for entry in entries:
        if "milestones" in entry:
            milestones = list(entry["milestones"])
        elif "name" in entry:
            schedulers.append(_call("policy.scheduler", entry["name"], optimizer, dict(entry.get("kwargs") or {})))
        else:
            raise ConfigError(f"policy.scheduler: {entry} has neither 'name' nor 'milestones'")
    if len(schedulers) != len(milestones) + 1:
        raise ConfigError(
            f"policy.scheduler: {len(schedulers)} schedules need {len(schedulers) - 1} milestones, not {milestones}"
        )
    return schedulers[0] if len(schedulers) == 1 else SequentialLR(optimizer, schedulers, milestones)


def _call(key: str, name: str, first: Any, kwargs: Mapping[str, Any]) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{key}.name: {name!r} cannot be imported: {error}") from error
    try:
        return cls(first, **kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}.kwargs: {name} does not take {dict(kwargs)}: {error}") from error
