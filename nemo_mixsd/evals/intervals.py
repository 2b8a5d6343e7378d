"""How sure an accuracy is: 95 % intervals for one sample a problem (Wilson) and for several (bootstrap)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from nemo_mixsd.analysis.distribution import wilson as wilson_score
from nemo_mixsd.randomness import digest

RESAMPLES = 4000
"""Bootstrap resamples."""
BLOCK = 2_000_000
"""Random indices drawn at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of an accuracy, within [0, 1]."""

    low: float
    high: float
    method: Literal["wilson", "bootstrap", "normal"]


def wilson(correct: int, n: int) -> Interval:
    """The score interval (Wilson, 1927) of ``correct`` out of ``n`` independent problems; sensible near 0 and 1.

    Raises:
        ValueError: ``n`` is 0, or ``correct`` is not within 0..n.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"no interval for {correct} of {n}")
    low, high = wilson_score(correct, n)
    return Interval(0.0 if correct == 0 else low, 1.0 if correct == n else high, "wilson")  # without rounding errors


def bootstrap(shares: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The percentile interval of the mean over problems, where several samples of a problem are not independent.

    Args:
        shares: ``[P]``, the share of right samples of each problem.
        seed: Of the resampling; the same gives the same interval everywhere.
        resamples: How many times ``P`` problems are drawn with replacement.

    Raises:
        ValueError: There are no problems.
    """
    values = np.asarray(shares, dtype=np.float64)
    count = len(values)
    if count < 1:
        raise ValueError("no interval without problems")
    rows = max(1, BLOCK // count)
    means: list[npt.NDArray[np.float64]] = []
    for first in range(0, resamples, rows):
        last = min(resamples, first + rows)
        index = _below(count, first * count, last * count, digest("bootstrap", seed) & (2**64 - 1))
        means.append(values[index].reshape(last - first, count).mean(axis=1))
    ordered = np.sort(np.concatenate(means))
    low, high = ordered[int(0.025 * resamples)], ordered[min(resamples - 1, math.ceil(0.975 * resamples) - 1)]
    return Interval(float(low), float(high), "bootstrap")


def _below(n: int, first: int, last: int, key: int) -> npt.NDArray[np.int64]:
    """Draws ``first`` to ``last`` of a counter-based stream (SplitMix64) of integers in ``[0, n)``, ``n`` < 2^32."""
    with np.errstate(over="ignore"):
        x = (np.arange(first, last, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
        scaled = ((x >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32)
    return scaled.astype(np.int64)
