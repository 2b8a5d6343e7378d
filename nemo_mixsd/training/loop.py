"""What all local trainings share: Hugging Face Trainer with exact resume, atomic checkpoints, callbacks and costs."""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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
from nemo_mixsd.io import replace_directory, write_json
from nemo_mixsd.progress import Task, track
from nemo_mixsd.training.cost import COST_FILE, TrainCost, load_cost
from nemo_mixsd.training.optim import make_optimizer, make_scheduler
from nemo_mixsd.training.steps import COMPLETE, StopRule, TrainResult, step_directories

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

TEACHER_FILE = "teacher.safetensors"
"""Weights of a teacher that moves, within a checkpoint."""
_RESUME_FILES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt", COST_FILE, TEACHER_FILE)


@dataclass(frozen=True, slots=True)
class TrainJob:
    """One training of the local backend.

    Attributes:
        config: The recipe; ``policy``, ``sft``, ``checkpointing`` and ``logger`` are read.
        name: The report name, for progress, logs and callbacks.
        model_path: The base model.
        directory: Gets ``step_<n>/`` in Hugging Face format and ``complete.json``.
        steps: Optimizer steps.
        callbacks: Hear steps, checkpoints and the end.
        stop: Ends the training before its last step, with a checkpoint where it ends.
    """

    config: RunConfig
    name: str
    model_path: str
    directory: Path
    steps: int
    callbacks: CallbackRunner = field(default_factory=CallbackRunner)
    stop: StopRule | None = None


@dataclass(frozen=True, slots=True)
class TrainParts:
    """What a trainer is made of: the student in training mode and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


class LocalTrainer(Trainer):  # type: ignore[misc]
    """Trainer with the data in the order that it is given, our checkpoint errors, and a count of what it costs."""

    def __init__(self, job: TrainJob, parts: TrainParts, dataset: Any, collator: Callable[..., Any]) -> None:
        policy = job.config.policy
        if policy.optimizer is None:
            raise ConfigError("policy.optimizer is null; the local backend needs one, e.g. name: torch.optim.AdamW")
        optimizer = make_optimizer(parts.model.parameters(), policy.optimizer)
        super().__init__(
            model=parts.model,
            args=_arguments(job),
            train_dataset=dataset,
            data_collator=collator,
            processing_class=parts.tokenizer,
            optimizers=(optimizer, make_scheduler(optimizer, policy.scheduler)),
        )
        self.model_accepts_loss_kwargs = True  # losses take the count of the global batch, whatever the model takes
        self.cost = TrainCost()
        self._since: float | None = None
        for printer in (PrinterCallback, ProgressCallback):
            self.remove_callback(printer)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The micro-batches of one optimizer step, which begins here."""
        self._since = time.monotonic()
        return super().get_batch_samples(*args, **kwargs)

    def stop_clock(self) -> None:
        """The optimizer step is done."""
        if self._since is not None:
            self.cost.seconds += time.monotonic() - self._since
            self._since = None

    def after_step(self) -> None:
        """What is to be done after each optimizer step, before it is looked at or saved."""

    def restore(self, checkpoint: Path) -> None:
        """Take up what a checkpoint keeps beside weights, optimizer and schedule."""
        self.cost = load_cost(checkpoint)

    def keep(self, checkpoint: Path) -> None:
        """Write what ``restore`` will ask for."""
        self.cost.save(checkpoint)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._save_checkpoint(*args, **kwargs)
            self.keep(Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}")
        except (OSError, RuntimeError, SafetensorError) as error:  # torch.save and safetensors have errors of their own
            raise StorageError(
                f"cannot write a checkpoint below {self.args.output_dir}: {error}; free space and start the same "
                "command again: it goes on from the newest complete checkpoint"
            ) from error

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def run_training(job: TrainJob, make: Callable[[TrainParts], LocalTrainer]) -> TrainResult:
    """Train a fresh copy of the base model, or go on from the newest checkpoint in the job's directory.

    Raises:
        BackendError: The loss stopped being a number.
        ConfigError: Optimizer or schedule do not fit.
        StorageError: A checkpoint could not be written; the one before is whole.
    """
    config, tokenizer_settings = job.config, job.config.policy.tokenizer
    shutil.rmtree(_work(job), ignore_errors=True)  # what a killed process was in the middle of writing
    resume = max(step_directories(job.directory).items(), default=None)
    stop = job.stop
    if resume and stop and stop.due(resume[0]) and stop.reached(models.load_model(str(resume[1]), "float32")):
        return _complete(job, resume[0], load_cost(resume[1]))  # killed while it ended
    tokenizer = models.load_tokenizer(tokenizer_settings.name or job.model_path, tokenizer_settings.chat_template)
    torch.manual_seed(config.sft.seed)
    trainer = make(TrainParts(models.load_model(job.model_path, "float32").train(), tokenizer))
    with track(f"train {job.name}", job.steps, "steps", resume[0] if resume else 0) as task:
        trainer.add_callback(_Hooks(trainer, job, task))
        for callback in _log_writers(config.logger, Path(config.run_dir), job.name):
            trainer.add_callback(callback)
        if resume:
            trainer.restore(resume[1])
        trainer.train(resume_from_checkpoint=str(resume[1]) if resume else None)
    return _complete(job, trainer.state.global_step, trainer.cost)


def _work(job: TrainJob) -> Path:
    return job.directory / ".work"


def _complete(job: TrainJob, steps: int, cost: TrainCost) -> TrainResult:
    """Mark the end, and drop what only a resume would need."""
    path = job.directory / f"step_{steps}"
    seconds = round(cost.seconds, 2)
    write_json(job.directory / COMPLETE, {"step": steps, "seconds": seconds, "cost": cost.record()})
    shutil.rmtree(_work(job), ignore_errors=True)
    for checkpoint in step_directories(job.directory).values():
        for file in _RESUME_FILES:
            (checkpoint / file).unlink(missing_ok=True)
    job.callbacks.emit("on_train_end", job.name, steps, path)
    return TrainResult(steps, path, seconds)


def _arguments(job: TrainJob) -> TrainingArguments:
    policy = job.config.policy
    return TrainingArguments(
        output_dir=str(_work(job)),
        per_device_train_batch_size=policy.train_micro_batch_size,
        gradient_accumulation_steps=policy.train_global_batch_size // policy.train_micro_batch_size,
        max_steps=job.steps,
        max_grad_norm=policy.max_grad_norm or 0.0,
        bf16=policy.precision == "bfloat16",
        fp16=policy.precision == "float16",
        use_cpu=models.default_device() == "cpu",
        seed=job.config.sft.seed,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=job.config.checkpointing.save_period,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


class _Hooks(TrainerCallback):  # type: ignore[misc]
    """Moves finished checkpoints to their place, and tells progress and callbacks what happens."""

    def __init__(self, trainer: LocalTrainer, job: TrainJob, task: Task) -> None:
        self._trainer = trainer
        self._job = job
        self._task = task

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Trainer turns the model's cache off; checkpoints are to generate with it."""
        model.config.use_cache = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Save at the last step too, whatever the period; ask whether this is to be the last."""
        self._trainer.after_step()
        self._trainer.stop_clock()
        stop = self._job.stop
        if stop and stop.met(state.global_step, kwargs["model"]):
            control.should_training_stop = True
        if control.should_training_stop or state.global_step >= state.max_steps:
            control.should_save = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the loss; stop on one that is no number."""
        logs = logs or {}
        if "loss" not in logs:
            return
        job, loss = self._job, float(logs["loss"])
        if not math.isfinite(loss):
            raise BackendError(
                f"training {job.name}: the loss is {loss} at step {state.global_step}; lower policy.optimizer.kwargs.lr"
            )
        self._task.advance(state.global_step - self._task.done, f"loss {loss:.3f}")
        metrics = {"loss": loss, "lr": float(logs.get("learning_rate", 0.0))}
        if logs.get("grad_norm") is not None:
            metrics["grad_norm"] = float(logs["grad_norm"])
        job.callbacks.emit("on_train_step", job.name, state.global_step, metrics)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written: sync it, rename it to ``step_<n>``, drop those beyond ``keep_top_k``."""
        job, step = self._job, state.global_step
        written = Path(args.output_dir) / f"checkpoint-{step}"
        place = job.directory / f"step_{step}"
        replace_directory(written, place)
        keep = job.config.checkpointing.keep_top_k
        if keep is not None:
            for old in list(step_directories(job.directory).values())[:-keep]:
                shutil.rmtree(old)
        job.callbacks.emit("on_checkpoint_saved", job.name, step, place)


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
