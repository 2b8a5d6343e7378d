"""HumanEval: Python functions written from their docstring, judged by running tests in the sandbox (pass@1)."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from nemo_mixsd.errors import BenchmarkError, ConfigError
from nemo_mixsd.evals.answers import extract_code
from nemo_mixsd.evals.benchmarks.base import Benchmark, Kind, Problem, Verdict
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row

PROMPT = (
    "Complete this Python function so that it does what its docstring says.\n\n```python\n{head}\n```\n\n"
    "Reply with one fenced Python code block that holds the whole function, with every import that it needs."
)
"""User message."""


class HumanEval(Benchmark):
    """HumanEval (Chen et al., 2021). Scoring runs what the model wrote, so it needs the sandbox."""

    name: ClassVar[str] = "humaneval"
    kind: ClassVar[Kind] = "code"
    hub: ClassVar[HubSource] = HubSource("openai/openai_humaneval", "test")
    stems: ClassVar[tuple[str, ...]] = ("humaneval", "HumanEval", "human_eval")
    max_new_tokens: ClassVar[int] = 1024
    needs_sandbox: ClassVar[bool] = True

    def problem(self, row: Row) -> Problem:
        """Fields ``task_id``, ``prompt``, ``entry_point``, ``test`` and ``canonical_solution``."""
        head, entry = row.get("prompt"), row.get("entry_point")
        if _definition(entry).search(head) is None:
            raise BenchmarkError(f"{row.where}: 'prompt' does not define the function {entry!r} of 'entry_point'")
        meta = {"head": head, "entry_point": entry, "test": row.get("test")}
        if "canonical_solution" in row.values:
            meta["canonical_solution"] = row.get("canonical_solution")
        return Problem(row.get("task_id"), PROMPT.format(head=head.strip()), (), "", meta)

    def score(self, problem: Problem, response: str) -> Verdict:
        """Run the last code block that defines the function, with the problem's tests after it.

        Raises:
            ConfigError: There is no sandbox to run it in.
        """
        if self.run_program is None:
            raise ConfigError("humaneval runs what the model wrote and needs the sandbox; allow it in evals.sandbox")
        code = extract_code(response, str(problem.meta["entry_point"]))
        if code is None:
            return Verdict(False, None, "no fenced code block")
        outcome = self.run_program(program(problem, code))
        return Verdict(outcome.passed, code, "" if outcome.passed else outcome.reason)


def program(problem: Problem, code: str) -> str:
    """The whole program: what stands before the function in the prompt, the code, and the tests, called at the end.

    A block without the function is taken for its body, written on from the prompt.
    """
    meta: Any = problem.meta
    head, entry = meta["head"], meta["entry_point"]
    definition = _definition(entry).search(head)
    assert definition is not None  # checked by ``HumanEval.problem``
    whole = _definition(entry).search(code) is not None
    solution = head[: definition.start()] + code if whole else head + code
    return f"{solution}\n\n{meta['test']}\n\ncheck({entry})\n"


def _definition(entry: str) -> re.Pattern[str]:
    return re.compile(rf"^(?:async[ \t]+)?def[ \t]+{re.escape(entry)}[ \t]*\(", re.MULTILINE)
