"""The wording of KGFunc's questions."""

from __future__ import annotations

from collections.abc import Sequence

Shot = tuple[int, int]
"""An input and its output."""

_SINGLE = (
    "Operation {label} turns one whole number into another by working on its decimal digits, and its rule is not told. "
    "These are some inputs and what operation {label} makes of them:"
)
_PAIR = (
    "Operations {first} and {second} each turn one whole number into another by working on its decimal digits. "
    "Below, operation {first} is applied to the input and then operation {second} to what comes out. "
    "These are some inputs and the final outputs:"
)
_TASK = (
    "Work out the rule, then apply it to {query}. Show the steps of the calculation and finish with the resulting "
    "number in \\boxed{{}}."
)


def write_question(labels: Sequence[str], shots: Sequence[Shot], query: int) -> str:
    """The user message for one operation (one label) or for two in a row (two labels)."""
    template = _SINGLE if len(labels) == 1 else _PAIR
    opening = template.format(label=labels[0], first=labels[0], second=labels[-1])
    lines = "\n".join(f"{x} -> {y}" for x, y in shots)
    return f"{opening}\n\n{lines}\n\n{_TASK.format(query=query)}"
