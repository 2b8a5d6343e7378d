"""Every operation against a definition written another way: arithmetic on digit columns, all inputs at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nemo_mixsd.corpora.kgfunc import DEFAULT_LABELS, MAX_INPUT, OPERATIONS, UNSEEN_OPERATIONS, compose
from nemo_mixsd.corpora.kgfunc.compositions import TRIVIAL_PAIRS, pair_counts

ALL = {**OPERATIONS, **UNSEEN_OPERATIONS}
TRIANGLE = np.cumsum(np.arange(10))  # 0, 1, 3, 6, ... by adding up, not by the formula
PRIMES_SQUARED = np.array([0, 1, 4, 9, 4, 25, 6, 49, 8, 9])
Columns = np.ndarray  # [N, L] digits from left to right
Numbers = np.ndarray  # [N]


def blocks() -> Iterator[tuple[Numbers, Columns]]:
    """The inputs of each digit length, digits split off by division from the right."""
    for length in range(1, 6):
        n = np.arange(0 if length == 1 else 10 ** (length - 1), 10**length)
        yield n, np.stack([n // 10 ** (length - 1 - i) % 10 for i in range(length)], axis=1)


def spell(d: Columns) -> Numbers:
    return sum(d[:, i] * 10 ** (d.shape[1] - 1 - i) for i in range(d.shape[1]))


def total(d: Columns) -> Numbers:
    return d @ np.ones(d.shape[1], dtype=int)


def nonzero_product(d: Columns) -> Numbers:
    out = np.ones(len(d), dtype=int)
    for column in d.T:
        out *= np.where(column == 0, 1, column)
    return out


def spread(n: Numbers, d: Columns) -> Numbers:
    low = d.min(axis=1)  # sum (x - m)^2 = sum x^2 - 2 m sum x + L m^2
    return (d * d).sum(1) - 2 * low * d.sum(1) + d.shape[1] * low * low


def alternating(n: Numbers, d: Columns) -> Numbers:
    return np.abs((d[:, ::2] ** 2).sum(1) - (d[:, 1::2] ** 2).sum(1))


def running_maxima(n: Numbers, d: Columns) -> Numbers:
    return sum(d[:, : i + 1].max(1) for i in range(d.shape[1]))


def least_rotation(n: Numbers, d: Columns) -> Numbers:
    top, turned, best = 10 ** (d.shape[1] - 1), n.copy(), n.copy()
    for _ in range(d.shape[1]):
        turned = turned % top * 10 + turned // top
        best = np.minimum(best, turned)
    return best


def rising_powers(n: Numbers, d: Columns) -> Numbers:
    out = np.zeros(len(d), dtype=int)
    for i in range(d.shape[1]):
        power = np.ones(len(d), dtype=int)
        for _ in range(i + 1):
            power *= d[:, i]
        out += power
    return out


def scaled_variance(n: Numbers, d: Columns) -> Numbers:
    length = d.shape[1]  # Lagrange: L sum x^2 - (sum x)^2 = sum over pairs (x - y)^2
    pairs = [(d[:, i] - d[:, j]) ** 2 for i in range(length) for j in range(i)]
    return sum(pairs, np.zeros(len(d), dtype=int))


def mod_product(n: Numbers, d: Columns) -> Numbers:
    product = nonzero_product(d)
    return n - n // product * product


def distinct(n: Numbers, d: Columns) -> Numbers:
    return sum((d == digit).any(axis=1).astype(int) for digit in range(10))


def first(d: Columns) -> Numbers:
    return spell(d) // 10 ** (d.shape[1] - 1)


REFERENCE: dict[str, Callable[[Numbers, Columns], Numbers]] = {
    "A": lambda n, d: total(d) * np.sort(d, axis=1)[:, -1],
    "B": spread,
    "C": alternating,
    "D": lambda n, d: total(PRIMES_SQUARED[d]),
    "E": lambda n, d: np.einsum("ij,ij->i", d, d[:, ::-1]),
    "F": running_maxima,
    "G": lambda n, d: total(TRIANGLE[d]),
    "H": least_rotation,
    "I": rising_powers,
    "J": scaled_variance,
    "K": mod_product,
    "a": lambda n, d: total(d),
    "b": lambda n, d: nonzero_product(d),
    "c": lambda n, d: 1 + (n >= 10) + (n >= 100) + (n >= 1000) + (n >= 10000),
    "d": lambda n, d: np.sort(d, axis=1)[:, -1],
    "e": lambda n, d: np.sort(d, axis=1)[:, 0],
    "f": lambda n, d: first(d),
    "g": lambda n, d: n % 10,
    "h": lambda n, d: np.ptp(d, axis=1),
    "i": lambda n, d: spell(d[:, ::-1]),
    "j": lambda n, d: first(d) + n % 10,
    "k": lambda n, d: total((d % 2 == 0).astype(int)),
    "l": lambda n, d: total(d % 2),
    "m": distinct,
    "n": lambda n, d: np.where(n == 0, 0, 1 + (n - 1) % 9),
    "o": lambda n, d: np.einsum("ij,ij->i", d, d),
    "p": lambda n, d: spell(np.sort(d, axis=1)),
    "q": lambda n, d: spell(np.sort(d, axis=1)[:, ::-1]),
    "r": lambda n, d: total((d == 0).astype(int)),
    "s": lambda n, d: total(d + d),
    "t": lambda n, d: first(d) * (n % 10),
}

DOCS = Path(__file__).parents[4] / "docs" / "corpora" / "kgfunc.md"


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    """Label to the outputs for 0, 1, ..., 99,999."""
    return {label: np.concatenate([f(n, d) for n, d in blocks()]) for label, f in REFERENCE.items()}


def test_the_labels_are_those_of_the_setting() -> None:
    assert "".join(OPERATIONS) == "ABCDEFGHIJK"
    assert "".join(DEFAULT_LABELS) == "BCDEFGH"
    assert "".join(UNSEEN_OPERATIONS) == "abcdefghijklmnopqrst"
    assert all(label == op.label for label, op in ALL.items())
    assert len({op.name for op in ALL.values()}) == len({op.rule for op in ALL.values()}) == len(ALL)


@pytest.mark.parametrize("label", ALL)
def test_operation_equals_its_reference_on_every_input(label: str, reference: dict[str, np.ndarray]) -> None:
    apply = ALL[label].apply
    got = np.fromiter((apply(n) for n in range(MAX_INPUT + 1)), dtype=np.int64, count=MAX_INPUT + 1)
    wrong = np.flatnonzero(got != reference[label])
    assert wrong.size == 0, f"{label}({wrong[0]}) = {got[wrong[0]]}, not {reference[label][wrong[0]]}"


@pytest.mark.parametrize(
    ("label", "n", "output"),
    [
        ("A", 48213, 144), ("B", 48213, 63), ("C", 48213, 36), ("D", 48213, 26), ("E", 48213, 44), ("F", 48213, 36),
        ("G", 48213, 56), ("H", 48213, 13482), ("I", 48213, 320), ("J", 48213, 146), ("K", 48213, 21),
        ("H", 100, 1), ("K", 0, 0), ("K", 100, 0), ("C", 19, 80), ("b", 0, 1), ("b", 500, 5), ("n", 99999, 9),
        ("n", 0, 0), ("i", 1200, 21), ("p", 1020, 12), ("q", 1020, 2100), ("r", 1020, 2), ("r", 0, 1), ("c", 0, 1),
        ("k", 1020, 3), ("l", 1020, 1), ("m", 1020, 3), ("t", 7, 49), ("j", 7, 14), ("h", 7, 0),
    ],
)  # fmt: skip
def test_values_worked_by_hand(label: str, n: int, output: int) -> None:
    assert ALL[label].apply(n) == output


def test_every_output_stays_in_the_range_of_the_inputs(reference: dict[str, np.ndarray]) -> None:
    for label, outputs in reference.items():
        assert 0 <= outputs.min() <= outputs.max() <= MAX_INPUT, label


def test_the_tables_of_the_docs(reference: dict[str, np.ndarray]) -> None:
    """Each row gives the label, the formula, the output for 48213 and the largest output."""
    rows = re.findall(r"^\| ([A-Ka-t]) \|.*\| (\d+) \| (\d+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [label for label, _, _ in rows] == list(ALL)
    for label, example, largest in rows:
        assert (reference[label][48213], reference[label].max()) == (int(example), int(largest)), label


def test_no_two_operations_are_the_same_function(reference: dict[str, np.ndarray]) -> None:
    assert len({outputs.tobytes() for outputs in reference.values()}) == len(ALL)


def test_the_trivial_pairs_are_exactly_those_that_equal_one_operation(reference: dict[str, np.ndarray]) -> None:
    singles = {outputs.tobytes() for outputs in reference.values()}
    labels = list(OPERATIONS)
    found = {(x, y) for x in labels for y in labels if x != y and reference[y][reference[x]].tobytes() in singles}
    assert found == TRIVIAL_PAIRS


@pytest.mark.parametrize("pair", list(pair_counts(tuple(OPERATIONS), 107)))
def test_composition_applies_the_second_to_the_first(pair: tuple[str, str], reference: dict[str, np.ndarray]) -> None:
    x, y = pair
    both = compose(OPERATIONS[x], OPERATIONS[y])
    assert both.label == f"{x} then {y}"
    inputs = range(0, MAX_INPUT + 1, 997)
    assert [both.apply(n) for n in inputs] == [reference[y][reference[x][n]] for n in inputs]


@pytest.mark.parametrize("n", [-1, 100_000])
def test_inputs_out_of_range_are_refused(n: int) -> None:
    for use in (OPERATIONS["B"].apply, OPERATIONS["B"].explain, compose(OPERATIONS["B"], OPERATIONS["C"]).apply):
        with pytest.raises(ValueError, match=rf"0 to 99999, got {n}"):
            use(n)


def test_the_mappings_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        OPERATIONS["Z"] = OPERATIONS["B"]  # type: ignore[index]
