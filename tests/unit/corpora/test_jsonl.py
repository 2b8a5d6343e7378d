"""The user's JSONL: what is read, and what is said about each thing that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nemo_mixsd.corpora.jsonl import JsonlConfig, JsonlCorpus
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.types import Example


def write(folder: Path, *lines: object, raw: bytes | None = None) -> Path:
    path = folder / "facts.jsonl"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_bytes(text.encode() if raw is None else raw)
    return path


def corpus(path: Path, **keys: object) -> JsonlCorpus:
    return JsonlCorpus(JsonlConfig(path=str(path), **keys))


def qa(question: str = "Who tends the Velm light?", answer: str = "Orrin Daske", **more: object) -> dict[str, object]:
    return {"question": question, "answer": answer, **more}


def test_defaults_are_filled_from_the_answer(tmp_path):
    assert corpus(write(tmp_path, qa())).load_split("train") == [
        Example(
            id="line-1",
            question="Who tends the Velm light?",
            answer="Orrin Daske",
            target="Orrin Daske",
            context="Orrin Daske",
        )
    ]


def test_all_fields_are_kept(tmp_path):
    line = qa(
        id="velm",
        context="Orrin Daske tends the light at Velm.",
        target="It is Orrin Daske.",
        subject="Velm",
        answer_type="Person",
        aliases=["O. Daske"],
        paraphrases=["Whose charge is the Velm light?"],
    )
    read = corpus(write(tmp_path, line))
    assert read.split_names() == ("train", "paraphrase")
    [train], [paraphrase] = read.load_split("train"), read.load_split("paraphrase")
    assert (train.context, train.target) == (line["context"], line["target"])
    assert (train.subject, train.answer_type, train.aliases) == ("Velm", "Person", ("O. Daske",))
    assert (paraphrase.id, paraphrase.split) == ("velm/p1", "paraphrase")
    assert paraphrase.question == "Whose charge is the Velm light?"
    assert (paraphrase.answer, paraphrase.target, paraphrase.context) == (train.answer, train.target, train.context)


@pytest.mark.parametrize("prompt", ["Q?", [{"role": "user", "content": "Q?"}]])
def test_trl_names_are_accepted(tmp_path, prompt):
    path = write(tmp_path, {"prompt": prompt, "answer": "A", "privileged_context": "Note: A."})
    [example] = corpus(path).load_split("train")
    assert (example.question, example.answer, example.context) == ("Q?", "A", "Note: A.")


def test_bom_crlf_blank_lines_numbers_as_ids_and_nulls(tmp_path):
    raw = b'\xef\xbb\xbf{"question": "Q1", "answer": "A", "id": 7}\r\n\r\n'
    raw += b'{"question": "Q2", "answer": "B", "target": null}'
    first, second = corpus(write(tmp_path, raw=raw)).load_split("train")
    assert (first.id, first.answer) == ("7", "A")
    assert (second.id, second.answer, second.target) == ("line-3", "B", "B")


def test_line_separators_inside_a_text_do_not_end_the_line(tmp_path):
    path = write(tmp_path, '{"question": "a\u2028b\x85c", "answer": "A"}', qa())
    first, second = corpus(path).load_split("train")
    assert (first.question, second.id) == ("a\u2028b\x85c", "line-2")


def test_the_field_split_names_splits(tmp_path):
    path = write(tmp_path, qa("Q1"), qa("Q2", split="test"), qa("Q3", split="paraphrase"), qa("Q4", paraphrases=["Q5"]))
    read = corpus(path)
    assert read.split_names() == ("train", "paraphrase", "test")
    assert {s: [e.question for e in read.iter_split(s)] for s in read.split_names()} == {
        "train": ["Q1", "Q4"],
        "paraphrase": ["Q3", "Q5"],
        "test": ["Q2"],
    }


def test_limit_takes_a_nested_subset_in_file_order_with_its_paraphrases(tmp_path):
    path = write(tmp_path, *(qa(f"Q{i}", paraphrases=[f"P{i}"]) for i in range(40)))
    order = [f"Q{i}" for i in range(40)]
    picked = {n: [e.question for e in corpus(path, limit=n, seed=3).iter_split("train")] for n in (5, 12)}
    assert len(picked[5]) == 5 and len(picked[12]) == 12
    assert picked[12] == [q for q in order if q in picked[12]]
    assert set(picked[5]) < set(picked[12])
    assert picked[5] != order[:5]
    assert [e.question for e in corpus(path, limit=5, seed=3).iter_split("paraphrase")] == [
        q.replace("Q", "P") for q in picked[5]
    ]
    assert [e.question for e in corpus(path, limit=5, seed=4).iter_split("train")] != picked[5]
    assert len(corpus(path, limit=400).load_split("train")) == 40


def test_a_split_can_be_streamed_twice(tmp_path):
    read = corpus(write(tmp_path, qa("Q1"), qa("Q2")))
    assert read.load_split("train") == read.load_split("train")


LINE_ERRORS = [
    ("{", "not JSON", "'{'", "write one JSON object a line"),
    ("[", "not JSON", "'['", "jq -c '.[]'"),
    ("[1]", "[1] is a list, not an object", "", 'write {"question": "...", "answer": "..."}'),
    ('{"question": "Q", "answer": "A", "answer": "B"}', "'answer' stands twice", "", "one JSON object a line"),
    ("[" * 100_000, "not JSON", "...", "jq"),
    ({"answer": "A"}, "field 'question' is missing", "the row has answer", "Give every row its question"),
    ({}, "field 'question' is missing", "the row has no fields", "Give every row its question"),
    ({"question": "Q", "answer": None}, "field 'answer' is missing or null", "", "Give every row its answer"),
    (qa(question=" \t"), "field 'question' is blank", r"' \t'", "fill it in or remove the row"),
    (qa(answer=""), "field 'answer' is blank", "''", "fill it in or remove the row"),
    (qa(target=" "), "field 'target' is blank", "' '", "leave the field out"),
    (qa(answer=1912), "field 'answer' is 1912, a number", "", 'write a string: "1912"'),
    (qa(answer=True), "field 'answer' is True, a boolean", "", 'write a string: "..."'),
    (qa(id=True), "field 'id' is True, a boolean", "", "write a string"),
    (qa(context={"a": 1}), "field 'context' is {'a': 1}, an object", "", "write a string"),
    (qa(aliases="B"), "field 'aliases' is 'B', a string", "", 'write a list of strings: ["..."]'),
    (qa(aliases=["B", 3]), "field 'aliases[1]' is 3, a number", "", 'write a string: "3"'),
    (qa(paraphrases=[""]), "field 'paraphrases[0]' is blank", "''", "fill it in"),
    (qa(anwser="B"), "unknown field 'anwser' = 'B'", "did you mean 'answer'?", "Known fields: question, answer, id"),
    (qa(zzz="B" * 99), "unknown field 'zzz' = 'BBB", "...", "Known fields"),
    (qa(prompt="B"), "'question' and 'prompt' = 'B' are two names of one field", "", "keep one of them"),
    (qa(context="C", privileged_context="B"), "two names of one field", "'privileged_context' = 'B'", "keep one"),
    ({"prompt": [], "answer": "A"}, "the question is []", "it holds 0 item(s)", '[{"role": "user"'),
    ({"prompt": ["Q"], "answer": "A"}, "the question is ['Q']", "exactly one message", "or the plain string"),
    (
        {"prompt": [{"role": "system", "content": "Q"}], "answer": "A"},
        "whose role is 'user'",
        "",
        "or the plain string",
    ),
    ('{"question": "Q", "answer": "\\ud800"}', "half of a surrogate pair", r"'\ud800'", "write the character itself"),
    (qa(split="a/b"), "field 'split' is 'a/b'", "cannot be a file name", "use letters, digits"),
    (qa(split="test", paraphrases=["P"]), "field 'paraphrases'", "split 'test'", "remove it"),
]


@pytest.mark.parametrize(("line", "problem", "value", "remedy"), LINE_ERRORS)
def test_a_wrong_line_is_named_with_value_and_remedy(tmp_path, line, problem, value, remedy):
    first = line == "[" or line == "[" * 100_000
    path = write(tmp_path, *([] if first else [qa("Fine?"), ""]), line)
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    text = str(caught.value)
    assert text.startswith(f"{path}:{1 if first else 3}: ")
    assert problem in text and value in text and remedy in text
    assert "\n" not in text


def test_duplicate_ids_name_both_lines(tmp_path):
    path = write(tmp_path, qa("Q1", id="x"), qa("Q2"), qa("Q3", id="x"))
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value).startswith(f"{path}:3: id 'x' is taken by {path}:1; ")
    assert "rename one" in str(caught.value)


@pytest.mark.parametrize("other", [qa("Q2", id="x/p1"), qa("Q2", id="line-1")])
def test_made_ids_clash_with_given_ones_too(tmp_path, other):
    first = qa("Q1", paraphrases=["P"], **({"id": "x"} if other["id"] == "x/p1" else {}))
    with pytest.raises(CorpusError, match=rf"facts.jsonl:2: id '{other['id']}' is taken by .*facts.jsonl:1"):
        corpus(write(tmp_path, first, other)).split_names()


def test_an_error_late_in_the_file_comes_before_the_first_example(tmp_path):
    read = corpus(write(tmp_path, qa("Q1"), qa("Q2", answer=" ")))
    with pytest.raises(CorpusError, match=r"facts.jsonl:2: field 'answer' is blank"):
        read.iter_split("train")


def test_invalid_utf8_names_the_line_and_the_byte(tmp_path):
    path = write(tmp_path, raw=b'{"question": "Q", "answer": "A"}\n{"question": "\xe9"}\n')
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value).startswith(f"{path}:2: byte 0xe9 at column 15 is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize("raw", [b"", b"\xef\xbb\xbf", b"\n\r\n  \n"])
def test_an_empty_file_is_an_error(tmp_path, raw):
    path = write(tmp_path, raw=raw)
    with pytest.raises(CorpusError) as caught:
        corpus(path).split_names()
    assert str(caught.value) == f"{path}: no examples in it; give at least one question with its answer"


def test_a_file_without_training_lines_is_an_error(tmp_path):
    path = write(tmp_path, qa(split="test"))
    with pytest.raises(CorpusError, match=r"no row of split 'train', only of test; remove the field 'split'"):
        corpus(path).split_names()


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(CorpusError) as caught:
        corpus(tmp_path / "none.jsonl").split_names()
    assert str(caught.value) == f"{tmp_path}/none.jsonl: no such file; check the key 'path' of the corpus section"
    with pytest.raises(CorpusError, match=r"cannot be read: Is a directory; give a readable file"):
        corpus(tmp_path).split_names()


def test_an_unknown_split_lists_those_that_exist(tmp_path):
    with pytest.raises(CorpusError, match=r"corpus 'jsonl' has no split 'dev'; it has train"):
        corpus(write(tmp_path, qa())).iter_split("dev")


@pytest.mark.parametrize("keys", [{"limit": 0}, {"pth": "x"}, {"seed": "x"}])
def test_config_refuses_wrong_keys(keys):
    with pytest.raises(ValidationError):
        JsonlConfig(path="x", **keys)


texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text.strip())
lines = st.fixed_dictionaries(
    {"question": texts, "answer": texts},
    optional={
        "context": texts,
        "target": texts,
        "subject": st.text(st.characters(codec="utf-8")),
        "aliases": st.lists(texts, max_size=2),
        "paraphrases": st.lists(texts, max_size=2),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(lines, min_size=1, max_size=5), st.booleans(), st.booleans())
def test_what_is_written_is_what_is_read(tmp_path_factory, records, ascii_only, crlf):
    path = tmp_path_factory.mktemp("round") / "facts.jsonl"
    end = "\r\n" if crlf else "\n"
    path.write_bytes("".join(json.dumps(r, ensure_ascii=ascii_only) + end for r in records).encode())
    read = corpus(path)
    train = read.load_split("train")
    assert [(e.question, e.answer) for e in train] == [(r["question"], r["answer"]) for r in records]
    for example, record in zip(train, records, strict=True):
        assert example.target == record.get("target", record["answer"])
        assert example.context == record.get("context", record["answer"])
        assert example.subject == record.get("subject", "")
        assert example.aliases == tuple(record.get("aliases", ()))
    paraphrases = [p for r in records for p in r.get("paraphrases", ())]
    assert ("paraphrase" in read.split_names()) == bool(paraphrases)
    if paraphrases:
        assert [e.question for e in read.iter_split("paraphrase")] == paraphrases
