"""Intervals against hand values, numpy's own bootstrap, and what they promise: coverage."""

import numpy as np
import pytest

from nemo_mixsd.evals.intervals import _below, bootstrap, wilson


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # published values of the score interval
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson_against_published_values(correct, n, low, high):
    interval = wilson(correct, n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)
    assert interval.method == "wilson"


def test_wilson_covers():
    rng = np.random.default_rng(0)
    for p in (0.05, 0.3, 0.9):
        hits = [wilson(int(k), 60) for k in rng.binomial(60, p, size=2000)]
        assert np.mean([i.low <= p <= i.high for i in hits]) > 0.93


@pytest.mark.parametrize(("correct", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_no_interval_without_problems(correct, n):
    with pytest.raises(ValueError, match="no interval"):
        wilson(correct, n)
    with pytest.raises(ValueError, match="no interval"):
        bootstrap([])


def test_bootstrap_agrees_with_a_plain_one():
    rng = np.random.default_rng(1)
    shares = rng.integers(0, 9, size=30) / 8
    means = rng.choice(shares, size=(20000, 30)).mean(axis=1)
    interval = bootstrap(list(shares), seed=3)
    assert interval.low == pytest.approx(np.quantile(means, 0.025), abs=0.01)
    assert interval.high == pytest.approx(np.quantile(means, 0.975), abs=0.01)
    assert interval == bootstrap(list(shares), seed=3)
    assert interval != bootstrap(list(shares), seed=4)


def test_bootstrap_of_equal_problems_is_a_point():
    assert bootstrap([0.5] * 7) == bootstrap([0.5] * 7, seed=9)
    assert (bootstrap([1.0] * 3).low, bootstrap([1.0] * 3).high) == (1.0, 1.0)


def test_bootstrap_does_not_depend_on_the_block(monkeypatch):
    shares = [0.0, 0.25, 1.0, 0.5, 0.75]
    whole = bootstrap(shares, seed=2)
    monkeypatch.setattr("nemo_mixsd.evals.intervals.BLOCK", 11)
    assert bootstrap(shares, seed=2) == whole


def splitmix(x):
    """The published SplitMix64 in plain integers."""
    mask = 2**64 - 1
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
    return x ^ (x >> 31)


def test_the_stream_is_the_published_one():
    key = 12345
    expected = [(splitmix(((i + 1) * 0x9E3779B97F4A7C15 + key) % 2**64) >> 32) * 30 >> 32 for i in range(50, 80)]
    assert _below(30, 50, 80, key).tolist() == expected
