"""OPSD, OPSD-NLL and MixSD-KL by NeMo-RL's own ``distillation_train``, on its cluster or in this process."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.corpora import make_corpus
from nemo_mixsd.nemo import names
from nemo_mixsd.nemo.backend import check_gpus, complete
from nemo_mixsd.nemo.compat import require_nemo_rl
from nemo_mixsd.nemo.distill_sections import prompt_table
from nemo_mixsd.nemo.registration import register
from nemo_mixsd.training.cost import TrainCost, load_cost
from nemo_mixsd.training.data import data_order, taught_targets
from nemo_mixsd.training.distill_source import DistillSource, longest_sequence
from nemo_mixsd.training.distill_steps import DistillSchedule, distill_schedule, rollouts
from nemo_mixsd.training.steps import TrainResult, finished, step_directories
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Method, Target

if TYPE_CHECKING:
    from nemo_rl.algorithms.distillation import MasterConfig
    from nemo_rl.algorithms.loss.interfaces import LossFunction
    from nemo_rl.data.datasets import AllTaskProcessedDataset
    from transformers import PreTrainedTokenizerBase


logger = logging.getLogger(__name__)

_RAY = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "configure_logging": False, "log_to_driver": False}
"""Ray for a run in this process: the verifier's environment is all that lives there."""


@dataclass(frozen=True, slots=True)
class DistillInputs:
    """What ``distillation_train`` takes beside configuration, tokenizer and environments.

    Attributes:
        student: Is trained; also answers where ``generation`` is None.
        teacher: Has ``get_topk_logits``.
        generation: Answers for the student, with its weights; or None.
        loader: Prompts, one batch a step.
        logger: The host's.
        checkpointer: The host's.
        save_state: Where the loop goes on.
    """

    student: Any
    teacher: Any
    generation: Any
    loader: Any
    logger: Any
    checkpointer: Any
    save_state: Any


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A distillation as this backend has prepared it.

    Attributes:
        method: One of ``DISTILLED``.
        prompts: In corpus order.
        targets: What is replayed (``mixsd_kl``), else none.
        schedule: Its steps.
        limit: Longest expert prompt and response together.
    """

    method: Method
    prompts: tuple[TeacherPrompt, ...]
    targets: tuple[Target, ...]
    schedule: DistillSchedule
    limit: int


def train_nemo_distill(
    config: RunConfig,
    name: str,
    model_path: str,
    source: DistillSource,
    directory: Path,
    callbacks: CallbackRunner | None = None,
) -> TrainResult:
    """Distil into a fresh copy of the base model by NeMo-RL, or go on from the newest checkpoint.

    Args:
        config: The recipe; ``cluster.gpus_per_node=0`` trains in this process, on the CPU.
        name: The report name.
        model_path: The base model.
        source: Method and prompts, and for ``mixsd_kl`` the file of targets.
        directory: Gets ``step_<n>/``, in the host's layout and loadable with ``from_pretrained``, and
            ``complete.json``.
        callbacks: Hear steps, checkpoints and the end.

    Raises:
        BackendError: The host is not there or not supported, there are fewer GPUs than the recipe asks, there is
            nothing to train on, or the loss stopped being a number.
        ConfigError: The recipe does not fit the host.
        CorpusError: Two training examples have one question and different contexts.
    """
    if (done := finished(directory)) is not None:
        return done
    host = require_nemo_rl()
    register()
    from nemo_mixsd.nemo.distill_host_config import distill_master_config
    from nemo_mixsd.nemo.distill_losses import make_loss
    from nemo_mixsd.nemo.host_config import is_in_process

    callbacks = callbacks or CallbackRunner()
    lesson = _prepare(config, source, model_path)
    steps = lesson.schedule.steps
    settings = distill_master_config(config, lesson.method, model_path, directory, lesson.schedule)
    tokenizer = models.load_tokenizer(
        settings.policy["tokenizer"]["name"], settings.policy["tokenizer"].get("chat_template")
    )
    generation = settings.policy["generation"]
    if generation["stop_token_ids"] is None:  # the host would stop at the tokenizer's own alone
        generation["stop_token_ids"] = sorted(models.stop_token_ids(tokenizer, model_path))
    data = _prompt_data(config, settings, tokenizer, lesson)
    if config.evals.stop.train_accuracy is not None:
        logger.warning(
            "evals.stop is not for NeMo-RL's distillation, which reads its last step once; all steps are made"
        )
    logger.info("distilling %s by %s, %d steps", name, host, steps)
    cost = load_cost(max(step_directories(directory).items(), default=(0, directory))[1])
    loss = make_loss(lesson.method, config.opsd, settings.loss_fn)
    make = _in_process if is_in_process(config) else _on_cluster
    with make(config, settings, tokenizer, data) as made:
        inputs = _with_lesson(config, made, lesson, int(tokenizer.pad_token_id), cost)
        _run_loop(settings, tokenizer, inputs, loss, (name, callbacks))
    return complete(directory, steps, name, callbacks, inputs.teacher.cost)


def _prepare(config: RunConfig, source: DistillSource, model_path: str) -> _Lesson:
    """Prompts and targets, checked against each other."""
    prompts = tuple(source.prompts)
    prompt_table(prompts)  # refuses prompts that the loop could not tell apart
    limit = longest_sequence(config, model_path)
    targets: list[Target] = []
    if source.targets_path is not None:
        longest = config.policy.max_total_sequence_length
        targets = [target for _, target in taught_targets(source.targets_path, prompts, longest, limit)]
    schedule = distill_schedule(config, source.method, len(targets or prompts))
    return _Lesson(source.method, prompts, tuple(targets), schedule, limit)


def _prompt_data(
    config: RunConfig, settings: MasterConfig, tokenizer: PreTrainedTokenizerBase, lesson: _Lesson
) -> AllTaskProcessedDataset:
    """The prompts in training order, all epochs end to end: exactly as many as the schedule's steps take."""
    from nemo_rl.data.datasets import AllTaskProcessedDataset
    from nemo_rl.data.interfaces import TaskDataSpec

    from nemo_mixsd.nemo.processors import mixsd_prompt_processor

    verifier = config.mixing.verifier
    if verifier == "auto":
        verifier = make_corpus(config.corpus).verifier
    by_id = {prompt.example_id: prompt for prompt in lesson.prompts}
    prompts = [by_id[target.example_id] for target in lesson.targets] or list(lesson.prompts)
    rows = [
        {
            "task_name": names.ENVIRONMENT,
            "example_id": prompt.example_id,
            "prompt_ids": list(prompt.naive_ids),
            "answers": list(prompt.answers),
            "verifier": verifier,
        }
        for prompt in prompts
    ]
    length = lesson.schedule.steps * lesson.schedule.prompts_per_step
    return AllTaskProcessedDataset(
        dataset=[rows[i] for i in data_order(len(rows), length, config.sft.seed)],
        tokenizer=tokenizer,
        default_task_data_spec=None,
        task_data_processors={names.ENVIRONMENT: (TaskDataSpec(names.ENVIRONMENT), mixsd_prompt_processor)},
        max_seq_length=settings.data["max_input_seq_length"],
    )


def _with_lesson(
    config: RunConfig, inputs: DistillInputs, lesson: _Lesson, pad_id: int, cost: TrainCost
) -> DistillInputs:
    """Put the contextual teacher, and the right speaker, in front of what the host has made."""
    from nemo_mixsd.nemo.contextual_teacher import ContextualTeacher, TeacherSettings
    from nemo_mixsd.nemo.speaking import GreedyGeneration, ReplayPolicy

    live = config.opsd.teacher == "live"
    settings = TeacherSettings(
        pad_id=pad_id,
        max_tokens=lesson.limit,
        skip_first_tokens=config.opsd.skip_first_tokens,
        logsumexp=config.opsd.outside_topk == "bucket" and lesson.method != Method.OPSD_NLL,
        is_student=live,
        replayed=lesson.method == Method.MIXSD_KL,
    )
    student, generation = inputs.student, inputs.generation
    teacher = ContextualTeacher(student if live else inputs.teacher, lesson.prompts, settings, cost)
    if lesson.method == Method.MIXSD_KL:
        student = ReplayPolicy(student, {target.prompt_ids: target for target in lesson.targets}, pad_id)
    elif rollouts(config, lesson.method).temperature == 0:
        if generation is None:
            student = GreedyGeneration(student)
        else:
            generation = GreedyGeneration(generation)
    return replace(inputs, student=student, teacher=teacher, generation=generation)


def _run_loop(
    settings: MasterConfig,
    tokenizer: PreTrainedTokenizerBase,
    inputs: DistillInputs,
    loss: LossFunction,
    hears: tuple[str, CallbackRunner],
) -> None:
    import ray
    from nemo_rl.algorithms.distillation import distillation_train
    from nemo_rl.environments.utils import create_env

    from nemo_mixsd.nemo.export import publish
    from nemo_mixsd.nemo.listening import ListeningCheckpointer, ListeningLogger

    cost, since = inputs.teacher.cost, time.monotonic()
    before = cost.seconds

    def finish(place: Path) -> None:
        cost.seconds = before + time.monotonic() - since
        cost.save(place)
        publish(place)

    environment = create_env(env_name=names.ENVIRONMENT, env_config=settings.env[names.ENVIRONMENT])
    try:
        with ListeningCheckpointer(inputs.checkpointer, *hears, finish) as checkpointer:
            distillation_train(
                student_policy=inputs.student,
                teacher_policy=inputs.teacher,
                student_generation=inputs.generation,
                dataloader=inputs.loader,
                val_dataloader=None,
                tokenizer=tokenizer,
                loss_fn=loss,
                task_to_env={names.ENVIRONMENT: environment},
                val_task_to_env=None,
                logger=ListeningLogger(inputs.logger, *hears),
                checkpointer=checkpointer,
                distillation_save_state=inputs.save_state,
                master_config=settings,
            )
    finally:
        ray.kill(environment)


@contextlib.contextmanager
def _in_process(
    config: RunConfig, settings: MasterConfig, tokenizer: PreTrainedTokenizerBase, data: AllTaskProcessedDataset
) -> Iterator[DistillInputs]:
    """What the host's ``setup`` makes, with policies in this process in place of a cluster's."""
    from nemo_rl.algorithms.distillation import DistillationSaveState
    from nemo_rl.algorithms.utils import set_seed
    from nemo_rl.data.collate_fn import rl_collate_fn
    from nemo_rl.data.utils import load_dataloader_state
    from nemo_rl.utils.checkpoint import CheckpointManager
    from nemo_rl.utils.logger import Logger
    from torchdata.stateful_dataloader import StatefulDataLoader

    from nemo_mixsd.nemo.policy import InProcessPolicy

    set_seed(config.opsd.seed)
    checkpointer = CheckpointManager(settings.checkpointing)
    last = checkpointer.get_latest_checkpoint_path()
    state: dict[str, Any] = {
        "total_steps": 0,
        "current_epoch": 0,
        "current_step": 0,
        "consumed_samples": 0,
        "total_valid_tokens": 0,
    }
    state |= {key: value for key, value in (checkpointer.load_training_info(last) or {}).items() if key in state}
    state["val_reward"] = 0.0  # there is no validation; the loop drops it
    size = settings.model_dump()["distillation"]["num_prompts_per_step"]  # a mapping in v0.7.0, a record in main
    loader = StatefulDataLoader(data, batch_size=size, collate_fn=rl_collate_fn, drop_last=True, shuffle=False)
    if last is not None:
        load_dataloader_state(loader, last, settings.data)
    weights, optimizer = checkpointer.get_resume_paths(last)
    live = config.opsd.teacher == "live"
    teacher = None if live else InProcessPolicy(settings.teacher, tokenizer, init_optimizer=False)
    student = InProcessPolicy(settings.policy, tokenizer, weights, optimizer)
    with _local_ray():
        yield DistillInputs(
            student, teacher, None, loader, Logger(settings.logger), checkpointer, DistillationSaveState(**state)
        )


@contextlib.contextmanager
def _local_ray() -> Iterator[None]:
    """A Ray of this process's own for the environment, unless there is one already."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(**_RAY)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _on_cluster(
    config: RunConfig, settings: MasterConfig, tokenizer: PreTrainedTokenizerBase, data: AllTaskProcessedDataset
) -> Iterator[DistillInputs]:
    """The host's own ``setup`` on its Ray cluster. What a method does not need is ended again before the first step."""
    from nemo_rl.algorithms.distillation import setup
    from nemo_rl.distributed.virtual_cluster import init_ray
    from nemo_rl.models.generation import configure_generation_config

    init_ray()
    check_gpus(settings.cluster["gpus_per_node"], settings.cluster["num_nodes"])
    settings.policy["generation"] = configure_generation_config(settings.policy["generation"], tokenizer)
    student, teacher, generation, _, loader, _, _, host_logger, checkpointer, state, _ = setup(
        settings, tokenizer, data, None
    )
    if config.opsd.teacher == "live":  # no second copy of the weights beside the student
        teacher.shutdown()
        teacher = None
    try:
        yield DistillInputs(student, teacher, generation, loader, host_logger, checkpointer, state)
    finally:
        for part in filter(None, (generation, teacher, student)):
            part.shutdown()
