"""``mixing.rate=auto`` in a whole run: chosen once, named by its number, kept, and nothing changes for numbers."""

import json

import pytest

from nemo_mixsd.config import load_config
from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.plan import make_plan
from nemo_mixsd.types import Target
from tests.tiny import run_config

AUTO = ["mixing.rate=auto", "mixing.auto.candidates=[0.1,0.3]", "mixing.auto.examples=6", "method=mixsd",
        "sft.max_num_epochs=1"]  # fmt: skip


def plan_line(config, name):
    return dict(make_plan(config).lines())[name]


@pytest.mark.slow
def test_a_whole_run(recipe, tmp_path):
    config = load_config(recipe, AUTO)
    assert "mixed at a λ out of 0.1, 0.3 (chosen by a probe of 6 examples)" in plan_line(config, "mixsd@auto")
    report = run_config(config)
    run = tmp_path / "run"
    decision = json.loads((run / "analysis" / "rate_probe.json").read_text())
    name = f"mixsd@{decision['rate']:g}"
    assert list(report.methods) == ["base", name]
    assert report.rate_choice.rate == decision["rate"]
    assert decision["reason"] in (run / "report.md").read_text()
    assert "Why this mixing rate" in (run / "report.html").read_text()
    assert decision["probes"][0]["examples"] == 6
    assert decision["probes"][0]["tokens"] > 0

    # coins are functions: the probe's targets are those of the whole stage
    probed = {t.example_id: t for t in read_jsonl(run / "analysis" / "rate_probe" / f"{name}.jsonl", Target)}
    whole = {t.example_id: t for t in read_jsonl(run / "targets" / f"{name}.jsonl", Target)}
    assert probed
    assert all(whole[i] == t for i, t in probed.items())

    before = {
        p: p.stat().st_mtime_ns for p in (run / "analysis").rglob("*") if p.is_file() and p.name != "seconds.json"
    }
    assert f"mixed at λ={decision['rate']:g} (chosen by the probe: {decision['reason']})" in plan_line(
        config, "mixsd@auto"
    )
    again = run_config(load_config(recipe, AUTO))
    assert list(again.methods) == ["base", name]
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in before.items()), "something was probed again"

    other = 0.3 if decision["rate"] != 0.3 else 0.1
    numbers = run_config(load_config(recipe, [*AUTO, f"mixing.rate={other}"]))
    assert sorted(numbers.methods) == sorted(["base", "mixsd@0.1", "mixsd@0.3"])
    with pytest.raises(RunDirectoryError, match=r"was chosen under other settings of mixing\.auto"):
        run_config(load_config(recipe, [*AUTO, "mixing.auto.examples=7"]))


def test_a_number_probes_nothing(recipe, tmp_path):
    report = run_config(load_config(recipe, ["method=mixsd", "sft.max_num_epochs=1"]))
    assert report.rate_choice is None
    assert list(report.methods) == ["base", "mixsd@0.3"]
    assert not (tmp_path / "run" / "analysis" / "rate_probe.json").exists()
    assert (tmp_path / "run" / "analysis" / "token_text" / "mixsd@0.3.jsonl").exists()
    assert "NLL in nats" in (tmp_path / "run" / "report.html").read_text()
