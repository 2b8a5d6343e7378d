"""What an operation is: a function on the digits of a number, and a worked solution for each input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_INPUT = 99_999
"""Inputs are the integers from 0 to this one; every output of every operation lies in the same range."""

Steps = tuple[list[str], int]
"""Lines of a worked solution and the value that they arrive at."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A deterministic function from 0–99,999 to 0–99,999, known to the model by its label alone.

    Attributes:
        label: The opaque label that prompts show.
        name: What it computes, for people; no prompt shows it.
        rule: The rule as an instruction, the first thing that a worked solution states.
        function: The definition. Not range-checked; call :meth:`apply`.
        work: The steps for one input and their result, computed along the steps and not by ``function``.
    """

    label: str
    name: str
    rule: str
    function: Callable[[int], int]
    work: Callable[[int], Steps]

    def apply(self, n: int) -> int:
        """The output for ``n``.

        Raises:
            ValueError: ``n`` is outside 0–99,999.
        """
        check_input(self.label, n)
        return self.function(n)

    def explain(self, n: int) -> str:
        r"""A worked solution: the rule, elementary steps, and the answer in ``\boxed{}``.

        Every equation stands alone between line ends and semicolons, as ``expression = number`` with ``+ - * / ^``,
        ``|x|``, ``max(...)`` and ``min(...)``.

        Raises:
            ValueError: ``n`` is outside 0–99,999.
        """
        check_input(self.label, n)
        lines, result = self.work(n)
        return "\n".join([f"Operation {self.label}: {self.rule}.", *lines, f"The answer is \\boxed{{{result}}}."])


def check_input(label: str, n: int) -> None:
    """Raise ``ValueError`` where ``n`` is not an input of the operation ``label``."""
    if not 0 <= n <= MAX_INPUT:
        raise ValueError(f"operation {label!r} takes integers from 0 to {MAX_INPUT}, got {n}")
