"""Two operations in a row."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_mixsd.corpora.kgfunc.operation import Operation, Steps, check_input

TRIVIAL_PAIRS = frozenset({("H", "A"), ("H", "D"), ("H", "G")})
"""Pairs that equal their second operation on every input: H only reorders digits and drops zeros, and A, D and G see
neither order nor zeros. Nothing about H can be read off such shots, so the composition split leaves them out."""


def compose(first: Operation, second: Operation) -> Operation:
    """The operation that applies ``first`` and then ``second`` to what it gives.

    Raises:
        ValueError: On use, if the intermediate value leaves the range that ``second`` is defined on.
    """

    def function(n: int) -> int:
        return second.apply(first.function(n))

    def work(n: int) -> Steps:
        lines, middle = first.work(n)
        check_input(second.label, middle)
        more, result = second.work(middle)
        opening = f"{first.label}: {first.rule}."
        between = [f"So {first.label} turns {n} into {middle}.", f"{second.label}: {second.rule}."]
        return [opening, *lines, *between, *more], result

    return Operation(
        label=f"{first.label} then {second.label}",
        name=f"{first.name}; then {second.name}",
        rule=f"apply {first.label}, then apply {second.label} to what it gives",
        function=function,
        work=work,
    )


def pair_counts(labels: Sequence[str], count: int) -> dict[tuple[str, str], int]:
    """Spread ``count`` instances over the ordered pairs of different operations; empty for a single operation."""
    pairs = [(x, y) for x in labels for y in labels if x != y and (x, y) not in TRIVIAL_PAIRS]
    if not pairs:
        return {}
    # by the distance between the two labels, so that the remainder does not all go to pairs that begin with one
    pairs.sort(key=lambda pair: (labels.index(pair[1]) - labels.index(pair[0])) % len(labels))
    each, rest = divmod(count, len(pairs))
    return {pair: each + (i < rest) for i, pair in enumerate(pairs)}
