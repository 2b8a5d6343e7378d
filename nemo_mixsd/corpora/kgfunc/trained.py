"""The operations A–K that KGFunc teaches. B–H are the paper's seven; the others are there to be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from math import prod
from types import MappingProxyType

from nemo_mixsd.corpora.kgfunc.operation import Operation, Steps
from nemo_mixsd.corpora.kgfunc.steps import add_up, digit_line, digits, equations, listed, multiply_up, squares

PRIME_DIGITS = (2, 3, 5, 7)


def _sum_times_max(n: int) -> int:
    d = digits(n)
    return sum(d) * max(d)


def _sum_times_max_steps(n: int) -> Steps:
    d = digits(n)
    line, total = add_up(d, "digit sum")
    largest = max(d)
    result = total * largest
    return [digit_line(n), line, f"Largest digit: {largest}", f"{total} * {largest} = {result}"], result


def _spread(n: int) -> int:
    d = digits(n)
    low = min(d)
    return sum((x - low) ** 2 for x in d)


def _spread_steps(n: int) -> Steps:
    d = digits(n)
    low = min(d)
    gaps = [x - low for x in d]
    subtract = "Subtract: " + equations(f"{x} - {low} = {g}" for x, g in zip(d, gaps, strict=True))
    square, squared = squares(gaps)
    line, result = add_up(squared)
    return [digit_line(n), f"Smallest digit: {low}", subtract, square, line], result


def _alternating(n: int) -> int:
    return abs(sum(x * x if i % 2 == 0 else -x * x for i, x in enumerate(digits(n))))


def _alternating_steps(n: int) -> Steps:
    square, squared = squares(digits(n))
    total, parts = squared[0], []
    for i, value in enumerate(squared[1:]):
        result = total - value if i % 2 == 0 else total + value
        parts.append(f"{total} {'-' if i % 2 == 0 else '+'} {value} = {result}")
        total = result
    signs = f"Alternate signs: {equations(parts)}" if parts else f"There is one square only, {total}"
    return [digit_line(n), square, signs, f"Absolute value: |{total}| = {abs(total)}"], abs(total)


def _primes_squared(n: int) -> int:
    return sum(x * x if x in PRIME_DIGITS else x for x in digits(n))


def _primes_squared_steps(n: int) -> Steps:
    lines, terms = [digit_line(n)], []
    for x in digits(n):
        if x in PRIME_DIGITS:
            terms.append(x * x)
            lines.append(f"{x} is prime: {x}^2 = {x * x}")
        else:
            terms.append(x)
            lines.append(f"{x} is not prime, it stays {x}")
    line, result = add_up(terms)
    return [*lines, line], result


def _mirror_products(n: int) -> int:
    d = digits(n)
    return sum(x * y for x, y in zip(d, reversed(d), strict=True))


def _mirror_products_steps(n: int) -> Steps:
    d = digits(n)
    back = d[::-1]
    products = [x * y for x, y in zip(d, back, strict=True)]
    pairs = "Multiply: " + equations(f"{x} * {y} = {p}" for x, y, p in zip(d, back, products, strict=True))
    line, result = add_up(products)
    return [digit_line(n), f"In reverse: {listed(back)}", pairs, line], result


def _running_maxima(n: int) -> int:
    return sum(accumulate(digits(n), max))


def _running_maxima_steps(n: int) -> Steps:
    d = digits(n)
    highest, parts = [d[0]], []
    for x in d[1:]:
        parts.append(f"max({highest[-1]}, {x}) = {max(highest[-1], x)}")
        highest.append(max(highest[-1], x))
    compare = [f"Compare: {equations(parts)}"] if parts else []
    line, result = add_up(highest)
    return [digit_line(n), f"Start with {d[0]}", *compare, f"Largest so far: {listed(highest)}", line], result


def _triangular(n: int) -> int:
    return sum(x * (x + 1) // 2 for x in digits(n))


def _triangular_steps(n: int) -> Steps:
    d = digits(n)
    terms = [x * (x + 1) // 2 for x in d]
    up = "Add one: " + equations(f"{x} + 1 = {x + 1}" for x in d)
    halves = "Half the product: " + equations(f"{x} * {x + 1} / 2 = {t}" for x, t in zip(d, terms, strict=True))
    line, result = add_up(terms)
    return [digit_line(n), up, halves, line], result


def _rotations(n: int) -> list[str]:
    text = str(n)
    return [text[i:] + text[:i] for i in range(len(text))]


def _least_rotation(n: int) -> int:
    return min(map(int, _rotations(n)))


def _least_rotation_steps(n: int) -> Steps:
    spelled = _rotations(n)
    values = [int(r) for r in spelled]
    result = min(values)
    lines = [f"Rotations of {n}: {listed(spelled)}"]
    if any(r != str(v) for r, v in zip(spelled, values, strict=True)):
        lines.append(f"Without leading zeros: {listed(values)}")
    return [*lines, f"Smallest: min({listed(values)}) = {result}"], result


def _rising_powers(n: int) -> int:
    return sum(x**i for i, x in enumerate(digits(n), start=1))


def _rising_powers_steps(n: int) -> Steps:
    d = digits(n)
    terms = [x**i for i, x in enumerate(d, start=1)]
    powers = equations(f"{x}^{i} = {t}" for i, (x, t) in enumerate(zip(d, terms, strict=True), start=1))
    line, result = add_up(terms)
    return [digit_line(n), f"Powers: {powers}", line], result


def _scaled_variance(n: int) -> int:
    d = digits(n)
    return len(d) * sum(x * x for x in d) - sum(d) ** 2


def _scaled_variance_steps(n: int) -> Steps:
    d = digits(n)
    square, squared = squares(d)
    line, total = add_up(squared, "sum of squares")
    line2, plain = add_up(d, "digit sum")
    scaled, plain2 = len(d) * total, plain * plain
    result = scaled - plain2
    return [
        digit_line(n),
        f"Number of digits: {len(d)}",
        square,
        line,
        f"{len(d)} * {total} = {scaled}",
        line2,
        f"{plain}^2 = {plain2}",
        f"{scaled} - {plain2} = {result}",
    ], result


def _mod_product(n: int) -> int:
    return n % prod(x for x in digits(n) if x)  # prod of nothing is 1, so 0 gives 0


def _mod_product_steps(n: int) -> Steps:
    kept = [x for x in digits(n) if x]
    line, product = multiply_up(kept)
    times = n // product
    result = n - times * product
    return [
        digit_line(n),
        f"Without zeros: {listed(kept) or 'none'}",
        line,
        f"{product} goes into {n} {times} times",
        f"{times} * {product} = {times * product}",
        f"{n} - {times * product} = {result}",
    ], result


_ALL = (
    Operation(
        "A",
        "digit sum times largest digit",
        "multiply the sum of the digits by the largest digit",
        _sum_times_max,
        _sum_times_max_steps,
    ),
    Operation(
        "B",
        "sum of squared distances from the smallest digit",
        "subtract the smallest digit from every digit, square each difference and add the squares",
        _spread,
        _spread_steps,
    ),
    Operation(
        "C",
        "absolute alternating sum of squared digits",
        "square the digits, subtract and add the squares in turn from the left, and drop the sign of the result",
        _alternating,
        _alternating_steps,
    ),
    Operation(
        "D",
        "digit sum with the prime digits squared",
        "square the digits that are 2, 3, 5 or 7, keep the others, and add everything",
        _primes_squared,
        _primes_squared_steps,
    ),
    Operation(
        "E",
        "sum of products of mirrored digits",
        "multiply each digit by the one at the same place in the reversed number and add the products",
        _mirror_products,
        _mirror_products_steps,
    ),
    Operation(
        "F",
        "sum of running maxima",
        "read the digits from the left, note the largest so far at each one, and add what was noted",
        _running_maxima,
        _running_maxima_steps,
    ),
    Operation(
        "G",
        "sum of the digits' triangular numbers",
        "multiply each digit by the digit plus one, halve the products and add them",
        _triangular,
        _triangular_steps,
    ),
    Operation(
        "H",
        "smallest cyclic rotation",
        "move digits from the front to the back in every way and take the smallest number that appears",
        _least_rotation,
        _least_rotation_steps,
    ),
    Operation(
        "I",
        "sum of digits raised to their position",
        "raise each digit to the power of its position, counted from 1 at the left, and add the powers",
        _rising_powers,
        _rising_powers_steps,
    ),
    Operation(
        "J",
        "scaled variance of the digits",
        "multiply the sum of the squared digits by the number of digits and subtract the squared digit sum",
        _scaled_variance,
        _scaled_variance_steps,
    ),
    Operation(
        "K",
        "remainder by the product of the non-zero digits",
        "divide the number by the product of its non-zero digits and keep the remainder",
        _mod_product,
        _mod_product_steps,
    ),
)

OPERATIONS: Mapping[str, Operation] = MappingProxyType({op.label: op for op in _ALL})
"""Label to operation, A–K."""

DEFAULT_LABELS: tuple[str, ...] = ("B", "C", "D", "E", "F", "G", "H")
"""The seven operations of the paper's setting."""
