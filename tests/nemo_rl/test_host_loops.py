"""Plain NeMo-RL recipes with our parts, through the host's own scripts and loops, up to the seam where GPUs begin."""

import importlib.util
import json
from pathlib import Path

import nemo_rl
import pytest
import torch
from nemo_rl.algorithms import distillation
from nemo_rl.algorithms.loss.loss_functions import DistillationLossFn
from nemo_rl.data.collate_fn import rl_collate_fn
from nemo_rl.data.utils import setup_response_data
from nemo_rl.utils.checkpoint import CheckpointManager
from nemo_rl.utils.logger import Logger
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import AutoModelForCausalLM

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.nemo import names, register
from nemo_mixsd.nemo.__main__ import main
from nemo_mixsd.nemo.export import publish
from nemo_mixsd.nemo.listening import ListeningCheckpointer, ListeningLogger
from nemo_mixsd.nemo.policy import InProcessPolicy
from nemo_mixsd.types import Example, Target

EXAMPLES = Path(nemo_rl.__file__).parents[1] / "examples"


@pytest.fixture
def files(tmp_path):
    targets = [Target(f"t{i}", (2, 12 + i, 3), (19, 1), (True, True), 1, "stop", "blue") for i in range(6)]
    write_jsonl(tmp_path / "targets.jsonl", targets)
    write_jsonl(tmp_path / "train.jsonl", [Example(t.example_id, "q", "blue", "blue", "blue") for t in targets])
    return {"data_path": str(tmp_path / "targets.jsonl"), "corpus_path": str(tmp_path / "train.jsonl")}


def data_section(files, processor):
    return {
        "max_input_seq_length": 32,
        "add_bos": True,
        "add_eos": True,
        "add_generation_prompt": False,
        "shuffle": True,
        "num_workers": 0,
        "default": {"processor": processor, "env_name": names.ENVIRONMENT, "prompt_file": None},
        "train": {"dataset_name": names.DATASET, **files},
        "validation": {"dataset_name": names.DATASET_CLASS, **files},
    }


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="NeMo-RL is installed without its examples")
def test_run_sft_of_the_host_reads_our_targets(files, tiny_tokenizer):
    register()
    spec = importlib.util.spec_from_file_location("host_run_sft", EXAMPLES / "run_sft.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    train, validation = script.setup_data(tiny_tokenizer, data_section(files, names.PROCESSOR))
    assert (len(train), len(validation)) == (6, 6)
    # add_bos and add_eos are on, as in the host's own recipes, and change nothing: these are token ids.
    assert [m["token_ids"].tolist() for m in train[1]["message_log"]] == [[2, 13, 3], [19, 1]]


def test_a_script_is_run_with_our_parts_registered(tmp_path, capfd):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom nemo_rl.environments.utils import ENV_REGISTRY\n"
        "print(__name__, sys.argv[1:], 'mixsd' in ENV_REGISTRY)\n"
    )
    assert main([str(script), "--config", "x.yaml"]) == 0
    assert "__main__ ['--config', 'x.yaml'] True" in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["no/such/script.py"]])
def test_usage(arguments, capfd):
    assert main(arguments) == 2
    assert "usage:" in capfd.readouterr().err


def distillation_config(tmp_path, model, files):
    policy = {
        "model_name": str(model),
        "tokenizer": {"name": str(model)},
        "train_global_batch_size": 2,
        "train_micro_batch_size": 1,
        "precision": "float32",
        "max_grad_norm": 1.0,
        "max_total_sequence_length": 32,
        "make_sequence_length_divisible_by": 1,
        "dtensor_cfg": {"enabled": False},
        "dynamic_batching": {"enabled": False},
        "optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 1e-2}},
        "scheduler": [
            {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0}},
            {"milestones": []},
        ],
        "generation": {
            "backend": "in_process",
            "max_new_tokens": 4,
            "temperature": 1.0,
            "top_p": 1.0,
            "top_k": None,
            "val_temperature": 1.0,
            "val_top_p": 1.0,
            "val_top_k": None,
            "stop_token_ids": None,
            "stop_strings": None,
            "colocated": {"enabled": True, "resources": {"gpus_per_node": None, "num_nodes": None}},
        },
    }
    return distillation.MasterConfig(
        policy=policy,
        teacher=policy,
        loss_fn={"kl_type": "reverse", "mixed_kl_weight": 0.5, "zero_outside_topk": False},
        env={names.ENVIRONMENT: {"num_workers": 0}},
        data=data_section(files, names.PROMPT_PROCESSOR),
        distillation={
            "num_prompts_per_step": 2,
            "num_generations_per_prompt": 1,
            "max_rollout_turns": 1,
            "max_num_steps": 2,
            "max_num_epochs": 1,
            "val_batch_size": 3,
            "val_period": 2,
            "val_at_start": True,
            "val_at_end": False,
            "max_val_samples": 6,
            "topk_logits_k": 16,
            "seed": 1,
        },
        logger={
            "log_dir": str(tmp_path / "logs"),
            "wandb_enabled": False,
            "swanlab_enabled": False,
            "tensorboard_enabled": False,
            "mlflow_enabled": False,
            "monitor_gpus": False,
            "wandb": {},
            "gpu_monitoring": {"collection_interval": 1, "flush_interval": 1},
            "num_val_samples_to_print": 1,
        },
        cluster={"gpus_per_node": 1, "num_nodes": 1},
        checkpointing={
            "enabled": True,
            "checkpoint_dir": str(tmp_path / "checkpoints"),
            "metric_name": "val:accuracy",
            "higher_is_better": True,
            "keep_top_k": 3,
            "save_period": 2,
            "checkpoint_must_save_by": None,
            "save_optimizer": True,
        },
    )


class Heard(CallbackRunner):
    def __init__(self):
        super().__init__()
        self.events = []

    def emit(self, event, *args):
        self.events.append((event, *args[1:]))


def first_state():
    """Where a new distillation starts: a mapping in v0.7.0, a record in main."""
    if hasattr(distillation, "_initial_distillation_save_state"):
        return distillation._initial_distillation_save_state()
    return distillation._default_distillation_save_state()


def test_distillation_of_the_host_with_our_policy_prompts_and_environment(
    ray_cluster, files, tiny_model_dir, tiny_tokenizer, tmp_path
):
    """Student rollouts, the verifier's rewards through a Ray actor, teacher logits, training, checkpoint: on a CPU."""
    register()
    torch.manual_seed(0)
    config = distillation_config(tmp_path, tiny_model_dir, files)
    train, validation, task_to_env, val_task_to_env = setup_response_data(tiny_tokenizer, config.data, config.env)
    student = InProcessPolicy(config.policy, tiny_tokenizer)
    teacher = InProcessPolicy(config.teacher, tiny_tokenizer, init_optimizer=False)
    heard = Heard()
    with ListeningCheckpointer(CheckpointManager(config.checkpointing), "opsd", heard, publish) as checkpointer:
        distillation.distillation_train(
            student_policy=student,
            teacher_policy=teacher,
            student_generation=None,
            dataloader=StatefulDataLoader(train, batch_size=2, collate_fn=rl_collate_fn, drop_last=True),
            val_dataloader=StatefulDataLoader(validation, batch_size=3, collate_fn=rl_collate_fn),
            tokenizer=tiny_tokenizer,
            loss_fn=DistillationLossFn(config.loss_fn),
            task_to_env=task_to_env,
            val_task_to_env=val_task_to_env,
            logger=ListeningLogger(Logger(config.logger), "opsd", heard),
            checkpointer=checkpointer,
            distillation_save_state=first_state(),
            master_config=config,
        )
    kinds = [(event[0], event[1]) for event in heard.events]
    assert kinds == [
        ("on_validation", 0),
        ("on_train_step", 1),
        ("on_validation", 2),
        ("on_checkpoint_saved", 2),
        ("on_train_step", 2),
    ]
    assert 0.0 <= heard.events[0][2]["accuracy"] <= 1.0
    # Student and teacher start equal, so the first step has nothing to learn.
    assert heard.events[1][2]["loss"] == pytest.approx(0.0, abs=1e-5)
    saved = tmp_path / "checkpoints" / "step_2"
    AutoModelForCausalLM.from_pretrained(saved)
    assert json.loads((saved / "training_info.json").read_text())["total_steps"] == 2
