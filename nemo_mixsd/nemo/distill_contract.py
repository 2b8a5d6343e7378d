"""What the plugin relies on in NeMo-RL's distillation."""

from __future__ import annotations

from typing import Final

from nemo_mixsd.nemo.symbol import Symbol

DISTILLATION: Final[tuple[Symbol, ...]] = (
    Symbol(
        "nemo_rl.algorithms.distillation:distillation_train",
        "call",
        (
            "student_policy",
            "teacher_policy",
            "student_generation",
            "dataloader",
            "val_dataloader",
            "tokenizer",
            "loss_fn",
            "task_to_env",
            "val_task_to_env",
            "logger",
            "checkpointer",
            "distillation_save_state",
            "master_config",
        ),
        "the loop of OPSD, OPSD-NLL and MixSD-KL",
    ),
    Symbol(
        "nemo_rl.algorithms.distillation:setup",
        "call",
        ("master_config", "tokenizer", "train_dataset", "val_dataset"),
        "student, teacher and generation on the cluster",
    ),
    Symbol(
        "nemo_rl.algorithms.distillation:MasterConfig",
        "call",
        ("policy", "teacher", "loss_fn", "env", "data", "distillation", "logger", "cluster", "checkpointing"),
        "the configuration of a distillation",
    ),
    Symbol("nemo_rl.algorithms.distillation:DistillationSaveState", "read", (), "where the loop goes on"),
    Symbol(
        "nemo_rl.algorithms.loss.loss_functions:DistillationLossFn",
        "call",
        ("cfg",),
        "the host's loss, used where it has what the recipe asks for",
    ),
    Symbol(
        "nemo_rl.algorithms.loss.loss_functions:DistillationLossFn.__call__",
        "call",
        (
            "self",
            "student_topk_logprobs",
            "teacher_topk_logprobs",
            "H_all",
            "data",
            "global_valid_seqs",
            "global_valid_toks",
        ),
        "what a distillation loss is given, ours too",
    ),
    Symbol("nemo_rl.algorithms.loss.interfaces:LossFunction", "read", (), "base class of our losses"),
    Symbol("nemo_rl.algorithms.loss.interfaces:LossType.TOKEN_LEVEL", "read", (), "what our losses are divided by"),
    Symbol(
        "nemo_rl.models.policy.lm_policy:Policy.get_topk_logits",
        "call",
        ("self", "data", "k", "micro_batch_size", "timer"),
        "what the contextual teacher asks the inner policy",
    ),
    Symbol("nemo_rl.models.policy.lm_policy:Policy.offload_before_refit", "call", ("self",), "room for the teacher"),
    Symbol("nemo_rl.models.policy.lm_policy:Policy.offload_after_refit", "call", ("self",), "room for the teacher"),
    Symbol("nemo_rl.models.policy.lm_policy:Policy.shutdown", "call", ("self",), "ends a teacher that is not needed"),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_generation:VllmGeneration.generate",
        "call",
        ("self", "data", "greedy"),
        "greedy rollouts of OPSD-NLL",
    ),
    Symbol(
        "nemo_rl.models.generation.vllm.vllm_generation:VllmGeneration.generate_async",
        "call",
        ("self", "data", "greedy"),
        "greedy rollouts of OPSD-NLL with the asynchronous engine",
    ),
    Symbol("nemo_rl.data.interfaces:TaskDataSpec", "call", ("task_name",), "the task that our prompts belong to"),
)
"""Beside what a distillation shares with plain training, which is in ``contract``."""
