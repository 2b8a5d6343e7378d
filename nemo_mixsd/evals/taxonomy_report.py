"""Error kinds of a run: counted from its files, as a table, as ``analysis/errors.json``, for report and figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.benchmarks import BENCHMARKS, BenchmarkResponse
from nemo_mixsd.evals.taxonomy import KINDS, Classified, Entities, TaxonomyConfig, classify, corpus_entities
from nemo_mixsd.io import read_jsonl, write_json
from nemo_mixsd.reporting.words import markdown_table
from nemo_mixsd.types import Example

ErrorCounts = dict[str, int]
"""``responses``, ``errors``, and a count for each kind; the kinds sum to ``errors``."""
EXCERPT = 240
"""Characters of a response that an example shows."""

LEGEND = (
    "Wrong responses by kind: format (no answer to be judged), leakage (an invented entity of the corpus that the "
    "prompt does not name), collapse (an answer with next to no reasoning), genuine (all others). Each has the first "
    "kind that fits, in this order."
)


@dataclass(frozen=True, slots=True)
class Sorter:
    """Sorts the wrong responses of one run.

    Attributes:
        run_dir: The run.
        config: Thresholds.
        entities: Invented names of the corpus; empty where leakage is not looked for.
    """

    run_dir: Path
    config: TaxonomyConfig
    entities: Entities

    @classmethod
    def of_run(cls, run_dir: Path, config: TaxonomyConfig | None = None) -> Sorter:
        """Read what is needed from a run directory.

        Names that the base model says itself in any response of the run are not invented, and left out.

        Args:
            run_dir: The run.
            config: Thresholds instead of those of its ``config.yaml``.

        Raises:
            ConfigError: ``evals.taxonomy`` of its ``config.yaml`` is not valid.
        """
        recipe = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
        if config is None:
            try:
                config = TaxonomyConfig.model_validate(recipe.get("evals", {}).get("taxonomy") or {})
            except ValidationError as error:
                raise ConfigError(f"{run_dir / 'config.yaml'}: evals.taxonomy: {error}") from error
        if not config.looks_for_leakage(recipe["corpus"]["name"]):
            return cls(run_dir, config, Entities(()))
        examples = chain.from_iterable(
            read_jsonl(path, Example) for path in sorted((run_dir / "corpus").glob("*.jsonl"))
        )
        entities = corpus_entities(examples, config.min_entity_words)
        return cls(run_dir, config, entities.without(_base_texts(run_dir)))

    def errors(self, name: str, step: int) -> dict[str, tuple[int, list[Classified]]]:
        """By benchmark: how many responses there are to it, and the wrong ones, sorted, in the order of the file."""
        found = {}
        for benchmark, cls in BENCHMARKS.items():
            path = self.run_dir / "evals" / name / str(step) / f"{benchmark}.jsonl"
            if path.is_file():
                responses = list(read_jsonl(path, BenchmarkResponse))
                wrong = [classify(r, cls.kind, self.entities, self.config) for r in responses if not r.correct]
                found[benchmark] = (len(responses), wrong)
        return found

    def counts(self, name: str, step: int) -> dict[str, ErrorCounts]:
        """``ErrorCounts`` by benchmark."""
        return {benchmark: count(total, wrong) for benchmark, (total, wrong) in self.errors(name, step).items()}


def count(total: int, wrong: Sequence[Classified]) -> ErrorCounts:
    """Wrong responses by kind."""
    by_kind: ErrorCounts = {kind: sum(item.kind == kind for item in wrong) for kind in KINDS}
    return {"responses": total, "errors": len(wrong), **by_kind}


def _base_texts(run_dir: Path) -> Iterator[str]:
    for benchmark in BENCHMARKS:
        path = run_dir / "evals" / "base" / "0" / f"{benchmark}.jsonl"
        if path.is_file():
            yield from (response.response for response in read_jsonl(path, BenchmarkResponse))


def errors_table(rows: Mapping[str, Mapping[str, ErrorCounts]]) -> tuple[list[str], list[list[str]]]:
    """Methods by benchmark as header and rows of text: share of each kind among the errors, and its count."""
    header = ["method", "benchmark", "responses", "errors", *KINDS]
    body = [
        [name, benchmark, str(found["responses"]), str(found["errors"]), *[_cell(found, kind) for kind in KINDS]]
        for name, benchmarks in rows.items()
        for benchmark, found in benchmarks.items()
    ]
    return header, body


def _cell(found: ErrorCounts, kind: str) -> str:
    return f"{found[kind]} ({100 * found[kind] / found['errors']:.0f} %)" if found[kind] else "0"


def errors_lines(rows: Mapping[str, Mapping[str, ErrorCounts]]) -> list[str]:
    """The section of ``report.md``; empty if no benchmark was run."""
    header, body = errors_table(rows)
    if not body:
        return []
    table = markdown_table(header, body)
    return ["", "## Kinds of errors", "", *table, "", LEGEND]


def write_errors(sorter: Sorter, steps: Mapping[str, int]) -> dict[str, Any]:
    """Write ``analysis/errors.json``: settings, counts and examples of each kind; return what it holds.

    Args:
        sorter: Of the run.
        steps: The checkpoint of each method, by report name.
    """
    methods = {}
    for name, step in steps.items():
        found = sorter.errors(name, step)
        if found:
            methods[name] = {
                "step": step,
                "benchmarks": {benchmark: count(total, wrong) for benchmark, (total, wrong) in found.items()},
                "examples": {
                    benchmark: _examples(wrong, sorter.config.examples) for benchmark, (_, wrong) in found.items()
                },
            }
    record = {"settings": sorter.config.model_dump(), "entities": len(sorter.entities), "methods": methods}
    write_json(sorter.run_dir / "analysis" / "errors.json", record)
    return record


def _examples(wrong: Sequence[Classified], limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` of each kind."""
    chosen = [item for kind in KINDS for item in [w for w in wrong if w.kind == kind][:limit]]
    return [
        {
            "kind": item.kind,
            "problem_id": item.response.problem_id,
            "sample": item.response.sample,
            "evidence": item.evidence,
            "response": _excerpt(item.response.response),
        }
        for item in chosen
    ]


def _excerpt(text: str) -> str:
    """Head and tail: the answer stands at the end."""
    if len(text) <= EXCERPT:
        return text
    half = EXCERPT // 2
    return f"{text[:half]} ... {text[-half:]}"
