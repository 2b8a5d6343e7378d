"""IFEval: prompts with instructions that a program can check; a response counts if it follows all of them (strict)."""

from __future__ import annotations

from typing import Any, ClassVar

from nemo_mixsd.errors import BenchmarkError
from nemo_mixsd.evals.benchmarks.base import Benchmark, Kind, Problem, Verdict
from nemo_mixsd.evals.benchmarks.instructions import CHECKS, follows
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row


class IFEval(Benchmark):
    """Instruction-Following Eval (Zhou et al., 2023), strict accuracy by prompt. The prompt is the data set's own."""

    name: ClassVar[str] = "ifeval"
    kind: ClassVar[Kind] = "instructions"
    hub: ClassVar[HubSource] = HubSource("google/IFEval", "train")
    stems: ClassVar[tuple[str, ...]] = ("ifeval", "IFEval", "ifeval_input_data", "input_data")
    max_new_tokens: ClassVar[int] = 1280

    def problem(self, row: Row) -> Problem:
        """Fields ``key``, ``prompt``, ``instruction_id_list`` and ``kwargs``, one mapping an instruction."""
        names, arguments = row.get("instruction_id_list", list), row.get("kwargs", list)
        if not names or len(names) != len(arguments):
            raise BenchmarkError(
                f"{row.where}: {len(names)} in 'instruction_id_list' and {len(arguments)} in 'kwargs'; both must have "
                "one entry an instruction"
            )
        for name in names:
            if name not in CHECKS:
                raise BenchmarkError(f"{row.where}: no instruction {name!r} is known; there is {', '.join(CHECKS)}")
        given = [{k: v for k, v in (kwargs or {}).items() if v is not None} for kwargs in arguments]
        meta = {"instructions": [[name, kwargs] for name, kwargs in zip(names, given, strict=True)]}
        key = str(row.values.get("key", row.number))
        return Problem(f"ifeval-{key}", row.get("prompt"), (), ", ".join(names), meta)

    def score(self, problem: Problem, response: str) -> Verdict:
        """Check every instruction; ``extracted`` is how many are followed."""
        instructions: Any = problem.meta["instructions"]
        broken = [name for name, kwargs in instructions if not follows(name, response, kwargs)]
        found = f"{len(instructions) - len(broken)} of {len(instructions)} followed"
        return Verdict(not broken, found, "not followed: " + ", ".join(broken) if broken else "")
