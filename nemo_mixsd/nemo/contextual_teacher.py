"""The teacher of OPSD on NeMo-RL's stock loop: any policy with ``get_topk_logits``, reading the expert prompt.

The loop hands its teacher the student's own sequences. Here each row's naive prompt is found, the expert prompt put in
its place with the response verbatim behind it, the inner policy asked, and the answer moved back to where the student
is. The loop, the policies and the loss know nothing of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo.distill_sections import prompt_table
from nemo_mixsd.nemo.listening import Wrapper
from nemo_mixsd.training.cost import TrainCost
from nemo_mixsd.training.distill_loss import skip_first
from nemo_mixsd.training.teacher import TeacherPrompt, TeacherRow, onto_student, stack, teacher_row

logger = logging.getLogger(__name__)

LOGSUMEXP = "teacher_logsumexp"
"""Key of the training data: ``[B, S]`` float32, the teacher's logsumexp over the vocabulary, where it is asked for."""


@dataclass(frozen=True, slots=True)
class TeacherSettings:
    """How the contextual teacher reads.

    Attributes:
        pad_id: Fills the right side of its sequences.
        max_tokens: Longest expert prompt and response together; longer rows leave the loss.
        skip_first_tokens: First tokens of each response that leave the loss.
        logsumexp: Whether the loss needs the logsumexp over the vocabulary (``opsd.outside_topk=bucket``).
        is_student: Whether the inner policy is the student (``opsd.teacher=live``): it then stays on its device.
        replayed: Whether the responses were given beforehand, so that nobody generates them in the loop.
    """

    pad_id: int
    max_tokens: int
    skip_first_tokens: int = 0
    logsumexp: bool = False
    is_student: bool = False
    replayed: bool = False


class ContextualTeacher(Wrapper):
    """A policy that answers for the naive prompt what it thinks behind the expert prompt.

    Attributes:
        left_out: Rows that have left the loss so far because they did not fit.
        cost: Tokens so far; every batch of the loop comes by here once.
    """

    def __init__(
        self, inner: Any, prompts: Iterable[TeacherPrompt], settings: TeacherSettings, cost: TrainCost | None = None
    ) -> None:
        """Wrap a policy.

        Args:
            inner: Has ``get_topk_logits`` and ``cfg``; the host's, or the in-process one.
            prompts: Of every training example.
            settings: See there.
            cost: To count on from.

        Raises:
            CorpusError: Two examples have one naive prompt and different expert prompts, so that a row of it could be
                either's.
        """
        super().__init__(inner)
        self._settings = settings
        self._by_prompt = prompt_table(prompts)
        self.left_out = 0
        self.cost = cost or TrainCost()

    def offload_after_refit(self) -> None:
        """Make room for the student; where this is the student itself, it is about to be trained and stays."""
        if not self._settings.is_student:
            self._inner.offload_after_refit()

    def get_topk_logits(
        self, data: BatchedDataDict[Any], k: int, micro_batch_size: int | None = None, timer: Any = None
    ) -> BatchedDataDict[Any]:
        """The teacher's k highest logits, at the student's positions.

        Args:
            data: The loop's: ``input_ids`` ``[B, S]``, ``input_lengths`` ``[B]``, ``token_mask`` ``[B, S]`` (1 on the
                response, unshifted), ``sample_mask`` ``[B]``. What does not take part in the loss leaves it here:
                ``sample_mask`` becomes 0 for rows that do not fit, ``token_mask`` for first tokens that are skipped;
                the loss's denominator, which the student counts later, follows.
            k: How many.
            micro_batch_size: For the inner policy.
            timer: For the inner policy.

        Returns:
            ``topk_logits`` ``[B, S, k]`` and ``topk_indices`` ``[B, S, k]``: position s of a row, from the last token
            of its prompt on, holds what the inner policy predicts after the expert prompt and the response up to token
            s. Positions before that, padding and rows without a part in the loss hold 0.

        Raises:
            BackendError: A row's prompt is none of the training prompts, or the inner policy lacks the logsumexp.
        """
        rows = [self._row(data, i) for i in range(data["input_ids"].shape[0])]
        self._count(data, rows)
        self._leave_out(data, rows)
        if all(row is None or self._is_unchanged(data, i, row) for i, row in enumerate(rows)):
            found = self._inner.get_topk_logits(data, k=k, micro_batch_size=micro_batch_size, timer=timer)
            if self._settings.logsumexp:
                data[LOGSUMEXP] = _logsumexp(found)
            return BatchedDataDict(topk_logits=found["topk_logits"], topk_indices=found["topk_indices"])
        # A row without a part in the loss still has its place in the batch, which the host deals over its ranks: one
        # token, and no position of the student's.
        kept = [row or TeacherRow(tuple(data["input_ids"][i, :1].tolist()), 2, 0) for i, row in enumerate(rows)]
        found = self._inner.get_topk_logits(self._batch(kept), k=k, micro_batch_size=micro_batch_size, timer=timer)
        width = data["input_ids"].shape[1]
        if self._settings.logsumexp:
            data[LOGSUMEXP] = onto_student(_logsumexp(found), kept, width)
        return BatchedDataDict(
            topk_logits=onto_student(found["topk_logits"], kept, width),
            topk_indices=onto_student(found["topk_indices"], kept, width),
        )

    def _row(self, data: BatchedDataDict[Any], i: int) -> TeacherRow | None:
        """The teacher's sequence of a row, or None if the row has no part in the loss."""
        spoken = data["token_mask"][i].nonzero().flatten()
        if data["sample_mask"][i] == 0 or len(spoken) == 0:
            return None
        ids = data["input_ids"][i, : int(data["input_lengths"][i])].tolist()
        start = int(spoken[0])
        prompt = self._by_prompt.get(tuple(ids[:start]))
        if prompt is None:
            raise BackendError(
                f"the contextual teacher does not know the prompt of row {i} ({start} tokens, {ids[:start][:8]}...): "
                "the loop's prompts must be those of the run, unchanged"
            )
        return teacher_row(prompt, ids[start:])

    def _count(self, data: BatchedDataDict[Any], rows: list[TeacherRow | None]) -> None:
        self.cost.trained_tokens += int(data["input_lengths"].sum())
        self.cost.teacher_tokens += sum(
            len(row.ids) for row in rows if row and len(row.ids) <= self._settings.max_tokens
        )
        if not self._settings.replayed:
            self.cost.generated_tokens += int(data["token_mask"].sum())

    def _leave_out(self, data: BatchedDataDict[Any], rows: list[TeacherRow | None]) -> None:
        """Take rows that do not fit, and first tokens that are skipped, out of the loss."""
        limit = self._settings.max_tokens
        long = [i for i, row in enumerate(rows) if row is not None and len(row.ids) > limit]
        if long:
            keep = data["sample_mask"].clone()
            keep[long] = 0
            data["sample_mask"] = keep
            for i in long:
                rows[i] = None
            self.left_out += len(long)
            logger.warning(
                "%d of %d rollouts are longer than %d tokens behind their expert prompt and leave the loss (%d so "
                "far); lower opsd.max_new_tokens or raise mixing.max_total_tokens",
                len(long), len(rows), limit, self.left_out,
            )  # fmt: skip
        if self._settings.skip_first_tokens:
            data["token_mask"] = skip_first(data["token_mask"], self._settings.skip_first_tokens)

    def _is_unchanged(self, data: BatchedDataDict[Any], i: int, row: TeacherRow) -> bool:
        return row.shift == 0 and row.ids == tuple(data["input_ids"][i, : len(row.ids)].tolist())

    def _batch(self, rows: list[TeacherRow]) -> BatchedDataDict[Any]:
        ids, lengths = stack(rows, self._settings.pad_id, self._inner.cfg["make_sequence_length_divisible_by"])
        return BatchedDataDict(
            input_ids=ids,
            input_lengths=lengths,
            token_mask=(torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).long(),
            sample_mask=torch.ones(len(rows)),
        )


def _logsumexp(found: BatchedDataDict[Any]) -> torch.Tensor:
    if "logsumexp" not in found:
        raise BackendError(
            "opsd.outside_topk=bucket needs the teacher's logsumexp over the vocabulary, which NeMo-RL's GPU workers "
            "do not return; use opsd.outside_topk=zero or renormalize, or cluster.gpus_per_node=0"
        )
    total: torch.Tensor = found["logsumexp"]
    return total
