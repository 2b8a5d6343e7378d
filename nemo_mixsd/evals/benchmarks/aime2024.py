"""AIME 2024: thirty competition problems with integer answers from 0 to 999, several samples each (avg@n)."""

from __future__ import annotations

from typing import ClassVar

from nemo_mixsd.errors import BenchmarkError
from nemo_mixsd.evals.benchmarks.base import Kind, Problem
from nemo_mixsd.evals.benchmarks.mathematics import PROMPT, MathBenchmark
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row


class AIME2024(MathBenchmark):
    """American Invitational Mathematics Examination 2024, I and II.

    With thirty problems one sample has an interval of ±17 points, so several are drawn at a temperature.
    """

    name: ClassVar[str] = "aime2024"
    kind: ClassVar[Kind] = "math"
    hub: ClassVar[HubSource] = HubSource("HuggingFaceH4/aime_2024", "train")
    stems: ClassVar[tuple[str, ...]] = ("aime2024", "aime_2024", "aime24")
    samples: ClassVar[int] = 8
    temperature: ClassVar[float] = 0.6
    max_new_tokens: ClassVar[int] = 8192

    def problem(self, row: Row) -> Problem:
        """Fields ``problem`` and ``answer``; a leading zero (``025``) is the same integer."""
        answer = str(row.get("answer", (str, int))).strip()
        if not answer.isascii() or not answer.isdigit() or int(answer) > 999:
            raise BenchmarkError(f"{row.where}: 'answer' is {answer!r}, no integer from 0 to 999")
        number = str(row.values.get("id", row.number))
        return Problem(f"aime2024-{number}", PROMPT.format(problem=row.get("problem")), (str(int(answer)),))
