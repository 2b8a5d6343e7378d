"""Examples as edits: found, skipped by name, or in conflict."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from nemo_mixsd.corpora import CorpusSection, make_corpus
from nemo_mixsd.editing.edits import Skipped, collect_edits, find_subject, name_skipped
from nemo_mixsd.errors import CorpusError
from tests.samples import example

RECIPES = Path(__file__).parents[3] / "recipes"


@pytest.mark.parametrize(
    ("question", "subject", "found"),
    [
        ("Where is Oslo?", "Oslo", (9, 13)),
        ("Oslo? Where is Oslo?", "Oslo", (15, 19)),  # the last one, after all that is said of it
        ("Is Oslovia near Oslo or Osloton?", "Oslo", (16, 20)),  # not inside a word
        ("where is the EIFFEL tower?", "Eiffel Tower", (13, 25)),
        ("Who leads Ruritania's army?", "Ruritania", (10, 19)),
        ("Who wrote C++ (the book)?", "C++", (10, 13)),
        ("东京塔在哪里", "东京塔", (0, 3)),
        ("oslo and Oslo and oslo", "Oslo", (9, 13)),  # the very spelling first
        ("Who leads Ruritania?", "Freedonia", None),
        ("Who leads Ruritania?", "  ", None),
        ("Who leads Ruritania?", " Ruritania ", (10, 19)),
    ],
)
def test_where_the_question_names_the_subject(question, subject, found):
    assert find_subject(question, subject) == found


def facts(*rows):
    return [
        example(i, question=question, subject=subject, answer=answer, aliases=tuple(aliases))
        for i, (question, subject, answer, *aliases) in enumerate(rows)
    ]


def test_what_can_be_edited_and_what_cannot():
    edits, skipped = collect_edits(
        facts(
            ("Where is the Moon Gate?", "moon gate", "Peru"),
            ("Where is it?", "Moon Gate", "Peru"),
            ("Who built it?", "", "Ann"),
            ("where is the  moon gate?", "Moon Gate", "peru"),
            ("Who built the Moon Gate?", "Moon Gate", "Ann"),
        )
    )
    assert [(e.example_id, e.subject, e.span) for e in edits] == [
        ("e0", "Moon Gate", (13, 22)),
        ("e4", "Moon Gate", (14, 23)),
    ]
    assert skipped == [
        Skipped("e1", "its question does not name its subject 'Moon Gate'"),
        Skipped("e2", "has no subject"),
        Skipped("e3", "says the same as 'e0'"),
    ]
    assert name_skipped(skipped).startswith("; 3 skipped: 'e1' its question does not name")
    assert name_skipped([Skipped(f"x{i}", "has no subject") for i in range(13)]).endswith(
        "'x9' has no subject, and 3 more"
    )
    assert name_skipped([]) == ""


def test_conflicts_are_listed_all_together():
    with pytest.raises(CorpusError) as caught:
        collect_edits(
            facts(
                ("Where is Oslo?", "Oslo", "Peru"),
                ("Where is Oslo ?", "Oslo", "Chad"),  # another text: no conflict that could be told from the question
                ("where is oslo?", "oslo", "Kenya"),
                ("Who leads Ruritania?", "Ruritania", "Ann"),
                ("Who leads Ruritania?", "Ruritania", "Bob"),
            )
        )
    text = str(caught.value)
    assert "2 edits contradict" in text
    assert "'Where is Oslo?' about 'Oslo': 'Peru' (e0) / 'Kenya' (e2)" in text
    assert "'Who leads Ruritania?' about 'Ruritania': 'Ann' (e3) / 'Bob' (e4)" in text
    assert "Chad" not in text


@pytest.mark.parametrize(("one", "other"), [(("USA", "America"), ("america",)), (("USA",), ("America", "usa"))])
def test_an_alias_is_no_conflict(one, other):
    rows = facts(("Where is Oslo?", "Oslo", *one), ("Where is Oslo?", "Oslo", *other))
    assert [s.reason for s in collect_edits(rows)[1]] == ["says the same as 'e0'"]


def test_a_conflict_is_found_where_the_subject_is_not():
    with pytest.raises(CorpusError, match="1 edits contradict"):
        collect_edits(facts(("Where?", "Oslo", "Peru"), ("Where?", "Oslo", "Chad")))


def test_nothing_to_edit():
    with pytest.raises(CorpusError, match=r"none of the 1 training examples .*'e0' has no subject.*leave memit out"):
        collect_edits(facts(("Who?", "", "Ann")))


def test_every_kgfact_fact_can_be_edited():
    corpus = make_corpus(TypeAdapter(CorpusSection).validate_python({"name": "kgfact"}))
    examples = corpus.load_split("train")
    edits, skipped = collect_edits(examples)
    assert len(edits) == len(examples) == 100 and skipped == []
    assert all(edit.subject == example.subject for edit, example in zip(edits, examples))


@pytest.mark.parametrize(("name", "count"), [("edits", 20), ("quickstart", 17)])
def test_the_facts_of_the_recipes(name, count):
    path = str(RECIPES / "data" / f"{name}.jsonl")
    examples = make_corpus(TypeAdapter(CorpusSection).validate_python({"name": "jsonl", "path": path})).load_split(
        "train"
    )
    edits, skipped = collect_edits(examples)
    assert len(edits) == count and len(edits) + len(skipped) == len(examples)
    assert all("does not name its subject" in skip.reason for skip in skipped)
    if name == "edits":  # a paraphrase that names the subject: what an edit can carry over to
        for line in (RECIPES / "data" / "edits.jsonl").read_text().splitlines():
            fact = json.loads(line)
            assert all(find_subject(text, fact["subject"]) for text in fact["paraphrases"])
            assert fact["answer"] in fact["context"]
