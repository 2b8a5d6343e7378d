"""Inputs: never repeated, never held out, balanced over digit lengths as far as there are inputs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.corpora.kgfunc.inputs import InputPool, span
from nemo_mixsd.errors import CorpusError
from nemo_mixsd.randomness import KeyedRandom

SIZES = {1: 10, 2: 90, 3: 900, 4: 9_000, 5: 90_000}


def test_the_spans_part_the_domain() -> None:
    assert {k: len(span(k)) for k in SIZES} == SIZES
    assert [n for k in SIZES for n in span(k)] == list(range(100_000))


@given(
    seed=st.integers(0, 1000),
    count=st.integers(0, 700),
    held_out=st.sets(st.integers(0, 130), max_size=90),
    without=st.none() | st.integers(0, 99_999),
    shortest=st.integers(1, 3),
)
@settings(max_examples=150, deadline=None)
def test_draws_keep_all_promises(seed: int, count: int, held_out: set[int], without: int | None, shortest: int) -> None:
    drawn = InputPool(held_out).draw(KeyedRandom("t", seed), count, without=without, shortest=shortest)
    assert len(drawn) == len(set(drawn)) == count
    assert not held_out & set(drawn) and without not in drawn
    lengths = Counter(len(str(n)) for n in drawn)
    assert min(lengths, default=5) >= shortest
    blocked = held_out | ({without} if without is not None else set())
    most = max(lengths.values(), default=0)
    for length in range(shortest, 6):
        free = SIZES[length] - sum(len(str(n)) == length for n in blocked)
        # a length falls behind the fullest one by more than one only when it has nothing left
        assert lengths[length] >= most - 1 or lengths[length] == free


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_share_leaves_the_rest_to_others(seed: int) -> None:
    lengths = Counter(len(str(n)) for n in InputPool().draw(KeyedRandom("t", seed), 300, share=0.5))
    assert (lengths[1], lengths[2]) == (5, 45)


def test_the_whole_domain_can_be_drawn_and_no_more() -> None:
    assert sorted(InputPool({7}).draw(KeyedRandom("t"), 99_999)) == [n for n in range(100_000) if n != 7]
    with pytest.raises(CorpusError, match="100000 different inputs are asked for and 99999 are left"):
        InputPool({7}).draw(KeyedRandom("t"), 100_000)


def test_every_input_of_a_length_is_about_equally_likely() -> None:
    counts = Counter(n for i in range(2_000) for n in InputPool().draw(KeyedRandom("t", i), 10) if n < 10)
    expected = 2_000 * 2 / 10
    assert set(counts) == set(range(10))
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 27.9  # chi-square, 9 degrees, p = 0.001
