"""From targets to training batches, without ever leaving token ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch.utils.data import Dataset

from nemo_mixsd.errors import BackendError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Target

logger = logging.getLogger(__name__)

T = TypeVar("T")

IGNORE = -100
"""Label of positions outside the loss, as in PyTorch and transformers."""


def load_targets(path: Path, max_length: int) -> list[Target]:
    """Read targets that fit ``max_length`` tokens, prompt included; the others are named and left out.

    Raises:
        BackendError: None is left.
    """
    targets: list[Target] = []
    long: list[Target] = []
    for target in read_jsonl(path, Target):
        fits = len(target.prompt_ids) + len(target.token_ids) <= max_length
        (targets if fits else long).append(target)
    if long:
        logger.warning(
            "%d of %d targets are longer than policy.max_total_sequence_length=%d and are left out (%s, ...)",
            len(long), len(long) + len(targets), max_length, long[0].example_id,
        )  # fmt: skip
    if not targets:
        raise BackendError(
            f"{path} has no target to train on"
            + (f": all are longer than policy.max_total_sequence_length={max_length}" if long else "")
        )
    return targets


def taught_targets(
    path: Path, prompts: Sequence[TeacherPrompt], max_length: int, limit: int
) -> list[tuple[TeacherPrompt, Target]]:
    """Read targets that a teacher can read too: those that fit behind their expert prompt; others are left out.

    Args:
        path: JSONL of ``Target``.
        prompts: Both prompts of every training example.
        max_length: Longest naive prompt and target together, as for ``load_targets``.
        limit: Longest expert prompt and target together.

    Raises:
        BackendError: A target is of another run, or none is left.
    """
    known = {prompt.example_id: prompt for prompt in prompts}
    found: list[tuple[TeacherPrompt, Target]] = []
    long: list[str] = []
    for target in load_targets(path, max_length):
        prompt = known.get(target.example_id)
        if prompt is None or prompt.naive_ids != target.prompt_ids:
            raise BackendError(
                f"{path}: the target of example {target.example_id!r} has a prompt that is not the example's naive "
                "prompt: it is of another run; remove the file"
            )
        if len(prompt.expert_ids) + len(target.token_ids) <= limit:
            found.append((prompt, target))
        else:
            long.append(target.example_id)
    if long:
        logger.warning(
            "%d of %d targets are longer than %d tokens behind their expert prompt and are left out (%s, ...)",
            len(long), len(long) + len(found), limit, long[0],
        )  # fmt: skip
    if not found:
        raise BackendError(f"{path} has no target that fits {limit} tokens behind its expert prompt")
    return found


def data_order(count: int, length: int, seed: int) -> list[int]:
    """Which target each training position shows: every epoch a new shuffle, one after the other without a gap.

    Args:
        count: Number of targets.
        length: Number of training positions (steps times batch size).
        seed: ``sft.seed``.

    Returns:
        ``[length]`` indices into the targets. A function of the arguments alone, so that a resumed run sees what an
        uninterrupted one sees.
    """
    order: list[int] = []
    epoch = 0
    while len(order) < length:
        indices = list(range(count))
        KeyedRandom("order", seed, epoch).shuffle(indices)
        order += indices
        epoch += 1
    return order[:length]


class TargetStream(Dataset[T]):
    """Targets, or responses in their place, in training order, all epochs end to end."""

    def __init__(self, items: Sequence[T], order: Sequence[int]) -> None:
        self._items = items
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> T:
        return self._items[self._order[index]]


def collate(targets: Sequence[Target], pad_id: int) -> dict[str, torch.Tensor]:
    """One batch of prompts and targets; see ``collate_ids``."""
    return collate_ids([(target.prompt_ids, target.token_ids) for target in targets], pad_id)


def collate_ids(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], pad_id: int, skip: int = 0
) -> dict[str, torch.Tensor]:
    """One batch, padded on the right.

    Args:
        rows: Prompt ids and response ids.
        pad_id: Fills rows to one length.
        skip: First tokens of each response outside the loss.

    Returns:
        ``input_ids`` ``[B, S]`` int64; ``attention_mask`` ``[B, S]`` int64, 1 on prompt and response; ``labels``
        ``[B, S]`` int64, unshifted: the token id where it is in the loss, ``IGNORE`` elsewhere.
    """
    width = max(len(prompt) + len(response) for prompt, response in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORE)
    for i, (prompt, response) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(response)
        ids[i, :end] = torch.tensor([*prompt, *response])
        mask[i, :end] = 1
        labels[i, start + skip : end] = ids[i, start + skip : end]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def target_nll_sum(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum over target tokens of the negative log-likelihood, the numerator of Eq. 5.

    Args:
        logits: ``[B, S, V]``, position s predicts token s + 1.
        labels: ``[B, S]`` int64, unshifted, ``IGNORE`` outside the target.

    Returns:
        A float32 scalar in nats.
    """
    flat = logits[:, :-1].reshape(-1, logits.shape[-1])
    kept = labels[:, 1:].reshape(-1)
    on_target = kept != IGNORE  # the vocabulary is wide: only target positions are worth a softmax in float32
    return torch.nn.functional.cross_entropy(flat[on_target].float(), kept[on_target], reduction="sum")
