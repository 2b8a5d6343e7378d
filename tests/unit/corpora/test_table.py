"""Tables: the same rows from every format, and what is said when a column, a cell or a source is wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from nemo_mixsd.corpora.table import TableConfig, TableCorpus
from nemo_mixsd.errors import CorpusError

ROWS = [
    {"q": "Who dug the Tarn well?", "a": "Ilse Vorn", "also": "I. Vorn|Vorn", "n": 1},
    {"q": "What grows at Pell, and where?", "a": 'the "grey" reed\nby the weir', "also": "", "n": 2},
]
COLUMNS = {"question": "q", "answer": "a", "aliases": "also"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


def corpus(**keys: object) -> TableCorpus:
    keys.setdefault("columns", COLUMNS)
    return TableCorpus(TableConfig(**keys))


def write_csv(path: Path, rows: list[dict[str, object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0].keys(), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_source(kind: str, folder: Path) -> dict[str, object]:
    if kind in ("csv", "tsv", "semicolon"):
        delimiter = {"csv": ",", "tsv": "\t", "semicolon": ";"}[kind]
        path = write_csv(folder / f"t.{'csv' if kind == 'semicolon' else kind}", ROWS, delimiter)
        return {"path": str(path), **({"delimiter": ";"} if kind == "semicolon" else {})}
    if kind == "jsonl":
        path = folder / "t.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        return {"path": str(path)}
    path = folder / "t.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return {"path": str(path)} if kind == "parquet" else {"dataset": str(folder)}


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "jsonl", "parquet", "folder"])
def test_every_format_gives_the_same_examples(tmp_path, kind):
    read = corpus(**make_source(kind, tmp_path))
    assert read.split_names() == ("train",)
    first, second = read.load_split("train")
    assert (first.question, first.answer, first.aliases) == ("Who dug the Tarn well?", "Ilse Vorn", ("I. Vorn", "Vorn"))
    assert (second.question, second.answer) == (ROWS[1]["q"], ROWS[1]["a"])
    assert (second.aliases, second.context) == ((), second.answer)
    assert read.load_split("train") == [first, second]


def test_numbers_stand_for_their_digits_and_columns_default_to_field_names(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"question": ["Q"], "answer": [1912], "words": [["a", "b"]]}), path)
    [example] = corpus(path=str(path), columns={"aliases": "words"}).load_split("train")
    assert (example.answer, example.aliases, example.id) == ("1912", ("a", "b"), "line-1")


def test_paraphrases_split_limit_and_separator(tmp_path):
    rows = [{"question": f"Q{i}", "answer": "A", "other": f"P{i};R{i}", "part": "" if i else "dev"} for i in range(9)]
    path = write_csv(tmp_path / "t.data", rows)
    columns = {"paraphrases": "other", "split": "part"}
    keys = {"path": str(path), "format": "csv", "list_separator": ";", "columns": columns}
    with pytest.raises(CorpusError, match=r"t.data:2: field 'paraphrases' stands on a line of split 'dev'"):
        corpus(**keys).split_names()
    keys["columns"] = {"paraphrases": "other"}
    read = corpus(**keys, limit=4, seed=1)
    questions = [e.question for e in read.iter_split("train")]
    assert len(questions) == 4
    expected = [p.replace("Q", x) for p in questions for x in "PR"]
    assert [e.question for e in read.iter_split("paraphrase")] == expected


def test_ids_and_errors_of_csv_go_by_the_line_where_a_record_starts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('q,a\n"one\nmore",A\n\n"Q",""\n')
    with pytest.raises(CorpusError) as caught:
        corpus(path=str(path), columns={"question": "q", "answer": "a"}).split_names()
    assert str(caught.value).startswith(f"{path}:5: field 'answer' is blank ('')")


CSV_ERRORS = [
    ("", ": the file is empty; its first line must name the columns"),
    ("q,b\n1,2\n", ":1: no column 'a' for the field 'answer'; It has q, b"),
    ("q,answr\n1,2\n", ":1: no column 'answer' for the field 'answer'; did you mean 'answr'? It has q, answr"),
    ("q,a,a\n1,2,3\n", ":1: two columns are named 'a'; rename one of them"),
    ("q,a\nQ,A\nQ,A,B\n", ":3: 3 fields where the header has 2; quote fields that hold ','"),
    ("q,a\nQ\n", ":2: 1 fields where the header has 2"),
    ('q,a\nQ,A\nQ,"cut off', ":3: the record that starts here is no CSV (unexpected end of data); check its quotes"),
    ("q,a\n", ": no examples in it"),
]


@pytest.mark.parametrize(("text", "message"), CSV_ERRORS)
def test_a_wrong_csv_is_named_with_its_line_and_remedy(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    answer = "answer" if "answr" in text else "a"
    with pytest.raises(CorpusError) as caught:
        corpus(path=str(path), columns={"question": "q", "answer": answer}).split_names()
    assert str(caught.value).startswith(f"{path}{message}")


def test_jsonl_tables_need_their_columns(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"q": "Q", "a": "A"}\n{"q": "Q"}\n')
    with pytest.raises(CorpusError) as caught:
        corpus(path=str(path), columns={"question": "q", "answer": "a"}).split_names()
    assert str(caught.value) == f"{path}:2: no column 'a' for the field 'answer'; It has q"
    path.write_text('{"q": "Q", "a": "A", "also": ["B"]}\n{"q": "R", "a": "A"}\n')
    assert [e.aliases for e in corpus(path=str(path)).iter_split("train")] == [("B",), ()]
    path.write_text('{"q": "Q", "a": "A"}\n')
    with pytest.raises(CorpusError, match=r"t.jsonl: no column 'also' for the field 'aliases'; It has q, a"):
        corpus(path=str(path)).split_names()


def test_parquet_errors(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(CorpusError, match=r"t.parquet: no such file; check the key 'path'"):
        corpus(path=str(path)).split_names()
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(
        CorpusError, match=r"t.parquet: cannot be read as Parquet .*check that the download is complete"
    ):
        corpus(path=str(path)).split_names()
    parquet.write_table(pyarrow.table({"q": ["Q", "R"], "a": ["A", None], "also": ["", ""]}), path)
    with pytest.raises(CorpusError, match=r"t.parquet: row 2: field 'answer' is missing or null"):
        corpus(path=str(path)).split_names()
    with pytest.raises(CorpusError, match=r"t.parquet: no column 'b' for the field 'answer'; .*It has q, a, also"):
        corpus(path=str(path), columns={"question": "q", "answer": "b"}).split_names()


def raising(error: Exception):
    def load_dataset(*_args: object, **_keys: object) -> None:
        raise error

    return load_dataset


HUB_ERRORS = [
    (ConnectionError("Couldn't reach 'x/y' on the Hub"), "the hub cannot be reached", "set HF_HOME to the copy"),
    (
        datasets.exceptions.DatasetNotFoundError("Dataset 'x/y' doesn't exist on the Hub"),
        "not to be had (Dataset 'x/y' doesn't exist on the Hub)",
        "check the keys 'dataset', 'subset' and 'hub_split'",
    ),
    (ValueError('Unknown split "dev". Should be one of\n[...]'), 'not to be had (Unknown split "dev"', "'hub_split'"),
    (datasets.exceptions.DatasetGenerationError(""), "(DatasetGenerationError)", "hf download x/y --repo-type dataset"),
]


@pytest.mark.parametrize(("error", "problem", "remedy"), HUB_ERRORS)
def test_a_hub_that_fails_is_named_with_the_remedy(monkeypatch, error, problem, remedy):
    monkeypatch.setattr(datasets, "load_dataset", raising(error))
    with pytest.raises(CorpusError) as caught:
        corpus(dataset="x/y", subset="s", hub_split="dev").split_names()
    text = str(caught.value)
    assert text.startswith("dataset 'x/y', subset 's', split 'dev': ")
    assert problem in text and remedy in text


def test_the_hub_is_asked_once_with_the_keys_of_the_recipe(monkeypatch):
    calls = []

    def load_dataset(*args: object, **keys: object) -> datasets.Dataset:
        calls.append((args, keys))
        return datasets.Dataset.from_list([{**row, "vector": [0.0]} for row in ROWS])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    read = corpus(dataset="x/y")
    assert len(read.load_split("train")) == 2
    assert calls == [(("x/y", None), {"split": "train"})]
    with pytest.raises(CorpusError, match=r"dataset 'x/y', split 'train': no column 'b'.*It has q, a, also, n, vector"):
        corpus(dataset="x/y", columns={"question": "q", "answer": "b"}).split_names()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "exactly one of 'path' and 'dataset' must be set, neither is"),
        ({"path": "a.csv", "dataset": "b"}, r"both are \('a.csv', 'b'\)"),
        ({"path": "a.xlsx"}, "path 'a.xlsx' has none of the suffixes .csv, .*set 'format' to csv, jsonl or parquet"),
        ({"path": "a.csv", "columns": {"qestion": "q"}}, "columns.qestion"),
        ({"path": "a.csv", "delimiter": ";;"}, "at most 1 character"),
    ],
)
def test_config_refuses_contradictions(keys, message):
    with pytest.raises(ValidationError, match=message):
        TableConfig(**keys)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4), st.sampled_from(",;\t|"))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory, pairs, delimiter):
    rows = [{"q": question, "a": answer} for question, answer in pairs]
    path = write_csv(tmp_path_factory.mktemp("csv") / "t.csv", rows, delimiter)
    read = corpus(path=str(path), delimiter=delimiter, columns={"question": "q", "answer": "a"})
    assert [(e.question, e.answer) for e in read.iter_split("train")] == pairs
