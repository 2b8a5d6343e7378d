"""Randomness as a function: the same key gives the same number on every machine, Python version and call order."""

from __future__ import annotations

import hashlib
from collections.abc import MutableSequence, Sequence
from typing import TypeVar

T = TypeVar("T")


def digest(*key: int | str) -> int:
    """A 128-bit integer that is a function of ``key`` (BLAKE2b over a length-prefixed encoding of its parts)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in key:
        kind, text = ("i", str(part)) if isinstance(part, int) else ("s", part)
        data = text.encode("utf-8")
        hasher.update(f"{kind}{len(data)}:".encode())
        hasher.update(data)
    return int.from_bytes(hasher.digest(), "big")


class KeyedRandom:
    """A small generator whose n-th draw is a function of its key and n alone.

    ``random.Random`` keeps its stream between Python versions only for ``random()``; ``shuffle`` and ``sample`` are
    free to change. Corpora promise equal bytes, so they draw from here.
    """

    def __init__(self, *key: int | str) -> None:
        self._key = key
        self._count = 0

    def below(self, n: int) -> int:
        """An integer in ``[0, n)``; the bias is below 2^-90 for any ``n`` under 2^32."""
        if n <= 0:
            raise ValueError(f"below() needs a positive bound, got {n}")
        self._count += 1
        return digest(*self._key, self._count) % n

    def choice(self, items: Sequence[T]) -> T:
        """One element of ``items``."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Shuffle in place (Fisher-Yates)."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """``k`` distinct positions of ``items``, in random order.

        Raises:
            ValueError: ``k`` is negative or larger than the number of items.
        """
        if not 0 <= k <= len(items):
            raise ValueError(f"cannot sample {k} of {len(items)} items")
        picked: dict[int, int] = {}
        out: list[T] = []
        for i in range(k):  # a Fisher-Yates shuffle that stores only the positions it moved
            j = i + self.below(len(items) - i)
            out.append(items[picked.get(j, j)])
            picked[j] = picked.get(i, i)
        return out
