"""Benchmarks during training: within their budget, resumable, without an effect on the training."""

import json

import pytest
import torch
import yaml

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import CallbackConfig
from nemo_mixsd.errors import BenchmarkError, ConfigError
from nemo_mixsd.evals import callback
from nemo_mixsd.evals.benchmarks import BenchmarkResponse
from nemo_mixsd.evals.callback import FOLDER, EvaluateCheckpoints
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.io import read_json, read_jsonl
from nemo_mixsd.nemo.listening import ListeningCheckpointer
from nemo_mixsd.types import from_record
from tests.samples import make_config
from tests.tiny import make_model, make_tokenizer

NAME = "nemo_mixsd.evals.callback.EvaluateCheckpoints"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"question": f"what is w{i} ?", "answer": f"It is. #### {i}"} for i in range(6)]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def arguments(data):
    options = {"gsm8k": {"max_new_tokens": 4}}
    return {
        "benchmarks": ["gsm8k"],
        "problems": 3,
        "every": 2,
        "evals": {"benchmarks_path": str(data), "benchmark": options},
    }


@pytest.fixture
def run_dir(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text(yaml.safe_dump(make_config().model_dump(mode="json")))
    for step in (1, 2):
        path = run_dir / "checkpoints" / "sft" / f"step_{step}"
        make_model().save_pretrained(path)
        make_tokenizer().save_pretrained(path)
    return run_dir


def saved(run_dir, step):
    return run_dir / "checkpoints" / "sft" / f"step_{step}"


def runner(arguments, required=True):
    return CallbackRunner.from_config([CallbackConfig(name=NAME, required=required, kwargs=arguments)])


def test_only_when_its_turn_has_come_and_only_so_many_problems(arguments, run_dir):
    hooks = runner(arguments)
    hooks.emit("on_checkpoint_saved", "sft", 1, saved(run_dir, 1))
    assert not (run_dir / "evals").exists()
    hooks.emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))
    directory = run_dir / "evals" / "sft" / "2" / FOLDER
    assert sorted(p.name for p in directory.iterdir()) == ["gsm8k.json", "gsm8k.jsonl"]
    score = from_record(HeldoutScore, read_json(directory / "gsm8k.json"))
    assert score.label == "gsm8k (3 of 6, seed 0)"
    assert len(list(read_jsonl(directory / "gsm8k.jsonl", BenchmarkResponse))) == 3


def test_a_resumed_run_does_not_repeat_it(arguments, run_dir, monkeypatch):
    hooks = runner(arguments)
    hooks.emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))
    monkeypatch.setattr("nemo_mixsd.models.load_model", None)  # would fail if a model were loaded
    hooks.emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))


def test_the_training_does_not_notice(arguments, run_dir):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    runner(arguments).emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))
    assert torch.equal(torch.rand(3), expected)


def test_the_host_s_checkpointer_tells_it(arguments, run_dir):
    class Manager:
        def finalize_checkpoint(self, path):
            self.done = path

    listening = ListeningCheckpointer(Manager(), "sft", runner(arguments), lambda place: None)
    listening.finalize_checkpoint(run_dir / "checkpoints" / "sft" / "tmp_step_2")
    assert (run_dir / "evals" / "sft" / "2" / FOLDER / "gsm8k.json").is_file()


def test_a_failure_ends_the_run_only_if_required(arguments, run_dir, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(callback, "evaluate_benchmarks", fail)
    runner(arguments, required=False).emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))
    assert "EvaluateCheckpoints" in caplog.text
    with pytest.raises(RuntimeError, match="boom"):
        runner(arguments).emit("on_checkpoint_saved", "sft", 2, saved(run_dir, 2))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"benchmarks": ["gsm9k"]}, ConfigError, "gsm9k"),
        ({"benchmarks": []}, ConfigError, "one benchmark or more"),
        ({"every": 0}, ConfigError, "every=0"),
        ({"problems": 0}, ConfigError, "problems=0"),
        ({"precision": "int8"}, ConfigError, "int8"),
        ({"evals": {"no_such_key": 1}}, ConfigError, "no_such_key"),
        ({"evals": {"benchmarks_path": "/nowhere"}}, BenchmarkError, "/nowhere"),
        ({"colour": 1}, ConfigError, "does not take its kwargs"),
        ({"benchmarks": ["humaneval"]}, ConfigError, r"evals\.sandbox\.allow"),
    ],
)
def test_bad_arguments_are_errors_before_the_training(arguments, changes, error, text):
    with pytest.raises(error, match=text):
        runner({**arguments, **changes})


def test_it_needs_no_recipe_beside_the_checkpoint(arguments, run_dir):
    (run_dir / "config.yaml").unlink()
    EvaluateCheckpoints(**arguments).on_checkpoint_saved("sft", 2, saved(run_dir, 2))
    assert (run_dir / "evals" / "sft" / "2" / FOLDER / "gsm8k.json").is_file()
