"""Rows and plan lines of the methods that have a teacher while they train. Imports no torch."""

from __future__ import annotations

from typing import Final

from nemo_mixsd.config import RunConfig
from nemo_mixsd.training.distill_steps import DistillSchedule, distill_schedule, local_schedule, rollouts
from nemo_mixsd.types import Method, rate_name

SHUFFLED: Final = "-shuffled"
"""Mark in the report name of a control whose teacher saw another example's answer."""


def distill_names(config: RunConfig, method: Method) -> list[tuple[str, float | None]]:
    """Report names of a method, with the λ of its mixed rollouts: ``opsd``, ``mixsd_kl@0.3``, ``opsd-shuffled``."""
    mark = SHUFFLED if config.opsd.shuffled_context else ""
    if method != Method.MIXSD_KL:
        return [(f"{method.value}{mark}", None)]
    rates = dict.fromkeys(config.opsd.mixsd_kl_rate)
    return [(rate_name(method.value + mark, rate), rate) for rate in rates]


def plan_schedule(config: RunConfig, method: Method, count: int, local: bool) -> DistillSchedule:
    """Steps on the backend that trains.

    Raises:
        ConfigError: They do not fit the batch sizes or the backend.
    """
    return (local_schedule if local else distill_schedule)(config, method, count)


def distill_line(config: RunConfig, method: Method, rate: float | None, count: int, local: bool) -> str:
    """What a distillation is going to do and cost, for people.

    Args:
        config: The recipe.
        method: One of ``DISTILLED``.
        rate: λ of ``mixsd_kl``.
        count: Training examples.
        local: Whether the local backend trains.

    Raises:
        ConfigError: The schedule does not fit.
    """
    schedule, opsd = plan_schedule(config, method, count, local), config.opsd
    size = schedule.samples_per_step
    loss = (
        "NLL of the teacher's first choice"
        if method == Method.OPSD_NLL
        else f"{opsd.kl_type} KL on the teacher's top {opsd.topk}"
    )
    if method == Method.MIXSD_KL:
        told = f"{count} mixed at λ={rate:g} targets, {schedule.steps} steps of {size}"
    else:
        how = rollouts(config, method)
        sampled = "greedy" if how.temperature == 0 else f"temperature {how.temperature:g}"
        most = schedule.steps * size * how.max_new_tokens
        told = (
            f"{schedule.steps} steps of {schedule.prompts_per_step} prompts × {how.num_generations} rollouts "
            f"({sampled}, at most {how.max_new_tokens} tokens; {most} in all)"
        )
    shown = ", teacher shown another example's answer (control)" if opsd.shuffled_context else ""
    return f"{told}, {loss}, teacher {opsd.teacher}{shown}"
