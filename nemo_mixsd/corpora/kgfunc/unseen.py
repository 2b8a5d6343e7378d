"""The simple operations a–t of KGFunc-Unseen: never trained, and easy to infer from the shots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from types import MappingProxyType

from nemo_mixsd.corpora.kgfunc.operation import Operation, Steps
from nemo_mixsd.corpora.kgfunc.steps import (
    add_up,
    digit_line,
    digits,
    equations,
    joined,
    listed,
    multiply_up,
    spelled,
    squares,
)


def _digit_sum(n: int) -> Steps:
    line, result = add_up(digits(n))
    return [digit_line(n), line], result


def _nonzero_product(n: int) -> Steps:
    kept = [x for x in digits(n) if x]
    line, result = multiply_up(kept)
    return [digit_line(n), f"Without zeros: {listed(kept) or 'none'}", line], result


def _extreme(pick: Callable[[Sequence[int]], int], sign: str) -> Callable[[int], Steps]:
    def work(n: int) -> Steps:
        d = digits(n)
        best, parts = d[0], []
        for x in d[1:]:
            winner = pick((best, x))
            parts.append(f"{sign}({best}, {x}) = {winner}")
            best = winner
        compare = f"Compare: {equations(parts)}" if parts else f"The only digit is {best}"
        return [digit_line(n), compare], best

    return work


def _one_digit(place: int, which: str) -> Callable[[int], Steps]:
    def work(n: int) -> Steps:
        picked = digits(n)[place]
        return [digit_line(n), f"The {which} digit is {picked}"], picked

    return work


def _range(n: int) -> Steps:
    d = digits(n)
    high, low = max(d), min(d)
    return [
        digit_line(n),
        f"Largest digit: {high}",
        f"Smallest digit: {low}",
        f"{high} - {low} = {high - low}",
    ], high - low


def _ends(combine: Callable[[int, int], int], sign: str) -> Callable[[int], Steps]:
    def work(n: int) -> Steps:
        d = digits(n)
        result = combine(d[0], d[-1])
        ends = [f"First digit: {d[0]}", f"Last digit: {d[-1]}"]
        return [digit_line(n), *ends, f"{d[0]} {sign} {d[-1]} = {result}"], result

    return work


def _count(kept: Callable[[Sequence[int]], list[int]], which: str) -> Callable[[int], Steps]:
    """Solutions that list some of the digits and count them."""

    def work(n: int) -> Steps:
        found = kept(digits(n))
        return [digit_line(n), f"{which}: {listed(found) or 'none'}", f"That makes {len(found)}"], len(found)

    return work


def _digital_root(n: int) -> int:
    while n > 9:
        n = sum(digits(n))
    return n


def _digital_root_steps(n: int) -> Steps:
    lines: list[str] = []
    while n > 9:
        line, total = add_up(digits(n))
        lines += [digit_line(n), line]
        n = total
    return [*lines, f"{n} has one digit, so it is the result"], n


def _square_sum(n: int) -> Steps:
    square, squared = squares(digits(n))
    line, result = add_up(squared)
    return [digit_line(n), square, line], result


def _reordered(order: Callable[[list[int]], list[int]], how: str) -> Callable[[int], Steps]:
    def work(n: int) -> Steps:
        lines, result = spelled(order(digits(n)), how)
        return [digit_line(n), *lines], result

    return work


def _twice_sum(n: int) -> Steps:
    line, total = add_up(digits(n))
    return [digit_line(n), line, f"2 * {total} = {2 * total}"], 2 * total


def _distinct(d: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(d))  # in order of first appearance, never in set order


def _even(d: Sequence[int]) -> list[int]:
    return [x for x in d if x % 2 == 0]


def _odd(d: Sequence[int]) -> list[int]:
    return [x for x in d if x % 2 == 1]


def _zeros(d: Sequence[int]) -> list[int]:
    return [x for x in d if x == 0]


_Row = tuple[str, str, Callable[[int], int], Callable[[int], Steps]]

_ROWS: tuple[_Row, ...] = (
    ("digit sum", "add the digits", lambda n: sum(digits(n)), _digit_sum),
    (
        "product of the non-zero digits",
        "multiply the digits that are not zero",
        lambda n: prod(x for x in digits(n) if x),
        _nonzero_product,
    ),
    ("number of digits", "count the digits", lambda n: len(digits(n)), _count(list, "Counted")),
    ("largest digit", "take the largest digit", lambda n: max(digits(n)), _extreme(max, "max")),
    ("smallest digit", "take the smallest digit", lambda n: min(digits(n)), _extreme(min, "min")),
    ("first digit", "take the first digit", lambda n: digits(n)[0], _one_digit(0, "first")),
    ("last digit", "take the last digit", lambda n: digits(n)[-1], _one_digit(-1, "last")),
    (
        "range of the digits",
        "subtract the smallest digit from the largest",
        lambda n: max(digits(n)) - min(digits(n)),
        _range,
    ),
    (
        "reversed number",
        "write the digits in reverse",
        lambda n: joined(digits(n)[::-1]),
        _reordered(lambda d: d[::-1], "Reversed"),
    ),
    (
        "first digit plus last digit",
        "add the first and the last digit",
        lambda n: digits(n)[0] + digits(n)[-1],
        _ends(lambda x, y: x + y, "+"),
    ),
    ("number of even digits", "count the even digits", lambda n: len(_even(digits(n))), _count(_even, "Even digits")),
    ("number of odd digits", "count the odd digits", lambda n: len(_odd(digits(n))), _count(_odd, "Odd digits")),
    (
        "number of distinct digits",
        "count the different digits",
        lambda n: len(set(digits(n))),
        _count(_distinct, "Different digits"),
    ),
    ("digital root", "add the digits again and again until one digit is left", _digital_root, _digital_root_steps),
    (
        "sum of the squared digits",
        "square the digits and add the squares",
        lambda n: sum(x * x for x in digits(n)),
        _square_sum,
    ),
    (
        "digits in ascending order",
        "sort the digits from small to large",
        lambda n: joined(sorted(digits(n))),
        _reordered(sorted, "Sorted"),
    ),
    (
        "digits in descending order",
        "sort the digits from large to small",
        lambda n: joined(sorted(digits(n), reverse=True)),
        _reordered(lambda d: sorted(d, reverse=True), "Sorted"),
    ),
    ("number of zeros", "count the zeros", lambda n: digits(n).count(0), _count(_zeros, "Zeros")),
    ("twice the digit sum", "double the sum of the digits", lambda n: 2 * sum(digits(n)), _twice_sum),
    (
        "first digit times last digit",
        "multiply the first digit by the last",
        lambda n: digits(n)[0] * digits(n)[-1],
        _ends(lambda x, y: x * y, "*"),
    ),
)

UNSEEN_OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {label: Operation(label, *row) for label, row in zip("abcdefghijklmnopqrst", _ROWS, strict=True)}
)
"""Label to operation, a–t."""
