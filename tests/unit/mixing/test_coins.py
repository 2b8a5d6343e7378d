"""Coins against Philox4x64-10 written out in plain Python, their statistics, and their segments."""

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.mixing.coins import coin, coins, gumbel, segments, uniforms

MASK = 2**64 - 1


def philox(counter: int, key: int) -> list[int]:
    """Philox4x64-10 of Salmon et al. (2011): four 64-bit words of one 256-bit counter."""
    c = [counter >> 64 * i & MASK for i in range(4)]
    k = [key & MASK, key >> 64]
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [(right >> 64) ^ c[1] ^ k[0], right & MASK, (left >> 64) ^ c[3] ^ k[1], left & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def key(purpose, seed, example_id, attempt):
    text = f"{len(purpose)}:{purpose}{len(str(seed))}:{seed}{len(example_id)}:{example_id}{len(str(attempt))}:{attempt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def words(purpose, seed, example_id, attempt, start, count):
    """NumPy adds one to the counter before it makes a block."""
    k = key(purpose, seed, example_id, attempt)
    return [philox(i // 4 + 1, k)[i % 4] for i in range(start, start + count)]


def test_the_witness_itself_gives_the_published_vector():
    """Known answer of Random123 for philox4x64-10 with a counter and a key of zeros."""
    assert philox(0, 0) == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["coin", "token"]),
    st.integers(-5, 2**40),
    st.text(max_size=8),
    st.integers(1, 12),
    st.integers(0, 5000),
    st.integers(1, 9),
)
def test_uniforms_are_philox(purpose, seed, example_id, attempt, start, count):
    expected = [(w >> 11) / 2**53 for w in words(purpose, seed, example_id, attempt, start, count)]
    assert uniforms(purpose, seed, example_id, attempt, start, count).tolist() == expected


def test_pinned_values():
    """Targets on disk depend on these: they must never change."""
    assert uniforms("coin", 0, "e0", 1, 0, 5).tolist() == PINNED
    assert "".join("NE"[not c] for c in coins(42, "fact-7", 3, 32, 0.3)) == PINNED_COINS


PINNED = [0.21055802193848594, 0.8947185723676109, 0.8610425570949816, 0.24824608748824617, 0.05929315586096051]
PINNED_COINS = "EEEENEEEENNNEENEENEEEEEEENEEEEEN"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 99), st.text(max_size=5), st.integers(1, 11), st.floats(0, 1), st.integers(0, 40))
def test_one_coin_is_that_of_the_array(seed, example_id, attempt, rate, position):
    flips = coins(seed, example_id, attempt, 41, rate)
    assert coin(seed, example_id, attempt, position, rate) == flips[position]
    assert coins(seed, example_id, attempt, position + 1, rate).tolist() == flips[: position + 1].tolist()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_share_of_naive_coins_is_the_rate(rate):
    n, length = 400, 100
    flips = np.array([coins(0, f"e{i}", 1, length, rate) for i in range(n)])
    sigma = math.sqrt(rate * (1 - rate) / (n * length))
    assert abs(flips.mean() - rate) < 4.5 * sigma
    by_position, sigma_p = flips.mean(0), math.sqrt(rate * (1 - rate) / n)
    assert np.abs(by_position - rate).max() < 5 * sigma_p


def test_the_ends_are_certain():
    assert not coins(1, "e", 1, 5000, 0.0).any()
    assert coins(1, "e", 1, 5000, 1.0).all()


@pytest.mark.parametrize("change", ["seed", "example", "attempt", "position", "purpose"])
def test_coins_that_differ_in_one_part_of_the_key_are_independent(change):
    n = 20_000
    base = uniforms("coin", 0, "e1", 1, 0, n + 1)
    other = {
        "seed": lambda: uniforms("coin", 1, "e1", 1, 0, n),
        "example": lambda: uniforms("coin", 0, "e2", 1, 0, n),
        "attempt": lambda: uniforms("coin", 0, "e1", 2, 0, n),
        "position": lambda: base[1:],
        "purpose": lambda: uniforms("token", 0, "e1", 1, 0, n),
    }[change]()
    correlation = np.corrcoef(base[:n], other)[0, 1]
    assert abs(correlation) < 4.5 / math.sqrt(n)
    agree = ((base[:n] < 0.5) == (other < 0.5)).mean()
    assert abs(agree - 0.5) < 4.5 * 0.5 / math.sqrt(n)


def test_keys_do_not_run_into_each_other():
    """Seed 1 of example 1e is not seed 11 of example e, and so on."""
    keys = [(1, "1e", 1), (11, "e", 1), (1, "1e1", 1), (1, "1e", 11), (1, "", 1), (0, "", 1)]
    seen = {tuple(uniforms("coin", *key, 0, 4)) for key in keys}
    assert len(seen) == 6


def test_more_coins_at_a_higher_rate_never_turn_a_naive_one():
    """A coin is a threshold on one number, so rates are comparable position by position."""
    low, high = coins(3, "x", 1, 3000, 0.3), coins(3, "x", 1, 3000, 0.5)
    assert not (low & ~high).any() and (high & ~low).any()


@given(st.lists(st.booleans(), max_size=40))
def test_segments_spell_the_coins(flips):
    cut = segments(np.array(flips, dtype=bool))
    assert [s.naive for s in cut for _ in range(s.length)] == flips
    assert [s.start for s in cut] == [sum(t.length for t in cut[:i]) for i in range(len(cut))]
    assert all(a.naive != b.naive for a, b in pairwise(cut))
    assert all(s.length > 0 for s in cut)


def test_gumbel_noise_is_gumbel():
    noise = np.concatenate([gumbel(0, "e", 1, p, 1001) for p in range(30)])
    n = len(noise)
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772156649) < 4.5 * (math.pi / math.sqrt(6)) / math.sqrt(n)
    cdf = np.exp(-np.exp(-np.sort(noise)))  # Kolmogorov-Smirnov
    assert np.abs(cdf - (np.arange(n) + 0.5) / n).max() < 2.0 / math.sqrt(n)


@pytest.mark.parametrize("vocabulary", [1, 3, 4, 97])
def test_gumbel_positions_never_share_a_word(vocabulary):
    rows = [tuple(gumbel(0, "e", 1, p, vocabulary)) for p in range(12)]
    flat = [x for row in rows for x in row]
    assert len(set(flat)) == len(flat) == 12 * vocabulary


def test_sampling_with_gumbel_noise_follows_the_softmax():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    picks = np.bincount([int(np.argmax(logits + gumbel(0, f"e{i}", 1, 0, 4))) for i in range(4000)], minlength=4)
    expected = 4000 * np.exp(logits)
    assert ((picks - expected) ** 2 / expected).sum() < 22  # 3 degrees of freedom, p < 1e-4
