"""The distribution of target NLL: CDF, counts and shares above thresholds with intervals (Section 7.2, E.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nemo_mixsd.analysis.nll import THRESHOLDS, TokenNLL

Z95 = 1.959964
"""Standard deviations on each side of a 95 % interval of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Above:
    """How many tokens a model finds unlikelier than a threshold.

    Attributes:
        threshold: Nats.
        count: Tokens with an NLL above it.
        tokens: All tokens.
        low: Lower end of the 95 % interval of the share; None with fewer than two sequences.
        high: Upper end.
    """

    threshold: float
    count: int
    tokens: int
    low: float | None
    high: float | None

    @property
    def share(self) -> float | None:
        """``count / tokens``, or None without a token."""
        return self.count / self.tokens if self.tokens else None


def token_values(records: Sequence[TokenNLL]) -> NDArray[np.float64]:
    """All tokens' NLL, in the order of the records: ``[N]`` float64, nats."""
    return np.array([value for record in records for value in record.nll], dtype=np.float64)


def above(records: Sequence[TokenNLL], threshold: float) -> Above:
    """Count the tokens above a threshold.

    The interval takes whole sequences as the sampling unit (a ratio estimate with linearised variance), because the
    tokens of one target are not independent.
    """
    hits = np.array([sum(v > threshold for v in r.nll) for r in records], dtype=np.float64)
    sizes = np.array([len(r.nll) for r in records], dtype=np.float64)
    count, tokens = int(hits.sum()), int(sizes.sum())
    if len(records) < 2 or not tokens:
        return Above(threshold, count, tokens, None, None)
    share = count / tokens
    spread = float(np.sum((hits - share * sizes) ** 2)) * len(records) / (len(records) - 1)
    half = Z95 * math.sqrt(spread) / tokens
    return Above(threshold, count, tokens, max(0.0, share - half), min(1.0, share + half))


def above_all(records: Sequence[TokenNLL], thresholds: Sequence[float] = THRESHOLDS) -> list[Above]:
    """``above`` for each threshold."""
    return [above(records, threshold) for threshold in thresholds]


def cdf_points(values: NDArray[np.float64], most: int = 160) -> list[tuple[float, float]]:
    """The empirical CDF as corners of a step function, thinned to at most ``most`` of them.

    Args:
        values: ``[N]`` NLL in nats, any order, at least one.
        most: Upper bound on the number of points; the lowest and the highest value are always among them.

    Returns:
        ``(x, share of values <= x)`` in ascending order. Each point lies on the exact CDF.
    """
    ordered = np.sort(values)
    steps = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])  # the last of each run of equal values
    if len(steps) > most:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, most).round().astype(np.int64))]
    return [(float(ordered[i]), (int(i) + 1) / len(ordered)) for i in steps]


def wilson(successes: float, trials: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share.

    Raises:
        ValueError: There were no trials.
    """
    if trials < 1:
        raise ValueError("a share of no trials has no interval")
    share, z2 = successes / trials, Z95 * Z95
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
