"""The local backend: SFT on target token ids with Hugging Face Trainer, resumable, on a CPU or one GPU.

The loss is Eq. 5 with the sum over the global batch divided by its number of target tokens, as NeMo-RL's ``NLLLossFn``
has it, so that both backends take the same steps.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import BackendError, ConfigError, StorageError
from nemo_mixsd.host_sections import LoggerConfig
from nemo_mixsd.io import sync_directory, write_json
from nemo_mixsd.progress import Task, track
from nemo_mixsd.training.data import IGNORE, TargetStream, collate, data_order, load_targets, target_nll_sum
from nemo_mixsd.training.optim import make_optimizer, make_scheduler
from nemo_mixsd.training.steps import COMPLETE, StopRule, TrainResult, finished, step_directories, total_steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")


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
    callbacks = callbacks or CallbackRunner()
    policy = config.policy
    targets = load_targets(targets_path, policy.max_total_sequence_length)
    steps = total_steps(config, len(targets))
    order = data_order(len(targets), steps * policy.train_global_batch_size, config.sft.seed)
    work = directory / ".work"
    shutil.rmtree(work, ignore_errors=True)  # what a killed process was in the middle of writing
    resume = max(step_directories(directory).items(), default=None)
    start = time.monotonic()
    if resume and stop and stop.due(resume[0]) and stop.reached(models.load_model(str(resume[1]), "float32")):
        return _complete(directory, resume[0], time.monotonic() - start, name, callbacks)  # killed while it ended
    tokenizer = models.load_tokenizer(policy.tokenizer.name or model_path, policy.tokenizer.chat_template)
    torch.manual_seed(config.sft.seed)
    model = models.load_model(model_path, "float32").train()
    trainer = _make_trainer(config, model, tokenizer, TargetStream(targets, order), work, steps)
    with track(f"train {name}", steps, "steps", resume[0] if resume else 0) as task:
        trainer.add_callback(_Hooks(trainer, config, name, directory, callbacks, task, stop))
        for callback in _log_writers(config.logger, Path(config.run_dir), name):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=str(resume[1]) if resume else None)
    return _complete(directory, trainer.state.global_step, time.monotonic() - start, name, callbacks)


def _complete(directory: Path, steps: int, seconds: float, name: str, callbacks: CallbackRunner) -> TrainResult:
    """Mark the end, and drop what only a resume would need."""
    path = directory / f"step_{steps}"
    write_json(directory / COMPLETE, {"step": steps, "seconds": round(seconds, 2)})
    shutil.rmtree(directory / ".work", ignore_errors=True)
    for checkpoint in step_directories(directory).values():
        for file in _RESUME_FILES:
            (checkpoint / file).unlink(missing_ok=True)
    callbacks.emit("on_train_end", name, steps, path)
    return TrainResult(steps, path, seconds)


def _make_trainer(
    config: RunConfig,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    stream: TargetStream,
    work: Path,
    steps: int,
) -> Trainer:
    policy = config.policy
    if policy.optimizer is None:
        raise ConfigError("policy.optimizer is null; the local backend needs one, e.g. name: torch.optim.AdamW")
    optimizer = make_optimizer(model.parameters(), policy.optimizer)
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=policy.train_micro_batch_size,
        gradient_accumulation_steps=policy.train_global_batch_size // policy.train_micro_batch_size,
        max_steps=steps,
        max_grad_norm=policy.max_grad_norm or 0.0,
        bf16=policy.precision == "bfloat16",
        fp16=policy.precision == "float16",
        use_cpu=models.default_device() == "cpu",
        seed=config.sft.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpointing.save_period,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    trainer = _TargetTrainer(
        model=model,
        args=arguments,
        train_dataset=stream,
        data_collator=partial(collate, pad_id=tokenizer.pad_token_id),
        processing_class=tokenizer,
        optimizers=(optimizer, make_scheduler(optimizer, policy.scheduler)),
    )
    trainer.model_accepts_loss_kwargs = True  # the loss takes the count of the global batch, whatever the model takes
    for printer in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printer)
    return trainer


class _TargetTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the loss of Eq. 5 and with the data in the order that it is given."""

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Sum of target NLL of a micro-batch over the number of target tokens of its global batch."""
        labels = inputs["labels"]
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

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch.save and safetensors have errors of their own
            raise StorageError(
                f"cannot write a checkpoint below {self.args.output_dir}: {error}; free space and start the same "
                "command again: it goes on from the newest complete checkpoint"
            ) from error

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """Moves finished checkpoints to their place, and tells progress and callbacks what happens."""

    def __init__(
        self,
        trainer: Trainer,
        config: RunConfig,
        name: str,
        directory: Path,
        callbacks: CallbackRunner,
        task: Task,
        stop: StopRule | None,
    ) -> None:
        self._trainer = trainer
        self._keep = config.checkpointing.keep_top_k
        self._name = name
        self._directory = directory
        self._callbacks = callbacks
        self._task = task
        self._stop = stop

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Trainer turns the model's cache off; checkpoints are to generate with it."""
        model.config.use_cache = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save at the last step too, whatever the period; ask whether this is to be the last."""
        if self._stop and self._stop.due(state.global_step) and self._stop_now(kwargs["model"]):
            control.should_training_stop = True
        if control.should_training_stop or state.global_step >= state.max_steps:
            control.should_save = True
        return control

    def _stop_now(self, model: PreTrainedModel) -> bool:
        assert self._stop is not None
        model.eval()
        reached = self._stop.reached(model)
        model.train()
        return reached

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the loss; stop on one that is no number."""
        logs = logs or {}
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise BackendError(
                f"training {self._name}: the loss is {loss} at step {state.global_step}; lower "
                "policy.optimizer.kwargs.lr"
            )
        self._task.advance(state.global_step - self._task.done, f"loss {loss:.3f}")
        metrics = {"loss": loss, "lr": float(logs.get("learning_rate", 0.0))}
        if logs.get("grad_norm") is not None:
            metrics["grad_norm"] = float(logs["grad_norm"])
        self._callbacks.emit("on_train_step", self._name, state.global_step, metrics)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written: sync it, rename it to ``step_<n>``, drop those beyond ``keep_top_k``."""
        step = state.global_step
        written = Path(args.output_dir) / f"checkpoint-{step}"
        for file in written.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        place = self._directory / f"step_{step}"
        shutil.rmtree(place, ignore_errors=True)
        os.replace(written, place)
        sync_directory(self._directory)
        if self._keep is not None:
            for old in list(step_directories(self._directory).values())[: -self._keep]:
                shutil.rmtree(old)
        self._callbacks.emit("on_checkpoint_saved", self._name, step, place)


def _log_writers(config: LoggerConfig, run_dir: Path, name: str) -> list[TrainerCallback]:
    """TensorBoard and Weights & Biases, as the ``logger`` section asks."""
    writers: list[TrainerCallback] = []
    if config.tensorboard_enabled:
        from torch.utils.tensorboard import SummaryWriter
        from transformers.integrations import TensorBoardCallback

        writers.append(TensorBoardCallback(SummaryWriter(str(Path(config.log_dir or run_dir / "logs") / name))))
    if config.wandb_enabled:
        from transformers.integrations import WandbCallback

        os.environ.setdefault("WANDB_PROJECT", str(config.wandb.get("project", "nemo_mixsd")))
        writers.append(WandbCallback())
    return writers
