from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.corpora.kgfact.names import DOMAINS, NAME_CAPACITY, Domain, NameBook, NameScheme

ALL_SECOND_WORDS = ["".join(parts).lower() for domain in DOMAINS for parts in itertools.product(*domain.scheme.second)]


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_syllables_of_first_words_are_suffix_codes(domain: Domain) -> None:
    for table in domain.scheme.first:
        lowered = [syllable.lower() for syllable in table]
        assert len(set(lowered)) == len(lowered)
        assert not [(a, b) for a, b in itertools.permutations(lowered, 2) if b.endswith(a)]


def test_no_second_word_is_a_prefix_of_another() -> None:
    # In sorted order a prefix is followed at once by one of the words it begins.
    ordered = sorted(ALL_SECOND_WORDS)
    assert not [(a, b) for a, b in itertools.pairwise(ordered) if b.startswith(a)]


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_spelling_is_one_to_one_over_the_whole_capacity_of_a_cut_down_scheme(domain: Domain) -> None:
    scheme = NameScheme(tuple(t[:5] for t in domain.scheme.first), tuple(t[:6] for t in domain.scheme.second))
    names = [scheme.spell(number) for number in range(scheme.capacity)]
    assert len(set(names)) == scheme.capacity == 5 ** len(scheme.first) * 6 ** len(scheme.second)
    assert all(name.count(" ") == 1 for name in names)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers())
def test_no_name_of_a_seed_is_part_of_another(seed: int) -> None:
    names = [NameBook(domain, seed).name(i).lower() for domain in DOMAINS for i in range(25)]
    assert not [(a, b) for a, b in itertools.permutations(names, 2) if a in b]


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_no_name_is_part_of_another_among_many(domain: Domain) -> None:
    names = {NameBook(domain, 0).name(i).lower() for i in range(3000)}
    assert len(names) == 3000
    for name in names:
        first, second = name.split(" ")
        parts = (
            f"{first[start:]} {second[:stop]}" for start in range(len(first)) for stop in range(1, len(second) + 1)
        )
        assert [part for part in parts if part in names] == [name]


def test_every_domain_can_name_a_large_graph() -> None:
    assert NAME_CAPACITY == min(domain.scheme.capacity for domain in DOMAINS) >= 40_000


def test_seeds_give_other_names() -> None:
    books = [NameBook(DOMAINS[0], seed) for seed in (0, 1)]
    first, second = ({book.name(i) for i in range(25)} for book in books)
    assert len(first & second) <= 1
