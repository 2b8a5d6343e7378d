"""The wording of KGFunc's questions."""

from __future__ import annotations

from collections.abc import Sequence

Shot = tuple[int, int]
"""An input and its output."""

_SINGLE = (
    "{label} is an unknown operation that turns one whole number into another by working on its decimal digits. "
    "These are some inputs and what {label} makes of them:"
)
_PAIR = (
    "{first} and {second} are operations that each turn one whole number into another by working on its decimal "
    "digits. Below, {first} is applied to the input and then {second} is applied to what {first} gives. "
    "These are some inputs and what comes out in the end:"
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
