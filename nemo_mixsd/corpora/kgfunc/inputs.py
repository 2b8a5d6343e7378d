"""Drawing inputs that are balanced over digit lengths and never repeat."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from nemo_mixsd.errors import CorpusError
from nemo_mixsd.randomness import KeyedRandom

LENGTHS: Final = (1, 2, 3, 4, 5)
"""Digit lengths of the inputs; 0 is the tenth number of one digit."""


def span(length: int) -> range:
    """All inputs of so many digits."""
    return range(0 if length == 1 else 10 ** (length - 1), 10**length)


class InputPool:
    """The inputs 0–99,999 without those that are held out."""

    def __init__(self, held_out: Collection[int] = ()) -> None:
        self._held_out = frozenset(held_out)
        self._free = {k: len(span(k)) - sum(len(str(n)) == k for n in self._held_out) for k in LENGTHS}

    def draw(
        self, rng: KeyedRandom, count: int, *, without: int | None = None, share: float = 1.0, shortest: int = 1
    ) -> list[int]:
        """``count`` different inputs in random order, as evenly spread over the digit lengths as there are inputs.

        Args:
            rng: Where the randomness comes from.
            count: How many inputs.
            without: One more input that must not appear.
            share: At most this share of all inputs of a length is taken, so that something is left for others.
            shortest: The smallest digit length to draw.

        Raises:
            CorpusError: There are fewer than ``count`` such inputs.
        """
        limits = {k: min(self._free[k], int(share * len(span(k)))) for k in LENGTHS if k >= shortest}
        if without is not None and without not in self._held_out and len(str(without)) >= shortest:
            length = len(str(without))
            limits[length] = min(limits[length], self._free[length] - 1)
        if count > sum(limits.values()):
            raise CorpusError(
                f"corpus 'kgfunc': {count} different inputs are asked for and {sum(limits.values())} are left. "
                "Lower the counts of the corpus section"
            )
        drawn: list[int] = []
        for length, quota in self._quotas(rng, count, limits).items():
            drawn += self._draw_length(rng, length, quota, without)
        rng.shuffle(drawn)
        return drawn

    @staticmethod
    def _quotas(rng: KeyedRandom, count: int, limits: dict[int, int]) -> dict[int, int]:
        """Deal ``count`` out one by one over the lengths from a random start, passing over those that are full."""
        order = list(limits)
        start = rng.below(len(order))
        order = order[start:] + order[:start]
        quotas = dict.fromkeys(order, 0)
        while count:
            for length in order:
                if count and quotas[length] < limits[length]:
                    quotas[length] += 1
                    count -= 1
        return quotas

    def _draw_length(self, rng: KeyedRandom, length: int, quota: int, without: int | None) -> list[int]:
        numbers = span(length)
        if 2 * quota > self._free[length]:  # listing what is left beats drawing until a free one comes up
            left = [n for n in numbers if n != without and n not in self._held_out]
            return rng.sample(left, quota)
        picked: dict[int, None] = {}
        while len(picked) < quota:
            n = numbers[rng.below(len(numbers))]
            if n != without and n not in self._held_out:
                picked[n] = None
        return list(picked)
