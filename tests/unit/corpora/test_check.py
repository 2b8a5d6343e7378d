"""Checks on a corpus: each finds what it is for, and nothing in a sound corpus."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from nemo_mixsd.corpora import CORPORA
from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.check import CheckOptions, Finding, check_corpus, has_errors, render_findings
from nemo_mixsd.corpora.commands import corpus_app, token_counter
from nemo_mixsd.corpora.mquake import MQuakeCorpus
from nemo_mixsd.errors import ModelNotFoundError
from nemo_mixsd.types import Example


def example(example_id: str, question: str, answer: str = "Oslo", split: str = "train", **more: object) -> Example:
    keys = {"target": answer, "context": answer, **more}
    return Example(id=example_id, question=question, answer=answer, split=split, **keys)


class ListCorpus(Corpus[CorpusConfig]):
    config_type = CorpusConfig

    def __init__(self, *examples: Example) -> None:
        super().__init__(CorpusConfig(name="list"))
        self.examples = examples

    def split_names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(("train", *(e.split for e in self.examples))))

    def iter_split(self, split: str) -> Iterator[Example]:
        return (e for e in self.examples if e.split == split)


def found(*examples: Example, **options: object) -> list[tuple[str, str, str, tuple[str, ...]]]:
    findings = check_corpus(ListCorpus(*examples), CheckOptions(**options))
    return [(f.severity, f.kind, f.split, f.example_ids) for f in findings]


def test_a_sound_corpus_has_no_findings():
    assert (
        found(
            example("a", "Which port?", target="The port is Oslo.", context="Ships land at Oslo."),
            example("b", "Which town?", "Bergen"),
            example("c", "What port is it?", split="paraphrase"),
            count_tokens=len,
        )
        == []
    )


@pytest.mark.parametrize(
    ("second", "kind", "severity"),
    [
        (example("b", "which  PORT"), "duplicate", "warning"),
        (example("b", "Which port?", "Kristiania", aliases=("oslo",)), "duplicate", "warning"),
        (example("b", "Which port?", "Bergen"), "contradiction", "error"),
        (example("b", "Which port?", split="dev"), "overlap", "error"),
        (example("b", "The which port!", "Bergen", split="dev"), "overlap", "error"),
        (example("a", "Which town?"), "id", "error"),
    ],
)
def test_pairs(second, kind, severity):
    pair = ("a",) if kind == "id" else ("a", "b")
    assert found(example("a", "Which port?"), second) == [(severity, kind, second.split, pair)]


def test_a_contradiction_within_an_evaluation_split():
    one, two = example("a", "Q?", split="dev"), example("b", "Q?", "Bergen", split="dev")
    assert found(one, two) == [("error", "contradiction", "dev", ("a", "b"))]
    [finding] = check_corpus(ListCorpus(one, two))
    assert "another answer here ('Bergen')" in finding.message and "'aliases'" in finding.message


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (example("a", " "), "empty", "field 'question' is blank; fill it in or remove the example"),
        (example("a", "Q?", ""), "empty", "field 'answer' is blank"),
        (example("a", "Q?", target="\n"), "empty", "field 'target' is blank"),
        (example("a", "Q?", context=""), "empty", "field 'context' is blank"),
        (
            example("a", "Q?", "?!"),
            "unverifiable",
            "verifier 'contains' rejects the answer '?!' itself; reword the answer",
        ),
        (example("a", "Is the port of Oslo old?"), "leak", "the question holds the answer 'Oslo'"),
        (example("a", "Q?", target="It is Bergen."), "target", "the target does not give the answer 'Oslo'"),
        (example("a", "Q?", context="See above."), "context", "the context does not hold the answer 'Oslo'"),
        (example("a", "Q" * 90), "long", "field 'question' has 90 characters, more than 80; shorten or split it"),
        (example("a", "Why? " * 12), "tokens", "have 13 tokens, more than 9, and the template adds"),
    ],
)
def test_single_examples(broken, kind, message):
    options = CheckOptions(max_chars=80, count_tokens=lambda text: len(text.split()), max_prompt_tokens=9)
    findings = check_corpus(ListCorpus(broken), options)
    matching = [f for f in findings if f.kind == kind]
    assert any(message in f.message for f in matching)
    assert all(f.example_ids == ("a",) for f in findings)
    assert {f.kind for f in findings} <= {kind, *(("target", "context") if kind == "empty" else ())}


def test_a_leak_needs_whole_words_and_short_answers_style():
    assert found(example("a", "Who is an Osloite?")) == []
    corpus = ListCorpus(example("a", "Compute 3 + 4 - 4.", "3"))
    assert [f.kind for f in check_corpus(corpus)] == ["leak"]
    corpus.prompt_style, corpus.verifier = "solution", "boxed"
    assert check_corpus(corpus) == []


def test_many_findings_are_cut_and_counted():
    examples = [example(f"e{i}", "Q?") for i in range(10)]
    findings = check_corpus(ListCorpus(*examples), CheckOptions(max_listed=3))
    assert [f.example_ids for f in findings] == [("e0", "e1"), ("e0", "e2"), ("e0", "e3"), ()]
    assert findings[-1] == Finding("warning", "duplicate", "train", (), "and 6 more of this kind")
    assert not has_errors(findings)
    assert has_errors([*findings, Finding("error", "id", "train", (), "")])


def test_what_a_split_is_for_is_no_finding(tmp_path):
    class Purposeful(ListCorpus):
        expected_findings = MQuakeCorpus.expected_findings

    examples = (
        example("a", "Q?"),
        example("b", "Notes: Oslo. Q?", split="retrieval"),
        example("c", "Q?", "Bergen", split="old_answers"),
        example("d", "Is it Oslo?", split="multi_hop"),
    )
    assert [(f.split, f.kind) for f in check_corpus(Purposeful(*examples))] == [("multi_hop", "leak")]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["P?", "p", "Q?"]), st.sampled_from(["Oslo", "OSLO!", "Bergen"])), max_size=6)
)
def test_pairs_agree_with_a_plain_count(pairs):
    examples = [example(f"e{i}", q, a) for i, (q, a) in enumerate(pairs)]
    first: dict[str, str] = {}
    expected = []
    for i, (question, answer) in enumerate(pairs):
        q, a = question.strip("?").lower(), answer.strip("!").lower()
        if q in first:
            expected.append(("duplicate" if first[q] == a else "contradiction", f"e{i}"))
        first.setdefault(q, a)
    assert [(f.kind, f.example_ids[1]) for f in check_corpus(ListCorpus(*examples))] == expected


def test_memory_does_not_grow_with_the_texts():
    class Long(ListCorpus):
        size = 10

        def iter_split(self, split: str) -> Iterator[Example]:
            return (example(str(i), f"Q {i} " + "x" * self.size) for i in range(100))

    def peak(size: int) -> int:
        corpus = Long()
        corpus.size = size
        tracemalloc.start()
        check_corpus(corpus)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(10)
    assert peak(2000) - peak(10) < 100_000  # 100 texts of 2,000 characters would be 200,000 bytes


def test_the_table_shows_brackets_as_they_are():
    console = Console(file=StringIO(), width=200)
    console.print(render_findings([Finding("error", "leak", "train", ("a[bold]",), "holds '[/red]'")]))
    text = console.file.getvalue()
    assert "a[bold]" in text and "holds '[/red]'" in text and "error" in text


def run(*arguments: str):
    return CliRunner().invoke(corpus_app, list(arguments))


def write(path, *lines: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_the_command_exits_by_severity(tmp_path, monkeypatch):
    path = write(tmp_path / "f.jsonl", {"question": "Q?", "answer": "Oslo"})
    sound = run("check", path)
    assert (sound.exit_code, sound.stdout) == (0, "0 errors, 0 warnings\n")
    line = {"question": "Q?", "answer": "Oslo"}
    warned = run("check", write(tmp_path / "f.jsonl", line, line))
    assert warned.exit_code == 0 and "duplicate" in warned.stdout and "0 errors, 1 warnings" in warned.stdout
    wrong = run("check", write(tmp_path / "f.jsonl", line, {**line, "answer": "Bergen"}))
    assert wrong.exit_code == 1 and "contradiction" in wrong.stdout and "1 errors, 0 warnings" in wrong.stdout


def test_the_command_counts_tokens(tmp_path, tiny_model_dir):
    path = write(tmp_path / "f.jsonl", {"question": "word " * 50, "answer": "Oslo"})
    over = run("check", path, "--tokenizer", str(tiny_model_dir), "--max-prompt-tokens", "20")
    assert over.exit_code == 1 and "tokens" in over.stdout
    under = run("check", path, "--tokenizer", str(tiny_model_dir), "--max-prompt-tokens", "2000")
    assert under.exit_code == 0
    alone = run("check", path, "--max-prompt-tokens", "20")
    assert alone.exit_code == 2
    assert alone.stderr == "error: --tokenizer and --max-prompt-tokens go together; give both or neither\n"


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"--tokenizer '.*': no such tokenizer .*give a model's folder"):
        token_counter(str(tmp_path))


def test_the_registry_is_read_at_call_time(monkeypatch):
    class Made(ListCorpus):
        def __init__(self, _config: CorpusConfig) -> None:
            super().__init__(example("a", "Q?"), example("a", "R?"))

    monkeypatch.setitem(CORPORA, "made", Made)
    assert run("check", "made").exit_code == 1
