r"""What the mathematical benchmarks share: a prompt that asks for ``\boxed{}``, and scoring by equivalence."""

from __future__ import annotations

from typing import ClassVar

from nemo_mixsd.evals.answers import extract_answer, without_markup
from nemo_mixsd.evals.benchmarks.base import Benchmark, Kind, Problem, Verdict
from nemo_mixsd.evals.equivalence import math_equal

PROMPT = "{problem}\n\nWork through this step by step. End with the final answer in \\boxed{{}}."
"""User message of a mathematical problem."""


class MathBenchmark(Benchmark):
    """The last box, or what the response states as its answer, equals the gold answer as mathematics."""

    kind: ClassVar[Kind] = "math"

    def score(self, problem: Problem, response: str) -> Verdict:
        """Compare as mathematics; what cannot be decided in time counts as different, and is said so."""
        given = extract_answer(response, "final")
        if given is None:
            return Verdict(False, None, "no answer: neither a box nor a stated one")
        verdicts = [math_equal(given, gold) for gold in problem.gold]
        if any(verdicts):
            return Verdict(True, given)
        late = " (not decided in time)" if None in verdicts else ""
        return Verdict(False, given, f"{shown(given)} is not {problem.gold[0]}{late}")


def shown(text: str) -> str:
    """An answer on one line, cut to what a table can hold."""
    text = " ".join(without_markup(text).split())
    return text if len(text) <= 60 else text[:57] + "..."
