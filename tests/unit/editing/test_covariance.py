"""Moments: equal to plain sums, resumed to the bit, rebuilt when damaged."""

import logging

import pytest
import torch

from nemo_mixsd.editing import covariance as module
from nemo_mixsd.editing.config import CovarianceConfig
from nemo_mixsd.editing.covariance import Moments, collect_moments, model_digest
from nemo_mixsd.editing.states import read_keys
from nemo_mixsd.editing.texts import FileText
from nemo_mixsd.errors import BackendError, StorageError
from nemo_mixsd.randomness import KeyedRandom
from tests.tiny import WORDS, make_tokenizer

TEXTS = [
    " ".join(KeyedRandom("text", i).choice(WORDS[7:]) for _ in range(3 + i % 7)) for i in range(23)
]  # fmt: skip


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(TEXTS))
    return FileText(CovarianceConfig(source="file", path=str(path), batch_size=3, chunk=5))


@pytest.fixture
def moments(tmp_path):
    return Moments(tmp_path / "cache" / "model" / "text")


@pytest.fixture
def passes(monkeypatch):
    """How many forward passes were made, and a switch that ends the process after so many."""
    state = {"count": 0, "killed_after": None}

    def counted(*args):
        if state["count"] == state["killed_after"]:
            raise KeyboardInterrupt
        state["count"] += 1
        return read_keys(*args)

    monkeypatch.setattr(module, "read_keys", counted)
    return state


def test_it_is_the_mean_of_outer_products(family, renderer, source, moments):
    collect_moments(family, [1, 3], source, renderer, moments)
    rows = list(source.rows(renderer, 0))
    for layer in (1, 3):
        keys = torch.cat([read_keys(family, [layer], [row])[layer] for row in rows]).double()
        assert len(keys) == sum(map(len, rows))
        found = moments.load(layer)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), keys.T @ keys / len(keys), atol=1e-6, rtol=1e-5)
    assert sorted(p.name for p in moments.directory.iterdir()) == ["layer_1.safetensors", "layer_3.safetensors"]


def test_killed_and_started_again(family, renderer, source, moments, passes, tmp_path):
    quiet = Moments(tmp_path / "quiet")
    collect_moments(family, [0, 2], source, renderer, quiet)
    whole, passes["count"] = passes["count"], 0
    assert whole == 9  # five chunks of two batches, the last one of one
    kills = 0
    for limit in (3, 2, 4):
        passes.update(killed_after=passes["count"] + limit)
        with pytest.raises(KeyboardInterrupt):
            collect_moments(family, [0, 2], source, renderer, moments)
        kills += 1
    passes["killed_after"] = None
    collect_moments(family, [0, 2], source, renderer, moments)
    for layer in (0, 2):
        assert torch.equal(moments.load(layer), quiet.load(layer))
    assert passes["count"] <= whole + kills * 2  # no more than a chunk is done twice for each kill
    assert not list(moments.directory.glob("partial*")) and not list(moments.directory.glob(".*"))


def test_what_is_there_is_not_collected_again(family, renderer, source, moments, passes):
    collect_moments(family, [1], source, renderer, moments)
    first = passes["count"]
    collect_moments(family, [1], source, renderer, moments)
    assert passes["count"] == first
    before = moments.path(1).read_bytes()
    collect_moments(family, [1, 2], source, renderer, moments)
    assert passes["count"] == 2 * first and moments.path(1).read_bytes() == before


@pytest.mark.parametrize("damage", ["flip", "cut", "garbage", "digest"])
def test_a_damaged_cache_is_made_again(family, renderer, source, moments, passes, caplog, damage):
    collect_moments(family, [0, 1], source, renderer, moments)
    whole = moments.load(1)
    passes["count"] = 0
    path = moments.path(1)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-7] ^= 1
    elif damage == "digest":
        at = data.index(b"digest") + 9
        data[at] = ord("0") if data[at] != ord("0") else ord("1")
    path.write_bytes({"cut": bytes(data[:-100]), "garbage": b"not a tensor"}.get(damage, bytes(data)))
    with caplog.at_level(logging.WARNING):
        collect_moments(family, [0, 1], source, renderer, moments)
    assert f"{path} is damaged" in caplog.text
    assert passes["count"] > 0 and torch.equal(moments.load(1), whole)


def test_a_damaged_partial_sum_is_dropped(family, renderer, source, moments, passes, caplog):
    passes["killed_after"] = 7
    with pytest.raises(KeyboardInterrupt):
        collect_moments(family, [1], source, renderer, moments)
    (partial,) = moments.directory.glob("partial_*")
    data = bytearray(partial.read_bytes())
    data[-3] ^= 64
    partial.write_bytes(bytes(data))
    passes.update(killed_after=None, count=0)
    collect_moments(family, [1], source, renderer, moments)
    assert "is damaged" in caplog.text and passes["count"] == 9
    keys = torch.cat([read_keys(family, [1], [row])[1] for row in source.rows(renderer, 0)]).double()
    torch.testing.assert_close(moments.load(1).double(), keys.T @ keys / len(keys), atol=1e-6, rtol=1e-5)


def test_damage_after_collection_is_an_error(family, renderer, source, moments):
    collect_moments(family, [1], source, renderer, moments)
    moments.path(1).write_bytes(b"")
    with pytest.raises(BackendError, match=r"layer_1\.safetensors is missing or damaged"):
        moments.load(1)


def test_no_text(family, renderer, tmp_path, moments):
    path = tmp_path / "empty.txt"
    path.write_text("\n")
    source = FileText(CovarianceConfig(source="file", path=str(path)))
    with pytest.raises(BackendError, match="has no text"):
        collect_moments(family, [1], source, renderer, moments)


def test_a_cache_that_cannot_be_written(family, renderer, source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*memit\.covariance\.cache_dir"):
        collect_moments(family, [1], source, renderer, Moments(tmp_path / "file" / "below"))


def test_the_digest_of_a_model(family, renderer):
    before = model_digest(family, renderer)
    assert model_digest(family, renderer) == before
    name, weight = "model.layers.4.mlp.down_proj.weight", family.model.layers[4].mlp.down_proj.weight
    assert name in family.state_dict()
    weight.data[0, 0] += 1e-3
    assert model_digest(family, renderer) != before


def test_the_digest_knows_the_tokenizer(family, renderer):
    from nemo_mixsd.prompts import PromptRenderer

    other = make_tokenizer()
    other.add_tokens(["Zürich"])
    assert model_digest(family, PromptRenderer(other, renderer.templates)) != model_digest(family, renderer)
