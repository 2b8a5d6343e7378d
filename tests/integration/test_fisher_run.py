"""A run with its Fisher: computed once, every checkpoint measured, in the report; also asked for afterwards."""

import json

import pytest

from nemo_mixsd.analysis.correlation import collect_points
from nemo_mixsd.analysis.displacement import displacement
from nemo_mixsd.analysis.fisher import read_info
from nemo_mixsd.config import load_config
from tests.tiny import run_config

ON = ["analysis.fisher.enabled=true", "evals.checkpoints=all", "method=sft"]


def test_fisher_and_displacement_of_a_run(recipe, tmp_path, tiny_world):
    run = tmp_path / "run"
    report = run_config(load_config(recipe, ON))
    fisher = run / "analysis" / "fisher.safetensors"
    info = read_info(fisher)
    assert (info.kind, info.done) == ("mean", 6)  # the six reference samples
    curve = report.methods["sft"].checkpoints
    steps = sorted(int(p.stem) for p in (run / "analysis" / "displacement" / "sft").iterdir())
    assert steps == [c.step for c in curve] and len(steps) > 2
    last = curve[-1]
    found = displacement(tiny_world / "model", run / "checkpoints" / "sft" / f"step_{last.step}", fisher).total
    assert last.displacement["raw"] == found.raw > 0
    assert last.displacement["alignment"] == found.alignment > 0
    raw = [c.displacement["raw"] for c in curve]
    assert raw == sorted(raw)  # a few steps of AdamW only move away
    written = json.loads((run / "report.json").read_text())["methods"]
    assert written["sft"]["displacement"]["raw"] == found.raw
    assert written["base"]["displacement"] == {}
    text = (run / "report.md").read_text()
    assert "## Displacement" in text and "| alignment | " in text
    assert (run / "figures" / "displacement_scatter.png").stat().st_size > 5000
    assert len(collect_points([run])) == len(curve)

    stamps = {
        p: p.stat().st_mtime_ns for p in (run / "analysis").rglob("*") if p.is_file() and p.name != "seconds.json"
    }
    run_config(load_config(recipe, ON))
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps, "a complete analysis was done again"


def test_asked_for_after_the_training(recipe, tmp_path):
    before = run_config(load_config(recipe, ["method=sft"]))
    assert before.methods["sft"].displacement == {}
    after = run_config(load_config(recipe, ["method=sft", "analysis.fisher.enabled=true"]))
    assert after.methods["sft"].displacement["alignment"] > 0
    assert after.methods["sft"].step == before.methods["sft"].step


@pytest.mark.parametrize("memory", ["disk", "host"])
def test_targets_as_samples_and_memory(recipe, tmp_path, memory):
    overrides = [*ON, "analysis.fisher.source=[reference,targets/sft]", f"analysis.fisher.memory={memory}"]
    run_config(load_config(recipe, [*overrides, "sft.max_num_steps=1", "analysis.fisher.samples=8"]))
    assert read_info(tmp_path / "run" / "analysis" / "fisher.safetensors").done == 8
