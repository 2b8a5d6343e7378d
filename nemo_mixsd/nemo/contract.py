"""What the plugin relies on in NeMo-RL: names, and the parameters it passes. One readable place for a host upgrade."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from nemo_mixsd.nemo.distill_contract import DISTILLATION
from nemo_mixsd.nemo.symbol import Symbol

POLICY_METHODS = (
    "get_logprobs",
    "get_reference_policy_logprobs",
    "get_topk_logits",
    "train",
    "calibrate_qkv_fp8_scales",
    "prepare_for_training",
    "finish_training",
    "save_checkpoint",
    "shutdown",
    "init_collective",
    "offload_before_refit",
    "offload_to_cpu",
    "offload_after_refit",
    "prepare_refit_info",
    "stream_weights_via_ipc_zmq",
    "broadcast_weights_for_collective",
    "prepare_for_lp_inference",
)
GENERATION_METHODS = ("init_collective", "generate", "prepare_for_generation", "finish_generation", "shutdown")

CONTRACT: tuple[Symbol, ...] = (
    Symbol(
        "nemo_rl.algorithms.sft:sft_train",
        "call",
        (
            "policy",
            "train_dataloader",
            "val_dataloader",
            "tokenizer",
            "loss_fn",
            "master_config",
            "logger",
            "checkpointer",
            "sft_save_state",
        ),
        "the training loop",
    ),
    Symbol(
        "nemo_rl.algorithms.sft:setup",
        "call",
        ("master_config", "tokenizer", "train_dataset", "val_dataset"),
        "policy, loaders, logger and checkpoint manager where there are GPUs",
    ),
    Symbol(
        "nemo_rl.algorithms.sft:MasterConfig",
        "call",
        ("policy", "data", "sft", "logger", "cluster", "checkpointing"),
        "what the loop reads its settings from",
    ),
    Symbol(
        "nemo_rl.algorithms.sft:SFTSaveState",
        "call",
        ("epoch", "step", "total_steps", "consumed_samples", "total_valid_tokens"),
        "where a resumed loop goes on",
    ),
    Symbol("nemo_rl.algorithms.utils:set_seed", "call", ("seed",), "the host's own seeding, as its setup does"),
    Symbol("nemo_rl.algorithms.loss.loss_functions:NLLLossFn", "call", (), "the loss"),
    Symbol(
        "nemo_rl.algorithms.loss.loss_functions:NLLLossFn.__call__",
        "call",
        ("self", "next_token_logprobs", "data", "global_valid_seqs", "global_valid_toks"),
        "called by the in-process policy for each micro-batch",
    ),
    Symbol("nemo_rl.algorithms.loss.interfaces:LossInputType.LOGPROB", "read", (), "which input a loss takes"),
    Symbol("nemo_rl.algorithms.loss.interfaces:LossInputType.LOGIT", "read", (), "which input a loss takes"),
    Symbol("nemo_rl.algorithms.loss.interfaces:LossInputType.DISTILLATION", "read", (), "which input a loss takes"),
    Symbol(
        "nemo_rl.distributed.model_utils:get_distillation_topk_logprobs_from_logits",
        "call",
        (
            "student_logits",
            "teacher_topk_logits",
            "teacher_topk_indices",
            "zero_outside_topk",
            "calculate_entropy",
        ),
        "inputs of the distillation loss, which this function computes on a CPU too",
    ),
    Symbol(
        "nemo_rl.data.processors:register_processor", "call", ("processor_name", "processor_function"), "processors"
    ),
    Symbol("nemo_rl.data.processors:PROCESSOR_REGISTRY", "read", (), "whether a processor is there already"),
    Symbol("nemo_rl.data.datasets.raw_dataset:RawDataset", "subclass", (), "base class of the dataset"),
    Symbol(
        "nemo_rl.data.datasets.raw_dataset:RawDataset.split_train_validation",
        "call",
        ("self", "test_size", "seed"),
        "a held-out part of the targets",
    ),
    Symbol("nemo_rl.data.datasets.response_datasets:DATASET_REGISTRY", "read", (), "the dataset by its short name"),
    Symbol("nemo_rl.data.datasets:load_response_dataset", "call", ("data_config",), "the dataset as a recipe names it"),
    Symbol(
        "nemo_rl.data.datasets:AllTaskProcessedDataset",
        "call",
        ("dataset", "tokenizer", "default_task_data_spec", "task_data_processors", "max_seq_length"),
        "applies the processor",
    ),
    Symbol("nemo_rl.data.collate_fn:rl_collate_fn", "call", ("data_batch",), "batches as the loop expects them"),
    Symbol(
        "nemo_rl.data.utils:load_dataloader_state",
        "call",
        ("dataloader", "checkpoint_path", "data_config"),
        "the place in the data where a resumed loop goes on",
    ),
    Symbol("nemo_rl.environments.utils:register_env", "call", ("env_name", "actor_class_fqn"), "environment, by name"),
    Symbol("nemo_rl.environments.utils:ENV_REGISTRY", "read", (), "whether the environment is there already"),
    Symbol("nemo_rl.environments.utils:create_env", "call", ("env_name", "env_config"), "the environment's actor"),
    Symbol("nemo_rl.environments.utils:chunk_list_to_workers", "call", ("to_chunk", "num_workers"), "batches of texts"),
    Symbol(
        "nemo_rl.environments.interfaces:EnvironmentInterface",
        "subclass",
        ("step", "global_post_process_and_metrics"),
        "base class of the environment",
    ),
    Symbol(
        "nemo_rl.environments.interfaces:EnvironmentReturn",
        "call",
        ("observations", "metadata", "next_stop_strings", "rewards", "terminateds", "answers"),
        "what a step returns",
    ),
    Symbol(
        "nemo_rl.distributed.ray_actor_environment_registry:ACTOR_ENVIRONMENT_REGISTRY",
        "read",
        (),
        "which Python runs the environment's actor",
    ),
    Symbol("nemo_rl.distributed.virtual_cluster:PY_EXECUTABLES.SYSTEM", "read", (), "the driver's own Python"),
    Symbol("nemo_rl.distributed.virtual_cluster:init_ray", "call", (), "the Ray cluster"),
    Symbol(
        "nemo_rl.distributed.virtual_cluster:RayVirtualCluster",
        "call",
        ("name", "bundle_ct_per_node_list", "use_gpus", "num_gpus_per_node", "max_colocated_worker_groups"),
        "GPUs for the workers that mix",
    ),
    Symbol(
        "nemo_rl.models.generation:configure_generation_config",
        "call",
        ("config", "tokenizer", "is_eval"),
        "the host's own completion of policy.generation",
    ),
    Symbol("nemo_rl.distributed.batched_data_dict:BatchedDataDict", "call", (), "what policies take and return"),
    Symbol(
        "nemo_rl.distributed.batched_data_dict:BatchedDataDict.get_batch",
        "call",
        ("self", "batch_idx", "batch_size"),
        "global batches",
    ),
    Symbol(
        "nemo_rl.distributed.batched_data_dict:BatchedDataDict.make_microbatch_iterator",
        "call",
        ("self", "microbatch_size"),
        "micro-batches",
    ),
    Symbol(
        "nemo_rl.models.policy.interfaces:ColocatablePolicyInterface",
        "subclass",
        POLICY_METHODS,
        "base class of the in-process policy",
    ),
    Symbol(
        "nemo_rl.models.policy.lm_policy:Policy.get_logprobs",
        "call",
        ("self", "data"),
        "NLL of targets under the policy, before training",
    ),
    Symbol(
        "nemo_rl.distributed.named_sharding:NamedSharding.get_axis_size",
        "call",
        ("self", "name"),
        "how many data-parallel ranks a policy has",
    ),
    Symbol("nemo_rl.distributed.named_sharding:NamedSharding", "call", ("layout", "names"), "the in-process policy's"),
    Symbol(
        "nemo_rl.models.generation.interfaces:GenerationInterface",
        "subclass",
        GENERATION_METHODS,
        "base class of the in-process generation",
    ),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_worker_async:VllmAsyncGenerationWorkerImpl",
        "call",
        ("config", "bundle_indices", "fraction_of_gpus", "seed"),
        "base class of the worker that mixes; its attribute llm is the engine",
    ),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_generation:VllmGeneration.init_cluster_placement_groups",
        "call",
        ("cluster", "config"),
        "places the workers that mix",
    ),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_generation:VllmGeneration._get_tied_worker_bundle_indices",
        "call",
        ("self", "cluster"),
        "places the workers that mix, with tensor parallelism",
    ),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_generation:VllmGeneration._post_init", "call", ("self",), "starts engines"
    ),
    Symbol(
        "nemo_rl.distributed.worker_groups:RayWorkerBuilder", "call", ("ray_actor_class_fqn",), "the mixing workers"
    ),
    Symbol(
        "nemo_rl.distributed.worker_groups:RayWorkerGroup",
        "call",
        (
            "cluster",
            "remote_worker_builder",
            "name_prefix",
            "bundle_indices_list",
            "sharding_annotations",
            "env_vars",
        ),
        "the group of workers that mix",
    ),
    Symbol(
        "nemo_rl.distributed.worker_groups:RayWorkerGroup.run_single_worker_single_data",
        "call",
        ("self", "method_name", "worker_idx"),
        "has one worker mix",
    ),
    Symbol(
        "nemo_rl.distributed.worker_groups:RayWorkerGroup.get_dp_leader_worker_idx",
        "call",
        ("self", "dp_shard_idx"),
        "the workers to deal examples to",
    ),
    Symbol("nemo_rl.utils.logger:Logger", "call", ("cfg",), "the host's loggers"),
    Symbol(
        "nemo_rl.utils.logger:Logger.log_metrics",
        "call",
        ("self", "metrics", "step", "prefix"),
        "heard by the callbacks",
    ),
    Symbol("nemo_rl.utils.checkpoint:CheckpointManager", "call", ("config",), "the host's checkpoints"),
    Symbol(
        "nemo_rl.utils.checkpoint:CheckpointManager.finalize_checkpoint",
        "call",
        ("self", "checkpoint_path"),
        "heard by the callbacks",
    ),
    Symbol(
        "nemo_rl.utils.checkpoint:CheckpointManager.get_latest_checkpoint_path", "call", ("self",), "where to go on"
    ),
    Symbol(
        "nemo_rl.utils.checkpoint:CheckpointManager.load_training_info",
        "call",
        ("self", "checkpoint_path"),
        "where to go on",
    ),
    Symbol(
        "nemo_rl.utils.checkpoint:CheckpointManager.get_resume_paths",
        "call",
        ("last_checkpoint_path",),
        "weights and optimizer to go on from",
    ),
    *DISTILLATION,
)
"""Everything, in the order in which a run meets it; what only a distillation meets, last."""


def check_contract() -> list[str]:
    """Compare the host on the path with ``CONTRACT``.

    Returns:
        One line for each broken entry, empty if the host fits: the symbol, what is wrong, what it is used for.
    """
    return [f"{symbol.name}: {problem} (used for: {symbol.why})" for symbol in CONTRACT if (problem := _check(symbol))]


def _check(symbol: Symbol) -> str | None:
    module_name, _, attributes = symbol.name.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        return f"module cannot be imported: {error}"
    for attribute in attributes.split("."):
        if not hasattr(value, attribute):
            return f"has no {attribute!r}"
        value = getattr(value, attribute)
    if symbol.use == "subclass":
        extra = sorted(getattr(value, "__abstractmethods__", frozenset()) - set(symbol.parameters))
        return f"abstract method {extra[0]!r} is not implemented" if extra else None
    return _check_call(value, symbol.parameters) if symbol.use == "call" else None


def _check_call(value: Any, passed: tuple[str, ...]) -> str | None:
    """Whether ``value`` takes the arguments ``passed`` by name, and no more."""
    try:
        parameters = inspect.signature(value).parameters
    except ValueError:
        return None  # implemented in C; there is no signature to compare
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    missing = [name for name in passed if name not in parameters]
    if missing and not takes_any:
        return f"no parameter {missing[0]!r}; it has {', '.join(parameters) or 'none'}"
    required = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and name not in passed
    ]
    return f"new required parameter {required[0]!r}" if required else None
