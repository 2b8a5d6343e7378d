"""Coins and sampling noise as functions of (seed, example, attempt, position), from Philox counters.

A coin is not drawn from a stream: it is looked up. So the same seed gives the same target whatever the engine, the
batch size, the order of the examples, the number of workers, or an interruption in between.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

_BLOCK = 4
"""Words of 64 bits that one Philox4x64 counter value yields."""


def _philox_key(purpose: str, seed: int, example_id: str, attempt: int) -> int:
    """A 128-bit Philox key; the parts are length-prefixed, so that no two differ by mere concatenation."""
    text = "".join(f"{len(part)}:{part}" for part in (purpose, str(seed), example_id, str(attempt)))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest(), "little")


def uniforms(purpose: str, seed: int, example_id: str, attempt: int, start: int, count: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) at word positions ``start`` to ``start + count`` of one Philox sequence.

    Uses the raw 64-bit words, whose values NumPy guarantees, not ``Generator.random``, whose are not promised.

    Returns:
        ``[count]`` float64, multiples of 2^-53.
    """
    generator = np.random.Philox(key=_philox_key(purpose, seed, example_id, attempt))
    blocks, offset = divmod(start, _BLOCK)
    generator.advance(blocks)
    words = generator.random_raw(offset + count)[offset:]
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def coins(seed: int, example_id: str, attempt: int, count: int, rate: float) -> NDArray[np.bool_]:
    """The first ``count`` coins of one attempt (the Bernoulli choice of Eq. 4).

    Args:
        seed: ``mixing.seed``.
        example_id: ``Example.id``.
        attempt: 1 for the first rollout of the example; each retry has new coins.
        count: How many positions.
        rate: The mixing rate λ = P(naive), in [0, 1]. At 0 no coin is naive, at 1 every coin is.

    Returns:
        ``[count]`` bool; True where the naive conditional decodes the position.
    """
    return uniforms("coin", seed, example_id, attempt, 0, count) < rate


def coin(seed: int, example_id: str, attempt: int, position: int, rate: float) -> bool:
    """One coin, by position: ``coins(...)[position]``."""
    return bool(uniforms("coin", seed, example_id, attempt, position, 1)[0] < rate)


@dataclass(frozen=True, slots=True)
class Segment:
    """A maximal run of positions with equal coins: positions ``start`` to ``start + length`` of the target."""

    start: int
    length: int
    naive: bool


def segments(flips: NDArray[np.bool_]) -> list[Segment]:
    """Cut a ``[T]`` bool array of coins into its segments, in order. The lengths sum to ``T``."""
    out: list[Segment] = []
    start = 0
    for naive, run in groupby(flips.tolist()):
        length = sum(1 for _ in run)
        out.append(Segment(start, length, bool(naive)))
        start += length
    return out


def gumbel(seed: int, example_id: str, attempt: int, position: int, vocabulary: int) -> NDArray[np.float64]:
    """Standard Gumbel noise for sampling position ``position`` (argmax of logits / temperature + noise samples it).

    Returns:
        ``[vocabulary]`` float64.
    """
    width = -(-vocabulary // _BLOCK) * _BLOCK  # whole counter blocks, so that positions never overlap
    unit = uniforms("token", seed, example_id, attempt, position * width, vocabulary)
    noise: NDArray[np.float64] = -np.log(-np.log(np.maximum(unit, 2.0**-54)))
    return noise
