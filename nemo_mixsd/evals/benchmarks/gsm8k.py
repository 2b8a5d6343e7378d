"""GSM8K: grade-school word problems with a number as answer."""

from __future__ import annotations

from typing import ClassVar

from nemo_mixsd.errors import BenchmarkError
from nemo_mixsd.evals.answers import as_number, extract_answer
from nemo_mixsd.evals.benchmarks.base import Benchmark, Kind, Problem, Verdict
from nemo_mixsd.evals.benchmarks.mathematics import PROMPT, shown
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row
from nemo_mixsd.evals.equivalence import math_equal


class GSM8K(Benchmark):
    """GSM8K test split (Cobbe et al., 2021)."""

    name: ClassVar[str] = "gsm8k"
    kind: ClassVar[Kind] = "number"
    hub: ClassVar[HubSource] = HubSource("openai/gsm8k", "test", "main")
    stems: ClassVar[tuple[str, ...]] = ("gsm8k", "gsm8k_test")
    max_new_tokens: ClassVar[int] = 1024

    def problem(self, row: Row) -> Problem:
        """Fields ``question`` and ``answer``, a worked solution that ends in ``#### N``."""
        solution, mark, answer = row.get("answer").rpartition("####")
        if not mark or as_number(answer) is None:
            raise BenchmarkError(f"{row.where}: 'answer' does not end in '#### ' and a number: {solution[-60:]!r}")
        prompt = PROMPT.format(problem=row.get("question").strip())
        return Problem(f"gsm8k-{row.number}", prompt, (answer.strip().replace(",", ""),))

    def score(self, problem: Problem, response: str) -> Verdict:
        """The stated answer equals the number; without a stated one the last number of the response does."""
        gold = problem.gold[0]
        stated = extract_answer(response, "final")
        if stated is not None and math_equal(stated, gold):
            return Verdict(True, stated)
        if stated is not None and ("\\frac" in stated or "/" in stated):  # the last number of 3/2 is not its value
            return Verdict(False, stated, f"{shown(stated)} is not {gold}")
        given = extract_answer(response, "number")
        if given is None:
            return Verdict(False, stated, "no number in the answer" if stated else "no number in the response")
        if as_number(given) == as_number(gold):
            return Verdict(True, given)
        return Verdict(False, given, f"{given} is not {gold}")
