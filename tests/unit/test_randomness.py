"""Keyed draws: functions of their key, fair, the same everywhere."""

import hashlib
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.randomness import KeyedRandom, digest


def test_digest_by_hand():
    text = b"s5:orderi1:7i2:-1s0:"
    assert digest("order", 7, -1, "") == int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


@given(st.lists(st.one_of(st.integers(), st.text())), st.lists(st.one_of(st.integers(), st.text())))
def test_digest_tells_keys_apart(left, right):
    same = [(type(x), x) for x in left] == [(type(x), x) for x in right]
    assert (digest(*left) == digest(*right)) == same


def test_draws_are_pinned():
    """These values are promised: corpora and data orders are made of them."""
    random = KeyedRandom("pin", 1)
    assert [random.below(1000) for _ in range(6)] == [digest("pin", 1, n) % 1000 for n in range(1, 7)]
    items = list(range(10))
    KeyedRandom("pin", 2).shuffle(items)
    assert items == PINNED_SHUFFLE
    assert KeyedRandom("pin", 3).sample("abcdefghij", 4) == PINNED_SAMPLE


PINNED_SHUFFLE = [9, 0, 3, 1, 8, 5, 4, 7, 2, 6]
PINNED_SAMPLE = ["e", "i", "d", "b"]


def test_shuffle_reaches_every_order_equally_often():
    counts = Counter()
    for n in range(6000):
        items = [0, 1, 2]
        KeyedRandom("fair", n).shuffle(items)
        counts[tuple(items)] += 1
    assert set(counts) == set(permutations(range(3)))
    chi = sum((c - 1000) ** 2 / 1000 for c in counts.values())
    assert chi < 25  # 5 degrees of freedom: above with probability 1e-4


@given(st.integers(0, 30), st.data())
def test_sample_takes_distinct_positions(size, data):
    k = data.draw(st.integers(0, size))
    picked = KeyedRandom("s", size, k).sample(range(size), k)
    assert len(picked) == k == len(set(picked))
    assert set(picked) <= set(range(size))


def test_a_full_sample_is_a_permutation_and_a_shorter_one_its_prefix():
    full = KeyedRandom("p", 1).sample(range(50), 50)
    assert sorted(full) == list(range(50)) != full
    assert KeyedRandom("p", 1).sample(range(50), 7) == full[:7]


def test_sample_is_fair():
    counts = Counter(x for n in range(3000) for x in KeyedRandom("u", n).sample(range(6), 2))
    assert sum((c - 1000) ** 2 / 1000 for c in counts.values()) < 25


@pytest.mark.parametrize("k", [-1, 4])
def test_sample_refuses_what_it_cannot_give(k):
    with pytest.raises(ValueError, match=f"cannot sample {k} of 3 items"):
        KeyedRandom("x").sample("abc", k)


@pytest.mark.parametrize("n", [0, -3])
def test_below_needs_room(n):
    with pytest.raises(ValueError, match=f"positive bound, got {n}"):
        KeyedRandom("x").below(n)


def test_choice_takes_an_element():
    assert {KeyedRandom("c", n).choice("ab") for n in range(20)} == {"a", "b"}
