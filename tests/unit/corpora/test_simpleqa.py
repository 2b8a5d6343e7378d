"""SimpleQA on files of the official schema with invented content, and the judge hook."""

from __future__ import annotations

import csv
import sys
import types
from pathlib import Path

import datasets
import pytest

from nemo_mixsd.corpora.simpleqa import (
    EXPECTED_ROWS,
    Judge,
    JudgeError,
    MatchingJudge,
    SimpleQAConfig,
    SimpleQACorpus,
    judge_response,
    load_judge,
)
from nemo_mixsd.errors import ConfigError, CorpusError
from nemo_mixsd.types import Example

METADATA = str(
    {"topic": "Science", "answer_type": "Person", "urls": ["https://example.org/a", "https://example.org/b"]}
)


def row(number: int = 1, metadata: object = METADATA) -> dict[str, object]:
    return {
        "metadata": metadata,
        "problem": f"Who mapped reef number {number}?",
        "answer": f"Diver {number}, the elder",
    }


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def corpus(path: Path | None = None, **keys: object) -> SimpleQACorpus:
    return SimpleQACorpus(SimpleQAConfig(path=None if path is None else str(path), **keys))


def test_topic_and_answer_type_are_kept(tmp_path):
    path = write(tmp_path / "s.csv", [row(1), row(2)])
    read = corpus(path, allow_partial=True)
    assert read.split_names() == ("train",)
    assert read.load_split("train")[1] == Example(
        id="simpleqa-2",
        question="Who mapped reef number 2?",
        answer="Diver 2, the elder",
        target="Diver 2, the elder",
        context="Diver 2, the elder",
        subject="Science",
        answer_type="Person",
    )


def test_a_full_file_needs_no_leave(tmp_path):
    path = write(tmp_path / "s.csv", [row(i) for i in range(EXPECTED_ROWS)])
    read = corpus(path, limit=10)
    assert len(read.load_split("train")) == 10
    assert read.load_split("train") == corpus(path, limit=10).load_split("train")


@pytest.mark.parametrize("count", [3, EXPECTED_ROWS + 1])
def test_a_wrong_number_of_rows_is_an_error(tmp_path, count):
    path = write(tmp_path / "s.csv", [row(i) for i in range(count)])
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value).startswith(f"{path}: {count} rows, but SimpleQA has 4326; ")
    assert "set 'allow_partial: true'" in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{'topic': ", r"column 'metadata' is \"{'topic': \", no Python dict \(SyntaxError\); use the official file"),
        ("__import__('os')", r"no Python dict \(ValueError\)"),
        ("['topic']", r"column 'metadata' is \['topic'\], a list; it must be a dict with 'topic' and 'answer_type'"),
        ("{'topic': 'Art'}", "column 'metadata' has no 'answer_type', only topic; use the official file as it is"),
        ("{}", "has no 'topic', only nothing"),
        ("{'topic': 3, 'answer_type': ''}", "'topic' in column 'metadata' is 3, a number; it must be a string"),
    ],
)
def test_wrong_metadata_is_named(tmp_path, metadata, message):
    path = write(tmp_path / "s.csv", [row(1), row(2, metadata)])
    with pytest.raises(CorpusError, match=rf"s.csv:3: .*{message}"):
        corpus(path, allow_partial=True).split_names()


def test_other_errors_of_the_file(tmp_path):
    path = write(tmp_path / "s.csv", [{"metadata": METADATA, "question": "Q", "answer": "A"}])
    with pytest.raises(
        CorpusError, match=r"s.csv:1: no column 'problem' for the field 'question'; It has metadata, que"
    ):
        corpus(path).split_names()
    write(path, [{**row(), "answer": " "}])
    with pytest.raises(CorpusError, match=r"s.csv:2: field 'answer' is blank"):
        corpus(path).split_names()
    with pytest.raises(CorpusError, match=r"none.csv: no such file"):
        corpus(tmp_path / "none.csv").split_names()


def test_the_hub_is_the_default_source(monkeypatch):
    struct = {"topic": "Art", "answer_type": "Place"}
    calls = []

    def load_dataset(*args: object, **keys: object) -> datasets.Dataset:
        calls.append((args, keys))
        return datasets.Dataset.from_list([row(1, struct)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    [example] = corpus(allow_partial=True).load_split("train")
    assert (example.subject, example.answer_type) == ("Art", "Place")
    assert calls == [(("basicv8vc/SimpleQA", None), {"split": "test"})]
    with pytest.raises(CorpusError, match=r"dataset 'basicv8vc/SimpleQA', split 'test': 1 rows, but SimpleQA has 4326"):
        corpus().split_names()


def test_no_hub(monkeypatch):
    def load_dataset(*_args: object, **_keys: object) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        CorpusError, match=r"hub cannot be reached .*hf download basicv8vc/SimpleQA .*set the key 'path'"
    ):
        corpus().split_names()


EXAMPLE = Example(id="e", question="Which port?", answer="Oslo", target="Oslo", context="Oslo", aliases=("Kristiania",))


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("It is OSLO.", "correct"),
        ("The city of Kristiania", "correct"),
        ("I'm not sure, but it may be Oslo.", "correct"),
        ("Bergen", "incorrect"),
        ("Osloer", "incorrect"),
        ("It sailed from Bergen; I know that well.", "incorrect"),
        ("", "not_attempted"),
        (" \n", "not_attempted"),
        ("I don't know.", "not_attempted"),
        ("I don’t have that information", "not_attempted"),
        ("Sorry, I cannot accurately determine the port.", "not_attempted"),
        ("Unable to answer", "not_attempted"),
        ("There is no reliable information on it.", "not_attempted"),
        ("Unknown", "not_attempted"),
        ("N/A", "not_attempted"),
        ("I can't give an answer", "not_attempted"),
        ("The port is unknown.", "not_attempted"),
        ("The Unknown Harbour", "incorrect"),
        ("I'm not sure, but it may be Bergen.", "not_attempted"),
    ],
)
def test_matching_judge(response, verdict):
    assert judge_response(load_judge("matching"), EXAMPLE, response) == verdict


class Fixed:
    def __init__(self, verdict: object = "incorrect") -> None:
        self.verdict = verdict

    def judge(self, _example: Example, _response: str) -> object:
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("my_judges")
    made.Fixed = Fixed
    made.ready = Fixed("correct")
    made.factory = lambda: Fixed("not_attempted")
    made.number = 3
    made.no_judge = dict
    made.broken = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "my_judges", made)


@pytest.mark.parametrize(
    ("name", "verdict"), [("Fixed", "incorrect"), ("ready", "correct"), ("factory", "not_attempted")]
)
def test_the_users_judge_is_loaded(module, name, verdict):
    judge = corpus(judge=f"my_judges:{name}").make_judge()
    assert isinstance(judge, Judge)
    assert judge_response(judge, EXAMPLE, "Oslo") == verdict


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_judges.Fixed", "judge 'my_judges.Fixed': write 'package.module:attribute', or 'matching'"),
        (":Fixed", "write 'package.module:attribute'"),
        ("no_such_module:Fixed", "cannot import 'no_such_module' .*PYTHONPATH"),
        ("my_judges:Fxied", "module 'my_judges' has no 'Fxied'; check its spelling"),
        ("my_judges:number", r"3 has no method judge\(example, response\)"),
        ("my_judges:no_judge", r"{} has no method judge\(example, response\)"),
        ("my_judges:broken", r"cannot be made \(ZeroDivisionError: division by zero\)"),
    ],
)
def test_a_judge_that_cannot_be_loaded_is_named(module, name, message):
    with pytest.raises(ConfigError, match=message):
        load_judge(name)


@pytest.mark.parametrize(
    ("verdict", "message"),
    [
        (TimeoutError("no reply"), r"judge Fixed failed on example 'e' \(TimeoutError: no reply\); nothing is scored"),
        (
            "right",
            "judge Fixed returned 'right' for example 'e'; it must return one of correct, incorrect, not_attempted",
        ),
        (0, "returned 0"),
        ([], r"returned \[\]"),
        (None, "returned None"),
    ],
)
def test_a_judge_that_fails_raises_and_scores_nothing(verdict, message):
    with pytest.raises(JudgeError, match=message) as caught:
        judge_response(Fixed(verdict), EXAMPLE, "Oslo")
    assert isinstance(caught.value, RuntimeError)


def test_matching_judge_is_a_judge():
    assert isinstance(MatchingJudge(), Judge)
