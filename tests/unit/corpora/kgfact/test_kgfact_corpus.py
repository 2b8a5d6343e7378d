from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nemo_mixsd
from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.corpora.kgfact.names import DOMAINS
from nemo_mixsd.corpora.kgfact.templates import TEMPLATES
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.io import dump_line
from nemo_mixsd.types import to_record

SPLITS = ("train", "paraphrase", "retrieval", "two_hop")
ARTICLES = {domain.name: domain.article for domain in DOMAINS}
BY_KEY = {t.key: t for by_target in TEMPLATES.values() for group in by_target.values() for t in group}
DIGESTS = {
    "small": "53875e7dc86fcb86d1adeb5344b44bf2a822bc73123bd4cdcb9ad288addea28f",
    "large": "dcf1598038b57481d18a61a812f460d5660a5ee0311b5c29c15b6f2d04b2cd90",
}
few = settings(max_examples=8, deadline=None)


def _corpus(size: Literal["small", "large"] = "small", seed: int = 0) -> KGFactCorpus:
    return KGFactCorpus(KGFactConfig(size=size, seed=seed))


def _digest(corpus: KGFactCorpus) -> str:
    hasher = hashlib.sha256()
    for split in corpus.split_names():
        for example in corpus.iter_split(split):
            hasher.update((dump_line(to_record(example)) + "\n").encode())
    return hasher.hexdigest()


@pytest.mark.parametrize(("size", "entities", "facts"), [("small", 50, 100), ("large", 175, 525)])
def test_sizes_are_exact(size: Literal["small", "large"], entities: int, facts: int) -> None:
    corpus = _corpus(size)
    assert corpus.split_names() == SPLITS
    assert len(set(corpus.entities())) == entities
    assert [len(corpus.load_split(split)) for split in SPLITS[:3]] == [facts, 2 * facts, facts]
    assert 0.9 * facts < len(corpus.load_split("two_hop")) <= facts
    assert {fact.source for fact in corpus.facts()} == set(corpus.entities())


@few
@given(seed=st.integers())
def test_a_query_has_one_answer_in_the_whole_corpus(seed: int) -> None:
    corpus = _corpus(seed=seed)
    answers: dict[tuple[str, str], set[str]] = {}
    for fact in corpus.facts():
        answers.setdefault((fact.source, fact.relation), set()).add(fact.answer)
    assert len(answers) == 100
    assert all(len(found) == 1 for found in answers.values())
    for split in SPLITS:
        asked: dict[str, set[str]] = {}
        for example in corpus.iter_split(split):
            asked.setdefault(example.question, set()).add(example.answer)
        assert all(len(found) == 1 for found in asked.values())


@few
@given(seed=st.integers(), size=st.sampled_from(["small", "large"]))
def test_retrieval_states_the_needed_fact_once_and_no_second_answer(seed: int, size: Literal["small", "large"]) -> None:
    corpus = _corpus(size, seed)
    for fact, example in itertools.islice(zip(corpus.facts(), corpus.iter_split("retrieval"), strict=True), 60):
        listed = [line[2:] for line in example.question.split("\n") if line.startswith("- ")]
        assert len(listed) == len(set(listed)) == 51
        assert example.question.count(fact.statement) == listed.count(fact.statement) == 1
        assert all(fact.source in line or fact.answer in line for line in listed)
        assert example.question.endswith(fact.question)
        source = ARTICLES[fact.source_type] + fact.source
        pattern = BY_KEY[fact.relation].statement.replace(".", r"\.").format(s=re.escape(source), o="(?:the )?(.+)")
        found = [match[1] for line in listed if (match := re.fullmatch(pattern, line, re.IGNORECASE))]
        assert found == [fact.answer]


def test_the_needed_fact_stands_anywhere_in_the_list() -> None:
    places = [
        [line[2:] for line in example.question.split("\n")[1:]].index(example.context)
        for example in _corpus("large").iter_split("retrieval")
    ]
    assert set(places) == set(range(51))


@few
@given(seed=st.integers())
def test_no_split_leaks_into_another(seed: int) -> None:
    corpus = _corpus(seed=seed)
    examples = {split: corpus.load_split(split) for split in SPLITS}
    ids = [example.id for split in SPLITS for example in examples[split]]
    assert len(set(ids)) == len(ids)
    questions = {split: {example.question for example in examples[split]} for split in SPLITS}
    for first, second in itertools.combinations(SPLITS, 2):
        assert not questions[first] & questions[second]
    assert len(questions["train"]) == 100
    assert len(questions["paraphrase"]) == 200
    for split in ("train", "paraphrase", "two_hop"):
        for example in examples[split]:
            assert example.answer not in example.question


@few
@given(seed=st.integers(), size=st.sampled_from(["small", "large"]))
def test_two_hops_are_two_trained_facts(seed: int, size: Literal["small", "large"]) -> None:
    corpus = _corpus(size, seed)
    facts = {fact.statement: fact for fact in corpus.facts()}
    for example in corpus.iter_split("two_hop"):
        pairs = [
            (facts[example.context[:cut]], facts[example.context[cut + 1 :]])
            for cut in range(len(example.context))
            if example.context[:cut] in facts and example.context[cut + 1 :] in facts
        ]
        assert len(pairs) == 1
        first, second = pairs[0]
        assert (first.source, first.answer, second.answer) == (example.subject, second.source, example.answer)
        assert first.source in example.question
        assert first.answer not in example.question and second.answer not in example.question
        assert second.answer not in (first.source, first.answer)
        assert example.answer_type == second.answer_type
        assert "the the " not in example.question


@few
@given(seed=st.integers())
def test_examples_agree_with_the_facts(seed: int) -> None:
    corpus = _corpus(seed=seed)
    paraphrases = corpus.load_split("paraphrase")
    for number, (fact, example) in enumerate(zip(corpus.facts(), corpus.iter_split("train"), strict=True)):
        assert fact.id == example.id == f"kgfact-{number:05d}"
        assert (fact.question, fact.answer, fact.source) == (example.question, example.answer, example.subject)
        assert example.context == fact.statement and example.answer_type == fact.answer_type
        assert fact.source in fact.question and fact.source in fact.statement and fact.answer in fact.statement
        assert example.target.endswith(f"\\boxed{{{fact.answer}}}")
        assert example.target.startswith(f"That is {ARTICLES[fact.answer_type]}{fact.answer}. ")
        for rank, reworded in enumerate(paraphrases[2 * number : 2 * number + 2], start=1):
            assert reworded.id == f"{fact.id}/p{rank}"
            assert (reworded.answer, reworded.context, reworded.target) == (fact.answer, fact.statement, example.target)
            assert fact.source in reworded.question


def test_a_split_may_be_read_twice_and_seeds_differ() -> None:
    corpus = _corpus()
    for split in SPLITS:
        assert corpus.load_split(split) == corpus.load_split(split)
    other = _corpus(seed=1)
    assert not set(corpus.entities()) & set(other.entities())
    assert _digest(corpus) != _digest(other)


def test_an_unknown_split_is_refused_at_once() -> None:
    with pytest.raises(CorpusError, match="no split 'test'; it has train, paraphrase, retrieval, two_hop"):
        _corpus().iter_split("test")


def test_no_distractors_leave_the_statement_alone() -> None:
    corpus = KGFactCorpus(KGFactConfig(distractors=0))
    example = next(iter(corpus.iter_split("retrieval")))
    assert example.question.count("\n- ") == 1


def test_facts_that_lead_nowhere_have_no_second_hop() -> None:
    # Ten facts over fifty entities: most answers are the source of nothing.
    corpus = KGFactCorpus(KGFactConfig(size="custom", domains=5, entities_per_domain=10, facts=10))
    sources = {fact.source for fact in corpus.facts()}
    continued = {fact.id for fact in corpus.facts() if fact.answer in sources}
    hops = {example.id.replace("hop-", "") for example in corpus.iter_split("two_hop")}
    assert hops <= continued
    assert len(continued) < 10


def test_a_million_facts_stream_without_being_stored() -> None:
    config = KGFactConfig(size="custom", domains=5, entities_per_domain=40_000, facts=1_000_000)
    tracemalloc.start()
    try:
        corpus = KGFactCorpus(config)
        ids = [int(example.id[7:]) for example in itertools.islice(corpus.iter_split("train"), 2000)]
        del ids
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("size", ["small", "large"])
def test_bytes_are_pinned(size: Literal["small", "large"]) -> None:
    """A change of wording, names or randomness changes the corpus for everybody; it must be meant."""
    assert _digest(_corpus(size)) == DIGESTS[size]


def _other_interpreters() -> list[str]:
    """Interpreters of another version that have pydantic; ``MIXSD_OTHER_PYTHON`` names one outright."""
    names = [f"python3.{minor}" for minor in (11, 12, 13) if minor != sys.version_info.minor]
    found = [os.environ.get("MIXSD_OTHER_PYTHON"), *(shutil.which(name) for name in names)]
    found += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))]
    check = f"import pydantic, sys; sys.exit(sys.version_info[1] == {sys.version_info.minor})"
    return [
        path
        for path in found
        if path and subprocess.run([path, "-c", check], check=False, capture_output=True).returncode == 0
    ]


def test_another_python_gives_the_same_bytes() -> None:
    interpreters = _other_interpreters()
    if not interpreters:
        pytest.skip("no Python of another version with pydantic; name one in MIXSD_OTHER_PYTHON")
    script = (
        "import hashlib\n"
        "from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus\n"
        "from nemo_mixsd.io import dump_line\n"
        "from nemo_mixsd.types import to_record\n"
        "corpus = KGFactCorpus(KGFactConfig(size='large'))\n"
        "lines = (dump_line(to_record(e)) for s in corpus.split_names() for e in corpus.iter_split(s))\n"
        "print(hashlib.sha256(''.join(line + '\\n' for line in lines).encode()).hexdigest())\n"
    )
    root = str(Path(nemo_mixsd.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": "7"}
    child = subprocess.run([interpreters[0], "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert child.stdout.strip() == DIGESTS["large"]
