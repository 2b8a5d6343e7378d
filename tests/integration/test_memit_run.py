"""A whole run with MEMIT beside SFT: one report, one plan, kills, and what is refused."""

import json

import pytest
import yaml

from nemo_mixsd import models
from nemo_mixsd.config import load_config
from nemo_mixsd.editing import memit as module
from nemo_mixsd.errors import BackendError, ConfigError, CorpusError, RunDirectoryError
from nemo_mixsd.pipeline import Pipeline
from nemo_mixsd.plan import make_plan
from tests.tiny import run_config


@pytest.fixture
def memit_recipe(recipe, tiny_world, tmp_path):
    """The tiny recipe with subjects: the last word of each question."""
    facts = [json.loads(line) for line in (tiny_world / "facts.jsonl").read_text().splitlines()]
    for fact in facts:
        fact["subject"] = fact["question"].split()[-2]
    facts[2]["subject"] = ""
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    content = yaml.safe_load(recipe.read_text())
    content["corpus"]["path"] = str(path)
    content["method"] = ["sft", "memit"]
    content["memit"] = {
        "steps": 5, "prefixes": 1, "covariance_weight": 0.1,
        "covariance": {"source": "base_model", "samples": 20, "max_tokens": 8, "cache_dir": str(tmp_path / "cache")},
    }  # fmt: skip
    recipe.write_text(yaml.safe_dump(content))
    return recipe


def test_one_report_for_training_and_editing(memit_recipe, tmp_path):
    config = load_config(memit_recipe, [])
    lines = dict(make_plan(config).lines())
    assert "edits at once into down_proj of layers 0-1, covariance over 20 chats" in lines["memit"]
    assert "whatever the backend; 1 skipped: 'f2' has no subject" in lines["memit"]
    report = run_config(config)
    assert list(report.methods) == ["base", "sft", "memit"]
    row = report.methods["memit"]
    assert row.step == 1 and row.train_accuracy is not None and row.paraphrase_accuracy is not None
    assert row.forgetting_nats is not None and row.seconds.keys() >= {"train", "eval"}
    assert (tmp_path / "run" / "checkpoints" / "memit" / "step_1" / "config.json").is_file()
    assert not (tmp_path / "run" / "targets" / "memit.jsonl").exists()
    assert "| memit |" in (tmp_path / "run" / "report.md").read_text()
    before = (tmp_path / "run" / "checkpoints" / "memit" / "complete.json").read_bytes()
    again = run_config(config)  # all is there: nothing is edited or measured again
    assert again.methods["memit"].train_accuracy == row.train_accuracy
    assert (tmp_path / "run" / "checkpoints" / "memit" / "complete.json").read_bytes() == before


def test_added_to_a_run_that_exists(memit_recipe):
    run_config(load_config(memit_recipe, ["method=sft"]))
    report = run_config(load_config(memit_recipe, ["method=[sft,memit]", "memit.steps=3"]))
    assert list(report.methods) == ["base", "sft", "memit"]
    with pytest.raises(RunDirectoryError, match=r"memit\.steps is 3 there and 5 now"):
        make_plan(load_config(memit_recipe, []))


def test_killed_in_the_middle_of_an_edit(memit_recipe, tmp_path, monkeypatch):
    run_config(load_config(memit_recipe, ["method=memit", f"run_dir={tmp_path}/quiet"]))
    optimise, seen = module.optimise_value, []

    def killed(*args):
        if len(seen) == 3:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(args[2].example_id)
        return optimise(*args)

    monkeypatch.setattr(module, "optimise_value", killed)
    config = load_config(memit_recipe, ["method=memit", f"run_dir={tmp_path}/killed"])
    with pytest.raises(KeyboardInterrupt):
        run_config(config)
    run_config(config)
    ids = [i for i in seen if i]
    assert len(ids) == len(set(ids))
    for name in ("edits.jsonl", "step_1/model.safetensors"):
        one, other = (tmp_path / run / "checkpoints" / "memit" / name for run in ("quiet", "killed"))
        assert one.read_bytes() == other.read_bytes()


def test_what_is_refused_before_a_model_is_loaded(memit_recipe, tmp_path, monkeypatch):
    def loaded(*args):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load_model", loaded)
    with pytest.raises(ConfigError, match="the model has 2 layers, 0 to 1"):
        make_plan(load_config(memit_recipe, ["memit.layers=[0,2]"]))
    with pytest.raises(ConfigError, match=r"memit\.covariance\.path: cannot read /no/text"):
        make_plan(load_config(memit_recipe, ["memit.covariance.source=file", "memit.covariance.path=/no/text"]))
    with pytest.raises(BackendError, match="cannot be read from the hub"):
        run_config(load_config(memit_recipe, ["memit.covariance.source=wikitext"]))
    make_plan(load_config(memit_recipe, []))  # what the error advises is not another configuration
    lines = (tmp_path / "facts.jsonl").read_text().splitlines()
    clash = {**json.loads(lines[0]), "id": "other", "answer": "w50", "context": "it is w50"}
    (tmp_path / "facts.jsonl").write_text("\n".join([*lines, json.dumps(clash)]) + "\n")
    with pytest.raises(CorpusError, match=r"1 edits contradict .*\(f0\) / 'w50' \(other\)"):
        make_plan(load_config(memit_recipe, []))


def test_an_edit_is_local_whatever_the_backend(memit_recipe, monkeypatch):
    """The trainer of the backend is never asked for MEMIT."""
    monkeypatch.setattr(Pipeline, "_trainer", lambda self: pytest.fail("a trainer was made"))
    report = run_config(load_config(memit_recipe, ["method=memit"]))
    assert report.methods["memit"].step == 1
