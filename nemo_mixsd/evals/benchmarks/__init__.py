"""Benchmarks of what a model can do apart from the new facts, one a file."""

from __future__ import annotations

from nemo_mixsd.evals.benchmarks.aime2024 import AIME2024
from nemo_mixsd.evals.benchmarks.base import (
    Benchmark,
    BenchmarkResponse,
    Kind,
    Problem,
    ProgramOutcome,
    ProgramRunner,
    Verdict,
)
from nemo_mixsd.evals.benchmarks.gsm8k import GSM8K
from nemo_mixsd.evals.benchmarks.humaneval import HumanEval
from nemo_mixsd.evals.benchmarks.ifeval import IFEval
from nemo_mixsd.evals.benchmarks.math500 import MATH500
from nemo_mixsd.evals.benchmarks.mmlu import MMLU

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "BenchmarkResponse",
    "Kind",
    "Problem",
    "ProgramOutcome",
    "ProgramRunner",
    "Verdict",
]

BENCHMARKS: dict[str, type[Benchmark]] = {cls.name: cls for cls in (AIME2024, MATH500, GSM8K, HumanEval, MMLU, IFEval)}
"""Every benchmark by its name, in the order of the paper's tables."""
