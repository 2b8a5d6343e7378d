"""The host's own ``sft_train`` on our targets, in process: checkpoints, kill, resume, callbacks, local backend."""

import multiprocessing
import os
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import CallbackConfig, validate_config
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.nemo.backend import train_nemo
from nemo_mixsd.nemo.policy import InProcessPolicy
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.training.local import train_local
from nemo_mixsd.training.steps import StopRule, step_directories
from nemo_mixsd.types import Target

STEPS, PERIOD = 20, 8


def make_targets(count=18):
    random = KeyedRandom("targets")
    out = []
    for i in range(count):
        prompt = [2, *(7 + random.below(30) for _ in range(2 + random.below(4))), 3]
        ids = [*(7 + random.below(60) for _ in range(1 + random.below(7))), 1]
        out.append(Target(f"t{i}", tuple(prompt), tuple(ids), (True,) * len(ids), 1, "stop", f"text {i}"))
    return out


def recipe(model, root, **changes):
    raw = {
        "run_dir": str(root),
        "corpus": {"name": "jsonl", "path": "unused.jsonl"},
        "policy": {
            "model_name": str(model),
            "train_global_batch_size": 4,
            "train_micro_batch_size": 2,
            "max_total_sequence_length": 64,
            "precision": "float32",
            "optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 2e-3, "weight_decay": 0.01}},
        },
        "sft": {"max_num_epochs": 100, "max_num_steps": STEPS, "seed": 5},
        "checkpointing": {"save_period": PERIOD},
        "cluster": {"gpus_per_node": 0, "num_nodes": 1},
    }
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value}
    return validate_config(raw, "test")


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "mixsd@0.3.jsonl"
    write_jsonl(path, make_targets())
    return path


class Recorder:
    """A callback that keeps what it hears."""

    def __init__(self):
        self.heard = []

    def on_train_step(self, name, step, metrics):
        self.heard.append(("step", name, step, dict(metrics)))

    def on_validation(self, name, step, metrics):
        self.heard.append(("validation", name, step, dict(metrics)))

    def on_checkpoint_saved(self, name, step, path):
        AutoModelForCausalLM.from_pretrained(path)
        AutoTokenizer.from_pretrained(path)
        self.heard.append(("saved", name, step, path))

    def on_train_end(self, name, step, path):
        self.heard.append(("end", name, step, path))

    def losses(self):
        return {item[2]: item[3]["loss"] for item in self.heard if item[0] == "step"}


class Failing:
    """A callback that always raises."""

    def on_train_step(self, name, step, metrics):
        raise ValueError("out of ink")


def runner(*callbacks, required=False):
    configs = [CallbackConfig(name=f"{__name__}.{type(c).__name__}", required=required) for c in callbacks]
    made = CallbackRunner.from_config(configs)
    for entry, callback in zip(made._entries, callbacks, strict=True):
        object.__setattr__(entry, "callback", callback)
    return made


@pytest.fixture(scope="module")
def whole(tiny_model_dir, targets, tmp_path_factory):
    """An uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    recorder = Recorder()
    config = recipe(tiny_model_dir, root, logger={"tensorboard_enabled": True})
    result = train_nemo(config, "mixsd@0.3", str(tiny_model_dir), targets, root / "c" / "mixsd@0.3", runner(recorder))
    return root, recorder, result


def test_a_run_of_the_hosts_loop(whole):
    root, recorder, result = whole
    directory = root / "c" / "mixsd@0.3"
    assert (result.step, result.path) == (STEPS, directory / f"step_{STEPS}")
    assert list(step_directories(directory)) == [8, 16, 20]
    losses = recorder.losses()
    assert list(losses) == list(range(1, STEPS + 1))
    assert losses[STEPS] < losses[1] - 0.5
    assert [item[2] for item in recorder.heard if item[0] == "saved"] == [8, 16, 20]
    assert recorder.heard[-1] == ("end", "mixsd@0.3", STEPS, result.path)
    assert {"loss", "grad_norm", "lr", "global_valid_toks"} <= recorder.heard[0][3].keys()
    assert list((root / "logs" / "mixsd@0.3").rglob("events.*"))


def test_a_finished_run_is_not_trained_again(whole, tiny_model_dir, targets):
    root, _, result = whole
    recorder = Recorder()
    again = train_nemo(
        recipe(tiny_model_dir, root), "mixsd@0.3", "gone", targets, root / "c" / "mixsd@0.3", runner(recorder)
    )
    assert (again.step, again.path) == (result.step, result.path)
    assert not recorder.heard


def test_the_first_loss_is_that_of_the_first_batch(whole, tiny_model_dir, targets):
    """By hand: which targets come first, and their mean NLL a token under the untrained model."""
    from nemo_mixsd.training.data import data_order

    rows = list(read_jsonl(targets, Target))
    first = [rows[i] for i in data_order(len(rows), 4, seed=5)]
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    total, count = 0.0, 0
    for target in first:
        ids = [*target.prompt_ids, *target.token_ids]
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        total -= sum(logprobs[i - 1, ids[i]].item() for i in range(len(target.prompt_ids), len(ids)))
        count += len(target.token_ids)
    assert whole[1].losses()[1] == pytest.approx(total / count, abs=1e-4)


def train_and_die(*arguments):
    """In a process of its own: killed when the weights of step 16 are written and the checkpoint is not complete."""
    save = InProcessPolicy.save_checkpoint

    def save_and_die(self, weights_path, *rest, **options):
        save(self, weights_path, *rest, **options)
        if "step_16" in str(weights_path):
            os.kill(os.getpid(), signal.SIGKILL)

    InProcessPolicy.save_checkpoint = save_and_die
    train_nemo(*arguments)


def test_a_killed_run_goes_on_with_the_same_losses(whole, tiny_model_dir, targets, tmp_path):
    arguments = (recipe(tiny_model_dir, tmp_path), "mixsd@0.3", str(tiny_model_dir), targets, tmp_path / "c")
    # A fork has the host imported already.
    child = multiprocessing.get_context("fork").Process(target=train_and_die, args=arguments)
    child.start()
    child.join(timeout=600)
    assert child.exitcode == -signal.SIGKILL
    assert list(step_directories(tmp_path / "c")) == [8]
    assert (tmp_path / "c" / "tmp_step_16").is_dir(), "it was to be killed in the middle of writing a checkpoint"
    recorder = Recorder()
    result = train_nemo(*arguments, runner(recorder))
    assert recorder.losses() == {step: loss for step, loss in whole[1].losses().items() if step > 8}
    assert list(step_directories(tmp_path / "c")) == [8, 16, 20]
    assert not (tmp_path / "c" / "tmp_step_16").exists()
    for ours, theirs in zip(weights(result.path), weights(whole[2].path), strict=True):
        assert torch.equal(ours, theirs)


class Stopping:
    """Ends training after step 11, three steps after a checkpoint."""

    def on_train_step(self, name, step, metrics):
        if step == 11:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_with_equal_losses_and_weights(whole, tiny_model_dir, targets, tmp_path):
    config = recipe(tiny_model_dir, tmp_path)
    arguments = (config, "mixsd@0.3", str(tiny_model_dir), targets, tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        train_nemo(*arguments, runner(Stopping()))
    recorder = Recorder()
    result = train_nemo(*arguments, runner(recorder))
    assert recorder.losses() == {step: loss for step, loss in whole[1].losses().items() if step > 8}
    for ours, theirs in zip(weights(result.path), weights(whole[2].path), strict=True):
        assert torch.equal(ours, theirs)


def weights(path):
    return list(AutoModelForCausalLM.from_pretrained(path).state_dict().values())


def test_the_local_backend_takes_the_same_steps(whole, tiny_model_dir, targets, tmp_path):
    recorder = Recorder()
    config = recipe(tiny_model_dir, tmp_path)
    result = train_local(config, "mixsd@0.3", str(tiny_model_dir), targets, tmp_path / "c", runner(recorder))
    ours, theirs = whole[1].losses(), recorder.losses()
    assert ours.keys() == theirs.keys()
    assert all(abs(ours[step] - theirs[step]) < 1e-4 for step in ours)
    for a, b in zip(weights(whole[2].path), weights(result.path), strict=True):
        assert (torch.linalg.norm(a - b) / torch.linalg.norm(b)).item() < 1e-4


def test_a_validation_set_is_measured_and_heard(tiny_model_dir, targets, tmp_path):
    recorder = Recorder()
    config = recipe(
        tiny_model_dir,
        tmp_path,
        sft={"max_num_steps": 4},
        checkpointing={"save_period": 2},
        data={"validation": {"data_path": str(targets)}},
    )
    train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c", runner(recorder))
    validations = [item for item in recorder.heard if item[0] == "validation"]
    assert [item[2] for item in validations] == [0, 2, 4]
    assert validations[-1][3]["val_loss"] < validations[0][3]["val_loss"]


def test_old_checkpoints_go(tiny_model_dir, targets, tmp_path):
    config = recipe(
        tiny_model_dir, tmp_path, sft={"max_num_steps": 6}, checkpointing={"save_period": 2, "keep_top_k": 1}
    )
    train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c")
    assert list(step_directories(tmp_path / "c")) == [6]


def test_over_long_targets_are_left_out_as_the_local_backend_leaves_them_out(tiny_model_dir, tmp_path):
    rows = make_targets(8)
    long = Target("long", (2, 3), (9,) * 63, (True,) * 63, 1, "length", "")
    exact = Target("exact", (2, 3), (9,) * 62, (True,) * 62, 1, "length", "")
    write_jsonl(tmp_path / "t.jsonl", [long, *rows, exact])
    recorders = Recorder(), Recorder()
    for recorder, train in zip(recorders, (train_nemo, train_local), strict=True):
        config = recipe(tiny_model_dir, tmp_path / train.__name__, sft={"max_num_steps": 3})
        directory = tmp_path / train.__name__ / "c"
        train(config, "sft", str(tiny_model_dir), tmp_path / "t.jsonl", directory, runner(recorder))
    assert recorders[0].losses() == pytest.approx(recorders[1].losses(), abs=1e-4)


def test_a_failing_callback_is_logged_with_its_name_and_training_goes_on(tiny_model_dir, targets, tmp_path, caplog):
    config = recipe(tiny_model_dir, tmp_path, sft={"max_num_steps": 2})
    result = train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c", runner(Failing()))
    assert result.step == 2
    assert "Failing failed in on_train_step" in caplog.text


def test_a_required_callback_ends_training(tiny_model_dir, targets, tmp_path):
    config = recipe(tiny_model_dir, tmp_path, sft={"max_num_steps": 2})
    with pytest.raises(ValueError, match="out of ink"):
        train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c", runner(Failing(), required=True))


def test_a_loss_that_is_no_number_stops_with_a_remedy(tiny_model_dir, targets, tmp_path):
    policy = recipe(tiny_model_dir, tmp_path).policy.model_dump()
    policy["optimizer"] = {"name": "torch.optim.SGD", "kwargs": {"lr": 1e38}}
    policy["max_grad_norm"] = None
    policy["scheduler"] = {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0}}
    config = recipe(tiny_model_dir, tmp_path, policy=policy)
    with pytest.raises(BackendError, match=r"the loss is .* lower policy\.optimizer\.kwargs\.lr"):
        train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"train": {"dataset_name": "squad"}}}, r"data\.train is set"),
        ({"policy": {"model_name": "x", "train_micro_batch_size": 3, "train_global_batch_size": 4}}, "multiple"),
        ({"policy": {"model_name": "x", "megatron_cfg": {"enabled": True}}}, r"megatron_cfg\.optimizer is missing"),
    ],
)
def test_recipes_that_do_not_fit(tiny_model_dir, targets, tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        train_nemo(recipe(tiny_model_dir, tmp_path, **changes), "sft", str(tiny_model_dir), targets, tmp_path / "c")


@pytest.mark.parametrize("train", [train_nemo, train_local])
def test_a_rule_ends_training_early_with_a_checkpoint_there(tiny_model_dir, targets, tmp_path, train):
    looked = []

    def reached(model):
        looked.append(model.training)
        return len(looked) == 2

    config = recipe(tiny_model_dir, tmp_path)
    directory = tmp_path / "checkpoints" / "sft"
    result = train(config, "sft", str(tiny_model_dir), targets, directory, stop=StopRule(3, reached))
    assert result.step == 6 and looked == [False, False]
    assert list(step_directories(directory)) == [6]
    AutoModelForCausalLM.from_pretrained(result.path)


def test_a_training_killed_at_its_early_end_is_finished_by_the_next_start(tiny_model_dir, targets, tmp_path):
    config = recipe(tiny_model_dir, tmp_path)
    directory = tmp_path / "checkpoints" / "sft"
    arguments = (config, "sft", str(tiny_model_dir), targets, directory)
    train_nemo(*arguments, stop=StopRule(3, lambda model: True))
    (directory / "complete.json").unlink()  # as if it had been killed before this was written
    recorder = Recorder()
    again = train_nemo(*arguments, runner(recorder), stop=StopRule(3, lambda model: True))
    assert again.step == 3
    assert [heard[0] for heard in recorder.heard] == ["end"], "no step is taken again"
