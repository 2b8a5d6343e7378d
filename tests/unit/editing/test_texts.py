"""Ordinary text from each source: in order, from any sample on, and errors that name the place."""

import json
import sys
import types

import pytest

from nemo_mixsd.editing.check import check_text
from nemo_mixsd.editing.config import CovarianceConfig, MemitConfig
from nemo_mixsd.editing.texts import BaseModelText, make_source
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.evals.forgetting import load_prompts
from tests.tiny import EOS, make_model


def source(**changes):
    return make_source(CovarianceConfig(**{"source": "file", "samples": 100, **changes}), 0)


def words(renderer, rows):
    return [renderer.decode(row) for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.txt", "the sky\nis blue\n\n\n  what is it  \n \nrome\n"),
        (
            "text.jsonl",
            "".join(json.dumps({"text": t}) + "\n\n" for t in ("the sky is blue", "what is it", " ", "rome")),
        ),
    ],
)
def test_files(renderer, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    path = str(tmp_path / name)
    expected = ["the sky is blue", "what is it", "rome"]
    assert words(renderer, source(path=path).rows(renderer, 0)) == expected
    assert words(renderer, source(path=path).rows(renderer, 1)) == expected[1:]
    assert words(renderer, source(path=path, samples=2).rows(renderer, 0)) == expected[:2]
    assert words(renderer, source(path=path, max_tokens=2).rows(renderer, 0)) == ["the sky", "what is", "rome"]
    source(path=path).check()
    key = source(path=path).key
    assert key == source(path=path, batch_size=3, chunk=7).key
    assert key != source(path=path, samples=2).key != source(path=path, max_tokens=2).key
    (tmp_path / name).write_text(content.replace("rome", "oslo"))
    assert source(path=path).key != key


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("none.txt", None, "cannot read .*none.txt"),
        ("empty.txt", b" \n\n", "holds no text"),
        ("bad.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', r"bad\.jsonl:2: not a JSON object with a \"text\""),
        ("number.jsonl", b'{"text": 3}\n', r"number\.jsonl:1: the \"text\" is no string: 3"),
        ("latin.txt", "Zürich".encode("latin-1"), "cannot read .*latin.txt as UTF-8"),
    ],
)
def test_files_that_are_wrong(tmp_path, renderer, name, content, error):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=error):
        found = source(path=str(tmp_path / name))
        found.check()
        list(found.rows(renderer, 0))


@pytest.mark.parametrize("changes", [{"path": None}, {"source": "wikitext", "path": "x"}])
def test_a_path_goes_with_a_file(changes):
    with pytest.raises(ValueError, match="exactly for source=file"):
        source(**changes)


def test_wikitext(monkeypatch, renderer):
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return [{"text": t} for t in ("", " = Sky = \n", " the sky is blue \n", " = = Colour = = \n", " rome\n")]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    found = source(source="wikitext")
    found.check()
    assert words(renderer, found.rows(renderer, 0)) == ["the sky is blue", "rome"]
    assert words(renderer, found.rows(renderer, 1)) == ["rome"]
    assert asked[0] == (("Salesforce/wikitext", "wikitext-103-raw-v1"), {"split": "train", "streaming": True})


def test_wikitext_without_a_network(monkeypatch, tmp_path):
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    settings = MemitConfig(covariance={"cache_dir": str(tmp_path)})
    with pytest.raises(BackendError, match=r"ConnectionError: no route.*source=base_model .*source=file"):
        check_text(settings)
    # but with moments over it in the cache the network is not needed
    place = tmp_path / "some-model" / make_source(settings.covariance, 0).key
    place.mkdir(parents=True)
    (place / "layer_3.safetensors").touch()
    check_text(settings)


def test_the_base_model_writes_its_own_text(renderer, tmp_path):
    found = source(source="base_model", samples=5, max_tokens=6)
    assert isinstance(found, BaseModelText)
    path = tmp_path / "cache" / "text.jsonl"
    found.generate(make_model(), renderer, frozenset({EOS}), path)
    written = path.read_bytes()
    rows = list(found.rows(renderer, 0))
    assert len(rows) == 5 and list(found.rows(renderer, 3)) == rows[3:]
    for row, (_, prompt) in zip(rows, found.prompts()):
        ids = renderer.encode(prompt)
        assert row[: len(ids)] == ids and 1 <= len(row) - len(ids) <= 6
    found.generate(None, renderer, frozenset(), path)  # it is there: no model is asked
    assert path.read_bytes() == written


def test_prompts_of_the_base_model_text():
    prompts = dict(source(source="base_model", samples=1000).prompts())
    assert len(prompts) == 1000 and len(set(prompts.values())) == 384
    assert not set(prompts.values()) & {text for _, text in load_prompts(None)}
    few = source(source="base_model", samples=10)
    assert few.prompts() == tuple(prompts.items())[:10]
    assert make_source(few.config, 1).prompts() != few.prompts()
