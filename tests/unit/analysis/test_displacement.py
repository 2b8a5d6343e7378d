"""Displacement by hand, and the alignment ratio along directions made for it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nemo_mixsd.analysis.displacement import Displacement, displacement, ensure_displacement, kind_of, layer_of
from nemo_mixsd.analysis.fisher import FisherInfo, compute_fisher
from nemo_mixsd.analysis.tensorfile import write_tensors
from nemo_mixsd.errors import AnalysisError
from tests.tiny import make_model
from tests.unit.analysis.fisher_witness import scored

INFO = FisherInfo("mean", "by hand", "key", 1, 1)


def save(directory, tensors, dtype=torch.float32, tied=False):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": tied}))
    save_file({n: torch.as_tensor(v).to(dtype) for n, v in tensors.items()}, directory / "model.safetensors")
    return directory


def save_fisher(path, tensors):
    layout = {n: tuple(np.shape(v)) for n, v in tensors.items()}
    write_tensors(path, layout, "F32", lambda n: np.asarray(tensors[n]), INFO.metadata())
    return path


NAMES = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight",
         "model.norm.weight")  # fmt: skip


def test_by_hand(tmp_path):
    zero = {NAMES[0]: [[0.0, 0.0]], NAMES[1]: [[1.0], [2.0]], NAMES[2]: [[5.0]], NAMES[3]: [1.0, 1.0]}
    moved = {NAMES[0]: [[1.0, 2.0]], NAMES[1]: [[1.0], [5.0]], NAMES[2]: [[5.0]], NAMES[3]: [1.0, 0.0]}
    fisher = {NAMES[0]: [[1.0, 0.5]], NAMES[1]: [[9.0], [2.0]], NAMES[2]: [[3.0]], NAMES[3]: [0.5, 4.0]}
    base, trained = save(tmp_path / "a", zero), save(tmp_path / "b", moved)
    found = displacement(base, trained, save_fisher(tmp_path / "f.safetensors", fisher))
    # squares: 1, 4 | 0, 9 | 0 | 0, 1; times F: 1, 2 | 0, 18 | 0 | 0, 4
    total = found.total
    assert (total.parameters, total.raw, total.fisher_weighted, total.fisher_sum) == (7, 15.0, 25.0, 20.0)
    assert total.alignment == pytest.approx((25 / 15) / (20 / 7))
    assert {n: g.raw for n, g in found.layers.items()} == {"other": 6.0, "0": 9.0, "1": 0.0}
    assert {n: g.fisher_weighted for n, g in found.kinds.items()} == {
        "embedding": 3.0, "attention": 18.0, "mlp": 0.0, "norm": 4.0,
    }  # fmt: skip
    assert found.kinds["attention"].alignment == pytest.approx((18 / 9) / (11 / 2))
    assert found.kinds["mlp"].alignment is None  # nothing moved: not measured, never 0
    record = found.record()
    assert (record["raw"], record["fisher_weighted"], record["fisher_mean"]) == (15.0, 25.0, 20 / 7)
    without = displacement(base, trained).total
    assert (without.raw, without.fisher_weighted, without.alignment) == (15.0, None, None)


def random_fisher(seed, shape=(300, 200)):
    rng = np.random.default_rng(seed)
    return rng, np.exp(rng.standard_normal(shape)).astype(np.float32)


def ratio(tmp_path, delta, fisher, scale=1.0):
    base = np.zeros_like(fisher)
    name = "model.layers.0.mlp.up_proj.weight"
    a = save(tmp_path / "a", {name: base}, torch.float64)
    b = save(tmp_path / "b", {name: base + scale * delta}, torch.float64)
    return displacement(a, b, save_fisher(tmp_path / "f", {name: fisher})).total.alignment


@pytest.mark.parametrize("seed", range(5))
def test_a_random_direction_has_ratio_one(tmp_path, seed):
    rng, fisher = random_fisher(seed)
    assert ratio(tmp_path, rng.standard_normal(fisher.shape), fisher) == pytest.approx(1, abs=0.05)


def test_high_and_low_coordinates(tmp_path):
    """Above and below the median of a log-normal F (sigma 1), its mean is 2 Phi(1) and 2 Phi(-1) times the whole."""
    rng, fisher = random_fisher(0)
    noise = rng.standard_normal(fisher.shape)
    median = np.median(fisher)
    assert ratio(tmp_path, np.where(fisher > median, noise, 0), fisher) == pytest.approx(1.683, rel=0.05)
    assert ratio(tmp_path, np.where(fisher < median, noise, 0), fisher) == pytest.approx(0.317, rel=0.05)


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 2**16))
def test_the_ratio_does_not_depend_on_the_size(tmp_path_factory, scale, seed):
    rng, fisher = random_fisher(seed, (6, 5))
    delta = rng.standard_normal(fisher.shape)
    tmp_path = tmp_path_factory.mktemp("scale")
    assert ratio(tmp_path, delta, fisher, scale) == pytest.approx(ratio(tmp_path, delta, fisher), rel=1e-9)


def perturbed(tmp_path, tied, name="b", **save_options):
    model = make_model(tie_word_embeddings=tied)
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / name, **save_options)
    return tmp_path / name, model


@pytest.mark.parametrize("tied", [False, True])
def test_equals_the_models_themselves(tmp_path, tied, monkeypatch):
    base = make_model(tie_word_embeddings=tied)
    base.save_pretrained(tmp_path / "a")
    path, trained = perturbed(tmp_path, tied)
    compute_fisher(base, scored(5), tmp_path / "f.safetensors")
    fisher = load_file(tmp_path / "f.safetensors")
    pairs = {
        n: (p.detach().double(), q.detach().double())
        for (n, p), q in zip(base.named_parameters(), trained.parameters())
    }
    raw = sum(float(((q - p) ** 2).sum()) for p, q in pairs.values())
    weighted = sum(float(((q - p) ** 2 * fisher[n]).sum()) for n, (p, q) in pairs.items())
    monkeypatch.setattr("nemo_mixsd.analysis.displacement.RUN", 100)  # many runs a tensor
    found = displacement(tmp_path / "a", path, tmp_path / "f.safetensors").total
    assert found.parameters == sum(p.numel() for p, _ in pairs.values())
    assert (found.raw, found.fisher_weighted) == (pytest.approx(raw, rel=1e-9), pytest.approx(weighted, rel=1e-9))


def test_a_tied_weight_counts_once_where_the_file_holds_it_twice(tmp_path):
    make_model(tie_word_embeddings=True).save_pretrained(tmp_path / "a")
    path, _ = perturbed(tmp_path, tied=True)
    before = displacement(tmp_path / "a", path).total
    tensors = load_file(path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path / "model.safetensors")
    after = displacement(tmp_path / "a", path).total
    assert (after.parameters, after.raw) == (before.parameters, before.raw)


def test_shards_with_an_index_and_a_missing_one(tmp_path):
    make_model().save_pretrained(tmp_path / "a")
    whole, _ = perturbed(tmp_path, tied=False)
    split, _ = perturbed(tmp_path, tied=False, name="c", max_shard_size="30KB")
    shards = sorted(split.glob("*.safetensors"))
    assert len(shards) > 1
    found, wanted = displacement(tmp_path / "a", split).total, displacement(tmp_path / "a", whole).total
    assert (found.parameters, found.raw) == (wanted.parameters, wanted.raw)
    shards[1].unlink()
    with pytest.raises(AnalysisError, match=f"{shards[1].name} is missing"):
        displacement(tmp_path / "a", split)


def test_bfloat16_is_compared_in_float64(tmp_path):
    a = save(tmp_path / "a", {NAMES[1]: [[1.0, 3.0]]}, torch.bfloat16)
    b = save(tmp_path / "b", {NAMES[1]: [[1.0078125, 3.0]]}, torch.bfloat16)
    assert displacement(a, b).total.raw == 0.0078125**2


@pytest.mark.parametrize("what", ["name", "shape", "nan", "cut", "no weights", "fisher"])
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, what):
    a = save(tmp_path / "a", {NAMES[1]: [[1.0, 3.0]], NAMES[3]: [1.0]})
    b = save(tmp_path / "b", {NAMES[1]: [[2.0, 3.0]], NAMES[3]: [1.0]})
    fisher = save_fisher(tmp_path / "f", {NAMES[1]: [[1.0, 1.0]], NAMES[3]: [1.0]})
    weights = b / "model.safetensors"
    if what == "name":
        save(b, {NAMES[1]: [[2.0, 3.0]]})
        says = r"different architectures: model.norm.weight is only in .*/a"
    elif what == "shape":
        save(b, {NAMES[1]: [[2.0], [3.0]], NAMES[3]: [1.0]})
        says = r"q_proj.weight has shape \[1, 2\] in .*/a and \[2, 1\]"
    elif what == "nan":
        save(b, {NAMES[1]: [[2.0, float("nan")]], NAMES[3]: [1.0]})
        says = r"/b: model.layers.0.self_attn.q_proj.weight holds NaN"
    elif what == "cut":
        weights.write_bytes(weights.read_bytes()[:-3])
        says = r"b/model.safetensors is cut off"
    elif what == "no weights":
        weights.unlink()
        says = "neither model.safetensors nor"
    else:
        fisher.write_bytes(fisher.read_bytes()[:-1])
        says = "/f is cut off"
    out = tmp_path / "out.json"
    with pytest.raises(AnalysisError, match=says):
        ensure_displacement(a, b, fisher, out)
    assert not out.exists()


def test_a_kept_result_is_read_and_another_fisher_makes_a_new_one(tmp_path):
    out = tmp_path / "d.json"
    out.write_text('{"raw": 1.5, "fisher": null}')
    assert ensure_displacement(tmp_path / "gone", tmp_path / "gone", None, out)["raw"] == 1.5
    a, b = save(tmp_path / "a", {NAMES[3]: [1.0]}), save(tmp_path / "b", {NAMES[3]: [3.0]})
    fisher = save_fisher(tmp_path / "f", {NAMES[3]: [2.0]})
    found = ensure_displacement(a, b, fisher, out)
    assert (found["raw"], found["fisher_weighted"], found["alignment"]) == (4.0, 8.0, 1.0)
    assert found["fisher"]["key"] == "key"
    assert ensure_displacement(tmp_path / "gone", tmp_path / "gone", fisher, out) == found


def test_groups():
    assert layer_of("model.layers.12.mlp.up_proj.weight") == "12"
    assert layer_of("transformer.h.3.ln_1.bias") == "3"
    assert layer_of("model.embed_tokens.weight") == layer_of("lm_head.weight") == "other"
    kinds = {
        "model.layers.0.input_layernorm.weight": "norm", "model.layers.0.self_attn.q_norm.weight": "norm",
        "transformer.h.0.ln_1.weight": "norm", "lm_head.weight": "output", "transformer.wte.weight": "embedding",
        "model.layers.0.self_attn.o_proj.weight": "attention", "model.layers.0.mlp.experts.3.w1.weight": "mlp",
        "transformer.h.0.mlp.c_fc.weight": "mlp", "model.rotary": "other",
    }  # fmt: skip
    assert {name: kind_of(name) for name in kinds} == kinds


def test_no_displacement_has_no_ratio():
    assert Displacement(3, 0.0, 0.0, 1.0).alignment is None
    assert Displacement(3, 1.0, 0.0, 0.0).alignment is None
