"""OPSD, OPSD-NLL and MixSD-KL on the local backend: a student learns from a teacher that was told the answer.

Each step, the student answers some prompts (or is given mixed targets in place of its answers), the teacher reads the
same responses behind the expert prompt, and the loss compares both distributions at every token. Losses are those of
``distill_loss``, which NeMo-RL's backend shares; checkpoints, resume and callbacks are those of SFT.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.training.data import IGNORE, TargetStream, collate_ids, data_order, taught_targets
from nemo_mixsd.training.distill_loss import (
    NLL_NORMALIZATION,
    Divergence,
    masked_mean,
    token_kl,
    token_nll,
    topk_log_probs,
)
from nemo_mixsd.training.distill_source import DistillSource, check_topk, longest_sequence
from nemo_mixsd.training.distill_steps import DistillSchedule, local_schedule, rollouts
from nemo_mixsd.training.local_teacher import Advice, LocalTeacher
from nemo_mixsd.training.loop import LocalTrainer, TrainJob, TrainParts, run_training
from nemo_mixsd.training.rollouts import Draw, DrawStream, Sample, Speaker
from nemo_mixsd.training.steps import StopRule, TrainResult, finished
from nemo_mixsd.types import Method

logger = logging.getLogger(__name__)


def train_distill(
    config: RunConfig,
    name: str,
    model_path: str,
    source: DistillSource,
    directory: Path,
    callbacks: CallbackRunner | None = None,
    stop: StopRule | None = None,
) -> TrainResult:
    """Distil into a fresh copy of the base model, or go on from the newest checkpoint in ``directory``.

    Args:
        config: The recipe; ``opsd``, ``policy``, ``sft``, ``checkpointing`` and ``logger`` are read.
        name: The report name, for progress, logs and callbacks.
        model_path: The base model.
        source: Prompts, and targets where the method has them.
        directory: Gets ``step_<n>/`` in Hugging Face format and ``complete.json``.
        callbacks: Hear steps, checkpoints and the end.
        stop: Ends the training before its last step, with a checkpoint where it ends.

    Raises:
        BackendError: Nothing to train on, or the loss stopped being a number.
        ConfigError: ``opsd``, batch sizes, optimizer or schedule do not fit.
        StorageError: A checkpoint could not be written; the one before is whole.
    """
    if (done := finished(directory)) is not None:
        return done
    check_topk(config, source.method, model_path)
    limit = longest_sequence(config, model_path)
    samples = _given(source, config, limit)
    schedule = local_schedule(config, source.method, len(samples or source.prompts))
    job = TrainJob(config, name, model_path, directory, schedule.steps, callbacks or CallbackRunner(), stop)
    stream = _stream(config, source, schedule, samples)

    def make(parts: TrainParts) -> LocalTrainer:
        speaker = None
        if samples is None:
            how = rollouts(config, source.method)
            speaker = Speaker(
                models.stop_token_ids(parts.tokenizer, model_path),
                Sampling(how.temperature, None, config.opsd.seed),
                how.max_new_tokens,
                limit,
                config.mixing.max_in_flight,
            )
        teacher = LocalTeacher.load(config, model_path, parts.model)
        return _DistillTrainer(job, parts, stream, _Lesson(source.method, teacher, speaker))

    return run_training(job, make)


def _given(source: DistillSource, config: RunConfig, limit: int) -> list[Sample] | None:
    """The mixed targets as responses, or None where the student itself answers."""
    if source.targets_path is None:
        return None
    longest = config.policy.max_total_sequence_length
    taught = taught_targets(source.targets_path, source.prompts, longest, limit)
    return [Sample(prompt, target.token_ids) for prompt, target in taught]


def _stream(
    config: RunConfig, source: DistillSource, schedule: DistillSchedule, samples: Sequence[Sample] | None
) -> Dataset[Any]:
    if samples is None:
        return DrawStream(source.prompts, schedule, config.sft.seed)
    length = schedule.steps * schedule.samples_per_step
    return TargetStream(samples, data_order(len(samples), length, config.sft.seed))


@dataclass(frozen=True, slots=True)
class _Lesson:
    """Who teaches and who answers; without a speaker the responses are given."""

    method: Method
    teacher: LocalTeacher
    speaker: Speaker | None


class _DistillTrainer(LocalTrainer):
    """Trainer whose batches are made at each step, by the student as it then is."""

    def __init__(self, job: TrainJob, parts: TrainParts, stream: Dataset[Any], lesson: _Lesson) -> None:
        super().__init__(job, parts, stream, list)
        self._lesson = lesson
        self._opsd = job.config.opsd
        self._pad_id = int(parts.tokenizer.pad_token_id)
        self._divergence = Divergence.from_config(job.config.opsd)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """The micro-batches of one optimizer step, from responses that all come from the weights before it."""
        drawn, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        samples = self._answer([item for batch in drawn for item in batch])
        batches, start = [], 0
        for batch in drawn:
            rows = samples[start : start + len(batch)]
            start += len(batch)
            batches.append(collate_samples(rows, self._pad_id, self._opsd.skip_first_tokens))
        return batches, self._get_num_items_in_batch(batches, device)

    def _answer(self, items: Sequence[Draw | Sample]) -> list[Sample]:
        speaker = self._lesson.speaker
        if speaker is None:
            return [item for item in items if isinstance(item, Sample)]
        self.model.eval()
        samples = speaker.answer(self.model, [item for item in items if isinstance(item, Draw)])
        self.model.train()
        self.cost.generated_tokens += sum(len(sample.token_ids) for sample in samples)
        return samples

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Sum of the micro-batch's divergences over the number of tokens in the loss of its global batch."""
        labels, samples = inputs["labels"], inputs["samples"]
        in_loss = labels[:, 1:] != IGNORE  # by the position that predicts the token
        some = bool(in_loss.any())
        advice = self._advise(samples) if some else None  # before the student's pass, whose activations are kept
        self.cost.trained_tokens += int(inputs["attention_mask"].sum())
        first = int(in_loss.any(0).nonzero()[0]) if some else labels.shape[1] - 1
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            logits_to_keep=torch.arange(first, labels.shape[1], device=labels.device),
        )
        if advice is None:
            loss = 0.0 * outputs.logits.sum()  # every response is shorter than opsd.skip_first_tokens
        else:
            values = self._compare(outputs.logits[:, :-1][in_loss[:, first:]], advice)
            count = in_loss.sum() if num_items_in_batch is None else num_items_in_batch
            loss = masked_mean(values, torch.ones_like(values), count)
        return (loss, outputs) if return_outputs else loss

    def _advise(self, samples: Sequence[Sample]) -> Advice:
        self.cost.teacher_tokens += sum(len(s.prompt.expert_ids) + len(s.token_ids) for s in samples)
        k = 1 if self._lesson.method == Method.OPSD_NLL else self._opsd.topk
        return self._lesson.teacher.advise(samples, k, self._opsd.skip_first_tokens)

    def _compare(self, student: torch.Tensor, advice: Advice) -> torch.Tensor:
        """``[1, N]`` nats, one value a token in the loss; ``student`` are its logits there, ``[N, V]``."""
        nll = self._lesson.method == Method.OPSD_NLL
        divergence = NLL_NORMALIZATION if nll else self._divergence
        both = topk_log_probs(
            student[None], advice.logits[None], advice.indices[None], divergence, advice.logsumexp[None]
        )
        return token_nll(both) if nll else token_kl(both, divergence)

    def after_step(self) -> None:
        """Let a teacher that moves follow."""
        self._lesson.teacher.follow(self.model)

    def keep(self, checkpoint: Path) -> None:
        """The count of costs, and a teacher that moves."""
        super().keep(checkpoint)
        self._lesson.teacher.keep(checkpoint)

    def restore(self, checkpoint: Path) -> None:
        """The count of costs, and a teacher that moves."""
        super().restore(checkpoint)
        self._lesson.teacher.restore(checkpoint)


def collate_samples(samples: Sequence[Sample], pad_id: int, skip: int) -> dict[str, Any]:
    """One batch of the student's sequences, padded on the right.

    Returns:
        ``input_ids`` ``[B, S]`` int64; ``attention_mask`` ``[B, S]`` int64, 1 on prompt and response; ``labels``
        ``[B, S]`` int64, unshifted: the token id where it is in the loss, ``IGNORE`` elsewhere; ``samples`` ``[B]``.
    """
    rows = [(sample.prompt.naive_ids, sample.token_ids) for sample in samples]
    return {**collate_ids(rows, pad_id, skip), "samples": list(samples)}
