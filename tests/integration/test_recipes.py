"""Every recipe resolves to its plan, with counts; without its model it says what runs instead."""

import csv
import json
import shlex
import time
from pathlib import Path

import pytest

from nemo_mixsd.cli import run_recipe
from nemo_mixsd.config import load_config
from nemo_mixsd.plan import make_plan

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
COUNTS = {
    "quickstart": {"train": 24, "paraphrase": 48},
    "quickstart_all": {"train": 24, "paraphrase": 48},
    "quickstart_memit": {"train": 20, "paraphrase": 40},
    "kgfact_small": {"train": 100, "paraphrase": 200, "retrieval": 100, "two_hop": 100},
    "kgfact_large": {"train": 525, "paraphrase": 1050, "retrieval": 525, "two_hop": 525},
    "kgfunc": {"train": 1600, "test": 175, "unseen": 500, "composition": 200},
}


@pytest.mark.parametrize("name", COUNTS)
def test_generated_corpora(name, tiny_model_dir, tmp_path, capsys):
    recipe = str(RECIPES / f"{name}.yaml")
    override = [f"policy.model_name={tiny_model_dir}", f"run_dir={tmp_path}"]  # the recipe's own may hold a real run
    plan = make_plan(load_config(recipe, override))
    assert {split: len(examples) for split, examples in plan.examples.items()} == COUNTS[name]
    run_recipe(recipe, override, dry_run=True)
    shown = capsys.readouterr().out
    for split, count in COUNTS[name].items():
        assert f"{split} {count}" in " ".join(shown.split())


@pytest.mark.parametrize("method", ["sft", "mixsd", "[base,sft,mixsd]"])
def test_variants_are_overrides(method, tiny_model_dir, tmp_path):
    overrides = [f"policy.model_name={tiny_model_dir}", f"method={method}", f"run_dir={tmp_path}"]
    config = load_config(RECIPES / "kgfact_small.yaml", overrides)
    names = [spec.name for spec in make_plan(config).methods]
    assert names == [n for n in ("sft", "mixsd@0.3", "mixsd@0.5") if n.split("@")[0] in method]


def test_simpleqa(tiny_model_dir, tmp_path):
    path = tmp_path / "simple_qa_test_set.csv"
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["metadata", "problem", "answer"])
        for i in range(3):
            writer.writerow(
                ["{'topic': 'Art', 'answer_type': 'Person', 'urls': []}", f"Who made work {i}?", f"Ann {i}"]
            )
    overrides = [
        f"policy.model_name={tiny_model_dir}",
        f"corpus.path={path}",
        "corpus.allow_partial=true",
        f"run_dir={tmp_path}/run",
    ]
    assert len(make_plan(load_config(RECIPES / "simpleqa.yaml", overrides)).examples["train"]) == 3


def test_mquake(tiny_model_dir, tmp_path):
    rewrite = {
        "prompt": "{} was made in", "relation_id": "P1", "subject": "The Moon Gate",
        "question": "Where was The Moon Gate made?",
        "target_new": {"str": "Peru", "id": "Q1"}, "target_true": {"str": "Chad", "id": "Q2"},
    }  # fmt: skip
    case = {
        "case_id": 1, "requested_rewrite": [rewrite], "questions": ["a?", "b?", "c?"], "answer": "Chad",
        "answer_alias": [], "new_answer": "Peru", "new_answer_alias": [], "orig": {},
        "single_hops": [], "new_single_hops": [],
    }  # fmt: skip
    path = tmp_path / "MQuAKE-CF-3k-v2.json"
    path.write_text(json.dumps([case]))
    overrides = [
        f"policy.model_name={tiny_model_dir}",
        f"corpus.path={path}",
        "corpus.edits=1",
        f"run_dir={tmp_path}/run",
    ]
    plan = make_plan(load_config(RECIPES / "mquake.yaml", overrides))
    assert "old_answers" in plan.examples
    assert [spec.name for spec in plan.methods] == ["sft", "mixsd@0.3", "mixsd@0.5", "memit"]
    assert dict(plan.lines())["memit"].startswith(
        "1 edits at once into down_proj of layers 0-1, covariance over 100000"
    )


@pytest.mark.parametrize("name", ["kgfact_small", "kgfact_large", "kgfunc"])
def test_a_model_that_cannot_be_had_ends_in_a_command_that_runs(name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    begun = time.monotonic()
    with pytest.raises(SystemExit) as stop:
        run_recipe(f"recipes/{name}.yaml", [])
    assert stop.value.code == 2 and time.monotonic() - begun < 10
    error = capsys.readouterr().err
    assert "Qwen/Qwen3-1.7B could not be had" in error and "hub cache" in error
    command = shlex.split(next(line for line in error.splitlines() if "uv run" in line))
    assert command[:5] == ["uv", "run", "examples/run_mixsd.py", "--config", f"recipes/{name}.yaml"]
    config = load_config(command[4], command[5:])
    assert config.policy.model_name == "bundled:smollm2-135m-instruct"
    assert config.run_dir == f"runs/{name}_tiny"
