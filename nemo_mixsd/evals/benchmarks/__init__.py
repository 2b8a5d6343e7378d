"""Benchmarks of what a model can do apart from the new facts, one a file."""

from __future__ import annotations

from nemo_mixsd.evals.benchmarks.base import (
    Benchmark,
    BenchmarkResponse,
    Kind,
    Problem,
    ProgramOutcome,
    ProgramRunner,
    Verdict,
)

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

BENCHMARKS: dict[str, type[Benchmark]] = {}
"""Every benchmark by its name, in the order of the paper's tables."""
