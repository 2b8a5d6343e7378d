"""The backend ``nemo_rl``: NeMo-RL's own ``sft_train`` on our targets, on its cluster or in this process."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd import models
from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import BackendError
from nemo_mixsd.io import read_jsonl, write_json
from nemo_mixsd.nemo.compat import require_nemo_rl
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.training.cost import TrainCost, targets_cost
from nemo_mixsd.training.data import data_order, load_targets
from nemo_mixsd.training.steps import COMPLETE, StopRule, TrainResult, finished, step_directories, total_steps
from nemo_mixsd.types import Target

if TYPE_CHECKING:
    from nemo_rl.algorithms.sft import MasterConfig
    from nemo_rl.data.datasets import AllTaskProcessedDataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopInputs:
    """What ``sft_train`` takes beside configuration and tokenizer, as the host's ``setup`` returns it."""

    policy: Any
    train_loader: Any
    val_loader: Any
    loss: Any
    logger: Any
    checkpointer: Any
    save_state: Any


def train_nemo(
    config: RunConfig,
    name: str,
    model_path: str,
    targets_path: Path,
    directory: Path,
    callbacks: CallbackRunner | None = None,
    stop: StopRule | None = None,
) -> TrainResult:
    """Train a fresh copy of the base model on targets by NeMo-RL, or go on from the newest checkpoint.

    The data order is that of the local backend, so both take the same steps.

    Args:
        config: The recipe; ``cluster.gpus_per_node=0`` trains in this process, on the CPU.
        name: The report name.
        model_path: The base model.
        targets_path: JSONL of ``Target``.
        directory: Gets ``step_<n>/``, in the host's layout and loadable with ``from_pretrained``, and
            ``complete.json``.
        callbacks: Hear steps, validation, checkpoints and the end.
        stop: Ends a training in this process before its last step, with a checkpoint where it ends.

    Raises:
        BackendError: The host is not there or not supported, there are fewer GPUs than the recipe asks, there are no
            targets, or the loss stopped being a number.
        ConfigError: The recipe does not fit the host.
    """
    if (done := finished(directory)) is not None:
        return done
    host = require_nemo_rl()
    from nemo_mixsd.nemo.host_config import is_in_process, master_config
    from nemo_mixsd.nemo.stopping import StoppingPolicy

    callbacks = callbacks or CallbackRunner()
    targets = load_targets(targets_path, config.policy.max_total_sequence_length)
    steps = total_steps(config, len(targets))
    settings = master_config(config, model_path, targets_path, directory, steps)
    tokenizer = models.load_tokenizer(
        settings.policy["tokenizer"]["name"], settings.policy["tokenizer"].get("chat_template")
    )
    train_data = _training_data(settings, tokenizer, {t.example_id for t in targets}, steps)
    val_data = _validation_data(settings, tokenizer)
    logger.info("training %s by %s, %d steps", name, host, steps)
    start = time.monotonic()

    def finish(last: int) -> TrainResult:
        order = data_order(len(targets), last * config.policy.train_global_batch_size, config.sft.seed)
        return complete(directory, last, name, callbacks, targets_cost(targets, order, time.monotonic() - start))

    make = _in_process if is_in_process(config) else _on_cluster
    with make(settings, tokenizer, train_data, val_data) as inputs:
        if inputs.save_state.total_steps == 0:
            _preflight(config, inputs.policy, targets, name, int(tokenizer.pad_token_id))
        if stop is not None and is_in_process(config):
            done = inputs.save_state.total_steps
            if stop.due(done) and stop.reached(inputs.policy.model):  # killed between its last step and its end
                return finish(done)
            policy = StoppingPolicy(inputs.policy, settings, stop, done)
            _run_loop(settings, tokenizer, replace(inputs, policy=policy), name, callbacks)
        else:
            _run_loop(settings, tokenizer, inputs, name, callbacks)
    return finish(settings.sft.max_num_steps)


def _preflight(config: RunConfig, policy: Any, targets: list[Target], name: str, pad_id: int) -> None:
    """Compare the untrained policy with the model that generated the targets, where the run has scored them."""
    from nemo_mixsd.nemo.preflight import allowed_gap, judge_gap, preflight

    limit = allowed_gap(config.policy.model_dump())
    scored = RunDirectory(config).target_nll(name)
    if limit is None or not scored.is_file():
        logger.info("preflight: not made (%s)", "the recipe allows any gap" if limit is None else f"no {scored}")
        return
    judge_gap(preflight(policy, targets, list(read_jsonl(scored, TokenNLL)), pad_id), limit)


def _run_loop(
    settings: MasterConfig,
    tokenizer: PreTrainedTokenizerBase,
    inputs: LoopInputs,
    name: str,
    callbacks: CallbackRunner,
) -> None:
    from nemo_rl.algorithms.sft import sft_train

    from nemo_mixsd.nemo.export import publish
    from nemo_mixsd.nemo.listening import ListeningCheckpointer, ListeningLogger

    with ListeningCheckpointer(inputs.checkpointer, name, callbacks, publish) as checkpointer:
        sft_train(
            policy=inputs.policy,
            train_dataloader=inputs.train_loader,
            val_dataloader=inputs.val_loader,
            tokenizer=tokenizer,
            loss_fn=inputs.loss,
            master_config=settings,
            logger=ListeningLogger(inputs.logger, name, callbacks),
            checkpointer=checkpointer,
            sft_save_state=inputs.save_state,
        )


def _training_data(
    settings: MasterConfig, tokenizer: PreTrainedTokenizerBase, fitting: set[str], steps: int
) -> AllTaskProcessedDataset:
    """The targets that fit, in training order, all epochs end to end: exactly ``steps`` batches."""
    from nemo_rl.data.datasets import AllTaskProcessedDataset, load_response_dataset

    data = load_response_dataset(dict(settings.data["train"]))
    rows = [i for i, example_id in enumerate(data.dataset["example_id"]) if example_id in fitting]
    length = steps * settings.policy["train_global_batch_size"]
    order = data_order(len(rows), length, settings.sft.seed)
    return AllTaskProcessedDataset(
        dataset=data.dataset.select([rows[i] for i in order]),
        tokenizer=tokenizer,
        default_task_data_spec=None,
        task_data_processors={data.task_name: (data.task_spec, data.processor)},
        max_seq_length=settings.data["max_input_seq_length"],
    )


def _validation_data(settings: MasterConfig, tokenizer: PreTrainedTokenizerBase) -> AllTaskProcessedDataset | None:
    """The dataset of ``data.validation``, if the recipe has one: targets to measure the loss on."""
    from nemo_rl.data.datasets import AllTaskProcessedDataset, load_response_dataset

    if not settings.data.get("validation"):
        return None
    data = load_response_dataset(
        {"dataset_name": settings.data["train"]["dataset_name"], **settings.data["validation"]}
    )
    return AllTaskProcessedDataset(
        dataset=data.dataset,
        tokenizer=tokenizer,
        default_task_data_spec=None,
        task_data_processors={data.task_name: (data.task_spec, data.processor)},
        max_seq_length=settings.data["max_input_seq_length"],
    )


@contextlib.contextmanager
def _in_process(
    settings: MasterConfig,
    tokenizer: PreTrainedTokenizerBase,
    train_data: AllTaskProcessedDataset,
    val_data: AllTaskProcessedDataset | None,
) -> Iterator[LoopInputs]:
    """What the host's ``setup`` makes, with the policy in this process in place of a cluster's."""
    from nemo_rl.algorithms.loss.loss_functions import NLLLossFn
    from nemo_rl.algorithms.sft import SFTSaveState
    from nemo_rl.algorithms.utils import set_seed
    from nemo_rl.data.collate_fn import rl_collate_fn
    from nemo_rl.data.utils import load_dataloader_state
    from nemo_rl.utils.checkpoint import CheckpointManager
    from nemo_rl.utils.logger import Logger
    from torchdata.stateful_dataloader import StatefulDataLoader

    from nemo_mixsd.nemo.policy import InProcessPolicy

    set_seed(settings.sft.seed)
    checkpointer = CheckpointManager(settings.checkpointing)
    last = checkpointer.get_latest_checkpoint_path()
    state = {"epoch": 0, "step": 0, "total_steps": 0, "consumed_samples": 0, "total_valid_tokens": 0}
    state |= {key: value for key, value in (checkpointer.load_training_info(last) or {}).items() if key in state}
    options = {"collate_fn": rl_collate_fn, "shuffle": False, "num_workers": settings.data["num_workers"]}
    loader = StatefulDataLoader(
        train_data, batch_size=settings.policy["train_global_batch_size"], drop_last=True, **options
    )
    if last is not None:
        load_dataloader_state(loader, last, settings.data)
    val_loader = None
    if val_data is not None:
        val_loader = StatefulDataLoader(
            val_data, batch_size=settings.sft.val_global_batch_size, drop_last=False, **options
        )
    weights, optimizer = checkpointer.get_resume_paths(last)
    policy = InProcessPolicy(settings.policy, tokenizer, weights, optimizer)
    yield LoopInputs(
        policy, loader, val_loader, NLLLossFn(), Logger(settings.logger), checkpointer, SFTSaveState(**state)
    )


@contextlib.contextmanager
def _on_cluster(
    settings: MasterConfig,
    tokenizer: PreTrainedTokenizerBase,
    train_data: AllTaskProcessedDataset,
    val_data: AllTaskProcessedDataset | None,
) -> Iterator[LoopInputs]:
    """The host's own ``setup`` on its Ray cluster; workers and placement groups are given back at the end."""
    from nemo_rl.algorithms.sft import setup
    from nemo_rl.distributed.virtual_cluster import init_ray

    init_ray()
    check_gpus(settings.cluster["gpus_per_node"], settings.cluster["num_nodes"])
    policy, cluster, loader, val_loader, loss, host_logger, checkpointer, state, _ = setup(
        settings, tokenizer, train_data, val_data
    )
    try:
        yield LoopInputs(policy, loader, val_loader, loss, host_logger, checkpointer, state)
    finally:
        policy.shutdown()
        cluster.shutdown()


def check_gpus(gpus_per_node: int, num_nodes: int) -> None:
    """Compare what the recipe asks with what the Ray cluster has.

    Raises:
        BackendError: It has fewer GPUs, in all or on its nodes.
    """
    import ray

    counts = sorted((int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]), reverse=True)
    if sum(count >= gpus_per_node for count in counts) < num_nodes:
        has = ", ".join(map(str, counts)) or "no nodes"
        raise BackendError(
            f"the recipe asks for {num_nodes} node(s) with cluster.gpus_per_node={gpus_per_node}, the Ray cluster has "
            f"GPUs by node: {has}; lower cluster.gpus_per_node or cluster.num_nodes, or set cluster.gpus_per_node=0 "
            "to train in this process on the CPU"
        )


def complete(directory: Path, steps: int, name: str, callbacks: CallbackRunner, cost: TrainCost) -> TrainResult:
    """Mark the end, with what it cost, and drop what only a resume would need.

    Raises:
        BackendError: The host's loop ended before its last step.
    """
    path = directory / f"step_{steps}"
    if not (path / "config.json").is_file():
        raise BackendError(
            f"NeMo-RL's loop ended without a checkpoint of step {steps} in {directory}; its log above says why (a "
            "time limit in checkpointing.checkpoint_must_save_by stops it early: start the same command again)"
        )
    write_json(directory / COMPLETE, {"step": steps, "seconds": round(cost.seconds, 2), "cost": cost.record()})
    for checkpoint in step_directories(directory).values():
        shutil.rmtree(checkpoint / "policy" / "optimizer", ignore_errors=True)
    callbacks.emit("on_train_end", name, steps, path)
    return TrainResult(steps, path, cost.seconds)
