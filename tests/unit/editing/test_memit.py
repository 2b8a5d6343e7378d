"""MEMIT end to end on tiny random models of both families."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nemo_mixsd.editing import memit as module
from nemo_mixsd.editing.layers import down_proj
from nemo_mixsd.editing.memit import apply_edits, prepare_moments, target_values, train_memit
from nemo_mixsd.editing.states import last_hidden, last_keys
from nemo_mixsd.editing.texts import make_source
from nemo_mixsd.editing.values import edit_prompts, optimise_value
from nemo_mixsd.errors import ConfigError, CorpusError
from tests.editing import make_family
from tests.samples import example, make_config
from tests.tiny import make_tokenizer

LAYERS = range(1, 4)


def memit_section(tmp_path, **changes):
    text = tmp_path / "text.txt"
    if not text.exists():
        words = [f"w{i}" for i in range(40, 90)]
        text.write_text("\n\n".join(" ".join(words[i : i + 9]) for i in range(40)))
    return {
        "layers": [LAYERS[0], LAYERS[-1]], "steps": 8, "prefixes": 2, "prefix_tokens": 4, "covariance_weight": 0.1,
        "covariance": {"source": "file", "path": str(text), "cache_dir": str(tmp_path / "cache")}, **changes,
    }  # fmt: skip


@pytest.fixture(params=["llama", "qwen"])
def model_dir(request, tmp_path):
    path = tmp_path / "model"
    make_family(request.param).save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path


@pytest.fixture
def train(model_dir, tmp_path, renderer, examples):
    def train(name="run", facts=None, callbacks=None, **changes):
        config = make_config(memit=memit_section(tmp_path, **changes), policy__model_name=str(model_dir))
        return train_memit(config, str(model_dir), renderer, facts or examples, tmp_path / name, callbacks)

    return train


def test_a_checkpoint_with_nothing_else_changed(train, model_dir, examples, tmp_path):
    class Listener:
        heard = []

        def emit(self, event, *args):
            self.heard.append((event, *args))

    facts = [*examples, example(8, subject="", question="who ?"), example(9, subject="moon", question="what is it ?")]
    result = train(facts=facts, callbacks=Listener())
    assert result.step == 1 and result.path == tmp_path / "run" / "step_1"
    assert Listener.heard == [
        ("on_checkpoint_saved", "memit", 1, result.path),
        ("on_train_end", "memit", 1, result.path),
    ]
    before, after = (load_file(path / "model.safetensors") for path in (model_dir, result.path))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"model.layers.{layer}.mlp.down_proj.weight" for layer in LAYERS}
    assert AutoModelForCausalLM.from_pretrained(result.path).config.eos_token_id == 1
    records = [json.loads(line) for line in (tmp_path / "run" / "edits.jsonl").read_text().splitlines()]
    assert [r["example_id"] for r in records] == [e.id for e in facts]
    assert [r["status"] for r in records] == ["edited"] * 5 + ["skipped"] * 2
    assert [r["reason"] for r in records[5:]] == ["has no subject", "its question does not name its subject 'moon'"]
    assert [r["last_token"] for r in records[:5]] == [e.subject for e in examples]
    assert all(r["nll_after"] < r["nll_before"] and r["reached"] is not None for r in records[:5])
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["complete.json", "edits.jsonl", "step_1"]


def test_a_finished_edit_is_not_made_again(train, monkeypatch):
    first = train()
    monkeypatch.setattr(module.models, "load_model", None)
    assert train() == first


def test_the_order_of_the_facts_does_not_matter(train, examples, tmp_path):
    one = load_file(train("one").path / "model.safetensors")
    shuffled = [examples[i] for i in (3, 0, 4, 2, 1)]
    other = load_file(train("other", shuffled).path / "model.safetensors")
    for name, weight in one.items():
        torch.testing.assert_close(weight, other[name], atol=1e-5, rtol=0)


def test_killed_while_values_are_found(train, monkeypatch, tmp_path, caplog):
    expected = load_file(train("quiet").path / "model.safetensors")
    calls = []

    def killed(model, layer, edit, settings):
        if len(calls) in (2, 4) and calls[-1] is not None:
            calls.append(None)
            raise KeyboardInterrupt
        calls.append(edit.example_id)
        return optimise_value(model, layer, edit, settings)

    monkeypatch.setattr(module, "optimise_value", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train("killed")
    found = load_file(train("killed").path / "model.safetensors")
    assert sorted(c for c in calls if c) == ["e0", "e1", "e2", "e3", "e4"]  # nothing is found twice
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_killed_while_the_checkpoint_is_written(train, monkeypatch, tmp_path):
    expected = load_file(train("quiet").path / "model.safetensors")
    write = module.write_json

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        train("killed")
    monkeypatch.setattr(module, "write_json", write)
    monkeypatch.setattr(module, "optimise_value", None)  # all values are in the journal
    found = load_file(train("killed").path / "model.safetensors")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def editing(name, renderer, edits, tmp_path, **changes):
    """A model, its edits as prompts, their values and the moments, before the update."""
    model = make_family(name)
    settings = make_config(memit=memit_section(tmp_path, **changes)).memit
    prompts = [edit_prompts(renderer, edit, ("it was w40 .",)) for edit in edits]
    moments = prepare_moments(model, LAYERS, make_source(settings.covariance, 0), renderer, settings)
    (tmp_path / name).mkdir(exist_ok=True)
    values = target_values(model, LAYERS[-1], prompts, settings, tmp_path / name)
    return model, prompts, values, moments, settings


@pytest.mark.parametrize("name", ["llama", "qwen"])
def test_the_update_layer_by_layer(name, renderer, edits, tmp_path):
    """Against a plain transcription: the share of what is missing, each layer after the ones before it."""
    model, prompts, values, moments, settings = editing(name, renderer, edits, tmp_path)
    wanted = torch.tensor([v.value for v in values], dtype=torch.float64)
    witness = make_family(name)
    for left, layer in zip((3, 2, 1), LAYERS):
        now = torch.cat([last_hidden(witness, LAYERS[-1], [p.prompts[0].head], 1) for p in prompts])
        keys = torch.stack([last_keys(witness, layer, [q.head for q in p.prompts], 9).mean(0) for p in prompts])
        residual = (wanted - now) / left
        system = settings.covariance_weight * moments.load(layer).double() + keys.T @ keys
        change = residual.T @ keys @ torch.linalg.inv(system)
        weight = down_proj(witness, layer).weight
        weight.data = (weight.data.double() + change).float()
    apply_edits(model, LAYERS, prompts, values, moments, settings)
    for layer in LAYERS:
        found, expected = down_proj(model, layer).weight, down_proj(witness, layer).weight
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen"])
def test_one_edit_in_one_layer_is_the_rank_one_update(name, renderer, edits, tmp_path):
    model, prompts, values, moments, settings = editing(name, renderer, edits[:1], tmp_path)
    layer = LAYERS[-1]
    before = down_proj(model, layer).weight.double()
    key = last_keys(model, layer, [p.head for p in prompts[0].prompts], 9).mean(0)
    state = last_hidden(model, layer, [prompts[0].prompts[0].head], 1)[0]
    direction = torch.linalg.solve(moments.load(layer).double(), key)
    missing = torch.tensor(values[0].value, dtype=torch.float64) - state
    expected = before + torch.outer(missing, direction) / (settings.covariance_weight + key @ direction)
    apply_edits(model, [layer], prompts, values, moments, settings)
    torch.testing.assert_close(down_proj(model, layer).weight.double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen"])
def test_more_weight_on_ordinary_text_changes_less(name, renderer, edits, tmp_path):
    """In one layer and without random texts, so that a weight near zero brings about all that is wanted."""
    changes, reached, layer = [], [], LAYERS[-1]
    for weight in (1e-6, 1.0, 1e6):
        model, prompts, values, moments, settings = editing(name, renderer, edits, tmp_path, covariance_weight=weight)
        bare = [replace(prompt, prompts=prompt.prompts[:1]) for prompt in prompts]
        part = apply_edits(model, [layer], bare, values, moments, settings)
        before = make_family(name)
        changes.append(float((down_proj(model, layer).weight - down_proj(before, layer).weight).norm()))
        reached.append(sum(part) / len(part))
    assert changes == sorted(changes, reverse=True)
    assert reached == sorted(reached, reverse=True) and reached[0] > 0.99 and reached[-1] < 0.05


def test_refused_before_anything_takes_time(train, examples, monkeypatch):
    with pytest.raises(ConfigError, match="the model has 5 layers"):
        train(layers=[2, 9])
    monkeypatch.setattr(module.models, "load_model", None)
    clash = example(7, question=examples[0].question, subject=examples[0].subject, answer="red")
    with pytest.raises(CorpusError, match=r"'green' \(e0\) / 'red' \(e7\)"):
        train(facts=[*examples, clash])
