"""Held-out benchmarks in a whole run and as a command, on the tiny model."""

import json

import pytest
from typer.testing import CliRunner

from nemo_mixsd.cli import app
from nemo_mixsd.config import load_config
from nemo_mixsd.errors import BenchmarkError, ConfigError, RunDirectoryError
from nemo_mixsd.plan import make_plan
from tests.tiny import run_config

SMALL = ["evals.benchmark.gsm8k.max_new_tokens=6", "evals.benchmark.mmlu.max_new_tokens=6"]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    gsm8k = [{"question": f"what is w{i} ?", "answer": f"it is\n#### {i}"} for i in range(9)]
    mmlu = [{"question": f"who w{i} ?", "choices": list("abcd"), "answer": i % 4, "type": "sky"} for i in range(5)]
    for name, rows in (("gsm8k", gsm8k), ("mmlu_test", mmlu)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_run_with_benchmarks_and_one_more_later(recipe, data, tmp_path):
    base = [*SMALL, f"evals.benchmarks_path={data}", "method=sft", "sft.max_num_steps=2", "evals.benchmarks_limit=4"]
    lines = dict(make_plan(load_config(recipe, [*base, "evals.benchmarks=[gsm8k]"])).lines())
    assert lines["held-out"] == "gsm8k 4 of 9"
    report = run_config(load_config(recipe, [*base, "evals.benchmarks=[gsm8k]"]))
    for row in report.methods.values():
        assert row.heldout.keys() == {"gsm8k"}
        assert row.heldout_detail["gsm8k"].label == "gsm8k (4 of 9, seed 0)"
    before = (tmp_path / "run" / "evals" / "base" / "0" / "gsm8k.jsonl").stat().st_mtime_ns
    report = run_config(load_config(recipe, [*base, "evals.benchmarks=[gsm8k,mmlu]"]))
    assert report.methods["sft"].heldout.keys() == {"gsm8k", "mmlu"}
    assert (tmp_path / "run" / "evals" / "base" / "0" / "gsm8k.jsonl").stat().st_mtime_ns == before
    on_disk = json.loads((tmp_path / "run" / "report.json").read_text())["methods"]["base"]
    assert on_disk["heldout"] == report.methods["base"].heldout
    assert on_disk["heldout_detail"]["mmlu"]["interval"] == "wilson"
    assert on_disk["splits"].keys() == {"train", "paraphrase"}
    text = (tmp_path / "run" / "report.md").read_text()
    assert "| method | gsm8k (4 of 9, seed 0) | mmlu (4 of 5, seed 0) | average |" in text
    with pytest.raises(RunDirectoryError, match="made with other settings or problems"):
        run_config(load_config(recipe, [*base, "evals.benchmarks=[gsm8k]", "evals.benchmark.gsm8k.seed=3"]))


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["evals.benchmarks=[mmlu]"], BenchmarkError, "has no file of it; looked for mmlu"),
        (["evals.benchmarks=[humaneval]"], ConfigError, "only with evals.sandbox.allow=true"),
        (["evals.benchmarks=[gsm]"], ConfigError, "no benchmark 'gsm'; choose from"),
        (["evals.benchmark.gsm8k.limt=3"], ConfigError, "did you mean 'limit'"),
        (["evals.lm_eval=[arc_easy]", "evals.lm_eval_options.include_path=/nowhere"], ConfigError, "is no folder"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(recipe, tmp_path, overrides, error, message, monkeypatch):
    monkeypatch.setattr("nemo_mixsd.models.load_model", None)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(error, match=message):
        make_plan(load_config(recipe, [f"evals.benchmarks_path={empty}", *overrides]))


def test_paths_beside_the_recipe(recipe, data, monkeypatch):
    monkeypatch.chdir("/")
    config = load_config(recipe, ["evals.benchmarks_path=data", "evals.benchmark.mmlu.path=data/mmlu_test.jsonl"])
    assert config.evals.benchmarks_path == str(data)
    assert config.evals.benchmark["mmlu"].path == str(data / "mmlu_test.jsonl")


def test_a_split_may_not_have_the_name_of_a_benchmark(recipe, tiny_world, tmp_path):
    from nemo_mixsd.errors import CorpusError

    rows = [json.loads(line) for line in (tiny_world / "facts.jsonl").read_text().splitlines()]
    rows[-1] |= {"split": "gsm8k", "paraphrases": []}
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CorpusError, match="a split may not be called 'gsm8k'"):
        make_plan(load_config(recipe, [f"corpus.path={tmp_path / 'facts.jsonl'}"]))


def invoke(*arguments):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_the_command(tiny_world, data, tmp_path):
    out = tmp_path / "out"
    common = [tiny_world / "model", "--path", data, "--out", out, "--set", "benchmark.gsm8k.max_new_tokens=6"]
    result = invoke(*common, "--benchmarks", "gsm8k", "--limit", 3)
    assert result.exit_code == 0, result.output
    assert "gsm8k (3 of 9" in " ".join(result.output.split())
    assert sorted(p.name for p in out.iterdir()) == [
        "gsm8k.json", "gsm8k.jsonl", "model.json", "report.json", "report.md",
    ]  # fmt: skip
    again = invoke(*common, "--benchmarks", "gsm8k", "--limit", 3)
    assert again.exit_code == 0
    assert json.loads((out / "report.json").read_text())["heldout"]["gsm8k"]["problems"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to run: give --benchmarks (aime2024, math500"),
        (["--benchmarks", "gsm"], "no benchmark 'gsm'"),
        (["--benchmarks", "gsm8k", "--engine", "tgi"], "--engine tgi: choose auto, hf or vllm"),
        (["--benchmarks", "gsm8k", "--precision", "int4"], "--precision int4: choose auto, float32"),
        (["--benchmarks", "gsm8k", "--set", "limit"], "--set limit: write key=value"),
        (["--benchmarks", "gsm8k", "--vllm", "mode"], "--vllm mode: write key=value"),
        (["--benchmarks", "gsm8k", "--vllm", "blocksize=8"], "unknown key 'blocksize'; did you mean 'block_size'"),
        (["--benchmarks", "gsm8k", "--set", "limt=3"], "unknown key 'limt'"),
        (["--benchmarks", "gsm8k", "--path", "/nowhere"], "/nowhere is not there"),
    ],
)
def test_the_command_says_what_is_wrong(tiny_world, arguments, message, capfd):
    result = invoke(tiny_world / "model", *arguments)
    assert result.exit_code == 2
    assert message in result.output + capfd.readouterr().err


def test_the_command_and_a_model_that_is_not_there(tmp_path, capfd):
    result = invoke(tmp_path / "none", "--benchmarks", "gsm8k")
    assert result.exit_code == 2
    assert "CHECKPOINT: there is no directory" in result.output + capfd.readouterr().err


def test_one_folder_holds_one_model(tiny_world, data, tmp_path, capfd):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.json").write_text('{"model": "another"}')
    result = invoke(tiny_world / "model", "--benchmarks", "gsm8k", "--path", data, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "holds results of another; give another --out" in result.output + capfd.readouterr().err
