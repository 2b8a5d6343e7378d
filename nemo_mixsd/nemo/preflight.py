"""A check before training: the policy sees the targets as the model did that generated them.

The targets' NLL under the generating model is known (``analysis/target_nll/<name>.jsonl``). A policy that has loaded
the same weights and reads the same tokens gives the same figure up to rounding; one that does not would train, and
nothing but the result would show it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.types import Target

logger = logging.getLogger(__name__)

COUNT = 8
"""Targets that are compared."""

DEFAULT_GAP = 0.05
"""Largest mean gap in nats a token; bfloat16 against float32 stays well below it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean NLL a token, in nats, of the same targets under both; ``gap`` is the mean absolute difference a token."""

    generating: float
    policy: float
    gap: float


def allowed_gap(policy_section: dict[str, Any]) -> float | None:
    """``policy.preflight_gap`` of the recipe: nats, or None to allow any.

    Raises:
        ConfigError: It is no number, or below 0.
    """
    value = policy_section.get("preflight_gap", DEFAULT_GAP)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigError(f"policy.preflight_gap is {value!r}; it is a number of nats a token, or null to allow any")
    return float(value)


def preflight(policy: Any, targets: Sequence[Target], known: Sequence[TokenNLL], pad_id: int) -> Comparison:
    """Score the first targets under the policy and compare with what is known of them.

    Args:
        policy: The host's, or the in-process one.
        targets: In any order; the first that ``known`` has count.
        known: Per-token NLL under the generating model.
        pad_id: Fills sequences to one length.

    Raises:
        BackendError: ``known`` has none of the targets.
    """
    recorded = {record.example_id: record.nll for record in known}
    chosen = [target for target in targets if target.example_id in recorded][:COUNT]
    if not chosen:
        raise BackendError("preflight: none of the targets has an NLL in analysis/target_nll; remove that file")
    found = policy_nll(policy, chosen, pad_id)
    pairs = [
        (before, now)
        for target, nll in zip(chosen, found, strict=True)
        for before, now in zip(recorded[target.example_id], nll, strict=True)
    ]
    count = len(pairs)
    comparison = Comparison(
        generating=sum(before for before, _ in pairs) / count,
        policy=sum(now for _, now in pairs) / count,
        gap=sum(abs(before - now) for before, now in pairs) / count,
    )
    logger.info("preflight: %s", comparison)
    return comparison


def judge_gap(comparison: Comparison, limit: float | None) -> None:
    """Stop where the two differ by more than the recipe allows.

    Raises:
        BackendError: They do; the text has both figures and the likely causes.
    """
    if limit is not None and not comparison.gap <= limit:  # a gap that is no number stops too
        raise BackendError(
            f"preflight: the policy gives the targets {comparison.policy:.3f} nats a token, the model that generated "
            f"them {comparison.generating:.3f}; they differ by {comparison.gap:.3f} on average, allowed is {limit}. "
            "Likely causes: another checkpoint than the base model (policy.model_name, or an old "
            "megatron_cfg conversion: set policy.megatron_cfg.force_reconvert_from_hf=true), another chat template or "
            "tokenizer than the targets were made with, tied weights that were not tied on loading, or a policy in a "
            "lower precision (policy.precision). To train all the same, set policy.preflight_gap=null"
        )


def policy_nll(policy: Any, targets: Sequence[Target], pad_id: int) -> list[list[float]]:
    """Per-token NLL of targets under a policy, in nats, by the host's ``get_logprobs``."""
    ranks = policy.sharding_annotations.get_axis_size("data_parallel")
    size = policy.cfg.get("logprob_batch_size") or policy.cfg["train_micro_batch_size"]
    rows = [[*target.prompt_ids, *target.token_ids] for target in targets]
    # The host shards a batch over its ranks and cuts each shard into whole micro-batches.
    rows += [rows[0]] * (-len(rows) % (ranks * size))
    multiple = policy.cfg["make_sequence_length_divisible_by"]
    longest = max(map(len, rows))
    width = longest + -longest % multiple
    data: BatchedDataDict[Any] = BatchedDataDict(
        input_ids=torch.tensor([row + [pad_id] * (width - len(row)) for row in rows]),
        input_lengths=torch.tensor([len(row) for row in rows]),
        token_mask=torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
        sample_mask=torch.ones(len(rows)),
    )
    policy.prepare_for_lp_inference()
    logprobs = policy.get_logprobs(data)["logprobs"]
    return [
        (-logprobs[i, len(target.prompt_ids) : len(target.prompt_ids) + len(target.token_ids)]).tolist()
        for i, target in enumerate(targets)
    ]
