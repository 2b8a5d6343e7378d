"""Bad input ends in one clear line, before any model is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from nemo_mixsd import models
from nemo_mixsd.cli import run_recipe
from tests.tiny import make_model, make_tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_model_is_loaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load_model", refuse)


def fails(capsys, recipe, *overrides):
    with pytest.raises(SystemExit) as stop:
        run_recipe(str(recipe), list(overrides))
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def facts(tmp_path, *lines):
    path = tmp_path / "facts.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return f"corpus.path={path}"


GOOD = {"id": "a", "question": "what is it ?", "answer": "blue"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([GOOD, "{not json"], ["facts.jsonl:2", "JSON"]),
        ([GOOD, {"id": "b", "question": "who ?"}], ["facts.jsonl:2", "answer"]),
        ([GOOD, {"id": "b", "question": "who ?", "answer": "  "}], ["facts.jsonl:2", "answer", "blank"]),
        ([GOOD, {**GOOD, "question": "other ?"}], ["'a'", "1", "2"]),
        ([GOOD, {"id": "b", "question": "who ?", "answer": "?!"}], ["'b'", "contains", "'?!'", "mixing.verifier"]),
        ([GOOD, {"id": "b", "question": "who ?", "answer": "red", "target": "no idea"}], ["'b'", "target", "red"]),
        ([], ["facts.jsonl"]),
    ],
)
def test_corpus(recipe, tmp_path, capsys, lines, expected):
    message = fails(capsys, recipe, facts(tmp_path, *lines))
    assert all(part in message for part in expected), message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mixing.rate=1.5", ["mixing.rate", "1.5", "less than or equal to 1"]),
        ("mixing.rate=-0.1", ["mixing.rate", "-0.1"]),
        ("mixing.rat=0.5", ["mixing.rat", "did you mean 'rate'"]),
        ("evals.forgeting.seed=1", ["evals.forgeting", "did you mean 'forgetting'"]),
        ("polcy.model_name=x", ["polcy", "did you mean 'policy'"]),
        ("policy.model_name=/does/not/exist", ["policy.model_name", "/does/not/exist"]),
        ("policy.model_name=bundled:nothing", ["'nothing'", "bundled:smollm2-135m-instruct"]),
        ("policy.model_name=nobody/no-such-model", ["nobody/no-such-model", "policy.model_name=DIR"]),
        ("corpus.path=/does/not/exist.jsonl", ["/does/not/exist.jsonl"]),
        ("mixing.verifier=number", ["number", "rejects"]),
        ("mixing.max_total_tokens=5", ["'f0'", "prompt has", "mixing.max_total_tokens is 5"]),
        ("prompts.expert_template='{question} {hint}'", ["{hint}", "{context}"]),
        ("prompts.expert_template='{question}'", ["expert_template", "{context}"]),
        ("evals.splits=[train,nope]", ["evals.splits", "'nope'", "train"]),
        ("method=osd", ["method", "osd", "opsd"]),
        ("backend=nemo_rl", ["backend=nemo_rl", "not installed"]),
        ("mixing.engine=vllm", ["mixing.engine=vllm", "not installed"]),
        ("mixing.rate=0.1,0.2", ["mixing.rate=[...]"]),
        ("callbacks=[{name: nowhere.Thing}]", ["nowhere.Thing"]),
        ("policy.train_micro_batch_size=3", ["train_global_batch_size=4", "train_micro_batch_size=3"]),
    ],
)
def test_recipe(recipe, capsys, override, expected):
    message = fails(capsys, recipe, override)
    assert all(part in message for part in expected), message


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["method=opsd", "opsd.topk=97"], ["opsd.topk=97", "96 tokens"]),
        (["method=opsd", "opsd.num_generations=3"], ["opsd.num_generations=3", "train_global_batch_size=4"]),
        (["method=opsd_nll", "opsd.nll_num_generations=2"], ["nll_num_generations is 2", "nll_temperature"]),
        (["method=[sft,opsd]", "opsd.prompts_per_step=8"], ["opsd.prompts_per_step=8", "NeMo-RL"]),
        (
            ["method=mixsd_kl", "opsd.max_expert_tokens=3"],
            ["'f0'", "opsd.max_expert_tokens", "opsd.on_long_context"],
        ),
        (["opsd.mixsd_kl_rate=1.5"], ["opsd.mixsd_kl_rate", "1.5"]),
        (["opsd.tok=5"], ["opsd.tok", "did you mean 'topk'"]),
    ],
)
def test_distillation(recipe, capsys, overrides, expected):
    message = fails(capsys, recipe, "opsd.num_generations=2", "opsd.topk=8", *overrides)
    assert all(part in message for part in expected), message


def test_tokenizer_without_chat_template(recipe, tmp_path, capsys):
    plain = tmp_path / "plain"
    make_model().save_pretrained(plain)
    make_tokenizer(chat_template=None).save_pretrained(plain)
    message = fails(capsys, recipe, f"policy.model_name={plain}")
    assert "chat template" in message and "policy.tokenizer.chat_template" in message


def test_missing_recipe(capsys, tmp_path):
    assert "nothing.yaml does not exist" in fails(capsys, tmp_path / "nothing.yaml")


def test_run_directory_of_another_configuration(recipe, tmp_path, capsys):
    directory = tmp_path / "run"
    directory.mkdir()
    from nemo_mixsd.config import load_config

    (directory / "config.yaml").write_text(
        yaml.safe_dump(load_config(recipe, ["mixing.seed=7", "method=sft", "mixing.rate=0.9"]).model_dump(mode="json"))
    )
    message = fails(capsys, recipe)
    assert "mixing.seed is 7 there and 0 now" in message
    assert "mixing.seed=7" in message and f"run_dir={directory}-2" in message
    assert "method" not in message and "mixing.rate" not in message


def test_a_directory_that_is_no_run_is_left_alone(recipe, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in fails(capsys, recipe)
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_dry_run_touches_nothing(recipe, tmp_path, capsys):
    run_recipe(str(recipe), ["mixing.rate=[0,0.3,0.5]", "method=[sft,mixsd]"], dry_run=True)
    shown = capsys.readouterr().out
    for part in ("mixsd@0 ", "mixsd@0.3", "mixsd@0.5", "sft", "backend", "local", "engine", "train", "verifier"):
        assert part in shown
    assert not (tmp_path / "run").exists()


def test_the_example_script_is_the_same_command(recipe, tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "run_mixsd.py"), "--config", str(recipe), "mixing.rate=2"],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "error: " in result.stderr and "mixing.rate" in result.stderr and "Traceback" not in result.stderr
