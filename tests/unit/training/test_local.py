"""The local backend against a plain PyTorch loop, and what a kill, a resume and bad luck do to it."""

import logging
import math
from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner, _Entry
from nemo_mixsd.errors import BackendError, ConfigError, StorageError
from nemo_mixsd.io import read_json, write_jsonl
from nemo_mixsd.training.cost import targets_cost
from nemo_mixsd.training.data import data_order
from nemo_mixsd.training.local import train_local
from nemo_mixsd.training.steps import finished, step_directories, total_steps
from tests.samples import make_config, target
from tests.tiny import EOS

TARGETS = [
    target(0, (2, 10, 3), (20, 21, EOS)),
    target(1, (5, 6, 7, 8, 9), (22,)),
    target(2, (6, 7), (23, 24, 25, 26, 27, EOS)),
    target(3, (11,), (30, EOS)),
    target(4, (12, 13, 14), (31, 32)),
    target(5, (15, 16), (33, EOS)),
]
STEPS, BATCH, LR = 6, 4, 1e-2


class Recorder:
    def __init__(self, fail=None):
        self.steps, self.saved, self.ended = {}, [], []
        self.fail = fail

    def check(self, *event):
        if event == self.fail:
            raise RuntimeError("stop here")

    def on_train_step(self, name, step, metrics):
        self.steps[step] = metrics
        self.check("step", step)

    def on_checkpoint_saved(self, name, step, path):
        assert (path / "model.safetensors").is_file()
        self.saved.append(step)
        self.check("saved", step)

    def on_train_end(self, name, step, path):
        self.ended.append((name, step, path.name))


def run_training(base, model, directory="a", recorder=None, **changes):
    write_jsonl(base / "targets.jsonl", TARGETS)
    settings = {
        "run_dir": str(base / "run"),
        "policy__model_name": str(model),
        "policy__precision": "float32",
        "policy__train_global_batch_size": BATCH,
        "policy__train_micro_batch_size": 2,
        "policy__optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": LR, "weight_decay": 0.1}},
        "sft__max_num_steps": STEPS,
        "sft__seed": 3,
        "checkpointing__save_period": 2,
        **changes,
    }
    runner = CallbackRunner([_Entry("recorder", True, recorder)]) if recorder else None
    return train_local(make_config(**settings), "sft", str(model), base / "targets.jsonl", base / directory, runner)


@pytest.fixture
def train(tmp_path, tiny_model_dir):
    return partial(run_training, tmp_path, tiny_model_dir)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_model_dir):
    """An uninterrupted training: (result, what the callbacks heard)."""
    recorder = Recorder()
    return run_training(tmp_path_factory.mktemp("whole"), tiny_model_dir, recorder=recorder), recorder


def weights(path):
    return dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())


def same(left, right):
    left, right = weights(left), weights(right)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def plain_loop(path, steps=STEPS, lr=LR, clip=1.0):
    """Eq. 5, one target at a time and without padding; the learning rate set by hand."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    order = data_order(len(TARGETS), steps * BATCH, 3)
    losses, norms = [], []
    for step in range(steps):
        batch = [TARGETS[i] for i in order[step * BATCH : (step + 1) * BATCH]]
        total = torch.zeros(())
        for t in batch:
            logp = model(torch.tensor([[*t.prompt_ids, *t.token_ids]])).logits[0].log_softmax(-1)
            for n, token in enumerate(t.token_ids):
                total = total - logp[len(t.prompt_ids) + n - 1, token]
        loss = total / sum(len(t.token_ids) for t in batch)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.param_groups[0]["lr"] = lr * (0.05 + 0.95 * step / 20)
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, dict(model.named_parameters())


def test_six_steps_are_those_of_a_plain_loop(whole, tiny_model_dir):
    result, recorder = whole
    losses, norms, parameters = plain_loop(tiny_model_dir)
    assert (result.step, result.path.name) == (STEPS, "step_6")
    assert [recorder.steps[s]["loss"] for s in range(1, 7)] == pytest.approx(losses, rel=1e-6)
    assert [recorder.steps[s]["grad_norm"] for s in range(1, 7)] == pytest.approx(norms, rel=1e-4)
    trained = weights(result.path)
    before = weights(tiny_model_dir)
    assert trained.keys() == parameters.keys()
    for name, value in parameters.items():
        assert torch.allclose(trained[name], value, atol=1e-6, rtol=0), name
    moved = max((trained[k] - before[k]).abs().max().item() for k in trained)
    assert moved > 1e-3  # a hundred tolerances and more
    assert losses[-1] < losses[0]
    assert recorder.saved == [2, 4, 6]
    assert recorder.ended == [("sft", 6, "step_6")]


@pytest.mark.parametrize("micro", [1, 4])
def test_gradient_accumulation_equals_the_full_batch(train, whole, micro):
    other = train(policy__train_micro_batch_size=micro)
    left, right = weights(whole[0].path), weights(other.path)
    for name in left:
        assert torch.allclose(left[name], right[name], atol=1e-6, rtol=0), name


@pytest.mark.parametrize("fail", [("step", 1), ("step", 3), ("saved", 4), ("step", 6), ("saved", 6)])
def test_a_run_that_was_cut_off_ends_in_the_same_weights(train, whole, tmp_path, fail):
    with pytest.raises(RuntimeError, match="stop here"):
        train("cut", Recorder(fail))
    assert finished(tmp_path / "cut") is None
    after = Recorder()
    result = train("cut", after)
    assert same(result.path, whole[0].path)
    assert sorted(step_directories(tmp_path / "cut")) == [2, 4, 6]
    for step in (2, 4):
        assert same(tmp_path / "cut" / f"step_{step}", whole[0].path.parent / f"step_{step}")
    first_step = {("step", 1): 1, ("step", 3): 3, ("saved", 4): 5, ("step", 6): 5, ("saved", 6): None}
    assert min(after.steps, default=None) == first_step[fail]
    assert after.ended == [("sft", 6, "step_6")]


def test_what_is_finished_is_not_trained_again(train):
    first = train()
    recorder = Recorder()
    again = train(recorder=recorder)
    assert (again.step, again.path, again.seconds) == (first.step, first.path, round(first.seconds, 2))
    assert (recorder.steps, recorder.ended) == ({}, [])


def test_a_finished_run_is_a_directory_of_models_and_nothing_else(whole, tiny_model_dir):
    result = whole[0]
    directory = result.path.parent
    assert sorted(p.name for p in directory.iterdir()) == ["complete.json", "step_2", "step_4", "step_6"]
    for step in (2, 4, 6):
        files = {p.name for p in (directory / f"step_{step}").iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= files
        assert not files & {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    assert read_json(directory / "complete.json")["step"] == 6
    cost = read_json(directory / "complete.json")["cost"]
    expected = targets_cost(TARGETS, data_order(len(TARGETS), STEPS * BATCH, 3), cost["seconds"])
    assert cost == expected.record() and cost["seconds"] > 0
    by_hand = sum(len(TARGETS[i].prompt_ids + TARGETS[i].token_ids) for i in data_order(6, 24, 3))
    assert cost["trained_tokens"] == by_hand
    tokenizer = AutoTokenizer.from_pretrained(result.path)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model_dir).chat_template
    assert models.stop_token_ids(tokenizer, str(result.path)) == {EOS}
    assert AutoModelForCausalLM.from_pretrained(result.path).config.use_cache


def test_the_last_step_is_saved_whatever_the_period(train, tmp_path):
    train(checkpointing__save_period=4)
    assert sorted(step_directories(tmp_path / "a")) == [4, 6]


def test_keep_top_k_keeps_the_newest(train, tmp_path):
    train(checkpointing__save_period=1, checkpointing__keep_top_k=2)
    assert sorted(step_directories(tmp_path / "a")) == [5, 6]


def test_a_half_written_checkpoint_is_swept_away(train, whole, tmp_path):
    with pytest.raises(RuntimeError):
        train("cut", Recorder(("step", 3)))
    half = tmp_path / "cut" / ".work" / "checkpoint-4"
    half.mkdir(parents=True, exist_ok=True)
    (half / "model.safetensors").write_bytes(b"half")
    (tmp_path / "cut" / "step_4").mkdir()  # no config.json: not complete
    assert same(train("cut").path, whole[0].path)


def test_a_loss_that_is_no_number_is_an_error_that_names_the_remedy(train, tmp_path):
    huge = {"name": "torch.optim.SGD", "kwargs": {"lr": 1e30}}
    with pytest.raises(BackendError, match=r"training sft: the loss is (nan|inf) at step \d; lower policy\.optimizer"):
        train(policy__optimizer=huge, policy__max_grad_norm=None)
    assert finished(tmp_path / "a") is None


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights(train, whole):
    result = train(policy__precision="bfloat16")
    assert {p.dtype for p in weights(result.path).values()} == {torch.float32}
    assert not same(result.path, whole[0].path)


def test_long_targets_are_left_out_with_a_warning(train, caplog):
    recorder = Recorder()
    with caplog.at_level(logging.WARNING, logger="nemo_mixsd"):
        train(recorder=recorder, policy__max_total_sequence_length=7, sft__max_num_epochs=2, sft__max_num_steps=100)
    assert "1 of 6 targets are longer than policy.max_total_sequence_length=7" in caplog.text
    assert max(recorder.steps) == 2 * 5 // 4


def test_without_an_optimizer(train):
    with pytest.raises(ConfigError, match=r"policy\.optimizer is null"):
        train(policy__optimizer=None)


def test_a_checkpoint_that_cannot_be_written(train, monkeypatch):
    from transformers import Trainer

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Trainer, "_save_checkpoint", fail)
    with pytest.raises(StorageError, match=r"No space left on device; free space and start the same command again"):
        train()


@pytest.mark.parametrize("log_dir", [None, "elsewhere"])
def test_tensorboard_files_go_where_the_logger_section_says(train, tmp_path, log_dir):
    changes = {} if log_dir is None else {"logger__log_dir": str(tmp_path / log_dir)}
    train(logger__tensorboard_enabled=True, sft__max_num_steps=1, **changes)
    (file,) = (tmp_path / (log_dir or "run/logs") / "sft").glob("events.out.tfevents.*")
    assert file.stat().st_size > 0


@pytest.mark.parametrize(
    ("epochs", "most", "targets", "steps"),
    [(20, 10**6, 24, 30), (1, 10**6, 24, 1), (20, 7, 24, 7), (3, 10**6, 5, 1), (1, 10**6, 1, 1), (2, 10**6, 8, 1)],
)
def test_total_steps(epochs, most, targets, steps):
    config = make_config(policy__train_global_batch_size=16, sft__max_num_epochs=epochs, sft__max_num_steps=most)
    assert total_steps(config, targets) == steps
    assert steps == max(1, min(most, math.floor(epochs * targets / 16)))


def test_step_directories_are_complete_and_in_order(tmp_path):
    for name in ("step_10", "step_9", "step_x", "step_11", "other"):
        (tmp_path / name).mkdir()
    for name in ("step_10", "step_9", "step_x", "other"):
        (tmp_path / name / "config.json").touch()
    assert list(step_directories(tmp_path)) == [9, 10]
    assert step_directories(tmp_path / "none") == {}
