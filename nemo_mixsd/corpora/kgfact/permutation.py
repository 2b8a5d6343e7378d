"""Permutations of ``range(n)`` as functions of an index: a million-node graph needs no stored table."""

from __future__ import annotations

from nemo_mixsd.randomness import digest

_ROUNDS = 4
_WORD = (1 << 64) - 1


class KeyedPermutation:
    """A bijection of ``range(size)`` that is a function of its key, computed in constant memory both ways.

    A Feistel network over the smallest even number of bits that holds ``size`` values; indices that land outside
    the range are sent through it again, which keeps the map one to one. The round keys come from ``digest``; the
    round function is the 64-bit finalizer of SplitMix, since a hash a round would cost twenty times as much.

    Args:
        size: How many indices there are, at least 1.
        key: What the permutation is a function of.

    Raises:
        ValueError: ``size`` is below 1.
    """

    def __init__(self, size: int, *key: int | str) -> None:
        if size < 1:
            raise ValueError(f"a permutation needs at least one index, got size {size}")
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._keys = tuple(digest(*key, "round", number) & _WORD for number in range(_ROUNDS))

    def __call__(self, index: int, tweak: int = 0) -> int:
        """Where ``index`` goes. Each ``tweak`` (any integer from 0) gives a permutation of its own.

        Raises:
            IndexError: ``index`` is outside ``range(size)``.
        """
        self._check(index)
        while True:
            left, right = index >> self._half, index & self._mask
            for key in self._keys:
                left, right = right, left ^ (_mix(right, key, tweak) & self._mask)
            index = left << self._half | right
            if index < self.size:
                return index

    def inverse(self, index: int, tweak: int = 0) -> int:
        """The index that goes to ``index`` under the same ``tweak``.

        Raises:
            IndexError: ``index`` is outside ``range(size)``.
        """
        self._check(index)
        while True:
            left, right = index >> self._half, index & self._mask
            for key in reversed(self._keys):
                left, right = right ^ (_mix(left, key, tweak) & self._mask), left
            index = left << self._half | right
            if index < self.size:
                return index

    def _check(self, index: int) -> None:
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is outside the permutation of {self.size} indices")


def _mix(value: int, key: int, tweak: int) -> int:
    word = (value * 0x9E3779B97F4A7C15 + key + tweak * 0xD1342543DE82EF95) & _WORD
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & _WORD
    return word ^ word >> 31
