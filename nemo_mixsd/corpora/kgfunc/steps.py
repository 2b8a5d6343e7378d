"""Digits, and the phrases that worked solutions are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def digits(n: int) -> list[int]:
    """The decimal digits from left to right; 0 has the one digit 0."""
    return [int(c) for c in str(n)]


def joined(values: Iterable[int]) -> int:
    """The number that these digits spell; leading zeros drop."""
    return int("".join(map(str, values)))


def listed(values: Iterable[int | str]) -> str:
    """``4, 8, 2``."""
    return ", ".join(map(str, values))


def digit_line(n: int) -> str:
    """The line that most solutions start from."""
    return f"Digits of {n}: {listed(digits(n))}"


def equations(parts: Iterable[str]) -> str:
    """Equations on one line."""
    return "; ".join(parts)


def add_up(values: Sequence[int], what: str = "sum") -> tuple[str, int]:
    """Add from left to right, one equation for each addition; the line and the total."""
    return _fold(values, "+", what)


def multiply_up(values: Sequence[int], what: str = "product") -> tuple[str, int]:
    """Multiply from left to right; the line and the product. No values at all give 1, the empty product."""
    if not values:
        return f"There is nothing to multiply, so the {what} is 1", 1
    return _fold(values, "*", what)


def squares(values: Iterable[int]) -> tuple[str, list[int]]:
    """Square each value; the line and the squares."""
    values = list(values)
    results = [v * v for v in values]
    return "Square: " + equations(f"{v}^2 = {r}" for v, r in zip(values, results, strict=True)), results


def spelled(values: Sequence[int], how: str) -> tuple[list[str], int]:
    """Read digits as a number, saying so where leading zeros drop."""
    text, number = "".join(map(str, values)), joined(values)
    lines = [f"{how}: {text}"]
    if text != str(number):
        lines.append(f"Without leading zeros: {number}")
    return lines, number


def _fold(values: Sequence[int], sign: str, what: str) -> tuple[str, int]:
    total, parts = values[0], []
    for value in values[1:]:
        result = total + value if sign == "+" else total * value
        parts.append(f"{total} {sign} {value} = {result}")
        total = result
    if not parts:
        return f"There is one value only, so the {what} is {total}", total
    return f"{what.capitalize()}: {equations(parts)}", total
