"""Worked solutions are right line by line: every equation holds, every claim is true, every operand was seen before."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence

import pytest

from nemo_mixsd.corpora.kgfunc import DEFAULT_LABELS, MAX_INPUT, OPERATIONS, UNSEEN_OPERATIONS, compose
from nemo_mixsd.randomness import KeyedRandom

ALL = {**OPERATIONS, **UNSEEN_OPERATIONS}
BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
BINARY |= {ast.Pow: operator.pow}
CALLS = {"max": max, "min": min, "abs": abs}
# Operands that stand for the operation itself: exponents, "x + 1", "/ 2", and the 2 of "2 * sum".
FREE = re.compile(r"\^\d+|(?<=\+ )1\b|(?<=/ )2\b|^2(?= \* )")


def evaluate(text: str) -> float:
    """The value of an expression with ``+ - * / ^ |x| max() min()`` and nothing else."""
    tree = ast.parse(re.sub(r"\|([^|]*)\|", r"abs(\1)", text).replace("^", "**"), mode="eval").body

    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -value(inner)
            case ast.BinOp(left=left, op=op, right=right):
                return BINARY[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                return CALLS[name]([value(a) for a in args]) if name != "abs" else abs(value(args[0]))
        raise AssertionError(f"{text!r} is not plain arithmetic")

    return value(tree)


def numbers(text: str) -> list[int]:
    return [int(x) for x in re.findall(r"\d+", text)]


def operands(left: str) -> set[int]:
    """The signed numbers of an expression, without those that belong to the operation itself."""
    return {int(x) for x in re.findall(r"(?:^|(?<=[|(]))-?\d+|\d+", FREE.sub("", left))}


def numeral(d: Sequence[int]) -> str:
    return "".join(map(str, d))


def spread_over(n: int, rest: str) -> bool:
    """Whether ``rest`` lists the digits of ``n``, which must be the right way round."""
    return numeral(numbers(rest)) == str(n)


# What a line may claim beside equations: pattern, and whether the claim holds given the number at hand, its digits,
# and the lines before.
Claim = Callable[[re.Match[str], int, list[int], list[str]], bool]
CLAIMS: list[tuple[str, Claim]] = [
    (r"Digits of (\d+): (.*)", lambda m, n, d, b: int(m[1]) == n and spread_over(n, m[2])),
    (r"(?:Largest digit: |The largest digit is )(\d)", lambda m, n, d, b: int(m[1]) == sorted(d)[-1]),
    (r"Smallest digit: (\d)", lambda m, n, d, b: int(m[1]) == sorted(d)[0]),
    (r"(?:First digit: |The first digit is |Start with )(\d)", lambda m, n, d, b: m[1] == str(n)[0]),
    (r"(?:Last digit: |The last digit is )(\d)", lambda m, n, d, b: m[1] == str(n)[-1]),
    (r"The only digit is (\d)", lambda m, n, d, b: m[1] == str(n)),
    (r"(\d+) has one digit, so it is the result", lambda m, n, d, b: len(m[1]) == 1),
    (r"Number of digits: (\d)", lambda m, n, d, b: int(m[1]) == len(str(n))),
    (r"In reverse: (.*)", lambda m, n, d, b: numeral(numbers(m[1])) == str(n)[::-1]),
    (r"Reversed: (\d+)", lambda m, n, d, b: m[1] == str(n)[::-1]),
    (r"Sorted: (\d+)", lambda m, n, d, b: m[1] in (numeral(sorted(d)), numeral(sorted(d)[::-1]))),
    (r"Without zeros: (.*)", lambda m, n, d, b: numeral(numbers(m[1])) == str(n).replace("0", "")),
    (r"There is nothing to multiply, so the product is 1", lambda m, n, d, b: b[-1] == "Without zeros: none"),
    (r"There is one value only, so the digit sum is (\d+)", lambda m, n, d, b: m[1] == str(n) and n < 10),
    (r"There is one value only, so the [a-z ]+ is (\d+)", lambda m, n, d, b: numbers(b[-1])[-1] == int(m[1])),
    (r"There is one square only, (\d+)", lambda m, n, d, b: n < 10 and int(m[1]) == n**2),
    (r"(\d) is not prime, it stays \1", lambda m, n, d, b: int(m[1]) in d and m[1] in "014689"),
    (r"Largest so far: (.*)", lambda m, n, d, b: numbers(m[1]) == [max(d[: i + 1]) for i in range(len(d))]),
    (r"Rotations of (\d+): (.*)", lambda m, n, d, b: m[1] == str(n) and rotations_of(str(n)) == m[2].split(", ")),
    (r"(\d+) goes into (\d+) (\d+) times", lambda m, n, d, b: int(m[2]) == n and n // int(m[1]) == int(m[3])),
    (r"Counted: (.*)", lambda m, n, d, b: spread_over(n, m[1])),
    (r"Even digits: (.*)", lambda m, n, d, b: numbers(m[1]) == [x for x in d if x in (0, 2, 4, 6, 8)]),
    (r"Odd digits: (.*)", lambda m, n, d, b: numbers(m[1]) == [x for x in d if x in (1, 3, 5, 7, 9)]),
    (r"Zeros: (.*)", lambda m, n, d, b: numbers(m[1]) == [0] * str(n).count("0")),
    (r"Different digits: (.*)", lambda m, n, d, b: sorted(numbers(m[1])) == sorted(set(d))),
    (r"That makes (\d)", lambda m, n, d, b: int(m[1]) == len(numbers(b[-1].split(":")[1]))),
]


def rotations_of(text: str) -> list[str]:
    doubled = text + text
    return [doubled[i : i + len(text)] for i in range(len(text))]


def check_claim(line: str, n: int, before: list[str]) -> None:
    if line.startswith("Without leading zeros: "):
        assert numbers(line) == [int(x) for x in before[-1].split(": ")[1].split(", ")], line
        return
    for pattern, holds in CLAIMS:
        if match := re.fullmatch(pattern, line):
            assert holds(match, n, [int(c) for c in str(n)], before), f"false claim for {n}: {line!r}"
            return
    raise AssertionError(f"a claim that nothing checks: {line!r}")


def check_steps(lines: list[str], n: int) -> int:
    """Check the lines between the rule and the answer; the last number that they arrive at."""
    seen, before = set(numbers(str(n))), []
    for line in lines:
        if digits_line := re.match(r"Digits of (\d+):", line):
            n = int(digits_line[1])  # the digital root goes on with the sum
            assert n in seen, line
        if "=" not in line:
            check_claim(line, n, before)
            seen |= set(numbers(line))
        else:
            head, _, rest = line.rpartition(": ")
            if prime := re.fullmatch(r"(\d) is prime", head):
                assert prime[1] in "2357" and rest.startswith(prime[1]), line
            else:
                assert not numbers(head), line
            for clause in rest.split("; "):
                left, right = clause.split(" = ")
                assert evaluate(left) == int(right), f"false equation: {clause!r}"
                assert operands(left) <= seen, f"an operand from nowhere: {clause!r} in {lines}"
                seen.add(int(right))
        before.append(line)
    return numbers(before[-1])[-1] if not before[-1].endswith("result") else numbers(before[-1])[0]


def boxed(text: str) -> int:
    return int(re.findall(r"\\boxed\{(-?\d+)\}", text)[-1])


def check_solution(text: str, n: int, rule: str, answer: int) -> None:
    first, *lines, last = text.split("\n")
    assert first == rule
    assert last == f"The answer is \\boxed{{{answer}}}."
    assert text.count("\\boxed") == 1
    assert check_steps(lines, n) == answer


def random_inputs(*key: str | int, count: int) -> list[int]:
    """Inputs of every digit length, with more short ones than a uniform draw would give."""
    rng = KeyedRandom("explain", *key)
    return [rng.below(10 ** (1 + rng.below(5))) for _ in range(count)]


@pytest.mark.parametrize("label", ALL)
def test_explanation_parses_back_to_the_answer(label: str) -> None:
    op = ALL[label]
    inputs = [*range(100), MAX_INPUT, *random_inputs(label, count=4_899)]
    wrong = [n for n in inputs if boxed(op.explain(n)) != op.apply(n)]
    assert len(inputs) == 5_000 and not wrong


@pytest.mark.parametrize("label", ALL)
def test_every_step_of_the_explanation_is_right(label: str) -> None:
    op = ALL[label]
    for n in [*range(10), 10, 100, 10_000, MAX_INPUT, *random_inputs(label, count=300)]:
        check_solution(op.explain(n), n, f"Operation {label}: {op.rule}.", op.apply(n))


@pytest.mark.slow
@pytest.mark.parametrize("label", ALL)
def test_every_step_of_5000_explanations_is_right(label: str) -> None:
    op = ALL[label]
    for n in random_inputs("more", label, count=5_000):
        check_solution(op.explain(n), n, f"Operation {label}: {op.rule}.", op.apply(n))


@pytest.mark.parametrize("first", DEFAULT_LABELS)
@pytest.mark.parametrize("second", DEFAULT_LABELS)
def test_a_composition_explains_both_operations(first: str, second: str) -> None:
    x, y = OPERATIONS[first], OPERATIONS[second]
    for n in random_inputs(first, second, count=20):
        text = compose(x, y).explain(n)
        middle = x.apply(n)
        opening, own, *lines = text.split("\n")
        assert opening == f"Operation {first} then {second}: apply {first}, then apply {second} to what it gives."
        assert own == f"{first}: {x.rule}."
        turn = lines.index(f"So {first} turns {n} into {middle}.")
        assert check_steps(lines[:turn], n) == middle
        assert lines[turn + 1] == f"{second}: {y.rule}."
        assert check_steps(lines[turn + 2 : -1], middle) == boxed(text) == y.apply(middle)


@pytest.mark.parametrize(
    ("label", "right", "wrong"),
    [
        ("B", "8 - 1 = 7", "8 - 1 = 6"),
        ("B", "9 + 49 = 58", "9 + 50 = 59"),
        ("C", "|-36| = 36", "|36| = 36"),
        ("D", "8 is not prime, it stays 8", "8 is prime: 8^2 = 64"),
        ("E", "In reverse: 3, 1, 2, 8, 4", "In reverse: 3, 1, 2, 8, 5"),
        ("F", "max(4, 8) = 8", "max(4, 8) = 4"),
        ("G", "4 * 5 / 2 = 10", "4 * 5 / 2 = 20"),
        ("H", "Rotations of 48213: 48213, 82134", "Rotations of 48213: 48213, 82143"),
        ("K", "192 goes into 48213 251 times", "192 goes into 48213 250 times"),
        ("n", "Digits of 18: 1, 8", "Digits of 18: 8, 1"),
        ("l", "That makes 2", "That makes 3"),
        ("A", "\\boxed{144}", "\\boxed{145}"),
    ],
)
def test_the_checker_finds_a_wrong_step(label: str, right: str, wrong: str) -> None:
    op = ALL[label]
    rule, text = f"Operation {label}: {op.rule}.", op.explain(48213)
    check_solution(text, 48213, rule, op.apply(48213))
    assert right in text
    with pytest.raises(AssertionError):
        check_solution(text.replace(right, wrong), 48213, rule, op.apply(48213))


def test_one_solution_in_full() -> None:
    assert OPERATIONS["B"].explain(48213) == (
        "Operation B: subtract the smallest digit from every digit, square each difference and add the squares.\n"
        "Digits of 48213: 4, 8, 2, 1, 3\n"
        "Smallest digit: 1\n"
        "Subtract: 4 - 1 = 3; 8 - 1 = 7; 2 - 1 = 1; 1 - 1 = 0; 3 - 1 = 2\n"
        "Square: 3^2 = 9; 7^2 = 49; 1^2 = 1; 0^2 = 0; 2^2 = 4\n"
        "Sum: 9 + 49 = 58; 58 + 1 = 59; 59 + 0 = 59; 59 + 4 = 63\n"
        "The answer is \\boxed{63}."
    )
