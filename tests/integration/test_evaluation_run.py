"""A whole tiny run with HumanEval in the sandbox, error kinds, checkpoint selection and benchmarks during training."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from nemo_mixsd.cli import app
from nemo_mixsd.config import load_config
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.plan import make_plan
from nemo_mixsd.types import Response
from tests.tiny import run_config

CALLBACK = "nemo_mixsd.evals.callback.EvaluateCheckpoints"


@pytest.fixture
def overrides(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    tests = "def check(candidate):\n    assert candidate(1) == 2\n"
    head = "def f{i}(x):\n    '''w{i} of x'''\n"
    rows = [
        {"task_id": f"t/{i}", "prompt": head.format(i=i), "entry_point": f"f{i}", "test": tests,
         "canonical_solution": "    return x + 1\n"} for i in range(3)
    ]  # fmt: skip
    (folder / "humaneval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gsm8k = [{"question": f"what is w{i} ?", "answer": f"#### {i}"} for i in range(4)]
    (folder / "gsm8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in gsm8k))
    return [
        "method=sft", "sft.max_num_steps=4", "sft.max_num_epochs=4", "checkpointing.save_period=1",
        "evals.checkpoints=all", "evals.benchmarks=[humaneval,gsm8k]", f"evals.benchmarks_path={folder}",
        "evals.benchmark.humaneval.max_new_tokens=6", "evals.benchmark.gsm8k.max_new_tokens=6",
    ]  # fmt: skip


def with_callback(recipe, folder):
    """The recipe with the callback, at every second step."""
    content = yaml.safe_load(recipe.read_text())
    evals = {"benchmarks_path": str(folder), "benchmark": {"gsm8k": {"max_new_tokens": 4}}}
    kwargs = {"benchmarks": ["gsm8k"], "problems": 2, "every": 2, "evals": evals}
    content["callbacks"] = [{"name": CALLBACK, "required": True, "kwargs": kwargs}]
    recipe.write_text(yaml.safe_dump(content))


def test_a_run_with_all_of_it(recipe, overrides, tmp_path):
    with_callback(recipe, tmp_path / "data")
    config = load_config(recipe, [*overrides, "evals.sandbox.allow=true", "evals.select=paper"])
    lines = dict(make_plan(config).lines())
    assert lines["sandbox"].startswith("programs confined by ")
    assert lines["selection"].endswith("validation: paraphrase")
    report = run_config(config)
    run_dir = tmp_path / "run"
    sft = report.methods["sft"]
    steps = [c.step for c in sft.checkpoints]
    assert len(steps) == 4
    assert sft.step in steps
    chosen = next(c for c in sft.checkpoints if c.step == sft.step)
    assert (sft.train_accuracy, sft.heldout["humaneval"]) == (chosen.accuracy["train"], 0.0)
    assert sft.selected
    assert f"The row sft is about step {sft.step}: " in (run_dir / "report.md").read_text()
    assert report.methods["base"].selected is None
    for row in report.methods.values():
        assert row.errors["humaneval"]["errors"] == row.errors["humaneval"]["responses"] == 3
        assert sum(row.errors["humaneval"][k] for k in ("format", "leakage", "collapse", "genuine")) == 3
    assert {p.name for p in (run_dir / "figures").iterdir()} >= {"errors.png", "selection_sft.png"}
    quick = sorted(int(p.parent.name) for p in (run_dir / "evals" / "sft").glob("*/during_training"))
    assert quick == [step for step in steps if step % 2 == 0]
    done = CliRunner().invoke(app, ["errors", str(run_dir)])
    assert done.exit_code == 0, done.output
    assert json.loads((run_dir / "analysis" / "errors.json").read_text())["methods"]["sft"]["step"] == sft.step


def test_the_callback_does_not_change_the_training(recipe, overrides, tmp_path):
    answers = []
    for turn in range(2):
        if turn:
            with_callback(recipe, tmp_path / "data")
        run_config(load_config(recipe, [*overrides, "evals.benchmarks=[]", f"run_dir={tmp_path / f'run{turn}'}"]))
        last = max((tmp_path / f"run{turn}" / "evals" / "sft").iterdir(), key=lambda p: int(p.name))
        answers.append([r.token_ids for r in read_jsonl(last / "train.jsonl", Response)])
        weights = tmp_path / f"run{turn}" / "checkpoints" / "sft" / f"step_{last.name}" / "model.safetensors"
        answers[-1].append(weights.read_bytes())
    assert answers[0] == answers[1]


def test_what_the_plan_refuses(recipe, overrides):
    with pytest.raises(ConfigError, match=r"evals\.sandbox\.allow=true"):
        make_plan(load_config(recipe, overrides))
    with pytest.raises(ConfigError, match=r"evals\.checkpoints=all"):
        load_config(recipe, [*overrides, "evals.checkpoints=last", "evals.select=paper"])
    with pytest.raises(ConfigError, match=r"evals\.select_validation=mmlu"):
        make_plan(
            load_config(
                recipe,
                [*overrides, "evals.benchmarks=[gsm8k]", "evals.select=paper", "evals.select_validation=mmlu"],
            )
        )
