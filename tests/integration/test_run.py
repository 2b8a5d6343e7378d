"""A whole run on a tiny model: what it writes, what it skips, what it adds."""

import json
from pathlib import Path

import pytest
import torch

from nemo_mixsd.config import load_config
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.models import load_model
from nemo_mixsd.training import local
from nemo_mixsd.types import Target
from tests.tiny import EOS, run_config


def files(directory: Path):
    return {
        str(p.relative_to(directory)): p.stat().st_mtime_ns
        for p in directory.rglob("*")
        if p.is_file() and p.name not in (".lock", "config.yaml", "seconds.json") and "report" not in p.name
        and "figures" not in p.parts
    }  # fmt: skip


def test_run_writes_everything_once(recipe, tmp_path):
    report = run_config(load_config(recipe))
    directory = tmp_path / "run"
    written = json.loads((directory / "report.json").read_text())
    assert list(written["methods"]) == ["base", "sft", "mixsd@0.3"]
    for name, row in written["methods"].items():
        assert 0 <= row["train_accuracy"] <= 1 and 0 <= row["paraphrase_accuracy"] <= 1
        assert (row["forgetting_nats"] == 0) == (name == "base")
    assert written["methods"]["base"]["targets"] == {}
    targets = written["methods"]["mixsd@0.3"]["targets"]
    facts = len(list(read_jsonl_raw(directory / "corpus" / "train.jsonl")))
    assert targets["n"] + targets["discarded"] == facts
    assert targets["mean_nll"] < written["methods"]["sft"]["targets"]["mean_nll"]
    for figure in ("tradeoff", "target_nll_cdf"):
        assert (directory / "figures" / f"{figure}.png").stat().st_size > 5000
    assert "mixsd@0.3" in (directory / "report.md").read_text()
    step = report.methods["sft"].step
    trained = load_model(str(directory / "checkpoints" / "sft" / f"step_{step}"), "float32", "cpu")
    assert trained.config.model_type == "llama"
    assert not list((directory / "checkpoints" / "sft").rglob("optimizer.pt"))

    before = files(directory)
    again = run_config(load_config(recipe))
    assert files(directory) == before, "a complete stage was done again"
    assert again.methods["sft"].train_accuracy == report.methods["sft"].train_accuracy


def test_more_rates_are_added_to_a_run(recipe, tmp_path):
    run_config(load_config(recipe, ["method=mixsd"]))
    before = files(tmp_path / "run")
    report = run_config(load_config(recipe, ["method=[sft,mixsd]", "mixing.rate=[0,0.3]"]))
    assert list(report.methods) == ["base", "sft", "mixsd@0", "mixsd@0.3"]
    after = files(tmp_path / "run")
    assert all(after[name] == stamp for name, stamp in before.items() if "discarded" not in name)


def read_jsonl_raw(path):
    return (json.loads(line) for line in path.read_text().splitlines())


def test_token_ids_of_the_targets_are_those_in_the_batches(recipe, tmp_path, monkeypatch):
    seen: list[dict[str, torch.Tensor]] = []
    collate = local.collate

    def record(targets, pad_id):
        batch = collate(targets, pad_id)
        seen.append({k: v.clone() for k, v in batch.items()})
        return batch

    monkeypatch.setattr(local, "collate", record)
    run_config(load_config(recipe, ["method=mixsd"]))
    targets = list(read_jsonl(tmp_path / "run" / "targets" / "mixsd@0.3.jsonl", Target))
    wanted = {(t.prompt_ids, t.token_ids) for t in targets}
    trained = set()
    for batch in seen:
        for ids, mask, labels in zip(batch["input_ids"], batch["attention_mask"], batch["labels"]):
            real = ids[mask == 1]
            start = int((labels != -100).nonzero()[0])
            assert (labels[start : len(real)] == real[start:]).all()
            assert (labels[len(real) :] == -100).all()
            trained.add((tuple(real[:start].tolist()), tuple(real[start:].tolist())))
    assert trained == wanted
    assert all((t.token_ids[-1] == EOS) == (t.finish_reason == "stop") for t in targets)


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_same_bytes_at_any_batch_size(recipe, tmp_path, batch, tiny_world):
    overrides = [f"run_dir={tmp_path}/b", "method=mixsd", f"mixing.max_in_flight={batch}", "sft.max_num_steps=1"]
    run_config(load_config(recipe, overrides))
    content = (tmp_path / "b" / "targets" / "mixsd@0.3.jsonl").read_bytes()
    kept = tiny_world / "same_bytes.jsonl"
    if not kept.exists():
        kept.write_bytes(content)
    assert content == kept.read_bytes()


def test_every_checkpoint_can_be_evaluated(recipe):
    report = run_config(load_config(recipe, ["method=sft", "evals.checkpoints=all"]))
    curve = report.methods["sft"].checkpoints
    assert len(curve) > 2 and [c.step for c in curve] == sorted(c.step for c in curve)
    assert curve[-1].forgetting_nats == report.methods["sft"].forgetting_nats
    assert len({c.forgetting_nats for c in curve}) == len(curve)


class Ear:
    heard: list[tuple] = []

    def on_train_step(self, name, step, metrics):
        Ear.heard.append(("step", name, step, set(metrics) >= {"loss", "lr"}))

    def on_checkpoint_saved(self, name, step, path):
        Ear.heard.append(("saved", name, step, (path / "model.safetensors").is_file()))

    def on_validation(self, name, step, metrics):
        Ear.heard.append(("validation", name, step, "forgetting_nats" in metrics and "train_accuracy" in metrics))

    def on_train_end(self, name, step, path):
        Ear.heard.append(("end", name, step, path.is_dir()))

    def on_targets_ready(self, name, path):
        raise RuntimeError("a callback that fails does not end the run")


def test_callbacks_hear_the_run(recipe):
    Ear.heard = []
    run_config(load_config(recipe, ["method=sft", f"callbacks=[{{name: {Ear.__module__}.Ear}}]"]))
    kinds = [event[0] for event in Ear.heard]
    assert kinds.count("end") == 1 and kinds.count("validation") == 1 and kinds.count("saved") >= 2
    assert all(event[3] for event in Ear.heard)
    steps = [event[2] for event in Ear.heard if event[0] == "step"]
    assert steps == list(range(1, len(steps) + 1))


def test_training_stops_when_the_facts_are_known(recipe, tmp_path):
    from nemo_mixsd.training.steps import finished

    overrides = ["method=sft", "sft.max_num_epochs=40", "evals.stop.train_accuracy=0.6", "evals.stop.period=3"]
    report = run_config(load_config(recipe, overrides))
    row = report.methods["sft"]
    assert row.train_accuracy >= 0.6
    assert row.step % 3 == 0 and row.step < 40
    # killed after the last checkpoint and before the end was noted: the next start sees that it had ended
    checkpoints = tmp_path / "run" / "checkpoints" / "sft"
    (checkpoints / "complete.json").unlink()
    again = run_config(load_config(recipe, overrides))
    assert again.methods["sft"].step == row.step == finished(checkpoints).step


def test_training_does_not_wait_for_examples_without_a_target(recipe):
    overrides = ["method=mixsd", "mixing.max_retries=0", "mixing.rate=0.5", "sft.max_num_epochs=300"]
    report = run_config(load_config(recipe, [*overrides, "evals.stop.train_accuracy=1", "evals.stop.period=5"]))
    row = report.methods["mixsd@0.5"]
    assert row.targets["discarded"] > 0
    assert row.train_accuracy < 1
    assert row.step < 100
