"""MATH-500: five hundred problems of the MATH test set, in seven subjects and five levels."""

from __future__ import annotations

from typing import ClassVar

from nemo_mixsd.evals.benchmarks.base import Problem
from nemo_mixsd.evals.benchmarks.mathematics import PROMPT, MathBenchmark
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row


class MATH500(MathBenchmark):
    """MATH-500 (Lightman et al., 2024); ``subject`` is the subject."""

    name: ClassVar[str] = "math500"
    hub: ClassVar[HubSource] = HubSource("HuggingFaceH4/MATH-500", "test")
    stems: ClassVar[tuple[str, ...]] = ("math500", "math_500", "MATH-500")
    max_new_tokens: ClassVar[int] = 4096

    def problem(self, row: Row) -> Problem:
        """Fields ``problem``, ``answer``; ``subject``, ``level`` and ``unique_id`` where they are there."""
        name = str(row.values.get("unique_id", row.number))
        subject = str(row.values.get("subject", ""))
        meta = {"level": row.values["level"]} if "level" in row.values else {}
        prompt = PROMPT.format(problem=row.get("problem"))
        return Problem(f"math500-{name}", prompt, (row.get("answer").strip(),), subject, meta)
