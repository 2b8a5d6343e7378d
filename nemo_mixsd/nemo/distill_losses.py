"""Losses in NeMo-RL's protocol for what its ``DistillationLossFn`` does not have: clip, bucket, and NLL on the top-1.

Both take the input that the host prepares for a distillation, under tensor and context parallelism too, and hand the
arithmetic to ``training.distill_loss``. Where a recipe asks for none of it, the host's own loss is used.
"""

from __future__ import annotations

from typing import Any

import torch
from nemo_rl.algorithms.loss.interfaces import LossFunction, LossInputType, LossType
from nemo_rl.algorithms.loss.loss_functions import DistillationLossFn
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from nemo_mixsd.nemo.contextual_teacher import LOGSUMEXP
from nemo_mixsd.training.distill_config import OpsdConfig
from nemo_mixsd.training.distill_loss import (
    NLL_NORMALIZATION,
    Divergence,
    TopK,
    masked_mean,
    teacher_inside,
    token_kl,
    token_nll,
)
from nemo_mixsd.types import Method


class TopKLossFn(LossFunction):  # type: ignore[misc]  # the host is not typed here
    """A divergence over the teacher's top-k.

    Attributes:
        loss_type: The sum over tokens is divided by the number of tokens of the global batch.
        input_type: The host prepares both distributions at the teacher's top-k.
        kl_type, zero_outside_topk, mixed_kl_weight: What the host reads to prepare them.
    """

    loss_type = LossType.TOKEN_LEVEL
    input_type = LossInputType.DISTILLATION

    def __init__(self, divergence: Divergence) -> None:
        """Keep the divergence."""
        self._divergence = divergence
        self.kl_type = divergence.kl_type
        self.mixed_kl_weight = divergence.mixed_kl_weight
        self.zero_outside_topk = divergence.over_vocabulary

    def __call__(
        self,
        student_topk_logprobs: torch.Tensor,
        teacher_topk_logprobs: torch.Tensor,
        H_all: torch.Tensor | None,
        data: BatchedDataDict[Any],
        global_valid_seqs: torch.Tensor,
        global_valid_toks: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The part of a global batch's loss that a micro-batch has.

        Args:
            student_topk_logprobs: ``[B, S - 1, k]``, position s predicts token s + 1.
            teacher_topk_logprobs: ``[B, S - 1, k]``, normalised over the top-k.
            H_all: ``[B, S - 1]`` sum of p log p of the student, or None.
            data: ``token_mask`` ``[B, S]`` unshifted, ``sample_mask`` ``[B]``, the teacher's ``[B, S, k]`` logits.
            global_valid_seqs: Not used: the loss is by token.
            global_valid_toks: Tokens in the loss of the global batch.

        Returns:
            A scalar in nats a token, and ``loss`` and ``num_valid_samples`` as the host's loss has them.
        """
        width = student_topk_logprobs.shape[1]
        inside = None
        if self._divergence.outside_topk == "bucket":
            logits = data["teacher_topk_logits"].to(student_topk_logprobs)
            inside = teacher_inside(logits, data[LOGSUMEXP].to(logits))[:, :width]
        values = self._values(TopK(student_topk_logprobs, teacher_topk_logprobs, H_all, inside))
        mask = data["token_mask"][:, 1 : width + 1] * data["sample_mask"].unsqueeze(-1)
        loss = masked_mean(values, mask.to(values.device), global_valid_toks)
        return loss, {"loss": loss.item(), "num_valid_samples": data["input_ids"].shape[0]}

    def _values(self, topk: TopK) -> torch.Tensor:
        return token_kl(topk, self._divergence)


class TopOneNLLLossFn(TopKLossFn):
    """OPSD-NLL: the student's NLL on the token that the teacher finds likeliest; k = 1 is enough."""

    def __init__(self) -> None:
        """Have the host normalise over the vocabulary, without an entropy."""
        super().__init__(NLL_NORMALIZATION)

    def _values(self, topk: TopK) -> torch.Tensor:
        return token_nll(topk)


def make_loss(method: Method, opsd: OpsdConfig, host_section: Any) -> LossFunction:
    """The loss of a method: the host's own where it has all that the recipe asks for.

    Args:
        method: One of ``DISTILLED``.
        opsd: The recipe's section.
        host_section: ``loss_fn`` of the host's configuration, made from ``opsd``.
    """
    if method == Method.OPSD_NLL:
        return TopOneNLLLossFn()
    if opsd.kl_clip is None and opsd.outside_topk != "bucket":
        return DistillationLossFn(host_section)
    return TopKLossFn(Divergence.from_config(opsd))
