"""CDF, counts above thresholds and their intervals, against brute force and known values."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.analysis.distribution import above, above_all, cdf_points, token_values, wilson
from nemo_mixsd.analysis.nll import THRESHOLDS, TokenNLL
from nemo_mixsd.mixing.coins import uniforms

NATS = st.floats(0, 30, allow_nan=False)


def records(rows):
    return [TokenNLL(f"e{i}", tuple(row)) for i, row in enumerate(rows)]


@given(st.lists(st.lists(NATS, max_size=6), max_size=6))
def test_counts_are_counts(rows):
    flat = [v for row in rows for v in row]
    for found, threshold in zip(above_all(records(rows)), THRESHOLDS):
        assert found.count == sum(v > threshold for v in flat)
        assert found.tokens == len(flat)
        assert found.share == (found.count / len(flat) if flat else None)
        if found.low is not None:
            assert 0 <= found.low <= found.share <= found.high <= 1
    assert token_values(records(rows)).tolist() == flat


@given(st.lists(NATS, min_size=1, max_size=60), st.integers(2, 20))
def test_cdf_points_lie_on_the_cdf(values, most):
    points = cdf_points(np.array(values), most)
    assert len(points) <= most
    assert points[-1] == (max(values), 1.0)
    assert points[0][0] == min(values)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points))
    for x, share in points:
        assert share == pytest.approx(sum(v <= x for v in values) / len(values))


def test_tokens_of_one_target_are_not_independent():
    # all or nothing within a target: the interval of 20 targets of 50 tokens is as wide as that of 20 coins
    rows = [[9.0] * 50 if i % 2 else [0.0] * 50 for i in range(20)]
    found = above(records(rows), 8)
    alone = above(records([[9.0] if i % 2 else [0.0] for i in range(20)]), 8)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))
    assert found.high - found.low > 0.4
    assert above(records(rows[:1]), 8).low is None


def test_the_interval_of_a_share_covers_the_truth():
    hits = 0
    for trial in range(300):
        u = uniforms("test", trial, "x", 0, 0, 60 * 9)
        rows = [[9.0 if v < 0.2 else 1.0 for v in u[9 * i : 9 * i + 3 + i % 6]] for i in range(60)]
        found = above(records(rows), 8)
        hits += found.low <= 0.2 <= found.high
    assert 0.9 < hits / 300 < 0.99


@pytest.mark.parametrize(  # Newcombe 1998, table I (method 3: score without continuity correction)
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(successes, trials, low, high):
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)
    mirrored = wilson(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_a_share_of_nothing_has_no_interval():
    with pytest.raises(ValueError, match="no trials"):
        wilson(0, 0)
