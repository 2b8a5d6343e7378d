"""The splits of KGFunc: counts, fair prompts, no leaks, and the same bytes everywhere."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable

import pytest

from nemo_mixsd.corpora.kgfunc import (
    DEFAULT_LABELS,
    OPERATIONS,
    UNSEEN_OPERATIONS,
    KGFuncConfig,
    KGFuncCorpus,
    compose,
)
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.io import dump_line
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.types import Example, to_record

SPLITS = ("train", "test", "unseen", "composition")
DIGESTS = {
    "train": "1e1db33efb6f401809ce862bd73b93d386fc2e16558571bbdeb1a5aa0be1d0e6",
    "test": "11d9158bf2a14d93b23aef4373a868ae7398ab98efcda45fb4b5205181e4acbb",
    "unseen": "00e92fea029d99b93fe5ef4e6d800181aa9015e3e2e2a27d7bfef86632ffabce",
    "composition": "0aaae747081d4b6c433f79b7eb48fc690da5e395c0c9d11432bc3b1cca530dc3",
}


@pytest.fixture(scope="module")
def corpus() -> KGFuncCorpus:
    return KGFuncCorpus(KGFuncConfig())


@pytest.fixture(scope="module")
def splits(corpus: KGFuncCorpus) -> dict[str, list[Example]]:
    return {name: corpus.load_split(name) for name in corpus.split_names()}


def shots_of(example: Example) -> dict[int, int]:
    lines = re.findall(r"^(\d+) -> (\d+)$", example.question, flags=re.MULTILINE)
    assert len(dict(lines)) == len(lines), f"{example.id} repeats an input"
    return {int(x): int(y) for x, y in lines}


def query_of(example: Example) -> int:
    return int(re.search(r"apply it to (\d+)\.", example.question)[1])  # type: ignore[index]


def function_of(example: Example) -> Callable[[int], int]:
    if example.split == "composition":
        first, second = example.subject.split(" then ")
        return compose(OPERATIONS[first], OPERATIONS[second]).apply
    return {**OPERATIONS, **UNSEEN_OPERATIONS}[example.subject].apply


def is_balanced(inputs: list[int]) -> bool:
    lengths = Counter(len(str(n)) for n in inputs)
    return all(lengths[k] == len(inputs) / 5 for k in range(1, 6))


def sha256(examples: list[Example]) -> str:
    return hashlib.sha256("".join(dump_line(to_record(e)) + "\n" for e in examples).encode()).hexdigest()


def test_the_counts_are_the_papers(splits: dict[str, list[Example]]) -> None:
    assert {name: len(examples) for name, examples in splits.items()} == {
        "train": 1600, "test": 175, "unseen": 500, "composition": 200
    }  # fmt: skip
    assert Counter(e.subject for e in splits["test"]) == dict.fromkeys(DEFAULT_LABELS, 25)
    assert Counter(e.subject for e in splits["unseen"]) == dict.fromkeys(UNSEEN_OPERATIONS, 25)
    assert set(Counter(e.subject for e in splits["composition"]).values()) == {5}


def test_ids_are_unique_and_say_where_an_example_stands(splits: dict[str, list[Example]]) -> None:
    ids = [e.id for examples in splits.values() for e in examples]
    assert len(set(ids)) == len(ids)
    assert splits["train"][0].id == "kgfunc-B-000000"
    assert splits["test"][8].id == "kgfunc-test-C-000001"
    assert splits["unseen"][0].id == "kgfunc-unseen-a-000000"
    assert re.fullmatch(r"kgfunc-composition-[B-H]{2}-\d{6}", splits["composition"][0].id)


@pytest.mark.parametrize("split", SPLITS)
def test_prompts_are_fair_and_answers_right(split: str, splits: dict[str, list[Example]]) -> None:
    for e in splits[split]:
        shots, query, function = shots_of(e), query_of(e), function_of(e)
        assert len(shots) == 10
        assert query not in shots, e.id
        assert all(function(x) == y for x, y in shots.items()), e.id
        assert len(set(shots.values())) > 1, f"{e.id} shows one output only"
        assert is_balanced(list(shots)), e.id
        assert e.answer == str(function(query)) == re.findall(r"\\boxed\{(\d+)\}", e.target)[-1]
        assert e.context == e.target and e.split == split and e.answer_type == "number"
        assert "\\boxed{}" in e.question
        names = e.subject.split(" then ")
        assert e.question.startswith(f"Operation{'s' * (len(names) - 1)} {' and '.join(names)} ")


def test_the_boxed_verifier_accepts_the_target_and_nothing_else(splits: dict[str, list[Example]]) -> None:
    verifier = make_verifier(KGFuncCorpus.verifier)
    for examples in splits.values():
        for e in examples[:50]:
            assert verifier.verify(e.target, (e.answer,))
            assert not verifier.verify(e.target, (str(int(e.answer) + 1),))
            assert not verifier.verify(e.question, (e.answer,))


def test_the_question_gives_away_neither_rule_nor_answer(splits: dict[str, list[Example]]) -> None:
    # with labels and numbers taken out, all questions are one and the same text
    def skeleton(e: Example) -> str:
        text = re.sub(r"\d+", "#", e.question)
        return re.sub(r"(perations?) [A-Za-z]\b( and [A-Z]\b)?", r"\1 _", text)

    single = {skeleton(e) for name in ("train", "test", "unseen") for e in splits[name]}
    double = {skeleton(e) for e in splits["composition"]}
    assert len(single) == len(double) == 1


def test_no_instance_appears_twice(splits: dict[str, list[Example]]) -> None:
    asked = [(e.subject, query_of(e)) for examples in splits.values() for e in examples]
    assert len(set(asked)) == len(asked)


def assert_no_leak(splits: dict[str, list[Example]]) -> None:
    tested = {(e.subject, query_of(e)) for e in splits["test"]}
    composed = {(e.subject.split(" then ")[0], query_of(e)) for e in splits["composition"]}
    for e in splits["train"]:
        shown = {(e.subject, n) for n in (*shots_of(e), query_of(e))}
        assert not shown & tested, f"{e.id} shows a test query"
        assert not shown & composed, f"{e.id} shows the first step of a composition"
    for name in ("test", "unseen", "composition"):
        asked = {(e.subject, query_of(e)) for e in splits[name]}
        assert not any((e.subject, n) in asked for e in splits[name] for n in shots_of(e)), f"{name} answers itself"


def test_no_split_leaks_into_another(splits: dict[str, list[Example]]) -> None:
    assert_no_leak(splits)
    assert not {e.subject for e in splits["unseen"]} & {e.subject for e in splits["train"]}


def test_the_leak_test_finds_a_leak(splits: dict[str, list[Example]]) -> None:
    leaky = {**splits, "test": [*splits["test"], splits["train"][3]]}
    with pytest.raises(AssertionError, match="shows a test query"):
        assert_no_leak(leaky)


@pytest.mark.parametrize("split", SPLITS)
def test_the_shots_alone_single_the_operation_out(split: str, splits: dict[str, list[Example]]) -> None:
    # stronger than telling unseen from trained on shots and query: against all 31, on the shots alone
    rivals = {**OPERATIONS, **UNSEEN_OPERATIONS}
    for e in splits[split]:
        shots = shots_of(e)
        agreeing = [k for k, op in rivals.items() if k != e.subject and all(op.apply(x) == y for x, y in shots.items())]
        assert not agreeing, f"{e.id} could as well be {agreeing}"


def test_queries_are_balanced_over_digit_lengths(splits: dict[str, list[Example]]) -> None:
    for name, labels in (("test", DEFAULT_LABELS), ("unseen", tuple(UNSEEN_OPERATIONS))):
        for label in labels:
            assert is_balanced([query_of(e) for e in splits[name] if e.subject == label]), (name, label)
    for label in DEFAULT_LABELS:
        lengths = Counter(len(str(query_of(e))) for e in splits["train"] if e.subject == label)
        assert lengths[1] == 5  # the other five of one digit are test queries
        assert max(lengths[k] for k in (2, 3, 4, 5)) - min(lengths[k] for k in (2, 3, 4, 5)) <= 1


def test_operations_take_turns(splits: dict[str, list[Example]]) -> None:
    assert "".join(e.subject for e in splits["train"][:14]) == "BCDEFGHBCDEFGH"
    assert {e.subject for e in splits["train"][-4:]} == set("BCDE")


@pytest.mark.parametrize("split", SPLITS)
def test_same_seed_same_bytes(split: str, splits: dict[str, list[Example]]) -> None:
    assert sha256(splits[split]) == DIGESTS[split]


def test_another_seed_gives_other_bytes(splits: dict[str, list[Example]]) -> None:
    other = KGFuncCorpus(KGFuncConfig(seed=1))
    assert all(sha256(other.load_split(name)) != DIGESTS[name] for name in SPLITS)


def test_a_split_can_be_read_again_and_in_any_order(corpus: KGFuncCorpus, splits: dict[str, list[Example]]) -> None:
    assert corpus.load_split("composition") == splits["composition"]
    assert next(iter(corpus.iter_split("train"))) == splits["train"][0]


def test_evaluation_splits_do_not_depend_on_the_size_of_training(splits: dict[str, list[Example]]) -> None:
    bigger = KGFuncCorpus(KGFuncConfig(train_per_operation=1600))
    for name in ("test", "unseen", "composition"):
        assert bigger.load_split(name) == splits[name]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_bigger_reading_does_not_leak_either(seed: int) -> None:
    corpus = KGFuncCorpus(KGFuncConfig(train_per_operation=300, seed=seed, operations=tuple("AHIK"), shots=7))
    splits = {name: corpus.load_split(name) for name in corpus.split_names()}
    assert Counter(e.subject for e in splits["train"]) == dict.fromkeys("AHIK", 300)
    assert "H then A" not in {e.subject for e in splits["composition"]}
    assert_no_leak(splits)


@pytest.mark.parametrize("shots", [2, 3, 10, 60])
def test_any_number_of_shots(shots: int) -> None:
    corpus = KGFuncCorpus(KGFuncConfig(shots=shots, train_count=21, composition_count=40))
    for name in corpus.split_names():
        for e in corpus.iter_split(name):
            assert len(shots_of(e)) == shots and query_of(e) not in shots_of(e)


def test_splits_without_instances_are_not_there() -> None:
    corpus = KGFuncCorpus(KGFuncConfig(operations=("B",), test_per_operation=0))
    assert corpus.split_names() == ("train", "unseen")
    with pytest.raises(CorpusError, match="no split 'test'; it has train, unseen"):
        next(corpus.iter_split("test"))


def test_asking_for_more_inputs_than_there_are_is_an_error() -> None:
    corpus = KGFuncCorpus(KGFuncConfig(operations=("B",), train_count=100_000))
    with pytest.raises(CorpusError, match="100000 different inputs are asked for and 99975 are left"):
        next(corpus.iter_split("train"))


def test_the_corpus_names_its_prompts_and_verifier() -> None:
    assert (KGFuncCorpus.prompt_style, KGFuncCorpus.verifier) == ("solution", "boxed")
    assert KGFuncCorpus.config_type is KGFuncConfig
