"""Per-token negative log-likelihood of given tokens under a model, and what it says about targets (Eq. 3, E.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.types import Target

if TYPE_CHECKING:
    from transformers import PreTrainedModel

THRESHOLDS = (3, 4, 5, 6, 7, 8)
"""Nats above which a token counts as unlikely; the paper reports two of them, 8 among them."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Tokens to score after a prompt, both as token ids."""

    id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenNLL:
    """``nll[t]`` is minus the log-probability, in nats, of token t given the prompt and the tokens before it."""

    example_id: str
    nll: tuple[float, ...]


@torch.inference_mode()
def token_nll(
    model: PreTrainedModel,
    sequences: Sequence[Scored],
    batch_size: int = 16,
    on_done: Callable[[int], None] | None = None,
) -> Iterator[TokenNLL]:
    """Score sequences, longest batch-mates together; the order of the results is that of the lengths, not the input's.

    Rows are padded on the left, so that only the logits of the last ``max(len(token_ids)) + 1`` positions are made.

    Args:
        model: In evaluation mode.
        sequences: Each with at least one prompt id and one token.
        batch_size: Sequences a forward pass.
        on_done: Told how many sequences each pass finished.
    """
    ordered = sorted(sequences, key=lambda s: (len(s.prompt_ids) + len(s.token_ids), s.id))
    for start in range(0, len(ordered), batch_size):
        batch = ordered[start : start + batch_size]
        rows = [[*s.prompt_ids, *s.token_ids] for s in batch]
        width = max(map(len, rows))
        keep = max(len(s.token_ids) for s in batch) + 1
        ids = torch.tensor([[0] * (width - len(r)) + r for r in rows], device=model.device)
        mask = torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=model.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=keep
        ).logits
        for i, sequence in enumerate(batch):
            count = len(sequence.token_ids)
            tokens = torch.tensor(sequence.token_ids, device=model.device)
            losses = torch.nn.functional.cross_entropy(logits[i, -count - 1 : -1].float(), tokens, reduction="none")
            yield TokenNLL(sequence.id, tuple(round(value, 6) for value in losses.tolist()))
        if on_done is not None:
            on_done(len(batch))


def score_targets(model: PreTrainedModel, targets: Sequence[Target], path: Path, batch_size: int) -> list[TokenNLL]:
    """Per-token NLL of targets under the base model, kept at ``path`` in the order of ``targets``."""
    if not path.exists():
        sequences = [Scored(t.example_id, t.prompt_ids, t.token_ids) for t in targets]
        scored = {record.example_id: record for record in token_nll(model, sequences, batch_size)}
        write_jsonl(path, [scored[t.example_id] for t in targets])
    return list(read_jsonl(path, TokenNLL))


def mean_nll(records: Iterable[TokenNLL]) -> float | None:
    """Mean over all tokens of all records, in nats a token (Eq. 1 and 3), or None without a token."""
    values = [value for record in records for value in record.nll]
    return float(np.mean(values)) if values else None


def summarise(records: Sequence[TokenNLL]) -> dict[str, float | int | None]:
    """``tokens``, ``mean_nll`` and ``frac_nll_gt_3`` ... ``frac_nll_gt_8``: the report's view of a set of targets."""
    values = np.array([value for record in records for value in record.nll])
    summary: dict[str, float | int | None] = {
        "tokens": len(values),
        "mean_nll": float(values.mean()) if len(values) else None,
    }
    for threshold in THRESHOLDS:
        summary[f"frac_nll_gt_{threshold}"] = float((values > threshold).mean()) if len(values) else None
    return summary
