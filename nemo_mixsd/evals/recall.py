"""In-domain accuracy: greedy answers to the questions of a split, graded by the corpus's judge or by the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nemo_mixsd.corpora.judge import Judge, judge_response
from nemo_mixsd.evals.respond import Prompt, collect, respond
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.engines.base import Engine, SegmentResult
from nemo_mixsd.mixing.journal import Journal, fingerprint
from nemo_mixsd.mixing.verifier import Verifier
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.types import Example, Response


def accuracy(responses: Sequence[Response]) -> float | None:
    """Share of correct responses, or None if there are none."""
    return sum(r.correct for r in responses) / len(responses) if responses else None


def evaluate_split(
    engine: Engine,
    renderer: PromptRenderer,
    grader: Verifier | Judge,
    examples: Sequence[Example],
    path: Path,
    max_new_tokens: int = 64,
    batch_size: int = 32,
) -> list[Response]:
    """Answer every example from its naive prompt, or go on where a killed evaluation stopped.

    Args:
        engine: Greedy, over the model to evaluate.
        renderer: Makes the naive prompts.
        grader: The verifier, or a judge where the corpus has one.
        examples: One split.
        path: Gets one ``Response`` a line, in the order of ``examples``; complete once it exists.
        max_new_tokens: Longest response.
        batch_size: Responses generated at the same time.

    Returns:
        The responses, in the order of ``examples``.

    Raises:
        JudgeError: The judge failed on an example, which the text names; finished responses are kept.
    """
    if path.exists():
        return list(read_jsonl(path, Response))
    by_id = {example.id: example for example in examples}
    name = type(grader).__qualname__ if isinstance(grader, Judge) else grader.name
    key = fingerprint("recall", max_new_tokens, name)
    journal = Journal(path.with_name(f".{path.name}.journal"), key, {"response": Response})
    todo = (Prompt(e.id, renderer.naive_ids(e.question)) for e in examples if e.id not in journal)

    def grade(example_id: str, result: SegmentResult) -> Response:
        example = by_id[example_id]
        text = renderer.decode(result.token_ids)
        correct, verdict = grade_response(grader, example, text)
        return Response(
            example_id=example_id,
            prompt=renderer.naive_text(example.question),
            response=text,
            answer=example.answer,
            correct=correct,
            finish_reason=result.finish_reason,
            token_ids=result.token_ids,
            verdict=verdict,
        )

    label = (f"answer {path.parent.parent.name}/{path.stem}", "questions")
    results = respond(engine, todo, max_new_tokens, batch_size)
    return collect(results, grade, [example.id for example in examples], path, journal, label)


def grade_response(grader: Verifier | Judge, example: Example, text: str) -> tuple[bool, str]:
    """Whether a response is right, and the judge's word for it; empty for a verifier. Errors as ``judge_response``."""
    if isinstance(grader, Judge):
        verdict = judge_response(grader, example, text)
        return verdict == "correct", verdict
    return grader.verify(text, (example.answer, *example.aliases)), ""


def quick_accuracy(
    engine: Engine, renderer: PromptRenderer, verifier: Verifier, examples: Sequence[Example], max_new_tokens: int
) -> float:
    """Share of right greedy answers, without keeping the responses: for a look at a model that is being trained."""
    by_id = {example.id: example for example in examples}
    prompts = (Prompt(e.id, renderer.naive_ids(e.question)) for e in examples)
    right = 0
    for example_id, result in respond(engine, prompts, max_new_tokens, len(examples)):
        example = by_id[example_id]
        right += verifier.verify(renderer.decode(result.token_ids), (example.answer, *example.aliases))
    return right / len(examples)
