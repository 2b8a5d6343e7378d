"""All six methods in one run: one table, one figure, costs; targets shared; a control that is named as one."""

import json
import time

import pytest

from nemo_mixsd.config import load_config
from nemo_mixsd.distill_stage import share_targets
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.plan import MethodSpec, make_plan
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.types import Discard, Method, Target
from tests.integration.test_kill import run_killed
from tests.tiny import run_config

METHODS = "method=[base,sft,opsd,opsd_nll,mixsd,mixsd_kl]"
SMALL = ["opsd.num_generations=2", "opsd.topk=8", "opsd.max_new_tokens=8", "sft.max_num_epochs=2"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_recipe):
    """A run of everything, made once."""
    base = tmp_path_factory.mktemp("methods")
    recipe, overrides = make_recipe(base), [METHODS, *SMALL, "opsd.mixsd_kl_rate=[0,0.3]"]
    return run_config(load_config(recipe, overrides)), recipe, overrides, base / "run"


def test_one_table(whole):
    report, _, _, directory = whole
    names = ["base", "sft", "opsd", "opsd_nll", "mixsd@0.3", "mixsd_kl@0", "mixsd_kl@0.3"]
    written = json.loads((directory / "report.json").read_text())["methods"]
    assert list(report.methods) == list(written) == names
    for name, row in written.items():
        assert 0 <= row["train_accuracy"] <= 1 and (row["forgetting_nats"] == 0) == (name == "base")
    assert written["opsd"]["targets"] == written["opsd_nll"]["targets"] == {}
    text = (directory / "report.md").read_text()
    assert all(text.count(f"| {name} |") >= 2 for name in names[1:])
    assert (directory / "figures" / "tradeoff.png").stat().st_size > 5000


def test_costs(whole):
    _, _, _, directory = whole
    rows = json.loads((directory / "report.json").read_text())["methods"]
    costs = {name: row["cost"] for name, row in rows.items()}
    assert costs.pop("base") == {}
    assert all(cost["seconds"] > 0 and cost["trained_tokens"] > 0 for cost in costs.values())
    assert costs["sft"]["generated_tokens"] == 0
    assert costs["mixsd@0.3"]["generated_tokens"] == costs["mixsd_kl@0.3"]["generated_tokens"]
    assert costs["mixsd@0.3"]["trained_tokens"] == costs["mixsd_kl@0.3"]["trained_tokens"]
    targets = list(read_jsonl(directory / "targets" / "mixsd@0.3.jsonl", Target))
    lost = [d for d in read_jsonl(directory / "targets" / "discarded.jsonl", Discard) if d.name == "mixsd@0.3"]
    assert costs["mixsd@0.3"]["generated_tokens"] == sum(x.generated for x in [*targets, *lost])
    assert all(t.generated >= len(t.token_ids) and (t.attempts > 1 or t.generated == len(t.token_ids)) for t in targets)
    assert costs["opsd"]["generated_tokens"] > 0 and costs["opsd_nll"]["generated_tokens"] > 0
    for name, cost in costs.items():
        assert (cost["teacher_tokens"] > 0) == (name.startswith(("opsd", "mixsd_kl")))


def test_targets_of_one_rate_are_made_once(whole):
    _, _, _, directory = whole
    ours, theirs = (directory / "targets" / f"{kind}@0.3.jsonl" for kind in ("mixsd", "mixsd_kl"))
    assert ours.read_bytes() == theirs.read_bytes()
    discards = list(read_jsonl(directory / "targets" / "discarded.jsonl", Discard))
    lost = {name: {d.example_id for d in discards if d.name == name} for name in ("mixsd@0.3", "mixsd_kl@0.3")}
    assert lost["mixsd@0.3"] == lost["mixsd_kl@0.3"]


def test_the_control_is_a_row_of_its_own(whole):
    report, recipe, overrides, directory = whole
    control = ["method=[opsd,mixsd_kl]", "opsd.shuffled_context=true", "opsd.mixsd_kl_rate=0"]
    plan = make_plan(load_config(recipe, [*overrides, *control]))
    assert [spec.name for spec in plan.methods] == ["opsd-shuffled", "mixsd_kl-shuffled@0"]
    assert "shown another example's answer (control)" in dict(plan.lines())["opsd-shuffled"]
    after = run_config(load_config(recipe, [*overrides, *control]))
    assert set(after.methods) == set(report.methods) | {"opsd-shuffled", "mixsd_kl-shuffled@0"}
    assert after.methods["opsd"].train_accuracy == report.methods["opsd"].train_accuracy
    assert after.methods["opsd-shuffled"].forgetting_nats != report.methods["opsd"].forgetting_nats
    kept = [(directory / "targets" / f"mixsd_kl{mark}@0.jsonl").read_bytes() for mark in ("", "-shuffled")]
    assert kept[0] == kept[1]


def test_the_plan_says_what_it_will_cost(recipe):
    lines = dict(make_plan(load_config(recipe, [METHODS, *SMALL])).lines())
    facts = int(lines["sft"].split()[0])
    steps = 2 * facts // 2
    assert lines["opsd"] == (
        f"{steps} steps of 2 prompts × 2 rollouts (temperature 1, at most 8 tokens; {steps * 4 * 8} in all), "
        "forward KL on the teacher's top 8, teacher base"
    )
    assert "4 prompts × 1 rollouts (greedy" in lines["opsd_nll"]
    assert lines["opsd_nll"].endswith("NLL of the teacher's first choice, teacher base")
    assert lines["mixsd_kl@0"].startswith(f"{facts} mixed at λ=0 targets")


def test_nothing_is_shared_without_a_twin(recipe):
    config = load_config(recipe)
    with RunDirectory(config) as directory:
        assert not share_targets(directory, MethodSpec("mixsd_kl@0.3", Method.MIXSD_KL, 0.3))
        assert not share_targets(directory, MethodSpec("sft", Method.SFT))


@pytest.mark.slow
def test_killed_while_it_learns_from_itself(recipe, tmp_path):
    base = ["method=[opsd,mixsd_kl]", *SMALL, "opsd.teacher=ema", "checkpointing.save_period=2"]
    begun = time.monotonic()
    run_config(load_config(recipe, [*base, f"run_dir={tmp_path}/quiet"]))
    run_killed(3, recipe, base, tmp_path / "quiet", time.monotonic() - begun)
