"""MQuAKE on small files of the published schema, with invented people and places."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.corpora.mquake import MQuakeConfig, MQuakeCorpus
from nemo_mixsd.errors import CorpusError


def rewrite(subject: str, new: str, relation: str = "P27", old: str = "Old Land") -> dict[str, Any]:
    return {
        "prompt": "{} is a citizen of",
        "relation_id": relation,
        "target_new": {"str": new, "id": "Q1"},
        "target_true": {"str": old, "id": "Q2"},
        "subject": subject,
        "question": f"Of which country is {subject} a citizen?",
    }


def case(case_id: int, *rewrites: dict[str, Any], **more: Any) -> dict[str, Any]:
    first = rewrites[0]
    hop = {"question": first["question"], "cloze": f"{first['subject']} is a citizen of"}
    new, old = first["target_new"]["str"], first["target_true"]["str"]
    return {
        "case_id": case_id,
        "requested_rewrite": list(rewrites),
        "questions": [f"Wording {k} of case {case_id}?" for k in (1, 2, 3)],
        "answer": f"before {case_id}",
        "answer_alias": [],
        "new_answer": f"after {case_id}",
        "new_answer_alias": [f"later {case_id}", f"after {case_id}", ""],
        "single_hops": [{**hop, "answer": old, "answer_alias": ["The Old Land"]}],
        "new_single_hops": [{**hop, "answer": new, "answer_alias": [f"{new} Isles", new]}, {"answer": "x"}],
        "orig": {"new_triples": [], "new_triples_labeled": [], "edit_triples": []},
        **more,
    }


def write(folder: Path, *cases: object) -> Path:
    path = folder / "m.json"
    path.write_text(json.dumps(list(cases)), encoding="utf-8")
    return path


def corpus(path: Path, **keys: Any) -> MQuakeCorpus:
    return MQuakeCorpus(MQuakeConfig(path=str(path), **{"edits": None, **keys}))


def test_splits_of_one_case(tmp_path):
    read = corpus(write(tmp_path, case(7, rewrite("Ana Prell", "Ostmark"))))
    assert read.split_names() == ("train", "retrieval", "multi_hop", "old_answers")
    [train] = read.load_split("train")
    assert (train.id, train.question) == ("edit-7-0", "Of which country is Ana Prell a citizen?")
    assert (train.answer, train.target, train.subject) == ("Ostmark", "Ostmark", "Ana Prell")
    assert train.context == "Ana Prell is a citizen of Ostmark."
    assert train.aliases == ("Ostmark Isles",)
    [retrieval] = read.load_split("retrieval")
    assert "- Ana Prell is a citizen of Ostmark.\n" in retrieval.question
    assert retrieval.question.endswith(train.question)
    assert (retrieval.id, retrieval.answer) == ("edit-7-0/retrieval", "Ostmark")
    hops = read.load_split("multi_hop")
    assert [e.question for e in hops] == [f"Wording {k} of case 7?" for k in (1, 2, 3)]
    assert [e.id for e in hops] == ["case-7/q1", "case-7/q2", "case-7/q3"]
    assert {(e.answer, e.aliases, e.answer_type) for e in hops} == {("after 7", ("later 7",), "2-hop")}
    assert {e.context for e in hops} == {train.context}
    [old] = read.load_split("old_answers")
    assert (old.question, old.answer, old.aliases) == (train.question, "Old Land", ("The Old Land",))
    assert old.id == "edit-7-0/old"
    for split in read.split_names():
        assert {e.split for e in read.iter_split(split)} == {split}


def test_a_statement_ends_in_one_full_stop(tmp_path):
    [train] = corpus(write(tmp_path, case(1, rewrite("Ana", "Velm, D.C.")))).load_split("train")
    assert train.context == "Ana is a citizen of Velm, D.C."


def test_equal_edits_are_one(tmp_path):
    shared = rewrite("Ana", "Ostmark")
    renamed = {"question": shared["question"], "cloze": "", "answer": "Ostmark", "answer_alias": ["East March"]}
    path = write(
        tmp_path, case(1, shared), case(2, rewrite("Bo", "Pell"), shared, new_single_hops=[renamed]), case(3, shared)
    )
    edits = corpus(path).selection().edits
    assert [(e.id, e.case_ids) for e in edits.values()] == [("edit-1-0", (1, 2, 3)), ("edit-2-0", (2,))]
    assert edits["Ana", "P27"].aliases == ("Ostmark Isles", "East March")


def test_the_subset_is_by_seed_and_multi_hop_needs_all_edits_of_a_case(tmp_path):
    people = [f"Person {i}" for i in range(12)]
    cases = [case(i, rewrite(people[i], f"Land {i}"), rewrite(people[i + 1], f"Land {i + 1}")) for i in range(11)]
    path = write(tmp_path, *cases)
    for seed in range(6):
        read = corpus(path, edits=6, seed=seed)
        subjects = [e.subject for e in read.iter_split("train")]
        assert subjects == [p for p in people if p in subjects] and len(subjects) == 6
        expected = [i for i in range(11) if people[i] in subjects and people[i + 1] in subjects]
        answered = [c.case_id for c in read.selection().cases]
        assert answered == expected
        assert ("multi_hop" in read.split_names()) == bool(expected)
        again = corpus(path, edits=6, seed=seed)
        assert all(again.load_split(s) == read.load_split(s) for s in read.split_names())
    chosen = {tuple(e.subject for e in corpus(path, edits=6, seed=s).iter_split("train")) for s in range(6)}
    assert len(chosen) > 1


def test_multi_hop_is_left_out_where_no_case_is_wholly_edited(tmp_path):
    read = corpus(write(tmp_path, case(1, rewrite("Ana", "Ostmark"), rewrite("Bo", "Pell"))), edits=1)
    assert read.split_names() == ("train", "retrieval", "old_answers")
    with pytest.raises(
        CorpusError, match=r"corpus 'mquake' has no split 'multi_hop'; it has train, retrieval, old_ans"
    ):
        read.iter_split("multi_hop")


def test_a_case_whose_chain_another_edit_changes_is_no_test(tmp_path):
    chain = {
        "new_triples": [["Q1", "P27", "Q2"], ["Q2", "P36", "Q3"], ["bad"]],
        "new_triples_labeled": [["Ana", "country of citizenship", "Ostmark"], ["Ostmark", "capital", "Velm"], ["bad"]],
    }
    capital = rewrite("Ostmark", "Pell", relation="P36")
    path = write(tmp_path, case(1, rewrite("Ana", "Ostmark"), orig=chain), case(2, capital))
    assert [c.case_id for c in corpus(path).selection().cases] == [2]
    same = rewrite("Ostmark", "Velm", relation="P36")
    path = write(tmp_path, case(1, rewrite("Ana", "Ostmark"), orig=chain), case(2, same))
    assert [c.case_id for c in corpus(path).selection().cases] == [1, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 15), st.integers(0, 20), st.integers(0, 3))
def test_retrieval_shows_the_statement_once_among_others(tmp_path_factory, count, distractors, seed):
    cases = [case(i, rewrite(f"Person {i}.", f"Land {i}")) for i in range(count)]
    path = write(tmp_path_factory.mktemp("m"), *cases)
    read = corpus(path, distractors=distractors, seed=seed)
    statements = {e.context for e in read.iter_split("train")}
    for example in read.iter_split("retrieval"):
        notes = [line[2:] for line in example.question.splitlines() if line.startswith("- ")]
        assert len(notes) == min(distractors + 1, count)
        assert set(notes) <= statements and max(Counter(notes).values()) == 1
        assert example.context in notes


def test_the_right_note_stands_anywhere(tmp_path):
    path = write(tmp_path, *(case(i, rewrite(f"Person {i}", f"Land {i}")) for i in range(30)))
    places = Counter(
        [line[2:] for line in e.question.splitlines() if line.startswith("- ")].index(e.context)
        for e in corpus(path, distractors=2).iter_split("retrieval")
    )
    assert set(places) == {0, 1, 2}


def conflicting(folder: Path) -> Path:
    return write(
        folder,
        case(1, rewrite("Ana", "Ostmark")),
        case(2, rewrite("Ana", "Pell")),
        case(3, rewrite("Bo", "Pell")),
        case(4, rewrite("Bo", "Pell"), rewrite("Ana", "Ostmark")),
    )


def test_conflicts_are_listed(tmp_path):
    path = conflicting(tmp_path)
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value) == (
        f"{path}: 1 facts are edited to different objects; set 'conflicts: drop' to leave them out: "
        "'Ana' P27: 'Ostmark' (case 1, 4) / 'Pell' (case 2)"
    )


def test_many_conflicts_are_counted(tmp_path):
    path = write(tmp_path, *(case(i, rewrite(f"P {i // 2}", f"Land {i}")) for i in range(24)))
    with pytest.raises(CorpusError, match=r"12 facts are edited.*'P 9' P27: .*; and 2 more$"):
        corpus(path).split_names()


def test_conflicts_can_be_dropped_whole(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        read = corpus(conflicting(tmp_path), conflicts="drop")
        assert [e.subject for e in read.iter_split("train")] == ["Bo"]
    assert [c.case_id for c in read.selection().cases] == [3]
    assert "2 of 3 edits left out" in caplog.text
    path = write(tmp_path, case(1, rewrite("Ana", "Ostmark")), case(2, rewrite("Ana", "Pell")))
    with pytest.raises(CorpusError, match=r"every edit conflicts with another, none is left"):
        corpus(path, conflicts="drop").split_names()


def test_one_subject_with_two_relations_is_no_conflict(tmp_path):
    path = write(tmp_path, case(1, rewrite("Ana", "Ostmark")), case(2, rewrite("Ana", "Pell", relation="P19")))
    assert len(corpus(path).load_split("train")) == 2


def test_too_many_edits_asked_for(tmp_path):
    path = write(tmp_path, case(1, rewrite("Ana", "Ostmark")))
    with pytest.raises(CorpusError) as caught:
        MQuakeCorpus(MQuakeConfig(path=str(path))).split_names()
    assert str(caught.value) == (
        f"{path}: corpus.edits is 100, but the file has 1 distinct edits to choose from; "
        "set edits to at most 1, or to null for all"
    )


def spoilt(place: str, value: Any) -> dict[str, Any]:
    made = case(5, rewrite("Ana", "Ostmark"))
    *path, last = place.split(".")
    at: Any = made
    for part in path:
        at = at[int(part)] if part.isdigit() else at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (spoilt("new_answer", ...), "case 2 (case_id 5): 'new_answer': Field required; give the file as MQuAKE"),
        (spoilt("answer", 5), "case 2 (case_id 5): 'answer' is 5: Input should be a valid string"),
        (spoilt("answer", " "), "case 2 (case_id 5): 'answer' is ' ': "),
        (spoilt("questions", []), "case 2 (case_id 5): 'questions' is []: List should have at least 1 item"),
        (spoilt("requested_rewrite", []), "'requested_rewrite' is []: List should have at least 1 item"),
        (
            spoilt("requested_rewrite.0.prompt", "is"),
            "'requested_rewrite.0.prompt' is 'is': Value error, must hold {} ex",
        ),
        (spoilt("requested_rewrite.0.target_new.str", ...), "'requested_rewrite.0.target_new.str': Field required"),
        (spoilt("case_id", "5"), "case 2 (case_id '5'): 'case_id' is '5': Input should be a valid integer"),
        (spoilt("case_id", 1), "case 2 (case_id 1): the case_id is taken by case 1; remove one of the two"),
        ("text", "case 2: 'the case' is 'text': Input should be"),
    ],
)
def test_a_wrong_case_is_named_with_place_and_value(tmp_path, item, message):
    path = write(tmp_path, case(1, rewrite("Bo", "Pell")), item)
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'[\n{"case_id": 1,\n', ":3: not JSON (Expecting property name"),
        (b"{}", ": holds an object, not a list of cases; give the file as MQuAKE publishes it"),
        (b"[]", ": no cases in it; fetch the file again"),
        (b'["\xe9"]', ": not JSON in UTF-8 ("),
    ],
)
def test_a_wrong_file_is_named(tmp_path, raw, message):
    path = tmp_path / "m.json"
    path.write_bytes(raw)
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value).startswith(f"{path}{message}")


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(
        CorpusError, match=r"none.json: no such file; download MQuAKE-CF-3k-v2.json from the MQuAKE repo"
    ):
        corpus(tmp_path / "none.json").split_names()
    with pytest.raises(CorpusError, match=r"cannot be read: Is a directory"):
        corpus(tmp_path).split_names()
