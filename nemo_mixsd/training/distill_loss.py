"""Divergences between teacher and student over the teacher's top-k, and the NLL of its first choice.

The one implementation for both backends. Everything is per position first, ``[B, T]`` in nats, then reduced as the
host's ``DistillationLossFn`` reduces: the sum over positions in the loss, divided by their number in the whole global
batch. Position t holds the distributions of the token *after* it; masks are aligned with that (already shifted).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from nemo_mixsd.training.distill_config import KLType, OpsdConfig, OutsideTopK

LOG_ZERO = -100.0
"""Log-probability of what the teacher is taken to give no mass; the host's ``log_infinitesimal``."""

_LEAST_TAIL = 1e-7
"""Least mass of a bucket: below float32's resolution of a sum of probabilities it is rounding."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Which divergence.

    Attributes:
        kl_type: KL(teacher ‖ student), KL(student ‖ teacher), or both.
        mixed_kl_weight: ``mixed``: weight of the forward KL.
        outside_topk: What becomes of the mass beyond the top-k.
        kl_clip: Largest value of a position, or None.
    """

    kl_type: KLType = "forward"
    mixed_kl_weight: float = 0.5
    outside_topk: OutsideTopK = "renormalize"
    kl_clip: float | None = None

    @classmethod
    def from_config(cls, opsd: OpsdConfig) -> Divergence:
        """As the recipe says."""
        return cls(opsd.kl_type, opsd.mixed_kl_weight, opsd.outside_topk, opsd.kl_clip)

    @property
    def over_vocabulary(self) -> bool:
        """Whether the student's log-probabilities are over the vocabulary, or over the top-k alone."""
        return self.outside_topk != "renormalize"

    @property
    def needs_entropy(self) -> bool:
        """Whether the student's entropy over the vocabulary is part of the value."""
        return self.outside_topk == "zero" and self.kl_type != "forward"


@dataclass(frozen=True, slots=True)
class TopK:
    """Both distributions at the teacher's top-k tokens.

    Attributes:
        student: ``[B, T, k]`` float32 log-probabilities, with gradients; over the vocabulary or over the top-k
            (``Divergence.over_vocabulary``).
        teacher: ``[B, T, k]`` float32 log-probabilities over the top-k (they sum to 1).
        student_negentropy: ``[B, T]`` sum of p log p over the vocabulary, where it is needed; the host's ``H_all``.
        teacher_inside: ``[B, T]`` log of the teacher's mass in the top-k, for ``bucket``.
    """

    student: torch.Tensor
    teacher: torch.Tensor
    student_negentropy: torch.Tensor | None = None
    teacher_inside: torch.Tensor | None = None


def topk_log_probs(
    student_logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    teacher_indices: torch.Tensor,
    divergence: Divergence,
    teacher_logsumexp: torch.Tensor | None = None,
) -> TopK:
    """Log-probabilities at the teacher's top-k, as the host's ``get_distillation_topk_logprobs_from_logits`` has them.

    Args:
        student_logits: ``[B, T, V]``, any float dtype; computed with in float32 (float64 stays).
        teacher_logits: ``[B, T, k]``.
        teacher_indices: ``[B, T, k]`` int64 token ids.
        divergence: Says over what to normalise.
        teacher_logsumexp: ``[B, T]`` over the teacher's whole vocabulary; needed for ``bucket``.

    Raises:
        ValueError: ``bucket`` without ``teacher_logsumexp``.
    """
    logits = student_logits if student_logits.dtype == torch.float64 else student_logits.float()
    teacher_logits = teacher_logits.to(logits)
    teacher_indices = teacher_indices.to(logits.device)
    negentropy = None
    if divergence.over_vocabulary:
        log_probs = logits.log_softmax(-1)
        student = log_probs.gather(-1, teacher_indices)
        if divergence.needs_entropy:
            negentropy = (log_probs.exp() * log_probs).sum(-1)
    else:
        student = logits.gather(-1, teacher_indices).log_softmax(-1)
    inside = None
    if divergence.outside_topk == "bucket":
        if teacher_logsumexp is None:
            raise ValueError("outside_topk=bucket needs the teacher's logsumexp over the vocabulary")
        inside = teacher_inside(teacher_logits, teacher_logsumexp.to(logits))
    return TopK(student, teacher_logits.log_softmax(-1), negentropy, inside)


def teacher_inside(teacher_logits: torch.Tensor, teacher_logsumexp: torch.Tensor) -> torch.Tensor:
    """``[B, T]`` log of the teacher's mass in its top-k, from their logits ``[B, T, k]`` and ``[B, T]`` logsumexp."""
    return (teacher_logits.logsumexp(-1) - teacher_logsumexp).clamp(max=0.0)


def token_kl(topk: TopK, divergence: Divergence) -> torch.Tensor:
    """``[B, T]`` divergence of each position in nats, clipped where the recipe says so."""
    student, teacher = topk.student, topk.teacher
    if divergence.outside_topk == "bucket":
        student, teacher = _with_bucket(topk)
    weight = {"forward": 1.0, "reverse": 0.0, "mixed": divergence.mixed_kl_weight}[divergence.kl_type]
    value = torch.zeros_like(student[..., 0])
    if divergence.kl_type != "reverse":
        value = value + weight * (teacher.exp() * (teacher - student)).sum(-1)
    if divergence.kl_type != "forward":
        reverse = (student.exp() * (student - teacher)).sum(-1)
        if divergence.outside_topk == "zero":
            reverse = reverse + _beyond(topk)
        value = value + (1.0 - weight) * reverse
    return value if divergence.kl_clip is None else value.clamp(max=divergence.kl_clip)


def _beyond(topk: TopK) -> torch.Tensor:
    """What the tokens beyond the top-k add to the reverse KL where the teacher is taken to give them nothing."""
    assert topk.student_negentropy is not None
    probs = topk.student.exp()
    rest = topk.student_negentropy - (probs * topk.student).sum(-1)
    return rest - LOG_ZERO * (1.0 - probs.sum(-1))


def _with_bucket(topk: TopK) -> tuple[torch.Tensor, torch.Tensor]:
    """Both distributions over the top-k and one token more, which has all the rest."""
    assert topk.teacher_inside is not None
    inside = topk.teacher_inside
    teacher = torch.cat([topk.teacher + inside.unsqueeze(-1), _log_rest(inside.exp()).unsqueeze(-1)], dim=-1)
    student = torch.cat([topk.student, _log_rest(topk.student.exp().sum(-1)).unsqueeze(-1)], dim=-1)
    return student, teacher


def _log_rest(mass: torch.Tensor) -> torch.Tensor:
    return (1.0 - mass).clamp(min=_LEAST_TAIL).log()


def token_nll(topk: TopK) -> torch.Tensor:
    """``[B, T]`` NLL of the student on the teacher's likeliest token (OPSD-NLL); ``student`` is over the vocabulary."""
    first = topk.teacher.argmax(-1, keepdim=True)
    return -topk.student.gather(-1, first).squeeze(-1)


NLL_NORMALIZATION = Divergence(outside_topk="zero")
"""For ``topk_log_probs`` before ``token_nll``: the student over the vocabulary, no entropy."""


def masked_mean(values: torch.Tensor, mask: torch.Tensor, count: torch.Tensor | float) -> torch.Tensor:
    """Sum of ``values`` ``[B, T]`` over ``mask`` ``[B, T]`` divided by ``count``, the positions of the global batch.

    The parts of a global batch add up to its mean, however it is cut into micro-batches.
    """
    return (values * mask.to(values)).sum() / (count + 1e-8)


def skip_first(mask: torch.Tensor, count: int) -> torch.Tensor:
    """A response mask ``[B, T]`` without its first ``count`` tokens in each row, in the dtype it came in."""
    if count == 0:
        return mask
    return mask * (mask.cumsum(-1) > count).to(mask)
