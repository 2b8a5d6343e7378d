from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.corpora.kgfact.permutation import KeyedPermutation


@given(size=st.integers(1, 300), key=st.integers(), tweak=st.integers(0, 10**9))
def test_it_is_one_to_one_onto_its_range_and_the_inverse_undoes_it(size: int, key: int, tweak: int) -> None:
    permutation = KeyedPermutation(size, "test", key)
    images = [permutation(i, tweak) for i in range(size)]
    assert sorted(images) == list(range(size))
    assert [permutation.inverse(image, tweak) for image in images] == list(range(size))


@given(size=st.integers(10**6, 10**12), data=st.data())
def test_the_inverse_undoes_it_on_large_ranges(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    permutation = KeyedPermutation(size, "large")
    assert 0 <= permutation(index) < size
    assert permutation.inverse(permutation(index)) == index


def test_keys_and_tweaks_give_permutations_of_their_own() -> None:
    first, second = KeyedPermutation(100, "a", 0), KeyedPermutation(100, "a", 1)
    images = {
        tuple(first(i) for i in range(100)),
        tuple(second(i) for i in range(100)),
        tuple(first(i, 1) for i in range(100)),
        tuple(first(i, 2) for i in range(100)),
    }
    assert len(images) == 4


def test_every_position_of_a_small_range_is_reached_about_equally_often() -> None:
    # 3000 keys over 15 places: 200 expected in each, standard deviation 13.7.
    counts = [0] * 15
    for key in range(3000):
        counts[KeyedPermutation(15, "spread", key)(3)] += 1
    assert all(140 < count < 260 for count in counts), counts


def test_wrong_sizes_and_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="size 0"):
        KeyedPermutation(0, "x")
    with pytest.raises(IndexError, match="index 5 is outside"):
        KeyedPermutation(5, "x")(5)
    with pytest.raises(IndexError, match="index -1 is outside"):
        KeyedPermutation(5, "x").inverse(-1)
