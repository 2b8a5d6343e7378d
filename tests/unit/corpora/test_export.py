"""Export and its commands: what is written is read back, and mistakes on the command line are one line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from nemo_mixsd.corpora import CORPORA
from nemo_mixsd.corpora.commands import corpus_app
from nemo_mixsd.corpora.export import build_corpus
from nemo_mixsd.corpora.jsonl import JsonlConfig, JsonlCorpus
from nemo_mixsd.corpora.mquake import MQuakeCorpus
from nemo_mixsd.corpora.overrides import corpus_config, parse_overrides
from nemo_mixsd.corpora.table import TableCorpus
from nemo_mixsd.errors import ConfigError, RunDirectoryError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.types import Example

FACTS = [
    {"question": "Who dug the well?", "answer": "Ilse", "target": "Ilse dug it.", "paraphrases": ["Whose well is it?"]},
    {"question": "Où ?", "answer": "Pell", "aliases": ["pell-on-weir"]},
]
REGISTRY = {"jsonl": JsonlCorpus, "table": TableCorpus, "mquake": MQuakeCorpus}


def write(path: Path, records: list[dict[str, object]] = FACTS) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def jsonl(path: Path, **keys: object) -> JsonlCorpus:
    return JsonlCorpus(JsonlConfig(path=str(path), **keys))


def test_every_split_is_written_in_both_forms_with_a_manifest(tmp_path):
    read = jsonl(write(tmp_path / "facts.jsonl"))
    out = tmp_path / "out"
    manifest = build_corpus(read, out)
    assert sorted(p.name for p in out.iterdir()) == [
        "corpus.json",
        "paraphrase.jsonl",
        "paraphrase.messages.jsonl",
        "train.jsonl",
        "train.messages.jsonl",
    ]
    assert list(read_jsonl(out / "train.jsonl", Example)) == read.load_split("train")
    chat = [json.loads(line) for line in (out / "train.messages.jsonl").read_text(encoding="utf-8").splitlines()]
    assert chat[0] == {
        "messages": [
            {"role": "user", "content": "Who dug the well?"},
            {"role": "assistant", "content": "Ilse dug it."},
        ]
    }
    assert chat[1]["messages"][0]["content"] == "Où ?"
    written = json.loads((out / "corpus.json").read_text())
    assert written["name"] == "jsonl" and written["splits"] == {"train": 2, "paraphrase": 1}
    assert written["config"] == {"name": "jsonl", "path": str(tmp_path / "facts.jsonl"), "limit": None, "seed": 0}
    for name, digest in written["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert len(written["files"]) == 4
    assert (manifest.splits, manifest.files) == (written["splits"], written["files"])


def test_a_second_build_writes_the_same_bytes(tmp_path):
    path = write(tmp_path / "facts.jsonl")
    build_corpus(jsonl(path), tmp_path / "a")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    build_corpus(jsonl(path), tmp_path / "a")
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before


def test_files_of_another_corpus_are_not_left_among_ours(tmp_path):
    build_corpus(jsonl(write(tmp_path / "facts.jsonl")), tmp_path / "out")
    plain = write(tmp_path / "plain.jsonl", [FACTS[1]])
    with pytest.raises(RunDirectoryError) as caught:
        build_corpus(jsonl(plain), tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/out holds paraphrase.jsonl, which this corpus does not write; "
        "give an empty folder or remove the file"
    )
    with pytest.raises(RunDirectoryError, match=r"plain.jsonl is a file; give a folder"):
        build_corpus(jsonl(plain), plain)


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
facts = st.fixed_dictionaries(
    {"question": texts, "answer": texts},
    optional={"context": texts, "target": texts, "aliases": st.lists(texts, max_size=2)},
)


@settings(max_examples=40, deadline=None)
@given(st.lists(facts, min_size=1, max_size=4))
def test_the_export_is_a_corpus_again(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("export")
    read = jsonl(write(folder / "facts.jsonl", records))
    build_corpus(read, folder / "out")
    again = jsonl(folder / "out" / "train.jsonl")
    assert again.load_split("train") == read.load_split("train")


@pytest.mark.parametrize(
    ("overrides", "values"),
    [
        ([], {}),
        (["limit=3", "seed=7"], {"limit": 3, "seed": 7}),
        (["corpus.limit=null"], {"limit": None}),
        (["columns.question=q", "columns.answer=a"], {"columns": {"question": "q", "answer": "a"}}),
        (["path=/tmp/a=b.csv"], {"path": "/tmp/a=b.csv"}),
        (["path=${x}"], {"path": "${x}"}),
    ],
)
def test_overrides(overrides, values):
    assert parse_overrides(overrides) == values


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("jsonl", ["limit"], "'limit' is no override; write key=value, like limit=100"),
        ("jsonl", ["=3"], "'=3' is no override"),
        ("jsonl", ["path=[a"], "override 'path=[a' cannot be read ("),
        (
            "jsnl",
            [],
            "no corpus 'jsnl'; did you mean 'jsonl'? Choose one of jsonl, table, mquake, or give a .jsonl file",
        ),
        (
            "jsonl",
            ["path=x", "limt=3"],
            "corpus.limt: unknown key; did you mean 'limit'? known keys: name, path, limit",
        ),
        ("jsonl", [], "corpus.path: the key is required; add path=..."),
        ("jsonl", ["path=x", "limit=0"], "corpus.limit: Input should be greater than or equal to 1 (it is 0)"),
        ("jsonl", ["path=x", "name=table"], "corpus.name is 'table', but the command says 'jsonl'"),
        ("table", [], "corpus: exactly one of 'path' and 'dataset' must be set, neither is"),
        ("table", ["path=a.csv", "columns.qestion=q"], "corpus.columns.qestion: Input should be 'question', 'answer'"),
        ("mquake", ["path=x", "edits=0", "seed=s"], "(it is 0); corpus.seed: Input should be a valid integer"),
    ],
)
def test_a_wrong_configuration_is_one_line(name, overrides, message):
    with pytest.raises(ConfigError) as caught:
        corpus_config(name, overrides, REGISTRY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_is_a_corpus():
    assert corpus_config("a/b.jsonl", ["limit=2"], REGISTRY) == JsonlConfig(path="a/b.jsonl", limit=2)


def run(*arguments: object):
    return CliRunner().invoke(corpus_app, [str(argument) for argument in arguments])


def test_build_command(tmp_path, monkeypatch):
    write(tmp_path / "facts.jsonl")
    result = run("build", tmp_path / "facts.jsonl", "--out", tmp_path / "out", "limit=1", "seed=1")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0] == f"{tmp_path}/out/train.jsonl: 1 examples"
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["config"]["limit"] == 1


def test_build_command_of_a_named_corpus(tmp_path, monkeypatch):
    monkeypatch.setitem(CORPORA, "table", TableCorpus)
    path = tmp_path / "t.csv"
    path.write_text("q,a\nQ?,A\n")
    result = run("build", "table", "-o", tmp_path / "out", f"path={path}", "columns.question=q", "columns.answer=a")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [e.question for e in read_jsonl(tmp_path / "out" / "train.jsonl", Example)] == ["Q?"]


def test_show_command(tmp_path):
    path = write(tmp_path / "facts.jsonl")
    result = run("show", path, "-n", 1)
    assert result.exit_code == 0 and result.stderr == "splits: train, paraphrase\n"
    assert json.loads(result.stdout)["question"] == "Who dug the well?"
    assert json.loads(run("show", path, "--split", "paraphrase").stdout)["id"] == "line-1/p1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nothing.jsonl"), "error: nothing.jsonl: no such file; check the key 'path' of the corpus section\n"),
        (("show", "jsonl"), "error: corpus.path: the key is required; add path=...\n"),
        (("build", "jsonl", "--out", "x", "limit"), "error: 'limit' is no override; write key=value, like limit=100\n"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_2(arguments, message):
    result = run(*arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", message)


def test_an_unknown_split_on_the_command_line(tmp_path):
    result = run("show", write(tmp_path / "facts.jsonl"), "-s", "dev")
    assert result.exit_code == 2 and "has no split 'dev'; it has train, paraphrase" in result.stderr
