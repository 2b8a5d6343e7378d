"""What a benchmark is: problems with accepted answers, a prompt of our own wording, and a rule that judges a response.

One benchmark a file. A benchmark knows its data and its rule and nothing of models; the runner (``evals.heldout``)
knows models and nothing of the data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from nemo_mixsd.errors import BenchmarkError
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row, read_rows
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.types import FinishReason

Kind = Literal["math", "number", "choice", "code", "instructions"]
"""What an answer is: a mathematical expression, a number, a letter, a Python function, or a text that obeys."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a benchmark.

    Attributes:
        id: Unique within the benchmark.
        prompt: The user message, in our wording. The chat template is applied once, by the runner.
        gold: Accepted answers as text; empty where the verdict is not an answer's (code, instructions).
        subject: The benchmark's own grouping (a subject of MMLU, a level of MATH); may be empty.
        meta: What else scoring needs (the tests of a program, the arguments of an instruction); JSON-ready.
    """

    id: str
    prompt: str
    gold: tuple[str, ...]
    subject: str = ""
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rule says of one response.

    Attributes:
        correct: Whether it counts.
        extracted: The answer that was found in the response (for ``code`` the program); None if there was none.
        detail: Why, in a few words; never empty for a wrong response.
    """

    correct: bool
    extracted: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BenchmarkResponse:
    """One judged response, a line of ``evals/<name>/<step>/<benchmark>.jsonl``.

    Attributes:
        problem_id: ``Problem.id``.
        sample: 1 for the first or only sample of the problem.
        prompt: The user message.
        response: The generated text.
        token_ids: Generated token ids.
        finish_reason: Why generation ended.
        extracted: ``Verdict.extracted``.
        correct: ``Verdict.correct``.
        gold: ``Problem.gold``.
        detail: ``Verdict.detail``.
        subject: ``Problem.subject``.
    """

    problem_id: str
    sample: int
    prompt: str
    response: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    extracted: str | None
    correct: bool
    gold: tuple[str, ...]
    detail: str
    subject: str


class ProgramOutcome(Protocol):
    """What a sandbox says of a program; ``evals.sandbox.SandboxResult`` is one."""

    @property
    def passed(self) -> bool:
        """The program ran to its end without an error."""
        ...

    @property
    def reason(self) -> str:
        """Why it did not, in a few words."""
        ...


ProgramRunner = Callable[[str], ProgramOutcome]
"""Runs a whole Python program, source text in, where it can do no harm."""


class Benchmark(ABC):
    """A benchmark. Subclasses fill in the class variables, ``problem`` and ``score``.

    Attributes:
        name: In recipes, file names and tables.
        kind: What an answer is.
        hub: Where the data is on the hub.
        stems: File names without ending that are looked for in ``evals.benchmarks_path``, in this order.
        samples: Responses a problem, unless the recipe says otherwise; more than one is avg@n.
        temperature: Sampling temperature, unless the recipe says otherwise; 0 is greedy.
        max_new_tokens: Longest response, unless the recipe says otherwise.
        needs_sandbox: Whether scoring runs the response as a program; then ``run_program`` must be given.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    hub: ClassVar[HubSource]
    stems: ClassVar[tuple[str, ...]]
    samples: ClassVar[int] = 1
    temperature: ClassVar[float] = 0.0
    max_new_tokens: ClassVar[int] = 2048
    needs_sandbox: ClassVar[bool] = False

    def __init__(self, run_program: ProgramRunner | None = None) -> None:
        self.run_program = run_program

    def load(self, path: Path | None = None, limit: int | None = None, seed: int = 0) -> list[Problem]:
        """The problems: all, or a random subset in the order of the data.

        Args:
            path: A file in the public schema, or a folder with one of ``stems``; None reads the hub.
            limit: At most so many problems.
            seed: Chooses the subset.

        Raises:
            BenchmarkError: The data cannot be had or is not of the schema; names file and line.
        """
        return choose(self.load_all(path), limit, (self.name, seed))

    def load_all(self, path: Path | None = None) -> list[Problem]:
        """Every problem, in the order of the data. Errors as for ``load``."""
        problems: list[Problem] = []
        seen: set[str] = set()
        for row in read_rows(self.name, path, self.hub, self.stems):
            problem = self.problem(row)
            if problem.id in seen:
                raise BenchmarkError(f"{row.where}: the id {problem.id!r} occurs twice in {self.name}")
            seen.add(problem.id)
            problems.append(problem)
        if not problems:
            raise BenchmarkError(f"{self.name}: {path or self.hub} has no problems")
        return problems

    @abstractmethod
    def problem(self, row: Row) -> Problem:
        """A row of the public schema as a problem.

        Raises:
            BenchmarkError: A field is missing or of another type; names the row.
        """

    @abstractmethod
    def score(self, problem: Problem, response: str) -> Verdict:
        """Judge a response. What this raises ends the evaluation: a failed judgement is never a wrong answer."""


def choose(problems: Sequence[Problem], limit: int | None, key: tuple[str, int]) -> list[Problem]:
    """At most ``limit`` problems at random, in their own order; a smaller limit gives a subset of a larger one's."""
    if limit is None or limit >= len(problems):
        return list(problems)
    picked = KeyedRandom("benchmark", *key).sample(range(len(problems)), limit)
    return [problems[i] for i in sorted(picked)]
