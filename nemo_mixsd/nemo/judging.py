"""Judging texts in a worker process. Imports no NeMo-RL, so that a worker is ready at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.answers import extract_answer
from nemo_mixsd.mixing.verifier import make_verifier

Judged = tuple[bool, str | None]
"""The verdict on a response, and the answer that was found in it."""


def judge(responses: Sequence[str], metadata: Sequence[dict[str, Any]]) -> list[Judged]:
    """Verify each response against the answers of its sample.

    Args:
        responses: ``[B]`` texts.
        metadata: ``[B]``, the ``extra_env_info`` of our processors.

    Raises:
        ConfigError: A sample has no answers. It is not judged wrong: that would be a silent reward of 0.
    """
    out: list[Judged] = []
    for response, info in zip(responses, metadata, strict=True):
        if not info.get("answers"):
            raise ConfigError(
                f"example {info.get('example_id')!r} has no answers to verify; set corpus_path beside data_path in "
                "the dataset's section of the recipe"
            )
        verifier = make_verifier(info["verifier"])
        out.append((verifier.verify(response, info["answers"]), _given_answer(info["verifier"], response)))
    return out


def _given_answer(verifier: str, response: str) -> str | None:
    if verifier == "boxed":
        return extract_answer(response, "boxed")
    return extract_answer(response, "last_number") if verifier == "number" else response.strip() or None


class VerifierWorker:
    """Judges a part of a batch in a process of its own."""

    def judge(self, responses: list[str], metadata: list[dict[str, Any]]) -> list[Judged]:
        """As the function ``judge``."""
        return judge(responses, metadata)
