"""The bridge to lm-evaluation-harness: what is refused before, how results become ours, and one real run."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from nemo_mixsd.errors import ConfigError, EngineError, RunDirectoryError
from nemo_mixsd.evals import lm_eval_bridge
from nemo_mixsd.evals.config import LmEvalConfig
from nemo_mixsd.evals.heldout_report import read_heldout
from nemo_mixsd.evals.lm_eval_bridge import HarnessModel, check_lm_eval, run_lm_eval
from nemo_mixsd.evals.lm_eval_worker import to_score

RESULTS = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.6, "acc_stderr,none": 0.05, "acc_norm,none": 0.5},
        "gsm8k": {"exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": "N/A"},
        "wikitext": {"word_perplexity,none": 31.5, "word_perplexity_stderr,none": 0.2},
        "empty": {"alias": "empty"},
    },
    "groups": {"mmlu": {"acc,none": 0.3, "acc_stderr,none": 0.01}},
    "n-samples": {"arc_easy": {"original": 200, "effective": 100}, "gsm8k": {"original": 8, "effective": 8}},
}


def test_the_first_metric_of_a_task_becomes_a_score():
    arc = to_score("arc_easy", RESULTS, "k")
    assert (arc.benchmark, arc.accuracy, arc.metric, arc.correct) == ("lm_eval/arc_easy", 0.6, "acc", 60)
    assert (arc.low, arc.high) == (pytest.approx(0.502, abs=1e-3), pytest.approx(0.698, abs=1e-3))
    assert arc.label == "lm_eval/arc_easy (100 of 200, seed 0)"
    gsm8k = to_score("gsm8k", RESULTS, "k")
    assert (gsm8k.metric, gsm8k.low, gsm8k.problems) == ("exact_match (strict-match)", None, 8)
    assert to_score("wikitext", RESULTS, "k").low is None
    assert to_score("mmlu", RESULTS, "k").problems == 108
    with pytest.raises(ValueError, match="no metric for the task empty"):
        to_score("empty", RESULTS, "k")


def test_what_is_refused_before_a_model_is_loaded(tmp_path, monkeypatch):
    check_lm_eval([], LmEvalConfig(include_path="/nowhere"))
    with pytest.raises(ConfigError, match="include_path: /nowhere is no folder"):
        check_lm_eval(["arc_easy"], LmEvalConfig(include_path="/nowhere"))
    monkeypatch.setattr(lm_eval_bridge.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="not installed: uv sync --extra lm-eval"):
        check_lm_eval(["arc_easy"], LmEvalConfig())


def test_finished_tasks_are_not_run_again_and_failures_tell_why(tmp_path, monkeypatch):
    jobs = []

    def run(command, stdout, **_):
        jobs.append(json.loads(Path(command[-1]).read_text()))
        job = jobs[-1]
        (tmp_path / "lm_eval" / f"{job['tasks'][0]}.json").write_text(json.dumps({"key": job["key"]}))
        stdout.write("first\nOut of memory\n")
        return subprocess.CompletedProcess(command, 1 if len(job["tasks"]) > 1 else 0)

    monkeypatch.setattr(lm_eval_bridge.subprocess, "run", run)
    model, room = HarnessModel("m", None, "float32", "cpu"), []
    with pytest.raises(EngineError, match=r"status 1 on a, b: first / Out of memory \(all of it: .*log.txt\)"):
        run_lm_eval(["a", "b"], model, tmp_path, LmEvalConfig(), lambda: room.append(1))
    run_lm_eval(["a", "b"], model, tmp_path, LmEvalConfig(), lambda: room.append(1))
    run_lm_eval(["a", "b"], model, tmp_path, LmEvalConfig(batch_size=2), lambda: room.append(1))
    assert [job["tasks"] for job in jobs] == [["a", "b"], ["b"]]
    assert room == [1, 1]
    with pytest.raises(RunDirectoryError, match=r"made with other evals\.lm_eval_options"):
        run_lm_eval(["a"], model, tmp_path, LmEvalConfig(limit=3))


@pytest.mark.slow
def test_a_task_of_ones_own_on_a_tiny_model(tiny_model_dir, tmp_path):
    pytest.importorskip("lm_eval")
    docs = [{"prompt": f"what is the colour of w{i} ?", "gold": "blue"} for i in range(6)]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    task = {
        "task": "colours",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{gold}}",
        "generation_kwargs": {"until": ["<eos>"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "colours.yaml").write_text(yaml.safe_dump(task))
    options = LmEvalConfig(include_path=str(tasks), limit=5, chat_template=True)
    check_lm_eval(["colours"], options)
    with pytest.raises(ConfigError, match="the harness has no task 'colors'"):
        check_lm_eval(["colors"], options)
    model = HarnessModel(str(tiny_model_dir), None, "float32", "cpu")
    run_lm_eval(["colours"], model, tmp_path / "evals", options)
    score = read_heldout(tmp_path / "evals")["lm_eval/colours"]
    assert (score.problems, score.total, score.metric) == (5, 6, "exact_match")
    samples = (tmp_path / "evals" / "lm_eval" / "colours.samples.jsonl").read_text().splitlines()
    assert len(samples) == 5 and "<user>" in samples[0]
