"""Forgetting as the paper defines it (Eq. 1 and 2): what training does to the loss on the base model's own samples.

The reference distribution is the base model's: general prompts, answered by the base model at temperature 1. The
reference loss of a model is its mean NLL a token on those samples; forgetting is the student's loss minus the base's,
an estimate of the KL divergence a token from base to student. 0 means that nothing was forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.analysis.nll import Scored, TokenNLL, mean_nll, token_nll
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.respond import Prompt, collect, respond
from nemo_mixsd.io import read_jsonl, write_jsonl
from nemo_mixsd.mixing.engines.base import Engine, SegmentResult
from nemo_mixsd.mixing.journal import Journal, fingerprint
from nemo_mixsd.progress import track
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.types import FinishReason

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class ReferenceSample:
    """A sample of the base model: a general prompt and what the model said to it."""

    example_id: str
    prompt: str
    response: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Which samples are drawn.

    Attributes:
        prompts: General prompts, with ids.
        samples_per_prompt: Samples of each.
        max_new_tokens: Longest sample.
        in_flight: Samples generated at the same time.
    """

    prompts: tuple[tuple[str, str], ...]
    samples_per_prompt: int = 1
    max_new_tokens: int = 64
    in_flight: int = 32


def load_prompts(path: str | None, limit: int | None = None) -> tuple[tuple[str, str], ...]:
    """General prompts as (id, text), from a JSONL file with a ``prompt`` a line or from the package.

    Raises:
        ConfigError: The file is missing, or a line has no prompt.
    """
    if path is None:
        content = resources.files("nemo_mixsd.data").joinpath("general_prompts.jsonl").read_text("utf-8")
        source = "general_prompts.jsonl"
    else:
        try:
            content = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"evals.forgetting.prompts: cannot read {path}: {error}") from error
        source = path
    prompts: list[tuple[str, str]] = []
    for number, line in enumerate(content.split("\n"), start=1):  # splitlines() would cut at U+2028 in a prompt too
        if not line.strip():
            continue
        try:
            text = json.loads(line)["prompt"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'{source}:{number}: not a JSON object with a "prompt": {line[:60]!r}') from error
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f'{source}:{number}: the "prompt" is empty or no text')
        prompts.append((f"general-{number:03d}", text))
    if not prompts:
        raise ConfigError(f"{source} has no prompts")
    return tuple(prompts[:limit])


def sample_reference(
    engine: Engine, renderer: PromptRenderer, reference: ReferenceSet, path: Path
) -> list[ReferenceSample]:
    """Draw the samples with the base model, or go on where a killed run stopped.

    Args:
        engine: Over the base model, sampling at temperature 1.
        renderer: Renders the prompts as chats.
        reference: What to draw.
        path: Gets a ``ReferenceSample`` a line; complete once it exists.
    """
    if path.exists():
        return list(read_jsonl(path, ReferenceSample))
    texts: dict[str, str] = {}
    prompts: list[Prompt] = []
    for prompt_id, text in reference.prompts:
        for sample in range(1, reference.samples_per_prompt + 1):
            key = f"{prompt_id}/s{sample}"
            texts[key] = text
            prompts.append(Prompt(key, renderer.encode(text), sample))
    ids = {p.id: p.token_ids for p in prompts}
    digest = fingerprint("reference", reference.prompts, reference.samples_per_prompt, reference.max_new_tokens)
    journal = Journal(path.with_name(f".{path.name}.journal"), digest, {"sample": ReferenceSample})

    def make(key: str, result: SegmentResult) -> ReferenceSample:
        text = renderer.decode(result.token_ids)
        return ReferenceSample(key, texts[key], text, ids[key], result.token_ids, result.finish_reason)

    todo = (p for p in prompts if p.id not in journal)
    results = respond(engine, todo, reference.max_new_tokens, reference.in_flight)
    return collect(results, make, [p.id for p in prompts], path, journal, ("sample base model", "samples"))


def reference_nll(
    model: PreTrainedModel, samples: Sequence[ReferenceSample], path: Path, batch_size: int
) -> list[TokenNLL]:
    """Per-token NLL of the base model's samples under ``model``, kept at ``path``."""
    if not path.exists():
        sequences = [Scored(s.example_id, s.prompt_ids, s.token_ids) for s in samples]
        label = f"reference loss {path.parent.parent.name}"
        with track(label, len(sequences), "samples") as task:
            scored = {r.example_id: r for r in token_nll(model, sequences, batch_size, task.advance)}
        write_jsonl(path, [scored[s.example_id] for s in samples])
    return list(read_jsonl(path, TokenNLL))


def forgetting(student: Sequence[TokenNLL], base: Sequence[TokenNLL]) -> float:
    """Eq. 2: the student's reference loss minus the base's, in nats a token.

    Raises:
        ValueError: The two do not score the same samples.
    """
    if [(r.example_id, len(r.nll)) for r in student] != [(r.example_id, len(r.nll)) for r in base]:
        raise ValueError("student and base were scored on different samples")
    after, before = mean_nll(student), mean_nll(base)
    if after is None or before is None:
        raise ValueError("no reference samples to measure forgetting on")
    return after - before
