"""MMLU: four-way multiple choice in 57 subjects, answered with reasoning and a letter in a box."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from nemo_mixsd.errors import BenchmarkError
from nemo_mixsd.evals.answers import extract_answer, normalise, without_markup
from nemo_mixsd.evals.benchmarks.base import Benchmark, Kind, Problem, Verdict
from nemo_mixsd.evals.benchmarks.mathematics import shown
from nemo_mixsd.evals.benchmarks.rows import HubSource, Row

LETTERS = "ABCD"
PROMPT = (
    "A multiple-choice question about {subject}.\n\n{question}\n\n{choices}\n\n"
    "Think it through, then give the letter of the right choice as \\boxed{{A}}, \\boxed{{B}}, \\boxed{{C}} or "
    "\\boxed{{D}}."
)
"""User message."""


class MMLU(Benchmark):
    """Measuring Massive Multitask Language Understanding (Hendrycks et al., 2020), test split, all subjects."""

    name: ClassVar[str] = "mmlu"
    kind: ClassVar[Kind] = "choice"
    hub: ClassVar[HubSource] = HubSource("cais/mmlu", "test", "all")
    stems: ClassVar[tuple[str, ...]] = ("mmlu", "mmlu_test", "mmlu_stem_test")
    max_new_tokens: ClassVar[int] = 1024

    def load_all(self, path: Path | None = None) -> list[Problem]:
        """Also reads a folder of the original release: ``<subject>_test.csv``, without a header."""
        files = sorted(path.glob("*_test.csv")) if path is not None and path.is_dir() else []
        if len(files) < 2:
            return super().load_all(path)
        rows = (row for file in files for row in _release_rows(file))
        return [replace(self.problem(row), id=f"mmlu-{number}") for number, row in enumerate(rows, start=1)]

    def problem(self, row: Row) -> Problem:
        """Fields ``question``, ``choices``, ``answer`` (index or letter) and ``subject`` (or ``type``)."""
        choices = row.get("choices", (list, tuple))
        if len(choices) != len(LETTERS) or not all(isinstance(c, str) for c in choices):
            raise BenchmarkError(f"{row.where}: 'choices' must be four texts, not {shown(repr(choices))}")
        subject = row.first("subject", "type")
        prompt = PROMPT.format(
            subject=subject.replace("_", " "),
            question=row.get("question").strip(),
            choices="\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True)),
        )
        letter = _letter(row, row.get("answer", (int, str)))
        return Problem(f"mmlu-{row.number}", prompt, (letter,), subject, {"choices": list(choices)})

    def score(self, problem: Problem, response: str) -> Verdict:
        """The letter; or, where the box holds no letter, the text of exactly one choice."""
        letter = extract_answer(response, "letter", LETTERS)
        stated = extract_answer(response, "final")
        if letter is None and stated is not None:
            letter = _by_text(stated, problem)
        if letter is None:
            detail = "no letter" if stated is None else f"{shown(stated)} is no choice"
            return Verdict(False, stated, detail)
        right = letter == problem.gold[0]
        return Verdict(right, letter, "" if right else f"{letter} is not {problem.gold[0]}")


def _letter(row: Row, answer: int | str) -> str:
    index = answer if isinstance(answer, int) else LETTERS.find(answer.strip().upper() or "?")
    if not 0 <= index < len(LETTERS):
        raise BenchmarkError(f"{row.where}: 'answer' is {answer!r}; it must be 0 to 3, or A to D")
    return LETTERS[index]


def _by_text(stated: str, problem: Problem) -> str | None:
    choices: Any = problem.meta["choices"]
    given = normalise(without_markup(stated))
    found = [letter for letter, choice in zip(LETTERS, _normalised(choices), strict=True) if given and choice == given]
    return found[0] if len(found) == 1 else None


def _normalised(choices: Sequence[str]) -> list[str]:
    return [normalise(without_markup(choice)) for choice in choices]


def _release_rows(file: Path) -> list[Row]:
    subject = file.name.removesuffix("_test.csv")
    rows = []
    with file.open(encoding="utf-8", newline="") as handle:
        for number, record in enumerate(csv.reader(handle), start=1):
            where = f"{file}: record {number}"
            if len(record) != 6:
                raise BenchmarkError(f"{where}: {len(record)} fields; it must be question, four choices and a letter")
            question, *choices, answer = record
            values = {"question": question, "choices": choices, "answer": answer, "subject": subject}
            rows.append(Row(where, number, values))
    return rows
