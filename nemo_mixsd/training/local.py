"""The local backend: SFT on target token ids with Hugging Face Trainer, resumable, on a CPU or one GPU.

The loss is Eq. 5 with the sum over the global batch divided by its number of target tokens, as NeMo-RL's ``NLLLossFn``
has it, so that both backends take the same steps.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.training.data import IGNORE, TargetStream, collate, data_order, load_targets, target_nll_sum
from nemo_mixsd.training.loop import LocalTrainer, TrainJob, TrainParts, run_training
from nemo_mixsd.training.steps import StopRule, TrainResult, finished, total_steps


def train_local(
    config: RunConfig,
    name: str,
    model_path: str,
    targets_path: Path,
    directory: Path,
    callbacks: CallbackRunner | None = None,
    stop: StopRule | None = None,
) -> TrainResult:
    """Train a fresh copy of the base model on targets, or go on from the newest checkpoint in ``directory``.

    Args:
        config: The recipe; ``policy``, ``sft``, ``checkpointing`` and ``logger`` are read.
        name: The report name, for progress, logs and callbacks.
        model_path: The base model.
        targets_path: JSONL of ``Target``.
        directory: Gets ``step_<n>/`` in Hugging Face format and ``complete.json``.
        callbacks: Hear steps, checkpoints and the end.
        stop: Ends the training before its last step, with a checkpoint where it ends.

    Raises:
        BackendError: No targets, or the loss stopped being a number.
        ConfigError: Batch sizes, optimizer or schedule do not fit.
        StorageError: A checkpoint could not be written; the one before is whole.
    """
    if (done := finished(directory)) is not None:
        return done
    targets = load_targets(targets_path, config.policy.max_total_sequence_length)
    steps = total_steps(config, len(targets))
    order = data_order(len(targets), steps * config.policy.train_global_batch_size, config.sft.seed)
    job = TrainJob(config, name, model_path, directory, steps, callbacks or CallbackRunner(), stop)

    def make(parts: TrainParts) -> LocalTrainer:
        pad_id = int(parts.tokenizer.pad_token_id)
        return _TargetTrainer(job, parts, TargetStream(targets, order), partial(collate, pad_id=pad_id))

    return run_training(job, make)


class _TargetTrainer(LocalTrainer):
    """Trainer with the loss of Eq. 5."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Sum of target NLL of a micro-batch over the number of target tokens of its global batch."""
        labels = inputs["labels"]
        self.cost.trained_tokens += int(inputs["attention_mask"].sum())
        # Logits are wide: none are made for positions before the first one that predicts a target token.
        first = int((labels != IGNORE).any(0).nonzero()[0]) - 1
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            logits_to_keep=torch.arange(first, labels.shape[1], device=labels.device),
        )
        count = (labels != IGNORE).sum() if num_items_in_batch is None else num_items_in_batch
        loss = target_nll_sum(outputs.logits, labels[:, first:]) / count
        return (loss, outputs) if return_outputs else loss
